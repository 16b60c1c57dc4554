"""Which name each cluster gets: a person's, the last run's while it fits, or the best of several.

Legend: `K` clusters.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flows.clustering.members import Mark
from flows.clustering.names import distinct_name, name_candidates, still_fits
from flows.clustering.state import Kept
from flows.clustering.verification import Asked, QueryCheck

TRIED: Final = 3
"""Candidates that are searched for."""

SAMPLE_QUERIES: Final = 3
QUERY_CHARACTERS: Final = 160
_NUMBERED: Final = re.compile(r" \(\d+\)$")

Search = Callable[[Sequence[Asked]], Sequence[QueryCheck]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A cluster's name, and what searches for it and for others found."""

    text: str
    by_person: bool
    check: QueryCheck | None
    queries: tuple[QueryCheck, ...]


@dataclass(frozen=True, slots=True)
class Earlier:
    """A name that a cluster had."""

    text: str
    by_person: bool


def earlier_names(marks: Sequence[Mark], kept: Sequence[Kept]) -> dict[int, Earlier]:
    """The names of the last run's clusters by id: what the store says goes before the files."""
    found = {one.id: Earlier(one.name, one.by_person) for one in kept}
    for mark in sorted(marks, key=lambda one: (one.cluster, one.by_person, one.name or "")):
        if mark.cluster >= 0 and mark.name:
            found[mark.cluster] = Earlier(mark.name, mark.by_person)
    return found


def choose_names(
    keywords: Sequence[Sequence[str]],
    texts: Sequence[Sequence[str]],
    sentences: Sequence[Sequence[str]],
    *,
    ids: Sequence[int],
    earlier: Mapping[int, Earlier],
    search: Search | None,
) -> list[Name]:
    """A name for every cluster, no two alike; searched for, where that can be done.

    A person's name stays. A name of the last run stays while half of its words are keywords.
    Otherwise, of the titles that the first two to five keywords make, the one whose search finds
    most of the cluster is taken; without a search, the usual one.

    Args:
        keywords: of each cluster, best first.
        texts: of each cluster.
        sentences: of each cluster, to try as queries.
        ids: of each cluster.
        earlier: names by id.
        search: looks each query up; None: none can be.
    """
    options: list[list[str]] = []
    by_person: list[bool] = []
    for place, cluster in enumerate(ids):
        before = earlier.get(cluster)
        by_person.append(before is not None and before.by_person)
        if before is not None and (
            before.by_person or still_fits(_NUMBERED.sub("", before.text), keywords[place])
        ):
            options.append([before.text])
        else:
            options.append(name_candidates(keywords[place], texts[place])[:TRIED])
    queries = [
        list(dict.fromkeys([*some, *_more(keywords[place], texts[place], sentences[place])]))
        for place, some in enumerate(options)
    ]
    checks: list[dict[str, QueryCheck]] = [{} for _ in ids]
    if search is not None:
        asked = [Asked(query, place) for place, some in enumerate(queries) for query in some]
        for one, check in zip(asked, search(asked), strict=True):
            checks[one.label][one.query] = check
    taken: set[str] = set()
    chosen: list[str] = [""] * len(ids)
    # Names that stay are given out first, a person's before all others.
    order = sorted(
        range(len(ids)), key=lambda place: (not by_person[place], len(options[place]) != 1, place)
    )
    for place in order:
        best = _ranked(options[place], checks[place]) or [f"Cluster {ids[place]}"]
        free = [name for name in best if name not in taken]
        chosen[place] = free[0] if free else distinct_name(best[0], taken)
        taken.add(chosen[place])
    return [
        Name(
            text=chosen[place],
            by_person=by_person[place],
            check=checks[place].get(_searched(chosen[place], options[place])),
            queries=_samples(chosen[place], checks[place]),
        )
        for place in range(len(ids))
    ]


def _more(keywords: Sequence[str], texts: Sequence[str], sentences: Sequence[str]) -> list[str]:
    """Queries beside the name: another title, and a sentence."""
    short = [sentence for sentence in sentences if len(sentence) <= QUERY_CHARACTERS]
    return [*name_candidates(keywords, texts)[:1], *short[:1]]


def _ranked(options: Sequence[str], checks: Mapping[str, QueryCheck]) -> list[str]:
    """The options, the one that finds most first; the usual one where they find as much."""

    def worth(name: str) -> tuple[float, float]:
        check = checks.get(name)
        return (0.0, 0.0) if check is None else (check.precision, check.recall or 0.0)

    return sorted(options, key=worth, reverse=True)


def _searched(name: str, options: Sequence[str]) -> str:
    """What was searched for: the name, or what it was before it got a number."""
    return name if name in options else _NUMBERED.sub("", name)


def _samples(name: str, checks: Mapping[str, QueryCheck]) -> tuple[QueryCheck, ...]:
    others = [check for query, check in checks.items() if query != name]
    others.sort(key=lambda check: -check.precision)
    return tuple(check for check in others if not check.weak)[:SAMPLE_QUERIES]
