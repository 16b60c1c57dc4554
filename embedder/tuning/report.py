"""The report of a run: one HTML page with curves, with nothing to fetch and no script."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from embedder.tuning.metrics import Row

FILE: Final = "report.html"

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 26
MOST_POINTS: Final = 800
"""Points of a curve; of more, the mean of neighbours is drawn."""

CURVES: Final = (
    ("loss", "Loss"),
    ("dev_spearman", "Dev: Spearman"),
    ("dev_loss", "Dev: loss"),
    ("accuracy", "Share of pairs found in the batch"),
    ("rate", "Learning rate"),
    ("gradient_norm", "Norm of the gradient"),
    ("tokens_per_second", "Text tokens a second"),
)

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1c2430;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:1.6rem 0 .2rem}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;
vertical-align:top}th{font-weight:600}svg{width:100%;height:auto}
.axis{stroke:#98a2b3;stroke-width:1}.line{fill:none;stroke:#1f5fbf;stroke-width:1.6}
.dot{fill:#1f5fbf}.mark{stroke:#b54708;stroke-dasharray:4 3}text{font-size:11px;fill:#475467}
@media(prefers-color-scheme:dark){body{background:#12161c;color:#e4e7ec}text{fill:#98a2b3}
.line{stroke:#7fb2ff}.dot{fill:#7fb2ff}}
"""


def write_report(
    path: Path, *, title: str, facts: Mapping[str, str], rows: Sequence[Row], best: int
) -> None:
    """Write the page as a whole or not at all.

    Args:
        path: the file.
        title: its heading.
        facts: a table above the curves.
        rows: the run's metrics.
        best: the step whose weights are taken; 0: none yet.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page(title, facts, rows, best), encoding="utf-8")
    temporary.replace(path)


def page(title: str, facts: Mapping[str, str], rows: Sequence[Row], best: int) -> str:
    """The page as HTML."""
    table = "".join(
        f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts.items()
    )
    drawn = "".join(
        f"<h2>{escape(label)}</h2>{curve(points, label, best)}"
        for key, label in CURVES
        if len(points := _points(rows, key)) > 1
    )
    nothing = "" if drawn else "<p>No step was done yet.</p>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><table>{table}</table>{drawn}{nothing}</body></html>\n"
    )


def curve(points: Sequence[tuple[int, float]], label: str, best: int) -> str:
    """One curve over steps as SVG; a dashed line marks the step that was taken."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low_x, high_x, low_y, high_y = min(xs), max(xs), min(ys), max(ys)
    if low_y == high_y:
        low_y, high_y = low_y - 0.5, high_y + 0.5

    def across(x: float) -> float:
        return LEFT + (x - low_x) / max(1, high_x - low_x) * (WIDTH - LEFT - RIGHT)

    def down(y: float) -> float:
        return TOP + (high_y - y) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM)

    floor = HEIGHT - BOTTOM
    line = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in points)
    parts = [
        f'<line class="axis" x1="{LEFT}" y1="{floor}" x2="{WIDTH - RIGHT}" y2="{floor}"/>',
        f'<line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{floor}"/>',
        f'<polyline class="line" points="{line}"/>',
    ]
    if len(points) <= 40:
        parts += [
            f'<circle class="dot" cx="{across(x):.1f}" cy="{down(y):.1f}" r="2.5">'
            f"<title>step {x}: {y:.6g}</title></circle>"
            for x, y in points
        ]
    if low_x <= best <= high_x and best:
        at = f"{across(best):.1f}"
        parts.append(f'<line class="mark" x1="{at}" y1="{TOP}" x2="{at}" y2="{floor}"/>')
    for y in (low_y, (low_y + high_y) / 2, high_y):
        parts.append(f'<text x="{LEFT - 6}" y="{down(y) + 4:.1f}" text-anchor="end">{y:.4g}</text>')
    for x, anchor in ((low_x, "start"), (high_x, "end")):
        parts.append(
            f'<text x="{across(x):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">step {x}</text>'
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)} over steps, '
        f'last {ys[-1]:.6g}">{"".join(parts)}</svg>'
    )


def _points(rows: Sequence[Row], key: str) -> list[tuple[int, float]]:
    """A curve's points, those that are numbers, thinned to `MOST_POINTS`."""
    found = [(int(row["step"]), float(row[key])) for row in rows if _is_number(row.get(key))]
    size = -(-len(found) // MOST_POINTS)
    if size <= 1:
        return found
    parts = [found[i : i + size] for i in range(0, len(found), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
