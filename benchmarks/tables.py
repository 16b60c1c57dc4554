"""The figures of README and model card, made from the results files: `python -m benchmarks.tables`.

Each table stands between two comments, `<!-- NAME -->` and `<!-- /NAME -->`; a test fails when a
table is not what the results say.
"""

import re

from benchmarks import (
    clustering_tables,
    encoder_tables,
    ingest_tables,
    retrieval_tables,
    search_tables,
)
from benchmarks.encoder_tables import result
from benchmarks.encoder_tables import where as _where
from benchmarks.long_text_tables import long_text_table
from benchmarks.results_file import RESULTS

ROOT = RESULTS.parent.parent
FILES = (
    ROOT / "README.md",
    ROOT / "docs/encoder.md",
    ROOT / "docs/long-text.md",
    ROOT / "docs/ingestion.md",
    ROOT / "docs/search.md",
    ROOT / "docs/clustering.md",
    ROOT / "embedder/starter/MODEL_CARD.md",
)


def sts_table() -> str:
    """Spearman by set, with and without each intervention."""
    filed = result("sts")
    rows = filed["rows"]
    settings = list(dict.fromkeys(row["settings"] for row in rows))
    found = {(row["settings"], row["set"]): row for row in rows}
    lines = [
        f"Spearman x 100 with human scores ({_where(filed)}; `python -m benchmarks.sts`):",
        "",
        f"| set | pairs | {' | '.join(settings)} |",
        f"|---|--:|{'--:|' * len(settings)}",
    ]
    for name in dict.fromkeys(row["set"] for row in rows):
        cells = [f"{100 * found[setting, name]['spearman']:.1f}" for setting in settings]
        lines.append(f"| {name} | {found[settings[0], name]['n']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def corpus_table() -> str:
    """An ingest, the same again, and after an edit."""
    filed = result("corpus")
    first, unchanged, edited = filed["first"], filed["unchanged"], filed["edited"]
    lines = [
        f"{' and '.join(filed['folders'])} with the starter ({_where(filed)}; "
        "`python -m benchmarks.corpus FOLDER...`; whole processes, start-up included):",
        "",
        "| run | stored | unchanged | quarantined | seconds | |",
        "|---|--:|--:|--:|--:|---|",
    ]
    notes = (
        f"{first['chunks']:,} chunks, {first['tokens']:,} tokens, "
        f"{first['tokens_per_second']:,} tokens/s",
        f"{unchanged['times_faster']:.0f} times faster",
        "one file edited",
    )
    for name, run, note in zip(
        ("first", "again", "after an edit"), (first, unchanged, edited), notes, strict=True
    ):
        d = run["documents"]
        lines.append(
            f"| {name} | {d['stored']} | {d['unchanged']} | {d['quarantined']} "
            f"| {run['seconds']} | {note} |"
        )
    return "\n".join(lines)


TABLES = {
    **encoder_tables.TABLES,
    **ingest_tables.TABLES,
    **retrieval_tables.TABLES,
    **clustering_tables.TABLES,
    **search_tables.TABLES,
    "sts": sts_table,
    "corpus": corpus_table,
    "long_text": long_text_table,
}


def render(text: str) -> str:
    """The text with every table made anew."""
    for name, make in TABLES.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        if re.search(pattern, text, re.S):
            table = make()
            text = re.sub(pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, flags=re.S)
    return text


def main() -> None:
    """Write the tables into the files."""
    for path in FILES:
        path.write_text(render(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
