"""The contract that every store keeps; `tests/search/test_stores.py` runs over all of them.

A **store** is a place (a folder, a server) that holds collections. A **collection** holds the
points of one corpus, encoded by one encoder, named by its manifest's fingerprint.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from search.filters import Filter, IndexKind
from search.findings import Finding
from search.records import Point, Record

SCHEMA_VERSION = 1
"""Version of the payload and manifest layout; a store refuses a collection with another one."""


class StorageOptions(BaseModel):
    """How a collection's vectors are kept; chosen when it is created."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantisation: Literal["none", "int8"] = "none"
    """int8: searches read scalars of one byte, and rescore the best by the whole vectors."""
    on_disk: bool = False
    """Servers only: vectors and payloads stay on the disk rather than in memory."""
    shards: Annotated[int, Field(ge=1)] | None = None
    """Servers only; None: the server's own default."""
    replicas: Annotated[int, Field(ge=1)] | None = None
    """Servers only: copies of each shard; None: the server's own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the engine says of a collection's state."""

    points: int
    indexed: int
    """Vectors that the index covers; below `EdgeCollection`'s threshold none need to be."""
    vectors: int
    bytes: int | None
    """On the disk; None where the engine does not tell."""
    worded: int = 0
    """Chunks that `Collection.search_words` can find. Those written before there were vectors of
    words are not among them, until they are written again (`search.reindex`)."""


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
    storage: StorageOptions = StorageOptions()
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
        ignored. Example: `set_metadata({chunk_id: {"cluster": 3}})`. `InvalidPoint` for a key
        that identifies a point; other points than chunks are to be written anew, except for the
        keys of `search.checksums.LATER`, since their checksum covers all other metadata.
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

    def search_words(self, query: str, *, limit: int, where: Filter | None = None) -> list[Record]:
        """The `limit` chunks whose words answer best (BM25), ordered by (score descending, id).

        Words are read as `search.lexical` says; a chunk that has none of them is not found.
        """
        ...

    def rank(
        self,
        queries: Sequence[npt.NDArray[np.float32] | str],
        *,
        limit: int,
        where: Filter | None = None,
    ) -> list[list[Finding]]:
        """What `search` (a vector) and `search_words` (a text) find, for each query in turn.

        The same chunks in the same order, without payloads: one exchange with the engine, and
        much less to carry. `retrieve` has the payloads of those that are to be shown.
        """
        ...

    def facet(
        self, key: str, *, limit: int, where: Filter | None = None
    ) -> list[tuple[str | int, int]]:
        """Values at a path and how many matching points have each, the most frequent first.

        Counts are exact; the path is one of keywords or whole numbers that is indexed.
        """
        ...

    def require_index(self, key: str, kind: IndexKind) -> None:
        """Index a path that may be filtered, unless it is indexed already.

        Those of `filter_checks.INDEXED` are from the start, in a collection that is new. The first
        call for another one takes as long as reading every payload.
        """
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

    def optimize(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Build the vector index where it pays; takes up to minutes, changes no answer's meaning.

        Afterwards a search that is not `exact` may miss a few of the nearest chunks.

        Args:
            progress: Called now and then with the vectors indexed and the vectors in all.
        """
        ...

    def bulk_load(self) -> AbstractContextManager[None]:
        """While open, many points are coming: an engine may put indexing off until the end.

        However the block ends, indexing is as before; a process that was killed inside leaves it
        off, and the next `bulk_load` or `optimize` puts it right.
        """
        ...

    def status(self) -> Status:
        """How many points and vectors there are, and how many of them the index covers."""
        ...

    def close(self) -> None:
        """Release the engine; further calls raise `StoreUnavailable`. Closing twice is harmless."""
        ...


class Store(Protocol):
    """A place that holds collections, and aliases: further names, each for one collection.

    `open` takes either; `Collection.manifest.name` is always the collection's own.
    """

    @property
    def location(self) -> str:
        """The folder or URL, without secrets: for messages."""
        ...

    def list(self) -> list[Manifest]:
        """The manifests of all collections, ordered by name. Opens none of them."""
        ...

    def create(self, manifest: Manifest) -> Collection:
        """Make a collection with its vectors and payload indexes.

        Raises `CollectionExists`, also where an alias has the name; `InvalidRequest`.
        """
        ...

    def open(self, name: str) -> Collection:
        """Open a collection; one that is open already may come back as the same object.

        Raises `CollectionNotFound`, `StoreInUse`, and `StoreUnavailable`, also for a schema version
        that this program does not know.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a collection and all it holds, closing it first if this store has it open.

        Raises `CollectionNotFound`, `StoreInUse`; `InvalidRequest` while an alias leads to it, or
        if the name is itself an alias: `set_alias(name, None)` comes first.
        """
        ...

    def aliases(self) -> dict[str, str]:
        """Alias -> name of the collection that it leads to."""
        ...

    def set_alias(self, alias: str, target: str | None) -> None:
        """Let an alias lead to a collection, whatever it led to before; None removes it.

        One step: at any moment, whoever opens the alias gets the old collection or the new one.
        Raises `CollectionNotFound` if there is no collection `target` (or, to remove, no such
        alias), `CollectionExists` if a collection has the alias's name.
        """
        ...

    def close(self) -> None:
        """Close the store and every collection opened through it; closing twice is harmless."""
        ...
