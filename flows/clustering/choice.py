"""How many clusters: the k with the best mean silhouette, and what every other k scored.

The criterion is the silhouette (Rousseeuw 1987) with cosine distance: how much nearer a point is
to its own cluster than to the next one, from -1 to 1. It needs no model of the data, is judged on
points (not on centroids, whose number it compares), and falls again once true clusters are cut in
two. The alternatives were tried on three labelled sets of short texts (LSA vectors): Calinski and
Harabasz' index preferred k = 2 on two of them, and the simplified silhouette (distances to
centroids only) hardly fell again past the true k of the third.

Its limit: where topics divide into topics, as they do in most text, it rises with k to the largest
k tried. The scores stand in the report, so that a reader sees a peak, or that there was none.

Of the values of k whose silhouette is within one standard error of the best, the smallest wins:
such a difference is noise of the sample, and fewer clusters are easier to read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from flows.clustering.spherical import Floats, distinct_rows, partition, unit_rows
from flows.errors import InvalidInput

FIT_SAMPLE: Final = 5_000
"""Vectors that each k is fitted on, drawn at random under the seed where there are more."""

SCORE_SAMPLE: Final = 3_000
"""Of those, the vectors whose silhouette is averaged: its cost grows with their square."""

STARTS: Final = 3
"""k-means++ starts for each k of the grid."""

STARTS_NEAR_BEST: Final = 6
"""Starts between the best k's neighbours: the right k must not lose to an unlucky start."""

MOST_CLUSTERS: Final = 64
"""Largest k tried: nobody reads a report of more; whoever wants more gives k."""

DENSE_UP_TO: Final = 12
"""Every k up to here is tried, where there are twice as many points."""

GRID_RATIO: Final = 1.15

Row = TypeVar("Row", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class KScore:
    """What one k scored: mean silhouette over the sample, and the standard error of that mean."""

    k: int
    silhouette: float
    standard_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KChoice:
    """The k to use, and the scores of all that were tried, by ascending k."""

    k: int
    criterion: tuple[KScore, ...]


def choose_k(
    vectors_ND: npt.NDArray[np.float32], *, seed: int, candidates: Sequence[int] | None = None
) -> KChoice:
    """The number of clusters that the vectors fall into, by silhouette; the same under one seed.

    Without candidates: 2 to 12 (or N / 2), above that a grid of ratio 1.15 up to sqrt(N) and 64, so
    that a mean cluster has as many points as there are clusters; then every k between the best
    one's neighbours. k = 1 is the answer where no split scores above 0 or
    none can be judged (fewer than 3 vectors, or all alike). The order of the vectors decides which
    are sampled: `fit` sorts them by id first.

    Args:
        vectors_ND: float32 (N, D), of any length but 0.
        seed: of the sample and of the k-means starts.
        candidates: the only values to try, each from 2 to N - 1.

    Raises:
        InvalidInput: no candidates, or one out of range; vectors empty, not finite or 0.
    """
    return choose(unit_rows(vectors_ND), seed=seed, candidates=candidates)


def choose(unit_ND: Floats, *, seed: int, candidates: Sequence[int] | None = None) -> KChoice:
    """`choose_k` for vectors that have length 1 already."""
    count = len(unit_ND)
    if candidates is not None:
        wrong = [k for k in candidates if not 2 <= k < count]
        if wrong or not candidates:
            raise InvalidInput(
                f"candidates {list(candidates)} for {count} points; "
                f"give values from 2 to {count - 1}"
            )
    judge = _Judge(unit_ND, seed=seed)
    if candidates is not None:
        for k in candidates:
            judge.score(k)
    else:
        grid = _grid(count)
        for k in grid:
            judge.score(k)
        best = judge.best()
        if best is not None:
            place = grid.index(best.k)
            low, high = grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)]
            for k in range(low + 1, high):
                judge.score(k, starts=STARTS_NEAR_BEST)
    scores = tuple(judge.scores[k] for k in sorted(judge.scores))
    best = judge.best()
    if best is None or best.silhouette <= 0:
        return KChoice(k=1, criterion=scores)
    floor = best.silhouette - best.standard_error
    return KChoice(k=next(s.k for s in scores if s.silhouette >= floor), criterion=scores)


class _Judge:
    """Scores values of k on one sample, each once."""

    def __init__(self, unit_ND: Floats, *, seed: int) -> None:
        from sklearn.metrics.pairwise import cosine_distances
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        random = np.random.default_rng(seed)
        self.seed = seed
        self.scores: dict[int, KScore] = {}
        self.fitted_ND = _sample(unit_ND, FIT_SAMPLE, random)
        rows = np.arange(len(self.fitted_ND))
        self.judged = _sample(rows, SCORE_SAMPLE, random)
        with threadpool_limits(limits=1):
            self.distances_MM = cosine_distances(self.fitted_ND[self.judged])
        self.distinct = distinct_rows(self.fitted_ND, limit=len(self.fitted_ND))

    def score(self, k: int, *, starts: int = STARTS) -> None:
        """Fit k clusters and note their silhouette; leave out a k with no such parting to judge."""
        from sklearn.metrics import silhouette_samples

        if k in self.scores or k > self.distinct:
            return
        labels_N = partition(self.fitted_ND, k, seed=self.seed, starts=starts)
        labels_M = labels_N[self.judged]
        if not 2 <= len(np.unique(labels_M)) < len(labels_M):
            return
        widths_M = silhouette_samples(self.distances_MM, labels_M, metric="precomputed")
        self.scores[k] = KScore(
            k=k,
            silhouette=float(np.mean(widths_M)),
            standard_error=float(np.std(widths_M) / np.sqrt(len(widths_M))),
        )

    def best(self) -> KScore | None:
        """The highest silhouette so far, the smaller k in a tie."""
        return max(self.scores.values(), key=lambda s: (s.silhouette, -s.k), default=None)


def _grid(count: int) -> list[int]:
    """Values of k to try first for `count` points: dense where they are few, geometric above."""
    few = min(DENSE_UP_TO, max(2, count // 2), count - 1)
    top = min(MOST_CLUSTERS, max(few, int(np.sqrt(count))))
    grid = list(range(2, min(top, DENSE_UP_TO) + 1))
    while grid and grid[-1] < top:
        grid.append(min(top, round(grid[-1] * GRID_RATIO)))
    return grid


def _sample(rows: npt.NDArray[Row], size: int, random: np.random.Generator) -> npt.NDArray[Row]:
    if len(rows) <= size:
        return rows
    return rows[np.sort(random.choice(len(rows), size, replace=False))]
