"""A tuning from request to output: checked, trained, written, and said what it came to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from embedder.errors import InvalidConfig
from embedder.loading import usable_device
from embedder.specification import EncoderSpecification
from embedder.tuning.card import hardware, model_card
from embedder.tuning.checkpoints import Checkpoints
from embedder.tuning.errors import TuningFailed
from embedder.tuning.measures import Measure
from embedder.tuning.metrics import read_metrics
from embedder.tuning.objectives import Objective
from embedder.tuning.output import CARD, write_output
from embedder.tuning.ranks import Ranks, joined
from embedder.tuning.record import RunRecord
from embedder.tuning.report import FILE, write_report
from embedder.tuning.settings import TuningSettings, training_config, tuned_config
from embedder.tuning.trainable import TrainableEncoder
from embedder.tuning.trainer import StepDone, Trained, Trainer

FEW_STEPS: Final = 10
"""Over how many first and last steps the loss is averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What to tune on what, and where it goes."""

    base: EncoderSpecification
    objective: Objective
    settings: TuningSettings
    out: Path
    measure: Measure | None = None
    resume: bool = False
    licence: str | None = None
    """Of the tuned encoder, for its card; None: unknown."""
    device: str | None = None


def tune(tuning: Tuning, *, told: Callable[[StepDone], None] | None = None) -> dict[str, Any]:
    """Tune an encoder, or go on with a run that was interrupted, and write what comes of it.

    Under torchrun every process calls this; the leading one writes.

    Args:
        tuning: what to do.
        told: is called after every step, in the leading process.

    Returns:
        What the run came to, as plain JSON, the same as `run/result.json` in its folder. A run that
        had ended before is not repeated.

    Raises:
        InvalidConfig: the request cannot be right; nothing was begun.
        TuningDiverged: the loss was no number at some step. What is known to be good was written.
        TuningFailed: no memory for a single text, no room on the disk, no right to write.
        EmbedderError: see `Encoder`.
    """
    with joined() as ranks:
        device = usable_device(tuning.device or (ranks.device if ranks.count > 1 else None))
        _check(tuning)
        record = RunRecord(tuning.out)
        if not ranks.leads:
            if not ranks.any(condition=False, device=device):
                _train(tuning, record, ranks, device, {}, None)
            return {}
        asked = _asked(tuning, ranks)
        record.check(asked, resume=tuning.resume)
        lock = record.lock()
        try:
            ended = record.result()
            if ranks.any(ended is not None, device):
                return ended or {}
            return _train(tuning, record, ranks, device, asked, told)
        except OSError as error:
            raise TuningFailed(
                f"the run in {str(tuning.out)!r} stopped ({error}); put that right, then --resume"
            ) from error
        finally:
            lock.release()


def _check(tuning: Tuning) -> None:
    """What can be refused before any weight is loaded."""
    base, settings = tuning.base, tuning.settings
    tuned = tuned_config(base.config, settings)
    for config in (tuned, training_config(tuned, settings)):
        config.resolve_output_layer(base.files.layers)
    tuning.objective.check(base.files.dimension * (2 if tuned.pooling == "last_mean" else 1))
    place = tuning.out
    if place.exists() and not place.is_dir():
        raise InvalidConfig(f"{str(place)!r} is a file; expected a folder, or a name for one")


def _asked(tuning: Tuning, ranks: Ranks) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    return {
        "base": tuning.base.files.digest,
        "encoder": tuning.base.fingerprint,
        "data": dict(tuning.objective.facts),
        "dev": dict(tuning.measure.facts) if tuning.measure is not None else None,
        "processes": ranks.count,
        "settings": tuning.settings.fields(),
    }


def _train(
    tuning: Tuning,
    record: RunRecord,
    ranks: Ranks,
    device: torch.device,
    asked: Mapping[str, Any],
    told: Callable[[StepDone], None] | None,
) -> dict[str, Any]:
    """Train; the leading process writes what comes of it, and returns it."""
    base, settings = tuning.base, tuning.settings
    encoder = TrainableEncoder(base, settings, device=str(device))
    trainer = Trainer(
        encoder,
        tuning.objective,
        settings,
        folder=record.folder,
        ranks=ranks,
        measure=tuning.measure,
    )
    if ranks.leads:  # by now everything was found right
        record.begin(asked)

    def done(step: StepDone) -> None:
        if step.saved:
            _page(record, tuning, {"steps": f"{step.step:,} of {step.steps:,}"}, best=0)
        if told is not None:
            told(step)

    trained = trainer.run(done)
    if not ranks.leads:
        ranks.wait()
        return {}
    report = _report(tuning, trainer, trained, encoder, ranks)
    source = (
        f"sextant tune: {trained.step} steps on {tuning.objective.size:,} examples, base "
        f"{base.name}"
    )
    tuned = write_output(encoder, base, settings, tuning.out, source=source)
    use = str(tuning.out)
    report |= {"fingerprint": tuned.fingerprint, "use": use}
    card = model_card(report, settings, licence=tuning.licence)
    (tuning.out / CARD).write_text(card, encoding="utf-8")
    ended = {
        "ended": f"{trained.ending}, with the weights of step {trained.step:,}",
        "steps": f"{trained.done:,} of {trainer.plan.steps:,}",
        "time": f"{trained.progress.seconds:,.0f} s on {report['hardware']}",
        "use": use,
    }
    _page(record, tuning, ended, best=trained.step)
    if trained.failure is None:
        record.end(report)
        Checkpoints(record.folder).keep({trained.step})
    ranks.wait()
    if trained.failure is not None:
        raise trained.failure
    return report


def _report(
    tuning: Tuning, trainer: Trainer, trained: Trained, encoder: TrainableEncoder, ranks: Ranks
) -> dict[str, Any]:
    """What a run came to, as plain JSON."""
    rows = [row for row in read_metrics(RunRecord(tuning.out).folder) if row["step"] > 0]
    losses = [row["loss"] for row in rows if isinstance(row.get("loss"), float)]
    progress, measure = trained.progress, tuning.measure
    dev = None
    notes = []
    if measure is not None and progress.best is not None and progress.base is not None:
        dev = {**measure.facts, "base": progress.base, "best": progress.best}
        dev["best_step"] = progress.best_step
        gain = progress.best - progress.base
        if (gain if measure.rises else -gain) <= 0:
            notes.append("no step was better than the base on the dev data; keep the base")
    if progress.chunk < tuning.settings.chunk:
        notes.append(
            f"memory lacked: chunks were halved from {tuning.settings.chunk} to {progress.chunk}"
        )
    if trained.failure is not None:
        notes.append(str(trained.failure))
    return {
        "out": str(tuning.out),
        "method": tuning.settings.method,
        "base": {"name": tuning.base.name, "digest": tuning.base.files.digest},
        "data": dict(tuning.objective.facts),
        "ending": trained.ending,
        "step": trained.step,
        "done": trained.done,
        "steps": trainer.plan.steps,
        "loss": {"first": _mean(losses[:FEW_STEPS]), "last": _mean(losses[-FEW_STEPS:])},
        "dev": dev,
        "trained_parameters": sum(p.numel() for p in encoder.trained.values()),
        "compute": "bfloat16" if encoder.half else "float32",
        "seconds": round(progress.seconds, 3),
        "tokens": progress.tokens,
        "truncated": progress.truncated,
        "chunk": progress.chunk,
        "processes": ranks.count,
        "hardware": hardware(encoder.device, ranks.count),
        "config": encoder.config.model_dump(mode="json", exclude={"adapter"}),
        "notes": notes,
    }


def _page(record: RunRecord, tuning: Tuning, facts: Mapping[str, str], *, best: int) -> None:
    """Draw the run's report as it stands."""
    settings = tuning.settings
    known = {
        "base": tuning.base.name,
        "examples": f"{tuning.objective.size:,}",
        "method": f"LoRA, rank {settings.lora_rank}" if settings.method == "lora" else "full",
        "batch": f"{settings.batch:,}",
        "peak rate": f"{settings.peak_rate:g}, {settings.decay}",
    }
    write_report(
        record.folder / FILE,
        title=f"Tuning of {tuning.base.name}",
        facts={**known, **facts},
        rows=read_metrics(record.folder),
        best=best,
    )


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
