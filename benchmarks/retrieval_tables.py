"""The table of retrieval in `docs/search.md`, from `retrieval.json`."""

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.encoder_tables import result, where
from benchmarks.peers import MINILM_TOKENS


def retrieval() -> str:
    """Every row on every set, and what the differences are worth."""
    filed = result("retrieval")
    sets = [one["name"] for one in filed["sets"]]
    documents = sum(one["documents"] for one in filed["sets"])
    queries = sum(one["queries"] for one in filed["sets"])
    fusion = filed["fusion"]
    best = max(row["mean"]["ndcg@10"] for row in filed["rows"])
    lines = [
        f"nDCG@10 / recall@100 / MRR, encoder `{filed['encoder']}` "
        f"({documents:,} documents, {queries:,} queries; {where(filed)}; "
        "`python -m benchmarks.retrieval`). Ours finds chunks of at most "
        f"{filed['chunk_tokens']} tokens; the others have whole documents, of which MiniLM reads "
        f"{MINILM_TOKENS} word pieces, unless it is given our chunks:",
        "",
        f"| | {' | '.join(sets)} | mean |",
        f"|---|{'---|' * (len(sets) + 1)}",
    ]
    for row in filed["rows"]:
        name = f"**{row['row']}**" if row["mean"]["ndcg@10"] == best else row["row"]
        cells = [_cell(row["sets"][one]) for one in sets]
        lines.append(f"| {name} | {' | '.join(cells)} | {_cell(row['mean'])} |")
    lines += ["", "Differences of the mean nDCG@10, with 95 % of resamplings of the queries:", ""]
    lines += ["| row | over | difference | interval |", "|---|---|--:|---|"]
    lines += [
        f"| {one['row']} | {one['over']} | {one['mean']:+.3f} "
        f"| {one['low']:+.3f} to {one['high']:+.3f} |"
        for one in filed["differences"]
    ]
    chosen = filed["chosen_on_the_others"]
    if chosen:
        told = ", ".join(
            f"{name} {choice['k']} and {choice['dense_weight']:.2f}"
            for name, choice in chosen.items()
        )
        lines += [
            "",
            f"The default `k` {fusion['k']} and weight {fusion['dense_weight']:.2f} were chosen on "
            "some of these sets' judgements. In the held-out row both are those that do best on "
            f"the other sets: {told}.",
        ]
    return "\n".join(lines)


def _cell(scores: Mapping[str, Any]) -> str:
    return " / ".join(f"{value:.3f}".removeprefix("0") for value in scores.values())


TABLES: Final = {"retrieval": retrieval}
"""Names of tables, for `benchmarks.tables`."""
