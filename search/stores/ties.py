"""Ordering by (score descending, id), exact across the cut at `limit`.

An engine orders equal scores as it likes, so that of several points tied at the last place it may
return any. Asking for a few more than wanted shows the whole tie; the id then decides.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

Scored: TypeAlias = tuple[str, float]
"""A point's id and its score."""

SPARE: Final = 8
MAX_SPARE: Final = 8 * 8**4
"""Beyond this many equal scores at the cut (identical texts, say) the engine's choice stands."""


def nearest(fetch: Callable[[int], list[Scored]], limit: int) -> list[Scored]:
    """The best `limit` of what `fetch` finds, ties broken by id.

    Args:
        fetch: Returns up to so many best points, in any order among equal scores.
        limit: How many to return, 1 or more.
    """
    spare = SPARE
    while True:
        found = sorted(fetch(limit + spare), key=lambda scored: (-scored[1], scored[0]))
        tie_is_whole = len(found) < limit + spare or found[-1][1] < found[limit - 1][1]
        if tie_is_whole or spare >= MAX_SPARE:
            return found[:limit]
        spare *= 8
