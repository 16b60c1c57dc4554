"""What the API needs of the program around it: open collections, clusters, an encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from search.collection_schema import CollectionSchema
from search.errors import SearchError
from search.protocols import QueryEncoder
from search.query_cache import QueryCache
from search.relevance import Chance
from search.stores.contract import Collection

InputType: TypeAlias = Literal["query", "document"]


class NotClustered(SearchError):
    """The collection has no report of a clustering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A collection as requests use it; threads share it."""

    name: str
    """What people call it."""
    collection: Collection
    schema: CollectionSchema
    encoder: QueryEncoder | None
    """None: it is answered by words alone."""
    encoder_name: str
    cache: QueryCache | None = None
    chance: Chance | None = None
    """What meaningless queries find, where that is known."""
    warning: str | None = None
    """Why hits may be off; told with every answer that vectors had a part in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One collection of the store, as a list shows it."""

    name: str
    dimension: int
    encoder: str
    fingerprint: str
    created_at: str
    opened: Opened | None
    """None: nobody has asked it yet, and it is not opened to be counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Texts as vectors."""

    vectors_ND: npt.NDArray[np.float32]
    """Unit vectors, shape (N, D)."""
    model: str
    """The encoder's name."""
    tokens: int
    """Read, prompts included."""


class Backend(Protocol):
    """What answers requests. Its methods block, and are called from several threads at once."""

    @property
    def default(self) -> str:
        """The collection of requests that name none."""
        ...

    def collections(self) -> Sequence[Summary]:
        """The collections that are served, by name.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...

    def collection(self, name: str) -> Opened:
        """A collection that is served, opened if it was not.

        Raises:
            CollectionNotFound: there is none of that name, or it is not served.
            InvalidRequest: no collection can have that name.
            StoreInUse, StoreUnavailable: it cannot be opened.
        """
        ...

    def clusters(self, name: str) -> Mapping[str, Any]:
        """The clusters of the last run, as `sextant clusters list --json` has them.

        Raises:
            NotClustered: there was no run.
            CollectionNotFound, StoreInUse, StoreUnavailable: see `collection`.
        """
        ...

    def embed(self, name: str, texts: Sequence[str], input_type: InputType) -> Embedded:
        """Encode texts by the encoder of a collection.

        Raises:
            InvalidRequest: a text is longer than the encoder takes, or has no vector.
            EncoderUnavailable: there is no encoder.
            CollectionNotFound, StoreInUse, StoreUnavailable: see `collection`.
        """
        ...

    def ready(self) -> str | None:
        """None if queries can be answered in full; otherwise what is missing, in one line."""
        ...
