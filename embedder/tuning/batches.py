"""Which examples each step sees, and how fast it learns: functions of the step alone.

So a run that is taken up again at a step goes on as if it had never stopped.
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from embedder.tuning.settings import EVERY, WARM_UP, TuningSettings

Indices = npt.NDArray[np.int64]

SHARE: Final = 10
"""A short run's warm-up, and its way between checkpoints, is a tenth of its steps."""


class Plan:
    """The steps of a run.

    Every epoch is a new order of all examples, by seed, cut into batches whose sizes differ by one
    at most: no batch is a small rest with few negatives.

    Args:
        examples: how many there are.
        settings: batch, epochs or steps, seed, warm-up, decay.
    """

    def __init__(self, examples: int, settings: TuningSettings) -> None:
        self._examples = examples
        self._settings = settings
        # No batch of one example, which would have nothing to be set apart from.
        self.batches = max(1, min(-(-examples // settings.batch), examples // 2))
        """Batches of an epoch."""
        self.steps = settings.steps or self.batches * (settings.epochs or 1)
        share = -(-self.steps // SHARE)
        warm_up = settings.warm_up
        self.warm_up = min(WARM_UP, share) if warm_up is None else min(warm_up, self.steps)
        self.every = settings.every or min(EVERY, share)
        self._order = lru_cache(maxsize=1)(self._shuffled)

    @property
    def smallest(self) -> int:
        """Examples of the smallest batch."""
        return self._examples // self.batches

    def batch(self, step: int) -> Indices:
        """Indices of the examples of a step, counted from 0."""
        epoch, index = divmod(step, self.batches)
        return np.array_split(self._order(epoch), self.batches)[index]

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        peak = self._settings.peak_rate
        if step < self.warm_up:
            return peak * (step + 1) / self.warm_up
        if self._settings.decay == "constant":
            return peak
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        if self._settings.decay == "linear":
            return peak * (1 - done)
        return peak * 0.5 * (1 + math.cos(math.pi * done))

    def pauses(self, done: int) -> bool:
        """Whether a checkpoint is due after so many steps."""
        return done % self.every == 0 or done == self.steps

    def _shuffled(self, epoch: int) -> Indices:
        return np.random.default_rng((self._settings.seed, epoch)).permutation(self._examples)
