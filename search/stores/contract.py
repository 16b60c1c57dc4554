"""The contract that every store keeps; `tests/search/test_stores.py` runs over all of them.

A **store** is a place (a folder, a server) that holds collections. A **collection** holds the
points of one corpus, encoded by one encoder, named by its manifest's fingerprint.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from search.filters import Filter
from search.records import Point, Record

SCHEMA_VERSION = 1
"""Version of the payload and manifest layout; a store refuses a collection with another one."""


class Manifest(BaseModel):
    """What a collection says of itself. Written once when it is created."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    schema_version: int = SCHEMA_VERSION
    dimension: int
    fingerprint: str
    encoder: dict[str, Any]
    """The encoder's name and configuration, enough to build the same one for a query."""
    created_at: str
    """ISO 8601, UTC."""
    canary: tuple[tuple[float, ...], ...] = Field(default=(), repr=False)
    """Vectors of the encoder's reference texts when the collection was made, each of `dimension`
    values; by them a writer finds out whether its encoder still gives such vectors. Empty in a
    collection that is older than canaries."""


class Collection(Protocol):
    """One open collection. Every write is durable when the call returns.

    Writes raise `InvalidPoint` before anything is sent if a vector has the wrong dimension or a
    value that is not finite, if a payload is not JSON, or an id is no UUID (`stores.validation`
    has the whole list); `InvalidRequest` for an empty filter in a delete. Every method raises
    `InvalidRequest` for a filter on a path without index, `StoreUnavailable` if the engine died or
    cannot be reached, `CollectionNotFound` if someone deleted the collection meanwhile.
    """

    @property
    def manifest(self) -> Manifest:
        """What the collection says of itself."""
        ...

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert or replace points by id. An empty sequence does nothing.

        Vectors are stored L2-normalised. Points are written in the order given, so that a head
        that follows its chunks is never stored without them; a call that fails half-way may have
        stored the first of them, and can be repeated. One call with a thousand points costs little
        more than one with ten: each ends with a flush to the disk.
        """
        ...

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points by id; ids that are not there are ignored."""
        ...

    def delete_where(self, where: Filter) -> None:
        """Delete every point that matches; a filter without conditions is refused."""
        ...

    def set_metadata(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Merge each mapping into `metadata` of the point with that id; other keys stay.

        A value replaces the key's old value, None removes the key; ids that are not there are
        ignored. Example: `set_metadata({chunk_id: {"cluster": 3}})`.
        """
        ...

    def search(
        self,
        vector: npt.NDArray[np.float32],
        *,
        limit: int,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[Record]:
        """The `limit` nearest chunks by cosine, ordered by (score descending, id)."""
        ...

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        """The points with these ids that exist, in the order asked for."""
        ...

    def scroll(
        self,
        *,
        where: Filter | None = None,
        with_vectors: bool = False,
        batch_size: int = 1024,
    ) -> Iterator[Record]:
        """Every matching point once, ordered by id; read in batches, so memory stays flat."""
        ...

    def count(self, where: Filter | None = None) -> int:
        """The exact number of matching points."""
        ...

    def optimize(self) -> None:
        """Build the vector index where it pays; takes up to minutes, changes no answer's meaning.

        Afterwards a search that is not `exact` may miss a few of the nearest chunks.
        """
        ...

    def close(self) -> None:
        """Release the engine; further calls raise `StoreUnavailable`. Closing twice is harmless."""
        ...


class Store(Protocol):
    """A place that holds collections."""

    @property
    def location(self) -> str:
        """The folder or URL, without secrets: for messages."""
        ...

    def list(self) -> list[Manifest]:
        """The manifests of all collections, ordered by name. Opens none of them."""
        ...

    def create(self, manifest: Manifest) -> Collection:
        """Make a collection with its vectors and payload indexes. Raises `CollectionExists`."""
        ...

    def open(self, name: str) -> Collection:
        """Open a collection; one that is open already may come back as the same object.

        Raises `CollectionNotFound`, `StoreInUse`, and `StoreUnavailable`, also for a schema version
        that this program does not know.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a collection and all it holds, closing it first if this store has it open.

        Raises `CollectionNotFound`, `StoreInUse`.
        """
        ...

    def close(self) -> None:
        """Close the store and every collection opened through it; closing twice is harmless."""
        ...
