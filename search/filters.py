"""Filters over a chunk's payload, as data: what can be asked of which keys.

Booleans never match in the embedded engine, so that payloads hold keywords, numbers and times only;
sources store theirs as the words `true` and `false`. How people write filters: `filter_syntax`.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from search.errors import InvalidRequest
from search.records import KIND, METADATA, PAGE_CONTENT

IndexKind: TypeAlias = Literal["keyword", "integer", "float", "datetime", "text"]

FILTERABLE: Final[dict[str, IndexKind]] = {
    "doc_id": "keyword",
    "source": "keyword",
    "root": "keyword",
    "title": "keyword",
    "format": "keyword",
    "language": "keyword",
    "content_hash": "keyword",
    "run_id": "keyword",
    "chunk": "integer",
    "cluster": "integer",
    "cluster_name": "keyword",
    "modified": "datetime",
    "ingested_at": "datetime",
}
"""Keys of `metadata` that carry a payload index from the start, and its kind."""

FIELDS: Final = "fields"
"""Key of `metadata` that holds what a document's source says of it, by names of its own."""
_FIELD_PATH: Final = re.compile(rf'{METADATA}\.{FIELDS}\.(?:[A-Za-z0-9_-]+|"[^"\\]+")')
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")


class _Condition(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Match(_Condition):
    """`key` equals one of `values`; `key` is a full payload path such as `metadata.doc_id`."""

    key: str
    values: tuple[StrictStr, ...] | tuple[StrictInt, ...]


class NumberRange(_Condition):
    """The number at `key` lies between the bounds that are given."""

    key: str
    gte: Annotated[float, Field(allow_inf_nan=False)] | None = None
    gt: Annotated[float, Field(allow_inf_nan=False)] | None = None
    lte: Annotated[float, Field(allow_inf_nan=False)] | None = None
    lt: Annotated[float, Field(allow_inf_nan=False)] | None = None


class TimeRange(_Condition):
    """The time at `key` lies between the bounds that are given, each ISO 8601 with its zone."""

    key: str
    gte: str | None = None
    gt: str | None = None
    lte: str | None = None
    lt: str | None = None


class Text(_Condition):
    """The text at `key` has all these words, in any order and case; `page_content` only."""

    key: str
    words: str


class Exists(_Condition):
    """There is a value at `key`."""

    key: str


class AnyOf(_Condition):
    """One or more of these filters hold; none of them is empty."""

    filters: tuple["Filter", ...]


Condition: TypeAlias = Match | NumberRange | TimeRange | Text | Exists | AnyOf


class Filter(BaseModel):
    """All of `must` hold and none of `must_not` does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    must: tuple[Condition, ...] = ()
    must_not: tuple[Condition, ...] = ()

    def is_empty(self) -> bool:
        """Whether the filter states no condition, and so matches every point."""
        return not self.must and not self.must_not

    def __and__(self, other: "Filter") -> "Filter":
        """Both filters hold."""
        return Filter(must=self.must + other.must, must_not=self.must_not + other.must_not)


AnyOf.model_rebuild()


def of_kind(kind: str) -> Filter:
    """Points of one kind: chunks or heads."""
    return Filter(must=(Match(key=KIND, values=(kind,)),))


def where(key: str, *values: str | int) -> Filter:
    """Points whose `metadata[key]` equals one of `values`.

    Raises:
        InvalidRequest: the key carries no index for such a question, no value is given, or a value
            has the wrong type.
    """
    if key not in FILTERABLE:
        raise InvalidRequest(f"unknown filter key {key!r}; filters know {', '.join(FILTERABLE)}")
    if not values:
        raise InvalidRequest(f"filter on {key!r} has no value; give at least one")
    kind = FILTERABLE[key]
    if kind not in ("integer", "keyword"):
        raise InvalidRequest(f"filter on {key!r}: expected a range, as it holds a {kind}")
    expected = int if kind == "integer" else str
    for value in values:
        if not isinstance(value, expected) or isinstance(value, bool):
            raise InvalidRequest(f"filter {key}={value!r}: expected {kind}")
    return Filter(must=(Match(key=f"{METADATA}.{key}", values=tuple(values)),))


def path_of(key: str) -> str:
    """The payload path of a filter's key: `text`, a key of `metadata`, or `fields.NAME`."""
    if key == "text":
        return PAGE_CONTENT
    head, separator, name = key.partition(".")
    if head == FIELDS and separator:
        quoted = name if _PLAIN_NAME.fullmatch(name) else f'"{name}"'
        return f"{METADATA}.{FIELDS}.{quoted}"
    return f"{METADATA}.{key}"


def is_field_path(path: str) -> bool:
    """Whether a path leads to something that a document's source says of it."""
    return _FIELD_PATH.fullmatch(path) is not None


def parse_filters(expressions: Sequence[str]) -> Filter:
    """Read filters as people write them; see `filter_syntax.parse`.

    >>> parse_filters(["format=markdown", "cluster=3", "cluster=5"]).must[1].values
    (3, 5)

    Raises:
        InvalidRequest: an expression that is none, an unknown key, or a value that does not fit.
    """
    from search.filter_syntax import parse

    return parse(expressions)
