"""The training loop: the teacher's vectors into the network, through the prompt it is read with."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embedder.starter.recipe.corpus import Corpus, batches
from embedder.starter.recipe.objective import Objective
from embedder.starter.recipe.student import Student


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to train."""

    steps: int = 2400
    decay_share: float = 0.3
    """Share of the steps, the last ones, over which the rates fall linearly to zero. Until they
    begin, a run can be gone on with for more or fewer steps than it was begun with."""
    token_budget: int = 9000
    """Tokens of a batch, about."""
    matrix_rate: float = 4e-3
    """Of Muon, for the layers' matrices."""
    table_rate: float = 2e-4
    """Of Adam, for the token embeddings, which start trained."""
    gain_rate: float = 1e-3
    """Of Adam, for the norms' gains."""
    warm_up_steps: int = 60
    checkpoint_steps: int = 100
    seed: int = 0
    objective: Objective = field(default_factory=Objective)

    def share_at(self, step: int) -> float:
        """The rates at a step, as a share of their peaks: rising, level, falling."""
        left = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return min(1.0, (step + 1) / self.warm_up_steps, left)


def optimizers(model: Any, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, Adam for embeddings and gains."""
    table = model.embed_tokens.weight
    matrices = [p for p in model.parameters() if p.ndim == 2 and p is not table]
    gains = [p for p in model.parameters() if p.ndim != 2]
    groups = [
        {"params": [table], "lr": schedule.table_rate},
        {"params": gains, "lr": schedule.gain_rate},
    ]
    found: list[torch.optim.Optimizer] = [
        torch.optim.Muon(
            matrices,
            lr=schedule.matrix_rate,
            weight_decay=0.01,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.Adam(groups, betas=(0.9, 0.98), fused=True),
    ]
    for optimizer in found:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return found


def train(
    student: Student,
    corpus: Corpus,
    *,
    schedule: Schedule,
    folder: Path,
    measure: Callable[[], dict[str, float]],
    measure_steps: int = 200,
) -> None:
    """Train in place; goes on from the checkpoint in `folder`, if there is one.

    Writes `metrics.jsonl` (step, loss, rates' share, tokens per second; now and then what `measure`
    says) and `checkpoint.pt`.
    """
    model = student.model.train()
    found = optimizers(model, schedule)
    checkpoint, first = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, kept in zip(found, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        first = state["step"]
    with (folder / "metrics.jsonl").open("a") as metrics:
        print(json.dumps({"from": first, "schedule": asdict(schedule)}), file=metrics, flush=True)
        began, tokens, losses = time.perf_counter(), 0, []
        for step, batch in _from(corpus, schedule, first):
            for optimizer in found:
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * schedule.share_at(step)
            taught_SD = torch.from_numpy(corpus.teacher[batch].astype(np.float32))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                pooled_SD = student.vectors(corpus.rows, batch)
            loss = schedule.objective.loss(pooled_SD, taught_SD)
            model.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in found:
                optimizer.step()
            losses.append(float(loss.detach()))
            if not np.isfinite(losses[-1]):
                raise FloatingPointError(f"the loss is {losses[-1]} at step {step + 1}")
            tokens += int(corpus.rows.length[batch].sum())
            done = step + 1
            if done % 20 == 0:
                line: dict[str, float] = {
                    "step": done,
                    "of": schedule.steps,
                    "loss": round(float(np.mean(losses)), 5),
                    "share": round(schedule.share_at(step), 4),
                    "tokens_per_second": round(tokens / (time.perf_counter() - began)),
                }
                if done % measure_steps == 0 or done == schedule.steps:
                    line |= measure()
                print(json.dumps(line), file=metrics, flush=True)
                began, tokens, losses = time.perf_counter(), 0, []
            if done % schedule.checkpoint_steps == 0 or done == schedule.steps:
                _save(checkpoint, model, found, done)
    model.eval()


def _from(corpus: Corpus, schedule: Schedule, first: int) -> Any:
    """Number and batch of every step from `first` on, epoch after epoch."""
    step = epoch = 0
    while True:
        for batch in batches(
            corpus, token_budget=schedule.token_budget, seed=schedule.seed + epoch
        ):
            if step >= schedule.steps:
                return
            if step >= first:
                yield step, batch
            step += 1
        epoch += 1


def _save(path: Path, model: Any, found: list[torch.optim.Optimizer], step: int) -> None:
    """Write the checkpoint whole, under a temporary name first."""
    temporary = path.with_suffix(".tmp")
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in found],
        "step": step,
    }
    torch.save(state, temporary)
    temporary.replace(path)
