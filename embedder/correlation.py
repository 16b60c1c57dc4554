"""Spearman's rank correlation, and how much of it is chance: bootstrap standard errors.

Legend: `N` pairs, `R` resamples.
"""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Float64: TypeAlias = npt.NDArray[np.float64]

RESAMPLES: Final = 1000


def average_ranks(values_N: npt.NDArray[np.floating]) -> Float64:
    """Ranks from 1; equal values share the mean of their ranks.

    >>> average_ranks(np.array([0.3, 0.1, 0.3])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, inverse_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    means: Float64 = counts.cumsum() - (counts - 1) / 2
    return means[inverse_N]


def spearman(first_N: npt.NDArray[np.floating], second_N: npt.NDArray[np.floating]) -> float:
    """Rank correlation, -1 to 1; 0 where one side is constant and so ranks nothing.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 40.0, 90.0]))
    1.0
    """
    return _correlation(average_ranks(first_N), average_ranks(second_N))


class Resampling:
    """The same pairs drawn again and again with replacement; seeded, so the same every time.

    Every question is answered with the same draws. So the error of a difference is that of paired
    measurements, which is mostly far smaller than either measurement's own.

    Args:
        scores_N: human scores.
        seed: of the draws.
        resamples: how many draws.
    """

    def __init__(self, scores_N: Float64, *, seed: int, resamples: int = RESAMPLES) -> None:
        self._scores_N = scores_N
        pairs = len(scores_N)
        random = np.random.default_rng((seed, 2))
        self._index_RN = random.integers(pairs, size=(resamples, pairs), dtype=np.int32)

    def error(self, cosine_N: npt.NDArray[np.floating]) -> float:
        """Standard error of the Spearman correlation of these cosines with the scores."""
        return float(self._correlations(cosine_N).std(ddof=1))

    def difference_error(
        self, first_N: npt.NDArray[np.floating], second_N: npt.NDArray[np.floating]
    ) -> float:
        """Standard error of the difference between two settings' Spearman correlations."""
        difference_R = self._correlations(first_N) - self._correlations(second_N)
        return float(difference_R.std(ddof=1))

    def _correlations(self, cosine_N: npt.NDArray[np.floating]) -> Float64:
        return np.array([spearman(cosine_N[i], self._scores_N[i]) for i in self._index_RN])


def _correlation(first_N: Float64, second_N: Float64) -> float:
    first_N, second_N = first_N - first_N.mean(), second_N - second_N.mean()
    scale = float(np.sqrt(first_N @ first_N) * np.sqrt(second_N @ second_N))
    return float(first_N @ second_N) / scale if scale > 0 else 0.0
