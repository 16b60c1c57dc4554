"""The table of `docs/search.md` on speed, from `search.json`."""

from typing import Any

from benchmarks.encoder_tables import result, where


def search_speed() -> str:
    """Every way to ask, for each size and number of clients."""
    filed = result("search")
    bars = filed["bars"]
    parts = [
        f"Chunks of about a hundred words with vectors of {filed['dimension']} components, in the "
        f"embedded store ({where(filed)}; `python -m benchmarks.search`). Wanted: ours at most "
        f"{bars['overhead_ms']:g} ms over the engine's own calls, and end to end at most "
        f"{bars['end_to_end_ms']:g} ms at 100,000 chunks, both at p50 for one client."
    ]
    parts += [_of_size(size) for size in filed["sizes"]]
    return "\n\n".join(parts)


def _of_size(size: dict[str, Any]) -> str:
    over = ", ".join(f"{mode} {ms:+.1f} ms" for mode, ms in size["overhead_ms"].items())
    loads = [row["load_average"] for row in size["rows"]]
    lines = [
        f"**{size['chunks']:,} chunks** of {size['documents']:,} documents: written in "
        f"{size['write_seconds']:,.0f} s, indexed in {size['index_seconds']:,.0f} s "
        f"({size['indexed']:,} vectors), {size['bytes'] / 2**20:,.0f} MiB. Over the engine's own "
        f"calls: {over}. Load average meanwhile {min(loads):.1f} to {max(loads):.1f}.",
        "",
        "| | clients | p50 ms | p95 ms | p99 ms | a second | processor ms: ours | engine |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row['name']} | {row['clients']} | {row['p50_ms']:.2f} | {row['p95_ms']:.2f} "
        f"| {row['p99_ms']:.2f} | {row['per_second']:,.0f} | {row['own_cpu_ms']:.2f} "
        f"| {_cell(row['engine_cpu_ms'])} |"
        for row in size["rows"]
    ]
    return "\n".join(lines)


def _cell(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.2f}"


TABLES = {"search_speed": search_speed}
