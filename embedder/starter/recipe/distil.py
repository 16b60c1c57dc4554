"""The training loop: teacher vectors into the decoder, through the prompt it will be used with."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from embedder.backbone import Backbone
from embedder.config import EncoderConfig
from embedder.starter.recipe.batches import epoch
from embedder.tokens import Row


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to train."""

    epochs: int = 1
    token_budget: int = 6000
    """Text tokens per batch, about; the template comes on top."""
    peak_rate: float = 6e-4
    """Above about 1e-3 the loss climbs again once the warm-up is over."""
    embedding_share: float = 0.5
    """Share of the rate that the token embeddings, which start from the teacher's, learn at."""
    warm_up_steps: int = 100
    weight_decay: float = 0.01
    similarity_weight: float = 5.0
    contrastive_share: float = 0.5
    """Share of steps that run with Contrastive Prompting; the others run without it."""
    checkpoint_steps: int = 200
    seed: int = 0


def loss_of(student_SD: Tensor, teacher_SD: Tensor, similarity_weight: float) -> Tensor:
    """Cosine distance to the teacher, plus the squared error of the similarity matrices."""
    student_SD = F.normalize(student_SD.float(), dim=-1)
    distance = 1 - (student_SD * teacher_SD).sum(-1).mean()
    difference_SS = student_SD @ student_SD.T - teacher_SD @ teacher_SD.T
    return distance + similarity_weight * difference_SS.square().mean()


def rate_at(step: int, total: int, schedule: Schedule) -> float:
    """Linear warm-up, then a cosine down to zero."""
    if step < schedule.warm_up_steps:
        return schedule.peak_rate * (step + 1) / schedule.warm_up_steps
    done = (step - schedule.warm_up_steps) / max(1, total - schedule.warm_up_steps)
    return schedule.peak_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def distil(
    backbone: Backbone,
    *,
    rows: Sequence[Row],
    auxiliary: Sequence[Row],
    teacher: npt.NDArray[np.float16],
    cluster: npt.NDArray[np.int32],
    config: EncoderConfig,
    schedule: Schedule,
    folder: Path,
    stop_after: int | None = None,
) -> None:
    """Train `backbone` in place; goes on from the newest checkpoint in `folder`, if there is one.

    `stop_after` ends the run at that step, with the rates of the whole schedule up to there.

    Writes `metrics.jsonl` (step, loss, rate, text tokens per second) and `checkpoint.pt`.
    """
    model = backbone.model.train()
    plain = config.model_copy(update={"contrastive_prompting": None})
    embedding = model.embed_tokens.weight
    matrices = [p for p in model.parameters() if p.ndim == 2 and p is not embedding]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": [embedding], "weight_decay": 0.0, "share": schedule.embedding_share},
            {"params": matrices, "weight_decay": schedule.weight_decay, "share": 1.0},
            {"params": vectors, "weight_decay": 0.0, "share": 1.0},
        ],
        lr=schedule.peak_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    lengths = np.array([len(row.ids) for row in rows], dtype=np.int32)
    plan = [
        batch
        for number in range(schedule.epochs)
        for batch in epoch(
            lengths,
            cluster,
            token_budget=schedule.token_budget,
            seed=schedule.seed + number,
        )
    ]
    chooser = np.random.default_rng(schedule.seed).random(len(plan)) < schedule.contrastive_share
    checkpoint = folder / "checkpoint.pt"
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["schedule"] == asdict(schedule):
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            first = state["step"]

    metrics = (folder / "metrics.jsonl").open("a")
    began, tokens, losses = time.perf_counter(), 0, []
    last = min(stop_after or len(plan), len(plan))
    for step in range(first, last):
        batch = plan[step]
        rate = rate_at(step, len(plan), schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        target_SD = F.normalize(torch.from_numpy(teacher[batch].astype(np.float32)), dim=-1)
        chosen = [rows[i] for i in batch]
        with torch.autocast(backbone.device.type, dtype=torch.bfloat16):
            if chooser[step]:
                pooled_SD = backbone.forward(chosen, config, [auxiliary[i] for i in batch])
            else:
                pooled_SD = backbone.forward(chosen, plain)
        loss = loss_of(pooled_SD, target_SD.to(backbone.device), schedule.similarity_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

        tokens += int(lengths[batch].sum())
        losses.append(float(loss.detach()))
        if (step + 1) % 20 == 0:
            seconds = time.perf_counter() - began
            row = {
                "step": step + 1,
                "of": len(plan),
                "loss": round(float(np.mean(losses)), 5),
                "rate": round(rate, 7),
                "tokens_per_second": round(tokens / seconds),
            }
            print(json.dumps(row), file=metrics, flush=True)
            began, tokens, losses = time.perf_counter(), 0, []
        if (step + 1) % schedule.checkpoint_steps == 0 or step + 1 == last:
            temporary = checkpoint.with_suffix(".tmp")
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step + 1,
                    "schedule": asdict(schedule),
                },
                temporary,
            )
            temporary.replace(checkpoint)
    metrics.close()
    model.eval()
