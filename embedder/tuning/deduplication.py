"""Pairs that were there before, or nearly; and samples of pairs drawn in bounded memory."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Final

import numpy as np
import numpy.typing as npt

from embedder.tuning.false_negatives import comparable
from embedder.tuning.pairs import Pair
from embedder.tuning.structural_pairs import stable_number

SHINGLE_WORDS: Final = 3
BANDS: Final = 6
ROWS: Final = 8
"""Minima in a band: texts that share 90% of their shingles meet in some band with a chance of 97%,
those that share half with 2%."""

_rng = np.random.default_rng(20_250_722)
_FACTOR_H: Final = _rng.integers(1, 2**63, BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
_SHIFT_H: Final = _rng.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64)


class Deduplication:
    """Lets each pair through once.

    Pairs are equal when both sides are, without letter case, width and blanks, in this order or the
    other. Near duplicates are found by the minima of hashed shingles of three words (MinHash with
    banding); of a pair whose sides are short there are none.

    It keeps about 100 bytes of each pair, and 500 more for near ones.

    Args:
        near: whether near duplicates are left out too.
        rejected: what is left out is counted here, as `duplicate` and `near duplicate`.
    """

    def __init__(self, *, near: bool, rejected: MutableMapping[str, int]) -> None:
        self._near = near
        self._rejected = rejected
        self._pairs: set[int] = set()
        self._bands: set[int] = set()

    def of(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """The pairs that are new."""
        for pair in pairs:
            reason = self.reason(pair)
            if not reason:
                yield pair
            else:
                self._rejected[reason] = self._rejected.get(reason, 0) + 1

    def reason(self, pair: Pair) -> str:
        """Why a pair is not new, and from now on it is known; empty: it is."""
        sides = sorted((comparable(pair.a), comparable(pair.b)))
        key = stable_number(*sides, "same" if sides[0] == sides[1] else "")
        if key in self._pairs:
            return "duplicate"
        self._pairs.add(key)
        if not self._near:
            return ""
        bands = _bands(" ".join(sides))
        # Kinds that differ on purpose share their words: a passage with itself, and its crops.
        keys = {stable_number(pair.kind, str(band), minima) for band, minima in enumerate(bands)}
        if keys & self._bands:
            return "near duplicate"
        self._bands |= keys
        return ""


def _bands(text: str) -> Iterator[str]:
    words = text.split()
    shingles = {
        stable_number(" ".join(words[at : at + SHINGLE_WORDS]))
        for at in range(len(words) - SHINGLE_WORDS + 1)
    }
    if len(shingles) < ROWS:
        return
    value_S: npt.NDArray[np.uint64] = np.fromiter(shingles, dtype=np.uint64, count=len(shingles))
    minima_H = (value_S[:, None] * _FACTOR_H + _SHIFT_H).min(axis=0)
    for band in minima_H.reshape(BANDS, ROWS):
        yield band.tobytes().hex()


def sample(
    pairs: Iterable[Pair],
    *,
    limit: int | None,
    by_kind: Mapping[str, int],
    seed: int,
) -> Iterator[Pair]:
    """A part of the pairs, each with an equal chance, in the order they come.

    Which are drawn depends on the pairs and the seed, not on their order. Pairs without a limit
    pass through at once; of the others no more are kept than are drawn.

    Args:
        pairs: all of them.
        limit: at most so many in all; None: as many as come.
        by_kind: at most so many of these kinds.
        seed: another one draws others.
    """
    drawn: dict[str, list[tuple[int, int, Pair]]] = {}
    for number, pair in enumerate(pairs):
        most = by_kind.get(pair.kind, limit)
        if most is None:
            yield pair
            continue
        if limit is not None:
            most = min(most, limit)
        pool = drawn.setdefault(pair.kind if pair.kind in by_kind else "", [])
        entry = (-stable_number(str(seed), pair.kind, pair.a, pair.b), -number, pair)
        if len(pool) < most:
            heapq.heappush(pool, entry)
        elif most:
            heapq.heappushpop(pool, entry)
    kept = [entry for pool in drawn.values() for entry in pool]
    if limit is not None:
        kept = heapq.nlargest(limit, kept, key=lambda entry: entry[:2])
    for _, _, pair in sorted(kept, key=lambda entry: -entry[1]):
        yield pair


def counted(pairs: Iterable[Pair], kinds: Counter[str]) -> Iterator[Pair]:
    """The pairs, counted by kind while they pass."""
    for pair in pairs:
        kinds[pair.kind] += 1
        yield pair
