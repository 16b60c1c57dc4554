"""The tables of `docs/clustering.md`, from `clustering.json` and `clustering_quality.json`."""

from typing import Any, Final

from benchmarks.encoder_tables import result, where

TENFOLD: Final = 10


def clustering_quality() -> str:
    """V-measure of every row on every set."""
    filed = result("clustering_quality")
    sets = filed["sets"]
    own = filed["own"]
    best = {
        one["name"]: max(row["sets"][one["name"]]["v_measure"] for row in filed["rows"])
        for one in sets
    }
    drawn = "" if filed["limit"] is None else f", at most {filed['limit']:,} texts drawn of each"
    lines = [
        f"V-measure by MTEB's protocol, mean and spread of {filed['experiments']} experiments with "
        f"as many clusters as labels{drawn}; encoder `{filed['encoder']}`, whose own prompt is "
        f"`{own['prompt']}` and pooling `{own['pooling']}` ({where(filed)}; "
        "`python -m benchmarks.clustering_quality`):",
        "",
        "| prompt, pooling | "
        + " | ".join(
            f"{one['name'].replace('_', ' ')} ({one['texts']:,}, {one['labels']} labels)"
            for one in sets
        )
        + " | mean |",
        f"|---|{'--:|' * (len(sets) + 1)}",
    ]
    for row in filed["rows"]:
        cells = []
        for one in sets:
            found = row["sets"][one["name"]]
            value = _short(found["v_measure"])
            bold = "**" if found["v_measure"] == best[one["name"]] else ""
            cells.append(f"{bold}{value}{bold} ± {_short(found['std'])}")
        lines.append(f"| {row['row']} | {' | '.join(cells)} | {_short(row['mean'])} |")
    return "\n".join(lines)


def clustering() -> str:
    """Time, memory, and the page, by size; what ten times as many chunks cost."""
    filed = result("clustering")
    lines = [
        f"Made-up chunks of {filed['dimension']} dimensions around {filed['topics']} topics, from "
        f"reading the collection to the written report ({where(filed)}; "
        "`python -m benchmarks.clustering`). Memory is the most that the process held; the page is "
        f"opened in {filed['browser'] or 'no browser'}, headless, software rendering:",
        "",
        "| algorithm | chunks | k | seconds | fit | memory, MB | vectors alone | page, MB | loaded "
        "| map drawn | zoom step |",
        f"|---|{'--:|' * 10}",
    ]
    for row in filed["rows"]:
        k = f"{row['k']}" if row["k_given"] else f"{row['k']}, found"
        cells = [row["algorithm"], f"{row['chunks']:,}", k, f"{row['seconds']:.0f}"]
        cells += [f"{row['stages']['fit']:.0f}", f"{row['peak_mb']:,}", f"{row['vectors_mb']:,}"]
        cells += [f"{row['page_mb']:.1f}", *_page(row["page"])]
        lines.append(f"| {' | '.join(cells)} |")
    grown = [_growth(*pair) for pair in _pairs(filed["rows"])]
    if grown:
        lines += ["", f"Ten times as many chunks: {'; '.join(grown)}."]
    return "\n".join(lines)


def _page(page: dict[str, Any]) -> list[str]:
    if "not_measured" in page:
        return ["-"] * 3
    loaded, drawn = (f"{page[f'{name}_seconds']:.2f} s" for name in ("loaded", "drawn"))
    return [loaded, drawn, f"{page['zoom_step_ms']:.0f} ms"]


def _pairs(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Rows of one algorithm and given k, the second of ten times as many chunks."""
    return [
        (few, many)
        for few in rows
        for many in rows
        if few["k_given"]
        and many["k_given"]
        and (few["algorithm"], few["k"]) == (many["algorithm"], many["k"])
        and many["chunks"] == TENFOLD * few["chunks"]
    ]


def _growth(few: dict[str, Any], many: dict[str, Any]) -> str:
    return (
        f"{few['algorithm']} from {few['chunks']:,} takes "
        f"{many['seconds'] / few['seconds']:.1f} times as long and "
        f"{many['peak_mb'] / few['peak_mb']:.2f} times the memory"
    )


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


TABLES: Final = {"clustering": clustering, "clustering_quality": clustering_quality}
"""Names of tables, for `benchmarks.tables`."""
