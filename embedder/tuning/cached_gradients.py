"""The gradient of a whole batch's loss, chunk by chunk in bounded memory (arXiv 2101.06983).

A loss over a batch needs all vectors at once, but not all activations. So the texts go through the
model in chunks without any graph; the loss gives the gradient with respect to each vector; then
each chunk goes through again, with a graph, and its vectors' gradients are sent back through it.
The result is that of the whole batch in one piece. Random numbers are seeded for each chunk, so
that dropout is the same both times.

Legend: `N` texts of the batch, `S` those of this process, `D` components.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from embedder.memory import Shortage
from embedder.tuning.errors import TuningFailed
from embedder.tuning.loss import Loss
from embedder.tuning.ranks import Ranks

Embed = Callable[[Sequence[int]], Tensor]
"""Vectors (len, D) of some of the batch's texts, in the order given."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch gave beside the gradients, which are left in the parameters."""

    loss: float
    accuracy: float | None
    norm: float
    """Of the gradient, before it was clipped."""

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        return bool(np.isfinite(self.loss) and np.isfinite(self.norm))


class CachedGradients:
    """Computes gradients of batches; halves its chunks for good when memory lacks.

    Args:
        parameters: what is trained.
        chunk: texts that go through the model at once.
        clip: largest norm of the gradient.
        seed: of the run, for dropout.
        ranks: the processes that share the texts.
    """

    def __init__(
        self,
        parameters: Sequence[torch.nn.Parameter],
        *,
        chunk: int,
        clip: float,
        seed: int,
        ranks: Ranks,
    ) -> None:
        self._parameters = list(parameters)
        self.chunk = chunk
        self._clip = clip
        self._seed = seed
        self._ranks = ranks

    def step(
        self, step: int, costs: Sequence[int], embed: Embed, loss: Callable[[Tensor], Loss]
    ) -> Outcome:
        """Leave the batch's gradient, clipped, in the parameters.

        Args:
            step: which step this is: with the seed it decides what dropout drops.
            costs: for each text the tokens that are computed; texts of like cost share a chunk.
            embed: the model.
            loss: of the vectors of all texts, (N, D), in the batch's order.

        Raises:
            TuningFailed: memory lacks for a single text.
        """
        order = sorted(range(len(costs)), key=lambda i: (-costs[i], i))
        found = self._tried(step, order, embed, loss)
        while found is None:
            if self.chunk == 1:
                raise TuningFailed(
                    f"step {step + 1}: out of memory with one text at a time; use a smaller "
                    "max_tokens or lora_rank, gradient_checkpointing, or a smaller model"
                )
            self.chunk //= 2
            found = self._tried(step, order, embed, loss)
        if not torch.isfinite(found.value):
            return Outcome(float(found.value), found.accuracy, float("nan"))
        self._ranks.add_up([p.grad for p in self._parameters if p.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
        return Outcome(float(found.value), found.accuracy, float(norm))

    def _tried(
        self, step: int, order: Sequence[int], embed: Embed, loss: Callable[[Tensor], Loss]
    ) -> Loss | None:
        """Both passes with chunks of the present size; None if memory lacked in any process."""
        for parameter in self._parameters:
            parameter.grad = None
        device = self._parameters[0].device
        own = self._ranks.share(order)
        chunks = [own[i : i + self.chunk] for i in range(0, len(own), self.chunk)]
        seeds = [self._chunk_seed(step, index) for index in range(len(chunks))]
        # A single chunk keeps its graph, and need not go through twice.
        single = len(chunks) == 1
        memory, passed = Shortage(), []
        with memory.tolerated(2), torch.set_grad_enabled(single):
            for chunk, seed in zip(chunks, seeds, strict=True):
                with seeded(seed, device):
                    passed.append(embed(chunk))
        if self._ranks.any(memory.halvings > 0, device):
            return None
        own_SD = torch.cat(passed)
        whole_ND = self._ranks.gather(own_SD.detach(), order).requires_grad_()
        found = loss(whole_ND)
        if not torch.isfinite(found.value):
            return Loss(found.value.detach(), found.accuracy)
        (gradient_ND,) = torch.autograd.grad(found.value, whole_ND)
        with memory.tolerated(2):
            if single:
                torch.autograd.backward(own_SD, gradient_ND[_at(own, device)])
            else:
                for chunk, seed in zip(chunks, seeds, strict=True):
                    with seeded(seed, device):
                        chunk_CD = embed(chunk)
                    torch.autograd.backward(chunk_CD, gradient_ND[_at(chunk, device)])
        if self._ranks.any(memory.halvings > 0, device):
            return None
        return Loss(found.value.detach(), found.accuracy)

    def _chunk_seed(self, step: int, index: int) -> int:
        sequence = np.random.SeedSequence((self._seed, step, self._ranks.rank, index))
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers by this seed inside, and as they were afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _at(items: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(items, dtype=torch.int64, device=device)
