"""What there is to filter by: the values of a key, and how many chunks have each."""

from dataclasses import dataclass
from typing import Final

from search.errors import InvalidRequest
from search.filter_syntax import Schema, resolve
from search.filters import Filter, path_of
from search.stores.contract import Collection
from search.stores.filter_checks import MAX_FACETS

COUNTABLE: Final = ("keyword", "integer")
DEFAULT_LIMIT: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """One key's most frequent values."""

    key: str
    values: list[tuple[str | int, int]]
    """Value and chunks, the most frequent first, equals by value."""
    is_whole: bool
    """Whether these are all values there are."""


def facet(
    collection: Collection,
    key: str,
    *,
    schema: Schema,
    limit: int = DEFAULT_LIMIT,
    where: Filter | None = None,
) -> Facet:
    """Count the values of a key.

    Args:
        collection: Where.
        key: As in a filter: `format`, `language`, `cluster`, a field that a source gave.
        schema: The collection's.
        limit: Most values, 1 to `filter_checks.MAX_FACETS`.
        where: Which chunks count; None: all.

    Raises:
        InvalidRequest: an unknown key, one of times or fractions, or a limit out of range.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_FACETS:
        raise InvalidRequest(f"limit {limit!r}: expected 1 to {MAX_FACETS}")
    name, kind = resolve(key, schema)
    if kind not in COUNTABLE:
        raise InvalidRequest(
            f"facet of {key!r}: it holds a {kind}, whose values are not counted; "
            "expected a key of words or whole numbers, such as format or language"
        )
    path = path_of(name)
    schema.require(path, kind)
    # one more than wanted tells whether there are more; equal counts are cut by the engine
    found = collection.facet(path, limit=min(limit + 1, MAX_FACETS), where=where)
    return Facet(key=name, values=found[:limit], is_whole=len(found) <= limit < MAX_FACETS)
