"""`sextant calibrate`: what is read, what is written, and what people see of a calibration."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedder.calibration_grid import require_layer_loop
from embedder.presets import with_adapter_in
from embedder.prompts import expand
from embedder.specification import EncoderSpecification, specify
from flows import console
from flows.errors import FlowError, InvalidInput
from flows.pair_files import read_pairs
from flows.progress import Progress

if TYPE_CHECKING:
    from embedder.calibration import CalibrationReport
    from embedder.config import EncoderConfig

ROWS_SHOWN: Final = 5
STAGE_NAMES: Final = {
    "prompts": "templates and Token Prepending",
    "contrasts": "Contrastive Prompting",
    "neighbours": "neighbours of the best",
    "checking": "checking half",
}


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, with the encoder and the file that it was made of."""

    specification: EncoderSpecification
    pairs_file: str
    seed: int
    report: "CalibrationReport"

    def preset(self) -> dict[str, Any]:
        """What `specify` reads back; no time stands in it, so the same run gives the same file."""
        report, measured = self.report, self.report.checked[0]
        return {
            "model": self.specification.name,
            "config": _settings(report.chosen),
            "source": (
                f"calibrated on {Path(self.pairs_file).name} "
                f"({report.choosing_pairs + report.checking_pairs} pairs, seed {self.seed}), "
                f"Spearman {measured.spearman:.4f} +- {measured.standard_error:.4f} on the "
                f"{report.checking_pairs} that did not choose"
            ),
        }

    def fields(self) -> dict[str, Any]:
        """Everything, for programs."""
        from embedder.calibration import RULE

        report = self.report
        return {
            "encoder": self.specification.name,
            "pairs": {
                "file": self.pairs_file,
                "choosing": report.choosing_pairs,
                "checking": report.checking_pairs,
                "seed": self.seed,
            },
            "chosen": _settings(report.chosen),
            "spearman": {
                row.name: {
                    "spearman": round(row.spearman, 4),
                    "standard_error": round(row.standard_error, 4),
                    "chosen_leads_by": round(row.lead, 4),
                    "lead_error": round(row.lead_error, 4),
                    "config": _settings(row.config),
                }
                for row in report.checked
            },
            "rule": RULE,
            "passes": report.passes,
            "notes": list(report.notes),
            "table": [
                {
                    "stage": row.stage,
                    "spearman": round(row.spearman, 4),
                    "interventions": row.interventions,
                    **row.config.model_dump(
                        mode="json",
                        include={
                            "template",
                            "token_prepending",
                            "contrastive_prompting",
                            "pooling",
                            "output_layer",
                        },
                    ),
                }
                for row in report.rows
            ],
        }


def run_calibrate(
    encoder: str,
    pairs_file: str,
    progress: Progress,
    *,
    limit: int | None,
    templates: Sequence[str],
    seed: int,
    out: str | None,
) -> Calibrated:
    """Calibrate an encoder, and write its preset.

    Args:
        encoder: what `specify` takes.
        pairs_file: JSONL, CSV or TSV.
        progress: is told of every pass.
        limit: at most so many pairs, drawn by seed; None: all.
        templates: keys or own templates.
        seed: of the draw, the halves and the bootstrap.
        out: a preset file to write; None: none.

    Raises:
        InvalidInput: a file is wrong.
        FlowError: the preset cannot be written.
        EmbedderError: see `embedder.calibration`.
    """
    if out is not None and Path(out).suffix != ".json":
        raise InvalidInput(f"--out {out!r}: expected a file name that ends in .json")
    if out is not None and not Path(out).parent.is_dir():
        raise InvalidInput(f"--out {out!r}: its folder does not exist; make it first")
    # What can be refused is refused before torch is imported and any weight is loaded.
    expand(tuple(templates))
    pairs = read_pairs(pairs_file)
    if limit is not None:
        pairs = pairs.sample(limit, seed=seed)
    pairs.halves(seed=seed)
    specification = specify(encoder)
    require_layer_loop(specification)
    progress.stage(f"loading encoder {specification.name}")

    from embedder.calibration import Calibration
    from embedder.encoder import Encoder

    calibration = Calibration(
        Encoder(specification), templates=templates, seed=seed, progress=_passes(progress)
    )
    calibrated = Calibrated(specification, pairs_file, seed, calibration.run(pairs))
    if out is not None:
        _write(Path(out), calibrated.preset())
    return calibrated


def show_calibration(calibrated: Calibrated, out: str | None) -> None:
    """The best rows of each stage, the chosen settings, and how far they can be trusted."""
    from embedder.calibration import RULE

    report = calibrated.report
    columns = ["template", "TP", "CP", "pooling", "layer"]
    console.say(f"choosing half, {report.choosing_pairs} pairs, best {ROWS_SHOWN} of each stage:")
    shown = [
        [row.stage, *_cells(row.config), _hundred(row.spearman)]
        for stage in dict.fromkeys(row.stage for row in report.rows)
        for row in [r for r in report.rows if r.stage == stage][:ROWS_SHOWN]
    ]
    console.table(["stage", *columns, "Spearman x 100"], shown)
    console.say("")
    console.say(f"checking half, {report.checking_pairs} pairs that chose nothing:")
    rows = [
        [
            row.name,
            *_cells(row.config),
            f"{_hundred(row.spearman)} ± {_hundred(row.standard_error)}",
            "" if row.name == "chosen" else f"{100 * row.lead:+.2f} ± {_hundred(row.lead_error)}",
        ]
        for row in report.checked
    ]
    console.table(["settings", *columns, "Spearman x 100", "chosen leads by"], rows)
    console.say("")
    console.say(f"{RULE}; ± one standard error, a lead below two of its own may be chance")
    for note in report.notes:
        console.say(f"note: {note}")
    if out is not None:
        console.say(f"preset: {out}; use it with --encoder {out}")
    else:
        console.say("nothing was written; --out FILE.json makes a preset of it")


def _passes(progress: Progress) -> Callable[[str, int, int], None]:
    def told(stage: str, done: int, total: int) -> None:
        if done:
            progress.advance()
        else:
            progress.stage(STAGE_NAMES[stage], total)

    return told


def _settings(config: "EncoderConfig") -> dict[str, Any]:
    return with_adapter_in(config, Path.cwd()).model_dump(mode="json")


def _cells(config: "EncoderConfig") -> list[str]:
    tp, cp = config.token_prepending, config.contrastive_prompting
    template = config.template if isinstance(config.template, str) else " + ".join(config.template)
    strength = f" x {cp.strength:g}" if cp and cp.mode in ("scaled", "scaled_norm") else ""
    return [
        template,
        f"{tp.start}-{tp.exit - 1}" if tp else "off",
        f"{cp.layer} {cp.mode}{strength}" if cp else "off",
        config.pooling,
        str(config.output_layer),
    ]


def _hundred(value: float) -> str:
    return f"{100 * value:.2f}"


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a file as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FlowError(
            f"cannot write {str(path)!r}: {error.strerror}; check rights and space"
        ) from error
