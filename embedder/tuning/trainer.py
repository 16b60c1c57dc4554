"""The training loop: steps, dev measures, checkpoints, and the three ways in which it ends."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch

from embedder.errors import InvalidConfig
from embedder.tuning.batches import Plan
from embedder.tuning.cached_gradients import CachedGradients, Outcome
from embedder.tuning.checkpoints import Checkpoints, Progress
from embedder.tuning.errors import TuningDiverged
from embedder.tuning.measures import Measure
from embedder.tuning.metrics import Metrics
from embedder.tuning.objectives import Objective
from embedder.tuning.ranks import Ranks
from embedder.tuning.settings import TuningSettings
from embedder.tuning.trainable import TrainableEncoder

Ending = Literal["finished", "stopped early", "diverged"]

BETAS: Final = (0.9, 0.98)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """What is told of a step while the run goes on."""

    step: int
    """Steps that are done."""
    steps: int
    loss: float
    tokens: int
    """Tokens of its texts."""
    measure: float | None
    """The dev measure, where it was taken."""
    saved: bool
    """Whether there is a checkpoint of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """How a run ended; the weights are those of `step`."""

    ending: Ending
    step: int
    """The step whose weights these are: the best, where there is a dev measure, else the last."""
    done: int
    """Steps that were done."""
    progress: Progress
    first_step: int
    """0, or the step at which this process took the run up."""
    failure: TuningDiverged | None = None


class Trainer:
    """Trains an encoder, from the newest checkpoint in its folder if there is one.

    Args:
        encoder: what is trained, in place.
        objective: what it learns from.
        settings: how.
        folder: where checkpoints and metrics go; it exists.
        ranks: the processes that do it together.
        measure: held against the run at every checkpoint; None: nothing is.

    Raises:
        InvalidConfig: the settings fit neither the data nor the encoder.
    """

    def __init__(
        self,
        encoder: TrainableEncoder,
        objective: Objective,
        settings: TuningSettings,
        *,
        folder: Path,
        ranks: Ranks,
        measure: Measure | None = None,
    ) -> None:
        self._encoder, self._objective, self._settings = encoder, objective, settings
        self._ranks, self._measure = ranks, measure
        self._folder = folder
        self.plan = Plan(objective.size, settings)
        if self.plan.smallest < ranks.count:
            raise InvalidConfig(
                f"batches of {self.plan.smallest} examples cannot be shared by {ranks.count} "
                "processes; raise batch, or start fewer"
            )
        self._trained = encoder.trained
        self._optimizer = optimizer_of(encoder, settings)
        self._checkpoints = Checkpoints(folder)

    def run(self, told: Callable[[StepDone], None] | None = None) -> Trained:
        """Train to the end; the encoder then has the best weights, or the last.

        A loss that is no number ends the run: the encoder gets the newest weights that are known
        to have given a number, and `failure` says where it broke.

        Args:
            told: is called after every step, in the leading process.

        Raises:
            TuningDiverged: that happened before there was a checkpoint.
            TuningFailed: no memory for a single text, or no room for a checkpoint.
        """
        progress = self._begin()
        self._encoder.model.train()
        after = progress.step or -1  # what stands of step 0 is written again
        metrics = Metrics(self._folder, after=after) if self._ranks.leads else None
        try:
            with deterministic(self._encoder.device):
                return self._steps(progress, metrics, told)
        finally:
            self._encoder.model.eval()
            if metrics is not None:
                metrics.close()

    # -- inside ------------------------------------------------------------------------------

    def _begin(self) -> Progress:
        """From the newest checkpoint, or from the start, where the dev measure is taken first."""
        if self._ranks.leads:
            self._checkpoints.tidy()
        self._ranks.wait()
        if steps := self._checkpoints.steps():
            self._checkpoints.restore(steps[-1], self._trained, self._optimizer)
            return self._checkpoints.progress(steps[-1])
        value = self._taken()
        return Progress(step=0, chunk=self._settings.chunk, base=value)

    def _steps(
        self,
        progress: Progress,
        metrics: Metrics | None,
        told: Callable[[StepDone], None] | None,
    ) -> Trained:
        first, steps = progress.step, self.plan.steps
        gradients = CachedGradients(
            list(self._trained.values()),
            chunk=progress.chunk,
            clip=self._settings.clip,
            seed=self._settings.seed,
            ranks=self._ranks,
        )
        if metrics is not None and first == 0 and self._measure is not None:
            metrics.add({"step": 0, self._dev: progress.base})
        while progress.step < steps and progress.behind < self._settings.patience:
            began = time.perf_counter()
            outcome, tokens, truncated = self._step(progress.step, gradients)
            if not outcome.finite:
                return self._diverged(progress, outcome, first)
            self._confirmed(progress)
            seconds = time.perf_counter() - began
            rate = self.plan.rate(progress.step)
            progress = replace(
                progress,
                step=progress.step + 1,
                chunk=gradients.chunk,
                seconds=progress.seconds + seconds,
                tokens=progress.tokens + tokens,
                truncated=progress.truncated + truncated,
            )
            row = {
                "step": progress.step,
                "epoch": round(progress.step / self.plan.batches, 4),
                "loss": round(outcome.loss, 6),
                "accuracy": outcome.accuracy and round(outcome.accuracy, 4),
                "rate": rate,
                "gradient_norm": round(outcome.norm, 6),
                "tokens_per_second": round(tokens / seconds),
                "seconds": round(progress.seconds, 3),
                "chunk": gradients.chunk,
            }
            measured: float | None = None
            if self.plan.pauses(progress.step):
                measured = self._taken()
                progress = self._judged(progress, measured)
                if measured is not None:
                    row |= {self._dev: measured}
            if metrics is not None:
                metrics.add(row)
            if self.plan.pauses(progress.step):
                self._save(progress)
            if told is not None and self._ranks.leads:
                told(
                    StepDone(
                        step=progress.step,
                        steps=steps,
                        loss=outcome.loss,
                        tokens=tokens,
                        measure=measured,
                        saved=self.plan.pauses(progress.step),
                    )
                )
        return self._ended(
            "finished" if progress.step == steps else "stopped early", progress, first
        )

    def _step(self, step: int, gradients: CachedGradients) -> tuple[Outcome, int, int]:
        """One step: its outcome, the tokens of its texts, how many of these were cut."""
        batch = self._objective.batch(self.plan.batch(step).tolist())
        prompted = self._encoder.prompted(batch.texts, batch.kinds)
        outcome = gradients.step(
            step, prompted.costs, lambda texts: self._encoder.embed(prompted, texts), batch.loss
        )
        if outcome.finite:
            for group in self._optimizer.param_groups:
                group["lr"] = self.plan.rate(step)
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return outcome, prompted.tokens, prompted.truncated

    @property
    def _dev(self) -> str:
        return f"dev_{self._measure.name}" if self._measure is not None else "dev"

    def _taken(self) -> float | None:
        """The dev measure now, the leading process's in all of them."""
        if self._measure is None:
            return None
        value = self._measure.take(self._encoder, self._ranks)
        return self._ranks.told(value, self._encoder.device)

    def _judged(self, progress: Progress, value: float | None) -> Progress:
        """Whether that is the best so far."""
        if value is None or self._measure is None:
            return progress
        best = progress.best
        if best is None or (value > best if self._measure.rises else value < best):
            return replace(progress, best=value, best_step=progress.step, behind=0)
        return replace(progress, behind=progress.behind + 1)

    def _save(self, progress: Progress) -> None:
        if self._ranks.leads:
            self._checkpoints.save(progress, self._trained, self._optimizer)
        self._ranks.wait()

    def _confirmed(self, progress: Progress) -> None:
        """The newest checkpoint's weights gave a number: those before it can go, but the best."""
        if progress.step and self._ranks.leads and self.plan.pauses(progress.step):
            self._checkpoints.keep({progress.step, progress.best_step})

    def _diverged(self, progress: Progress, outcome: Outcome, first: int) -> Trained:
        """Back to the newest checkpoint whose weights are not those that gave no number."""
        step = progress.step + 1
        what = "the loss" if not _finite(outcome.loss) else "the gradient"
        value = outcome.loss if not _finite(outcome.loss) else outcome.norm
        remedy = "use a lower learning rate" + (
            ", or compute float32" if self._encoder.half else ""
        )
        steps = self._checkpoints.steps()
        good = [one for one in steps if one != progress.step]
        self._ranks.wait()
        if not good:
            raise TuningDiverged(
                f"step {step}: {what} is {value}; no checkpoint was made before; {remedy}",
                step=step,
            )
        if self._ranks.leads:
            self._checkpoints.keep(good)
        kept = self._checkpoints.progress(good[-1])
        chosen = kept.best_step or kept.step
        self._checkpoints.restore(chosen, self._trained)
        failure = TuningDiverged(
            f"step {step}: {what} is {value}; the weights of step {chosen} are kept; {remedy}",
            step=step,
        )
        return Trained(
            ending="diverged",
            step=chosen,
            done=progress.step,
            progress=kept,
            first_step=first,
            failure=failure,
        )

    def _ended(self, ending: Ending, progress: Progress, first: int) -> Trained:
        chosen = progress.best_step or progress.step
        if chosen != progress.step:
            self._checkpoints.restore(chosen, self._trained)
        return Trained(
            ending=ending, step=chosen, done=progress.step, progress=progress, first_step=first
        )


def optimizer_of(encoder: TrainableEncoder, settings: TuningSettings) -> torch.optim.Optimizer:
    """AdamW over what is trained; matrices but embeddings decay."""
    embedding = encoder.model.get_input_embeddings().weight
    decaying = [p for p in encoder.trained.values() if p.ndim > 1 and p is not embedding]
    still = [p for p in encoder.trained.values() if p.ndim <= 1 or p is embedding]
    groups: list[dict[str, Any]] = [{"params": decaying, "weight_decay": settings.weight_decay}]
    if still:
        groups.append({"params": still, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=settings.peak_rate, betas=BETAS, fused=True)


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """The same sums in the same order every time, on a CPU.

    There the gradient of reading a key several times is added up by several threads as they come.
    On CUDA what this would take is slow, and a run that was taken up again differs by rounding.
    """
    if device.type != "cpu":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        memory.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(mode=before)


def _finite(value: float) -> bool:
    return value - value == 0
