"""The tables of `docs/long-text.md`, from `benchmarks/results/long_text.json`."""

from collections.abc import Sequence
from typing import Any

from benchmarks.encoder_tables import result, where

Row = dict[str, Any]


def long_text_table() -> str:
    """Retrieval by settings and length of piece, its cost, and the choice on other sets."""
    filed = result("long_text")
    parts = [
        _means(filed),
        *(_one_set(filed, name) for name in _sets(filed, held_out=False)),
        _by_length(filed),
        _differences(filed),
        _held_out(filed),
        _costs(filed),
        _described(filed),
    ]
    return "\n\n".join(parts)


def _means(filed: Row) -> str:
    default = filed["default"]
    intro = (
        f"nDCG@10 x 100, mean of {' and '.join(_sets(filed, held_out=False))}, by settings and "
        f"most tokens of a piece ({filed['encoder']}, fingerprint {filed['fingerprint'][:8]}; "
        f"{where(filed)}; `python -m benchmarks.long_text`). The default is "
        f"{default['settings']} at {default['length']}. Last column: Spearman x 100 on STS-B dev, "
        "which is sentences:"
    )
    lengths, by_settings = _lengths(filed), _by_settings(filed)
    spearman = filed["stsb_dev_spearman"]
    return _table(
        intro,
        ["settings", *lengths, "STS-B"],
        [
            [name, *(f"{cells[n]['mean']:.1f}" for n in lengths), spearman.get(name, "")]
            for name, cells in by_settings.items()
        ],
    )


def _one_set(filed: Row, name: str) -> str:
    lengths = _lengths(filed)
    return _table(
        f"{name} alone:",
        ["settings", *lengths],
        [
            [settings, *(f"{cells[n]['ndcg'][name]:.1f}" for n in lengths)]
            for settings, cells in _by_settings(filed).items()
        ],
    )


def _by_length(filed: Row) -> str:
    default, sets = filed["default"], _sets(filed, held_out=False)
    cells = _by_settings(filed)[default["settings"]]
    return _table(
        f"The length alone: {default['settings']}, less the same at {default['length']}; in "
        "brackets the 95 % interval (paired bootstrap over queries, within each set):",
        ["most tokens", *sets, "mean"],
        [
            [
                length,
                *(_interval(row["difference_by_set"][name]) for name in sets),
                _interval(row["difference"]),
            ]
            for length, row in sorted(cells.items())
        ],
    )


def _differences(filed: Row) -> str:
    length = filed["default"]["length"]
    rows = []
    for name, cells in _by_settings(filed).items():
        best = max(cells.values(), key=lambda row: row["mean"])
        there, same = _interval(best["difference"]), _interval(cells[length]["difference"])
        rows.append([name, best["length"], there, same])
    return _table(
        "Each setting's mean less the default's, at the setting's best length and at the "
        "default's:",
        ["settings", "best length", "there", f"at {length}"],
        rows,
    )


def _held_out(filed: Row) -> str:
    sets = _sets(filed, held_out=True)
    return _table(
        "The best of the encoder's rows, on sets that had no part in choosing it:",
        ["settings", "most tokens", *sets, "mean", "less the default"],
        [
            [
                row["settings"],
                row["length"],
                *(f"{row['ndcg'][name]:.1f}" for name in sets),
                f"{row['mean']:.1f}",
                _interval(row["difference"]),
            ]
            for row in filed["held_out"]
        ],
    )


def _costs(filed: Row) -> str:
    sets, costs = _sets(filed, held_out=False), filed["computed_tokens"]
    passes = list(dict.fromkeys(row["pass"] for row in costs))
    rows = []
    for length in _lengths(filed):
        own = [p for p in filed["pieces"] if p["length"] == length and p["set"] in sets]
        totals = [sum(p["pieces"] for p in own), sum(p["text_tokens"] for p in own)]
        for one in passes:
            same = [c for c in costs if (c["pass"], c["length"]) == (one, length)]
            totals.append(sum(c["computed_tokens"] for c in same))
        rows.append([length, *(f"{total:,}" for total in totals)])
    return _table(
        f"Cost, {' and '.join(sets)} together: pieces, their own tokens, and the tokens that go "
        "into the layers, with templates and auxiliary prompts (which leave at CP's layer):",
        ["most tokens", "pieces", "text tokens", *passes],
        rows,
    )


def _described(filed: Row) -> str:
    return _table(
        "The sets, and BM25 of documents in one piece. Queries without a relevant document are "
        "left out:",
        ["set", "documents", "median tokens", "90 % have at most", "queries", "left out", "BM25"],
        [
            [
                one["set"],
                f"{one['documents']:,}",
                one["median_tokens"],
                f"{one['tokens_of_the_90th_percentile']:,}",
                one["queries"],
                one["queries_left_out"],
                f"{one['whole_documents_bm25']:.1f}",
            ]
            for one in filed["sets"]
        ],
    )


def _sets(filed: Row, *, held_out: bool) -> list[str]:
    return [one["set"] for one in filed["sets"] if one["held_out"] == held_out]


def _lengths(filed: Row) -> list[int]:
    return sorted({row["length"] for row in filed["rows"]})


def _by_settings(filed: Row) -> dict[str, dict[int, Row]]:
    found: dict[str, dict[int, Row]] = {}
    for row in filed["rows"]:
        found.setdefault(row["settings"], {})[row["length"]] = row
    return found


def _interval(difference: Sequence[float]) -> str:
    mean, low, high = difference
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def _table(intro: str, head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [intro, "", _line(head), f"|---|{'--:|' * (len(head) - 1)}", *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
