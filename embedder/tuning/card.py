"""The model card of a tuned encoder: what it was made of, how, and how good it is, as Markdown."""

import json
import platform
from collections.abc import Mapping
from typing import Any

import torch

from embedder.tuning.settings import TuningSettings


def model_card(report: Mapping[str, Any], settings: TuningSettings, *, licence: str | None) -> str:
    """Markdown.

    Args:
        report: what `embedder.tuning.run.tune` returns, as JSON.
        settings: of the run.
        licence: as it was told; None: unknown.
    """
    data, dev = report["data"], report["dev"]
    kind = "LoRA adapter" if settings.method == "lora" else "model, all weights tuned"
    lines = [
        "# Tuned encoder",
        "",
        f"A {kind}, made by `sextant tune`. Use it with `--encoder {report['use']}`.",
        "",
        "| | |",
        "|---|---|",
        *_rows(
            {
                "base": f"`{report['base']['name']}`",
                "base's files, SHA-256": f"`{report['base']['digest']}`",
                "fingerprint as tuned": f"`{report['fingerprint']}`",
                "licence": licence or "unknown; the base model's and the data's apply",
            }
        ),
        "",
        "## Data",
        "",
        "| | |",
        "|---|---|",
        *_rows(_data_facts(data)),
        "",
        "## Training",
        "",
        "| | |",
        "|---|---|",
        *_rows(
            {
                "ended": f"{report['ending']}; weights of step {report['step']} of "
                f"{report['steps']}",
                "time": f"{report['seconds']:,.0f} s, {report['tokens']:,} text tokens",
                "where": report["hardware"],
                "texts cut to fit": f"{report['truncated']:,}",
                "loss, first and last steps": f"{report['loss']['first']} and "
                f"{report['loss']['last']}",
            }
        ),
        "",
        "Settings:",
        "",
        "```json",
        json.dumps(settings.fields(), indent=1, ensure_ascii=False),
        "```",
        "",
        "How texts are read:",
        "",
        "```json",
        json.dumps(report["config"], indent=1, ensure_ascii=False),
        "```",
        "",
        "## Figures",
        "",
    ]
    if dev is None:
        lines.append("None: the run had no dev data. Measure before use (`sextant evaluate`).")
    else:
        lines += [
            f"{dev['measure']} on {dev['pairs']:,} dev pairs (SHA-256 `{dev['digest']}`), by which "
            "the step was chosen, so that it flatters:",
            "",
            "| base | tuned |",
            "|--:|--:|",
            f"| {dev['base']:.4f} | {dev['best']:.4f} |",
        ]
    lines += [f"\nNote: {note}" for note in report["notes"]]
    return "\n".join(lines) + "\n"


def hardware(device: torch.device, processes: int) -> str:
    """On what a run ran, in some words."""
    if device.type == "cuda":
        where = f"{processes} x {torch.cuda.get_device_name(device)}"
    else:
        threads = torch.get_num_threads()
        where = f"{platform.machine()} CPU, {processes} x {threads} thread{'s' * (threads > 1)}"
    return f"{where}, torch {torch.__version__}"


def _data_facts(data: Mapping[str, Any]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            shown = ", ".join(f"{count:,} {name}" for name, count in value.items()) or "none"
        elif key == "digest":
            key, shown = "SHA-256", f"`{value}`"
        else:
            shown = f"{value:,}" if isinstance(value, int) else str(value)
        facts[key.replace("_", " ")] = shown
    return facts


def _rows(facts: Mapping[str, str]) -> list[str]:
    return [f"| {_cell(key)} | {_cell(value)} |" for key, value in facts.items()]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
