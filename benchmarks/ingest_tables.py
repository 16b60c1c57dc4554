"""The tables about ingestion, from `ingest_*.json`, `kill.json`, `fuzz.json`, `disk_full.json`."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.encoder_tables import result, where

Row = dict[str, Any]

VICTIM_NAMES: Final = {
    "own": "the ingest itself",
    "engine": "the store's engine",
    "parsers": "a parser",
    "prefect": "Prefect's API",
}
PROCESS_NAMES: Final = {
    "own": "the ingest itself",
    "parsers": "parsers",
    "prefect": "Prefect's API",
    "without engine": "all but the engine, at once",
    "engine": "the store's engine",
    "all": "all, at once",
}
REASONS_SHOWN: Final = 12


def ingest_pipeline() -> str:
    """Tokens per processor second without encoder, and what each stage takes."""
    filed = result("ingest_pipeline")
    found = filed["pipeline"]
    storing = found["cpu_seconds"]["storing"]
    parts = ", ".join(
        f"{name} {storing[key]:.1f} s"
        for key, name in (("own", "the ingest"), ("parsers", "parsers"), ("engine", "the engine"))
    )
    return _table(
        f"Reading, parsing, chunking and writing {filed['folder']} "
        f"({found['documents']['stored']:,} documents, {found['tokens']:,} tokens, "
        f"{found['chunks']:,} chunks) with vectors from a hash: "
        f"**{found['tokens_per_cpu_second']:,} tokens** per second of processor time, all "
        f"processes together ({parts}); {found['with_index_and_report']:,} with the vector index "
        f"and the report; {found['tokens_per_second']:,} by the clock ({where(filed)}; "
        "`python -m benchmarks.ingest`; median of "
        f"{len(found['by_round'])}). Stages overlap, and some wait for a core while they count:",
        ["stage", "seconds at work", "share"],
        [
            [row["stage"], f"{row['busy_seconds']:.1f}", f"{row['share']:.0%}"]
            for row in found["stages"]
        ],
    )


def ingest_overhead() -> str:
    """The flow against the encoder alone."""
    filed = result("ingest_overhead")
    found = filed["overhead"]
    return _table(
        "The flow with the starter against the encoder alone on the same "
        f"{found['texts_encoded']:,} texts of {found['documents']:,} documents of "
        f"{filed['folder']} in the same groups ({filed['threads']} threads; {where(filed)}; "
        "`python -m benchmarks.ingest`): storing "
        f"takes **{found['ratio']:.2f} times** as long, the median over the rounds; the encoder "
        f"alone does {found['encoder_tokens_per_second']:,} tokens/s.",
        ["round", "storing, s", "encoder alone, s", "ratio"],
        [
            [
                number,
                f"{row['storing_seconds']:.1f}",
                f"{row['encoder_seconds']:.1f}",
                f"{row['ratio']:.3f}",
            ]
            for number, row in enumerate(found["rounds"], start=1)
        ],
    )


def ingest_unchanged() -> str:
    """The whole command, and the same again."""
    filed = result("ingest_unchanged")
    found = filed["unchanged"]
    return (
        f"`sextant ingest` of {filed['folder']} ({found['documents']['stored']:,} documents, "
        f"{found['tokens']:,} tokens), whole command with the starter: "
        f"{found['first_seconds']:.1f} s; again, with nothing changed: "
        f"{found['again_seconds']:.2f} s, **{found['times_faster']:.0f} times** faster "
        f"({where(filed)}; `python -m benchmarks.ingest`)."
    )


def ingest_memory() -> str:
    """Peaks of memory at one and at ten times the corpus."""
    filed = result("ingest_memory")
    found = filed["memory"]
    once, tenfold = found["rows"]
    return _table(
        f"Most anonymous memory in MiB, {filed['folder']} once ({once['points']:,} points) and "
        f"{tenfold['copies']} times over, each copy changed ({tenfold['points']:,} points), with "
        f"vectors from a hash ({where(filed)}; `python -m benchmarks.ingest`). The engine keeps "
        "ids and indexes of all points in memory, "
        f"{found['engine_bytes_per_point']:,} bytes for each more:",
        ["process", "once", f"{tenfold['copies']} times", "growth"],
        [
            [
                name,
                f"{once['peak_mib'][key]:,.0f}",
                f"{tenfold['peak_mib'][key]:,.0f}",
                f"{found['growth'][key]:.2f}",
            ]
            for key, name in PROCESS_NAMES.items()
            if key in found["growth"]
        ],
    )


def kill() -> str:
    """Who was killed how often, and what was left."""
    filed = result("kill")
    counted = Counter((row["victim"], row["mode"]) for row in filed["kills"])
    modes = [mode for mode in ("plain", "prefect", "sextant") if filed["modes"].get(mode)]
    heads = {"plain": "steps alone", "prefect": "the flow", "sextant": "`sextant ingest`"}
    storms = len(filed["storms"])
    return _table(
        f"{len(filed['kills'])} kills (SIGKILL) at random moments of busy runs over "
        f"{filed['documents']} documents of {filed['folder']} ({filed['points']:,} points), in "
        f"{storms} storms of up to three, each followed by one undisturbed run ({where(filed)}; "
        f"`python -m benchmarks.kill`): the collection equalled that of an undisturbed run after "
        f"**{filed['storms_equal']} of {storms}** storms, in ids, payloads, checksums, and vectors "
        f"(least cosine {filed['least_cosine']}). Runs that hung: {filed['hung']}; that ended "
        f"otherwise than done or with one line and exit code 1: {filed['unclear']}; processes left "
        f"behind: {filed['left_over']}; documents called stored that lacked a chunk: "
        f"{filed['broken_promises']}.",
        ["killed", *(heads[mode] for mode in modes)],
        [
            [name, *(counted[victim, mode] for mode in modes)]
            for victim, name in VICTIM_NAMES.items()
        ],
    )


def fuzz() -> str:
    """What became of damaged files."""
    filed = result("fuzz")
    counts = filed["documents"]
    rows = [
        [row["format"], row["files"], row["stored"], row["quarantined"]] for row in filed["formats"]
    ]
    files = _table(
        f"{filed['mutations']:,} damaged files of every format, ingested together "
        f"({where(filed)}; `python -m benchmarks.fuzz`): {counts['seen']:,} documents, of which "
        f"{counts['stored']:,} were stored and {counts['quarantined']:,} are in quarantine, each "
        f"with a reason; {len(filed['unaccounted'])} are missing. The run took "
        f"{filed['seconds']:.0f} s; parsers that were killed by a file: {filed['parsers_killed']}; "
        f"documents that took more than {filed['parse_seconds']:g} s: {filed['too_slow']}. Rows of "
        "record files are documents of their own:",
        ["format", "files", "stored", "quarantined"],
        rows,
    )
    shown = filed["reasons"][:REASONS_SHOWN]
    reasons = _table(
        "The most frequent reasons, without names and numbers:",
        ["reason", "stage", "documents"],
        [[row["reason"].replace("|", "\\|"), row["stage"], row["count"]] for row in shown],
    )
    return f"{files}\n\n{reasons}"


def disk_full() -> str:
    """What a full disk does."""
    filed = result("disk_full")
    return _table(
        f"An ingest of {filed['documents']} documents of {filed['folder']} onto a disk that fills "
        f"up ({filed['disk']}; {where(filed)}; `python -m benchmarks.disk_full`), then the same "
        "command with room enough. Clear: exit code 1 with one line, or done in spite of it:",
        ["run", "the disk", "MiB", "documents stored by then", "clear", "lost", "equal in the end"],
        [
            [
                row["mode"],
                row["kind"],
                f"{row['disk_mib']:.0f}",
                "-" if row["documents_stored"] is None else row["documents_stored"],
                "yes" if row["clear"] else "no",
                "-" if row["broken_promises"] is None else len(row["broken_promises"]),
                "yes" if row["equal"] else "no",
            ]
            for row in filed["rounds"]
        ],
    )


TABLES: Final = {
    "ingest_pipeline": ingest_pipeline,
    "ingest_overhead": ingest_overhead,
    "ingest_unchanged": ingest_unchanged,
    "ingest_memory": ingest_memory,
    "kill": kill,
    "fuzz": fuzz,
    "disk_full": disk_full,
}
"""Names of tables, for `benchmarks.tables`."""


def _table(intro: str, head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [intro, "", _line(head), f"|---|{'--:|' * (len(head) - 1)}", *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
