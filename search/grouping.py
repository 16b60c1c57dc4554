"""Chunks in groups: the best of each document, and how many more of it were found."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from search.filters import Filter, Match
from search.records import METADATA, Record

OVERFETCH: Final = 2
"""Chunks fetched per document wanted, at first: each fetched costs time, and few are in vain."""
MAX_FETCH: Final = 10_000
DOC_ID: Final = f"{METADATA}.doc_id"

Fetch: TypeAlias = Callable[[int, Filter], list[Record]]
"""Gets the best chunks that match, at most so many, ordered by (score descending, id)."""


@dataclass(slots=True)
class Group:
    """A document, or a chunk that stands for itself."""

    key: str
    """The document's id; the chunk's where chunks are not grouped."""
    best: Record
    ids: set[str] = field(default_factory=set)
    """Of its chunks that were fetched, the best one included."""


def by_document(fetch: Fetch, *, limit: int, where: Filter | None = None) -> list[Group]:
    """The best chunk of each of the `limit` best documents, by (score descending, id).

    More chunks than documents are fetched; while documents are missing, those found are excluded
    and the search goes on among the others. Chunks come in order and the next round starts below
    the last, so the result equals that of grouping every chunk.

    Args:
        fetch: One way of finding chunks.
        limit: How many documents.
        where: Which chunks may be found at all.
    """
    groups: dict[str, Group] = {}
    wanted = where or Filter()
    count = min(limit * OVERFETCH, MAX_FETCH)
    while True:
        records = fetch(count, wanted)
        for record in records:
            key = record.payload[METADATA]["doc_id"]
            groups.setdefault(key, Group(key, record)).ids.add(record.id)
        if len(groups) >= limit or len(records) < count:
            return list(groups.values())[:limit]
        found = Filter(must_not=(Match(key=DOC_ID, values=tuple(groups)),))
        wanted = (where or Filter()) & found
        count = min(count * 2, MAX_FETCH)  # a few long documents crowd the top


def by_chunk(fetch: Fetch, *, limit: int, where: Filter | None = None) -> list[Group]:
    """The `limit` best chunks, each for itself."""
    return [Group(one.id, one, {one.id}) for one in fetch(limit, where or Filter())]
