"""The tables of `docs/encoder.md`: speed, cost, methods, parity, invariance, from results files."""

import json
from typing import Any

from benchmarks.results_file import RESULTS

LENGTHS = (30, 120, 400)


def result(name: str) -> dict[str, Any]:
    """A filed result."""
    filed: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return filed


def where(filed: dict[str, Any]) -> str:
    """Hardware, commit and date of a result."""
    return f"{filed['hardware']}, commit {filed['commit']}, {filed['date']}"


def speed() -> str:
    """Texts per second of the four contenders at three lengths, for each shape that was filed."""
    parts = []
    for path in sorted(RESULTS.glob("encoder-*-30*.json")):
        name = path.stem.removeprefix("encoder-")
        filed = [
            result(f"encoder-{name.replace('-30', f'-{length}', 1)}")
            for length in LENGTHS
            if (RESULTS / f"encoder-{name.replace('-30', f'-{length}', 1)}.json").is_file()
        ]
        parts.append(_speed_of(filed))
    return "\n\n".join(parts)


def _speed_of(filed: list[dict[str, Any]]) -> str:
    first = filed[0]
    lengths = [f["mean_tokens"] for f in filed]
    lines = [
        f"{first['shape']}, random weights, {first['dtype']}, {first['device']}, "
        f"{first['threads']} threads ({where(first)}; `python -m benchmarks.encoder`); "
        "texts a second by mean tokens of a text:",
        "",
        f"| | {' | '.join(f'{n} tokens' for n in lengths)} | peak MiB |",
        f"|---|{'--:|' * (len(lengths) + 1)}",
    ]
    for index, row in enumerate(first["rows"]):
        cells = [f"{f['rows'][index]['texts_per_second']:.1f}" for f in filed]
        peak = max(f["rows"][index]["peak_mib"] for f in filed)
        lines.append(f"| ({row['key']}) {row['contender']} | {' | '.join(cells)} | {peak:,} |")
    for ratio in first["ratios"]:
        cells = [f"**{f['ratios'][ratio]:.2f}**" for f in filed]
        lines.append(f"| {ratio}: times faster | {' | '.join(cells)} | |")
    return "\n".join(lines)


def cost() -> str:
    """Time and memory for growing streams, and the start-up."""
    filed = result("encoder-scaling")
    lines = [
        f"A stream of texts of {filed['mean_tokens']} tokens on average through the starter, "
        f"{filed['threads']} threads ({where(filed)}; `python -m benchmarks.encoder_scaling`):",
        "",
        "| texts | seconds | tokens/s | ms a text | peak MiB |",
        "|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row['texts']:,} | {row['seconds']:.1f} | {row['tokens_per_second']:,} "
        f"| {row['milliseconds_per_text']:.2f} | {row['peak_mib']:,} |"
        for row in filed["rows"]
    ]
    start = filed["start_up_ms"]
    lines += ["", f"Start-up, from the first import to the first vector: {start / 1000:.1f} s."]
    return "\n".join(lines)


def methods() -> str:
    """What each method gives and costs."""
    filed = result("methods")
    sets = list(filed["rows"][0]["spearman"])
    lines = [
        f"The starter, Spearman x 100, and time relative to the plain prompt ({where(filed)}; "
        "`python -m benchmarks.methods`):",
        "",
        f"| settings | {' | '.join(sets)} | time |",
        f"|---|{'--:|' * (len(sets) + 1)}",
    ]
    for row in filed["rows"]:
        cells = [f"{100 * row['spearman'][name]:.1f}" for name in sets]
        lines.append(f"| {row['settings']} | {' | '.join(cells)} | {row['time']:.2f} |")
    return "\n".join(lines)


def parity() -> str:
    """The worst relative error against transformers' own forward."""
    filed = result("parity")
    lines = [
        f"Worst relative error, float32 ({where(filed)}; "
        "`SEXTANT_FILE=1 pytest tests/embedder/test_parity.py`):",
        "",
        "| model type | comparisons | worst relative error |",
        "|---|--:|--:|",
    ]
    lines += [
        f"| {row['model_type']} | {row['comparisons']} | {row['worst_relative_error']:.1e} |"
        for row in filed["rows"]
    ]
    return "\n".join(lines)


def invariance() -> str:
    """The bounds for each number format, and the worst that was seen."""
    filed = result("invariance")
    lines = [
        f"{filed['texts']} texts one by one, all at once, in batches of 5, in reverse, with one "
        f"thread ({where(filed)}; `python -m benchmarks.invariance`); 1 - cosine:",
        "",
        "| model | dtype | worst between surroundings | worst against float32 | bound |",
        "|---|---|--:|--:|--:|",
    ]
    lines += [
        f"| {row['model']} | {row['dtype']} | {max(0.0, 1 - row['least_cosine']):.1e} "
        f"| {max(0.0, 1 - row['to_float32']):.1e} | {1 - row['bound']:.0e} |"
        for row in filed["rows"]
    ]
    return "\n".join(lines)


TABLES = {
    "encoder-speed": speed,
    "encoder-cost": cost,
    "methods": methods,
    "parity": parity,
    "invariance": invariance,
}
