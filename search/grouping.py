"""Chunks in groups: the best of each document, and how many more of it were found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from search.filters import Filter, Match
from search.findings import DOC_ID_PATH, Finding

OVERFETCH: Final = 2
"""Chunks fetched per document wanted, at first: each fetched costs time, and few are in vain."""
MAX_FETCH: Final = 10_000
DOC_ID: Final = DOC_ID_PATH

Fetch: TypeAlias = Callable[[int, Filter], Sequence[Finding]]
"""Gets the best chunks that match, at most so many, ordered by (score descending, id)."""


@dataclass(slots=True)
class Group:
    """A document, or a chunk that stands for itself."""

    key: str
    """The document's id; the chunk's where chunks are not grouped."""
    best: Finding
    ids: set[str] = field(default_factory=set)
    """Of its chunks that were fetched, the best one included."""


def first_count(limit: int, *, by_document: bool) -> int:
    """How many chunks the first round of `by_document` or `by_chunk` asks for."""
    return min(limit * OVERFETCH, MAX_FETCH) if by_document else limit


def by_document(
    fetch: Fetch,
    *,
    limit: int,
    where: Filter | None = None,
    first: Sequence[Finding] | None = None,
) -> list[Group]:
    """The best chunk of each of the `limit` best documents, by (score descending, id).

    More chunks than documents are fetched; while documents are missing, those found are excluded
    and the search goes on among the others. Chunks come in order and the next round starts below
    the last, so the result equals that of grouping every chunk.

    Args:
        fetch: One way of finding chunks.
        limit: How many documents.
        where: Which chunks may be found at all.
        first: What the first round found, if it was asked for already: `first_count` chunks.
    """
    groups: dict[str, Group] = {}
    wanted = where or Filter()
    count = first_count(limit, by_document=True)
    found = fetch(count, wanted) if first is None else first
    while True:
        for one in found:
            group = groups.get(one.doc_id)
            if group is None:
                group = groups[one.doc_id] = Group(one.doc_id, one)
            group.ids.add(one.id)
        if len(groups) >= limit or len(found) < count:
            return list(groups.values())[:limit]
        known = Filter(must_not=(Match(key=DOC_ID, values=tuple(groups)),))
        wanted = (where or Filter()) & known
        count = min(count * 2, MAX_FETCH)  # a few long documents crowd the top
        found = fetch(count, wanted)


def by_chunk(
    fetch: Fetch,
    *,
    limit: int,
    where: Filter | None = None,
    first: Sequence[Finding] | None = None,
) -> list[Group]:
    """The `limit` best chunks, each for itself; arguments as for `by_document`."""
    found = fetch(limit, where or Filter()) if first is None else first
    return [Group(one.id, one, {one.id}) for one in found]
