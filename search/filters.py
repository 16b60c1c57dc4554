"""Filters over a chunk's payload: what can be asked, typed, and the `KEY=VALUE` form people write.

Booleans never match in the embedded engine, so that payloads hold keywords and integers only.
"""

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr

from search.errors import InvalidRequest
from search.records import KIND, METADATA

FILTERABLE: Final[dict[str, Literal["keyword", "integer"]]] = {
    "doc_id": "keyword",
    "source": "keyword",
    "root": "keyword",
    "title": "keyword",
    "format": "keyword",
    "content_hash": "keyword",
    "run_id": "keyword",
    "chunk": "integer",
    "cluster": "integer",
}
"""Keys of `metadata` that carry a payload index, and its type: the keys that a filter may name."""


class Match(BaseModel):
    """`key` equals one of `values`; `key` is a full payload path such as `metadata.doc_id`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    values: tuple[StrictStr, ...] | tuple[StrictInt, ...]


class Filter(BaseModel):
    """All of `must` hold and none of `must_not` does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    must: tuple[Match, ...] = ()
    must_not: tuple[Match, ...] = ()

    def is_empty(self) -> bool:
        """Whether the filter states no condition, and so matches every point."""
        return not self.must and not self.must_not

    def __and__(self, other: "Filter") -> "Filter":
        """Both filters hold."""
        return Filter(must=self.must + other.must, must_not=self.must_not + other.must_not)


def of_kind(kind: str) -> Filter:
    """Points of one kind: chunks or heads."""
    return Filter(must=(Match(key=KIND, values=(kind,)),))


def where(key: str, *values: str | int) -> Filter:
    """Points whose `metadata[key]` equals one of `values`.

    Raises:
        InvalidRequest: the key carries no index, no value is given, or a value has the wrong type.
    """
    if key not in FILTERABLE:
        raise InvalidRequest(f"unknown filter key {key!r}; filters know {', '.join(FILTERABLE)}")
    if not values:
        raise InvalidRequest(f"filter on {key!r} has no value; give at least one")
    kind = FILTERABLE[key]
    expected = int if kind == "integer" else str
    for value in values:
        if not isinstance(value, expected) or isinstance(value, bool):
            raise InvalidRequest(f"filter {key}={value!r}: expected {kind}")
    return Filter(must=(Match(key=f"{METADATA}.{key}", values=tuple(values)),))


def parse_filters(expressions: Sequence[str]) -> Filter:
    """Read `KEY=VALUE` expressions; a key given several times matches any of its values.

    >>> parse_filters(["format=markdown", "cluster=3", "cluster=5"]).must[1].values
    (3, 5)

    Raises:
        InvalidRequest: no `=`, an unknown key, or a value that does not fit the key's type.
    """
    values: dict[str, list[str | int]] = {}
    for expression in expressions:
        key, separator, text = expression.partition("=")
        key, text = key.strip(), text.strip()
        if not separator or not key or not text:
            raise InvalidRequest(f"filter {expression!r} is not KEY=VALUE; e.g. format=markdown")
        if key not in FILTERABLE:
            raise InvalidRequest(
                f"unknown filter key {key!r}; filters know {', '.join(FILTERABLE)}"
            )
        value: str | int = text
        if FILTERABLE[key] == "integer":
            try:
                value = int(text)
            except ValueError:
                raise InvalidRequest(f"filter {key}={text!r}: expected a whole number") from None
        values.setdefault(key, []).append(value)
    combined = Filter()
    for key, given in values.items():
        combined = combined & where(key, *given)
    return combined
