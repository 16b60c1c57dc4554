"""Sentence pairs with human scores: checked when made, sampled and halved by seed. No torch."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from embedder.correlation import Float64
from embedder.errors import InvalidConfig
from embedder.tokens import check_texts

FEWEST_PAIRS: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPairs:
    """Pairs of sentences, and how alike people find the two.

    Raises:
        InvalidConfig: the three differ in length, or a score is no finite number.
        InvalidText: a sentence is not a string, or not valid Unicode.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    score_N: Float64
    """Any scale; higher is more alike. Only the order counts."""

    def __post_init__(self) -> None:
        lengths = len(self.first), len(self.second), len(self.score_N)
        if len(set(lengths)) > 1:
            raise InvalidConfig(
                f"pairs have {lengths[0]} first sentences, {lengths[1]} second ones and "
                f"{lengths[2]} scores; give as many of each"
            )
        check_texts(self.first)
        check_texts(self.second)
        if not np.isfinite(self.score_N).all():
            index = int(np.flatnonzero(~np.isfinite(self.score_N))[0])
            raise InvalidConfig(
                f"pair {index} has score {self.score_N[index]}; expected a number, leave it out"
            )

    def __len__(self) -> int:
        return len(self.first)

    def take(self, indices: npt.NDArray[np.int64]) -> "ScoredPairs":
        """Some of the pairs, in the order of the indices."""
        return ScoredPairs(
            tuple(self.first[i] for i in indices),
            tuple(self.second[i] for i in indices),
            self.score_N[indices],
        )

    def sample(self, limit: int, *, seed: int) -> "ScoredPairs":
        """At most so many pairs, drawn without replacement, in the order they stand in."""
        if limit >= len(self):
            return self
        chosen = np.random.default_rng((seed, 0)).permutation(len(self))[:limit]
        return self.take(np.sort(chosen))

    def halves(self, *, seed: int) -> tuple["ScoredPairs", "ScoredPairs"]:
        """A choosing half and a checking half, which share no pair.

        Raises:
            InvalidConfig: there are fewer than `FEWEST_PAIRS`, or the scores of a half are all
                equal, so that there is nothing to rank.
        """
        if len(self) < FEWEST_PAIRS:
            raise InvalidConfig(
                f"{len(self)} pairs are too few to choose by and to check with; "
                f"give at least {FEWEST_PAIRS}, better hundreds"
            )
        order = np.random.default_rng((seed, 1)).permutation(len(self))
        middle = (len(self) + 1) // 2
        halves = self.take(np.sort(order[:middle])), self.take(np.sort(order[middle:]))
        if constant := [half for half in halves if len(np.unique(half.score_N)) < 2]:
            raise InvalidConfig(
                f"the scores of {len(constant[0])} pairs are all {constant[0].score_N[0]:g}; "
                "expected scores that differ: give other or more pairs"
            )
        return halves
