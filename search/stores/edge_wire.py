"""The messages between an embedded collection and the worker process that owns its shard.

Plain data only, and no import of numpy or pydantic, so that a worker starts in tens of
milliseconds. Vectors travel as the bytes of float32 values in the machine's order.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

Reply_co = TypeVar("Reply_co", covariant=True)

Payload: TypeAlias = dict[str, Any]

Equals: TypeAlias = tuple[str, tuple[str | int, ...]]
"""A payload path, and the values it may have."""

Row: TypeAlias = tuple[str, Payload, bytes | None, float | None]
"""A point that was read: id, payload, vector, score."""

RankedRow: TypeAlias = tuple[str, float, str, bytes]
"""A point that was found: the fields of `search.findings.Finding`."""

Failure: TypeAlias = Literal["exists", "not_found", "in_use", "occupied", "full", "unavailable"]


class RefusedError(Exception):
    """A request that the worker turns down, with the reason to send back."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """A path whose value lies between bounds: numbers, or times as ISO 8601 has them."""

    path: str
    bounds: dict[str, float] | dict[str, str]
    """Of `gte`, `gt`, `lte`, `lt`, those that are given."""
    is_time: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A path whose text has all these words."""

    path: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A path that has a value."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """One or more of these filters hold."""

    filters: tuple["Conditions", ...]


Condition: TypeAlias = Equals | Between | Words | Present | AnyOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """A filter: all of `must`, none of `must_not`."""

    must: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Request(Generic[Reply_co]):
    """A message to the worker; the parameter is the type of its answer."""

    grows: ClassVar[bool] = False
    """Whether it puts as much as it holds on the disk, so that there must be room for it."""
    essential: ClassVar[bool] = False
    """Whether it is to get through on a full disk as well."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that a worker works for, as the lock file tells it."""

    pid: int
    command: str
    since: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a shard keeps its vectors."""

    dimension: int
    quantisation: Literal["none", "int8"]


@dataclass(frozen=True, kw_only=True)
class Create(Request[None]):
    """Make the shard, its vectors and its payload indexes, then the manifest; and hold it open."""

    grows: ClassVar[bool] = True

    folder: str
    lock: str
    owner: Owner
    layout: Layout
    manifest: str
    indexes: tuple[tuple[str, str], ...]
    """Payload path and kind of index; see `search.filters.IndexKind`."""


@dataclass(frozen=True, kw_only=True)
class Open(Request[None]):
    """Take the lock and load the shard."""

    essential: ClassVar[bool] = True

    folder: str
    lock: str
    owner: Owner
    layout: Layout


@dataclass(frozen=True, kw_only=True)
class Upsert(Request[None]):
    """Insert or replace points; `vectors` holds those of the points whose `has_vector` is true."""

    grows: ClassVar[bool] = True

    ids: list[str]
    has_vector: list[bool]
    vectors: bytes
    payloads: list[Payload]
    flush: bool
    """Whether the points, and those of the requests before, must be on the disk at the answer."""


@dataclass(frozen=True, kw_only=True)
class Delete(Request[None]):
    """Delete points by id."""

    essential: ClassVar[bool] = True

    ids: list[str]


@dataclass(frozen=True, kw_only=True)
class DeleteWhere(Request[None]):
    """Delete the points that match; the conditions are not empty."""

    essential: ClassVar[bool] = True

    conditions: Conditions


@dataclass(frozen=True, kw_only=True)
class Merge(Request[None]):
    """Merge each payload into the object at `key` of its points."""

    grows: ClassVar[bool] = True

    key: str
    groups: list[tuple[Payload, list[str]]]


@dataclass(frozen=True, kw_only=True)
class Search(Request[list[Row]]):
    """The nearest points, ordered by (score descending, id)."""

    vector: bytes
    limit: int
    conditions: Conditions
    exact: bool


@dataclass(frozen=True, kw_only=True)
class SearchWords(Request[list[Row]]):
    """The points whose words answer best, ordered by (score descending, id)."""

    query: str
    limit: int
    conditions: Conditions


@dataclass(frozen=True, kw_only=True)
class Rank(Request[list[list[RankedRow]]]):
    """The best points for each query, as `Search` (a vector) and `SearchWords` (a text) have them.

    No payload is read but what a finding needs.
    """

    queries: tuple[bytes | str, ...]
    limit: int
    conditions: Conditions


@dataclass(frozen=True, kw_only=True)
class Facet(Request[list[tuple[str | int, int]]]):
    """The values at a path and how many matching points have each, the most frequent first."""

    path: str
    limit: int
    conditions: Conditions


@dataclass(frozen=True, kw_only=True)
class Index(Request[None]):
    """Index a payload path, unless it is already; takes as long as reading all payloads."""

    grows: ClassVar[bool] = True

    path: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class CountWorded(Request[int]):
    """The exact number of points that have a vector of words."""


@dataclass(frozen=True, kw_only=True)
class Retrieve(Request[list[Row]]):
    """The points with these ids that exist, in any order."""

    ids: list[str]
    with_vectors: bool


@dataclass(frozen=True, kw_only=True)
class Scroll(Request[tuple[list[Row], str | None]]):
    """The next matching points by id, and the id to go on from."""

    conditions: Conditions
    offset: str | None
    limit: int
    with_vectors: bool


@dataclass(frozen=True, kw_only=True)
class Count(Request[int]):
    """The exact number of matching points."""

    conditions: Conditions


@dataclass(frozen=True, kw_only=True)
class CountIndexed(Request[int]):
    """The vectors in the index, with those deleted since."""


@dataclass(frozen=True, kw_only=True)
class Optimize(Request[bool]):
    """Index vectors and clear away deleted ones, where that pays; whether anything was done."""

    at_least: int
    """Points from which on there is an index."""
    share: float
    """Of the points: so many that are not indexed yet are left as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The request's answer."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Why there is no answer. After a fatal failure the worker ends."""

    failure: Failure
    message: str
    fatal: bool = False
