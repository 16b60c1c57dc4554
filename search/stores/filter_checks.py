"""What every store refuses to be asked: filters, facets and indexes that engines answer wrongly."""

from datetime import datetime
from typing import Final

from search.errors import InvalidRequest
from search.filters import (
    FILTERABLE,
    AnyOf,
    Condition,
    Exists,
    Filter,
    IndexKind,
    Match,
    NumberRange,
    Text,
    TimeRange,
    is_field_path,
)
from search.records import KIND, METADATA, PAGE_CONTENT
from search.stores.plain_json import INT64, is_unicode

INDEXED: Final[dict[str, IndexKind]] = {
    KIND: "keyword",
    **{f"{METADATA}.{key}": schema for key, schema in FILTERABLE.items()},
}
"""Every payload path that carries an index from the start, and its kind. A filter may name these,
`page_content` for its words, and the fields that sources give: see `Collection.require_index`."""

MAX_FACETS: Final = 10_000
"""Most values of one path that may be asked for at once."""
MAX_CONDITIONS: Final = 1000
"""Most conditions of one filter, nested ones included."""


TYPES: Final[dict[str, type]] = {"keyword": str, "integer": int, "datetime": str}
"""What a payload holds where it has an index of a kind."""
_ORDERED: Final = {"integer", "float", None}
"""Kinds of index that a range of numbers can ask; None: a field, whose kind the caller knows."""


def check_filter(where: Filter | None) -> Filter:
    """The filter, or one without conditions.

    Raises:
        InvalidRequest: a path without index, no value, or a value that its index cannot match.
    """
    if where is None:
        return Filter()
    if _check_conditions(where) > MAX_CONDITIONS:
        raise InvalidRequest(f"filter with more than {MAX_CONDITIONS} conditions; ask for less")
    return where


def _check_conditions(where: Filter) -> int:
    """Check every condition; how many there are."""
    total = 0
    for condition in (*where.must, *where.must_not):
        total += 1
        if isinstance(condition, AnyOf):
            if not condition.filters or any(one.is_empty() for one in condition.filters):
                raise InvalidRequest("a choice in a filter is empty; give it a condition")
            total += sum(_check_conditions(one) for one in condition.filters)
        else:
            _check_condition(condition)
    return total


def _check_condition(condition: Condition) -> None:
    assert not isinstance(condition, AnyOf)  # noqa: S101 - its parts are checked one by one
    key = condition.key
    schema = INDEXED.get(key)
    is_text = isinstance(condition, Text) and key == PAGE_CONTENT
    if schema is None and not is_text and not is_field_path(key):
        raise InvalidRequest(
            f"filter on {key!r}: expected an indexed path: {', '.join(INDEXED)}, "
            f"or {METADATA}.fields.NAME"
        )
    match condition:
        case Match(values=values):
            if not values:
                raise InvalidRequest(f"filter on {key!r} has no value; give at least one")
            for value in values:
                _check_value(key, value, schema)
        case NumberRange() | TimeRange():
            _check_bounds(condition, schema)
        case Text(words=words):
            if not is_text:
                raise InvalidRequest(f"filter on words of {key!r}: expected {PAGE_CONTENT!r}")
            if not words.strip() or not is_unicode(words):
                raise InvalidRequest(f"filter {key}~{words!r}: expected words")
        case Exists():
            pass


def _check_value(key: str, value: str | int, schema: IndexKind | None) -> None:
    if schema == "datetime":
        raise InvalidRequest(f"filter {key}={value!r}: it holds times; ask for a range")
    fits = isinstance(value, TYPES[schema] if schema else str | int)
    if not fits or isinstance(value, bool) or (isinstance(value, int) and value not in INT64):
        raise InvalidRequest(f"filter {key}={value!r}: expected {schema or 'text or a number'}")
    if isinstance(value, str) and not is_unicode(value):
        raise InvalidRequest(f"filter {key}={value!r}: lone surrogate; not Unicode")


def _check_bounds(condition: NumberRange | TimeRange, schema: IndexKind | None) -> None:
    key, bounds = condition.key, condition.model_dump(exclude={"key"}, exclude_none=True)
    if not bounds:
        raise InvalidRequest(f"filter on {key!r} has no bound; give at least one")
    if isinstance(condition, NumberRange):
        if schema not in _ORDERED:
            raise InvalidRequest(f"filter on {key!r}: it holds a {schema}, which has no range")
        return
    if schema not in ("datetime", None):
        raise InvalidRequest(f"filter on {key!r}: it holds a {schema}, not times")
    for bound in bounds.values():
        try:
            zone = datetime.fromisoformat(bound).tzinfo
        except ValueError:
            zone = None
        if zone is None:
            raise InvalidRequest(
                f"filter on {key!r}: {bound!r} is no time; expected e.g. 2026-05-01T00:00:00+00:00"
            )


def check_facet(key: str, limit: int) -> str:
    """The path whose values are to be counted.

    Raises:
        InvalidRequest: it holds no words or whole numbers, or the limit is out of range.
    """
    if INDEXED.get(key) not in ("keyword", "integer") and not is_field_path(key):
        countable = [path for path, kind in INDEXED.items() if kind in ("keyword", "integer")]
        raise InvalidRequest(
            f"facet of {key!r}: expected one of {', '.join(countable)}, or {METADATA}.fields.NAME"
        )
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_FACETS:
        raise InvalidRequest(f"limit {limit!r}: expected 1 to {MAX_FACETS}")
    return key


def check_index(key: str, kind: IndexKind) -> str:
    """The path that is to be indexed.

    Raises:
        InvalidRequest: it is none that may be, or has another kind of index.
    """
    fixed = INDEXED.get(key) or ("text" if key == PAGE_CONTENT else None)
    if fixed != kind and (fixed is not None or not is_field_path(key) or kind == "text"):
        raise InvalidRequest(
            f"index of {key!r} as {kind}: expected {METADATA}.fields.NAME"
            + (f", or the kind {fixed}" if fixed else "")
        )
    return key


def check_words(query: str, *, limit: int) -> str:
    """The query to look up by its words.

    Raises:
        InvalidRequest: a limit below 1, or no text.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidRequest(f"limit {limit!r}: expected 1 or more")
    if not isinstance(query, str):
        raise InvalidRequest(f"query of {type(query).__name__}: expected a text")
    return query


def check_delete_filter(where: Filter) -> Filter:
    """The filter of a delete: as `check_filter`, with one condition or more.

    Raises:
        InvalidRequest: also when there is no condition, which would delete every point.
    """
    if check_filter(where).is_empty():
        raise InvalidRequest(
            "delete by a filter without conditions would delete every point; "
            "name a condition, or delete the collection"
        )
    return where
