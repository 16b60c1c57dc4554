"""What an ingest costs beside its encoder: `python -m benchmarks.ingest FOLDER`.

Four measurements, each in processes of their own:

- `pipeline`: tokens per second of processor time, all processes together, where vectors cost next
  to nothing: reading, parsing, chunking, writing, and the index apart;
- `overhead`: the flow with the starter, two partitions in flight, against the encoder alone on the
  same chunks in the same groups; the two take turns, the median over the rounds counts;
- `unchanged`: the whole command `sextant ingest`, and the same command again;
- `memory`: the most anonymous memory that the processes have, at once and each kind by itself, for
  the corpus once and ten times over.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import process_watch
from benchmarks.encoder import OneLineParser, whole_number
from benchmarks.ingest_child import IngestChild, Outcome, hash_ingest, sextant_ingest
from benchmarks.ingest_corpus import NothingToMeasure, changed_copies, documents, every_nth
from benchmarks.process_watch import MemoryWatch
from benchmarks.processes import ChildFailed
from benchmarks.results_file import finish

BARS: Final = {
    "tokens_per_cpu_second": 120_000,
    "overhead": 1.10,
    "times_faster": 50,
    "memory_growth": 1.1,
}
"""At least, at most, at least, at most."""
COPIES: Final = 10
PATIENCE_SECONDS: Final = 4 * 3600.0


def finished(arguments: Sequence[str], place: Path, options: argparse.Namespace) -> Outcome:
    """Run a child to its end.

    Raises:
        ChildFailed: it failed.
    """
    with IngestChild(arguments, folder=place, threads=options.threads) as child:
        return child.end(seconds=PATIENCE_SECONDS).require_finished()


def pipeline(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Tokens per processor second without encoder, by stage."""
    runs = []
    for number in range(options.rounds):
        run = finished(hash_ingest(options.folder, place / f"pipeline-{number}"), place, options)
        report, cpu = run.report, run.require_answer()["cpu_seconds"]
        runs.append(
            {
                "tokens_per_cpu_second": round(report["tokens"] / cpu["storing"]["all"]),
                "with_index_and_report": round(report["tokens"] / cpu["whole"]),
                "tokens_per_second": round(report["tokens"] / report["storing_seconds"]),
                "cpu_seconds": cpu,
                "storing_seconds": report["storing_seconds"],
                "seconds": report["seconds"],
                "stages": shares(report["stages"]),
                "documents": report["documents"],
                "chunks": report["chunks"]["stored"],
                "tokens": report["tokens"],
            }
        )
    runs.sort(key=lambda run: run["tokens_per_cpu_second"])
    return {
        **runs[len(runs) // 2],
        "by_round": [run["tokens_per_cpu_second"] for run in runs],
    }


def shares(stages: dict[str, float]) -> list[dict[str, Any]]:
    """Busy seconds of each stage, and its share of all of them."""
    total = sum(stages.values()) or 1.0
    return [
        {"stage": name, "busy_seconds": round(seconds, 3), "share": round(seconds / total, 3)}
        for name, seconds in stages.items()
    ]


def overhead(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The flow's seconds over the encoder's own."""
    corpus = every_nth(options.folder, options.documents, place / "some" / options.folder.name)
    slices = place / "slices.json"
    rounds = []
    for number in range(options.rounds):
        store = place / f"overhead-{number}"
        flow = finished(
            hash_ingest(corpus, store, "--encoder=starter", "--prefect", f"--slices={slices}"),
            place,
            options,
        )
        alone = finished(
            ["-m", "benchmarks.ingest_encoding", str(store), str(slices)], place, options
        ).require_answer()
        rounds.append(
            {
                "storing_seconds": flow.report["storing_seconds"],
                "encoder_seconds": alone["seconds"],
                "ratio": round(flow.report["storing_seconds"] / alone["seconds"], 4),
                "stages": shares(flow.report["stages"]),
            }
        )
    return {
        "ratio": round(statistics.median(r["ratio"] for r in rounds), 3),
        "documents": flow.report["documents"]["stored"],
        "tokens": flow.report["tokens"],
        "texts_encoded": alone["texts"],
        "slices": alone["slices"],
        "encoder_tokens_per_second": round(
            flow.report["tokens"] / statistics.median(r["encoder_seconds"] for r in rounds)
        ),
        "rounds": rounds,
    }


def unchanged(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The whole command, and the same again, when nothing has changed."""
    corpus = options.folder
    if options.unchanged_documents:
        target = place / "unchanged-corpus" / options.folder.name
        corpus = every_nth(options.folder, options.unchanged_documents, target)
    command = sextant_ingest(corpus, place / "unchanged", "--quiet")
    first = finished(command, place, options)
    again = [finished(command, place, options) for _ in range(options.rounds)]
    seconds = statistics.median(run.seconds for run in again)
    return {
        "documents": first.report["documents"],
        "tokens": first.report["tokens"],
        "first_seconds": round(first.seconds, 2),
        "again_seconds": round(seconds, 3),
        "again_by_round": [round(run.seconds, 3) for run in again],
        "again_documents": again[-1].report["documents"],
        "times_faster": round(first.seconds / seconds, 1),
    }


def memory(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Peaks at one and at ten times the corpus, and how they grow."""
    once, tenfold = (measured_memory(place, options, copies) for copies in (1, COPIES))
    points = tenfold["points"] - once["points"]
    growth = {
        name: round(tenfold["peak_mib"][name] / mib, 3)
        for name, mib in once["peak_mib"].items()
        if mib
    }
    engine = [run["peak_mib"].get(process_watch.ENGINE, 0.0) for run in (once, tenfold)]
    return {
        "rows": [once, tenfold],
        "growth": growth,
        "engine_bytes_per_point": round((engine[1] - engine[0]) * 2**20 / points),
    }


def measured_memory(place: Path, options: argparse.Namespace, copies: int) -> dict[str, Any]:
    """One run, with Prefect as people run it, and with vectors from a hash."""
    name = f"{copies}-fold"
    corpus = changed_copies(options.folder, copies, place / name)
    arguments = hash_ingest(corpus, place / f"{name}-store", "--prefect")
    with (
        IngestChild(arguments, folder=place, threads=options.threads) as child,
        MemoryWatch(child.pid) as watch,
    ):
        outcome = child.end(seconds=PATIENCE_SECONDS).require_finished()
    report = outcome.report
    return {
        "copies": copies,
        "documents": report["documents"]["stored"],
        "tokens": report["tokens"],
        "reused": report["chunks"]["reused"],
        "points": report["chunks"]["stored"] + report["documents"]["stored"],
        "seconds": report["seconds"],
        "peak_mib": watch.peak_mib,
    }


PARTS: Final[dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]]] = {
    "pipeline": pipeline,
    "overhead": overhead,
    "unchanged": unchanged,
    "memory": memory,
}


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for, checked."""
    parser = OneLineParser(prog="benchmarks.ingest", description=__doc__)
    parser.add_argument("folder", type=Path, help="documents; they are only read")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--documents",
        type=whole_number(1, 10**6),
        default=60,
        metavar="N",
        help="of the folder, for `overhead`, spread over it",
    )
    parser.add_argument(
        "--unchanged-documents",
        type=whole_number(1, 10**6),
        metavar="N",
        help="of the folder, for `unchanged` [default: all]",
    )
    parser.add_argument("--rounds", type=whole_number(1, 100), default=5, metavar="N")
    parser.add_argument("--threads", type=whole_number(1, 1024), default=2, metavar="N")
    parser.add_argument("--scratch", type=Path, help="where stores are made [default: temporary]")
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args(arguments)
    options.folder = options.folder.resolve()
    if not options.folder.is_dir():
        parser.error(f"{str(options.folder)!r} is no folder; give a folder of documents")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure and print, part by part; each is filed by itself."""
    options = options_of(arguments)
    common: dict[str, Any] = {
        "folder": options.folder.name,
        "threads": options.threads,
        "load_average": round(os.getloadavg()[0], 1),  # of others: a busy machine measures nothing
        "bars": BARS,
    }
    try:
        common["folder_documents"] = len(documents(options.folder))
        for name in options.parts:
            with tempfile.TemporaryDirectory(dir=options.scratch) as place:
                found = PARTS[name](Path(place), options)
            finish(f"ingest_{name}", {**common, name: found}, file=options.file)
            print(f"benchmarks.ingest: {name} is done", file=sys.stderr, flush=True)
    except (ChildFailed, NothingToMeasure) as error:
        sys.exit(f"benchmarks.ingest: {error}")


if __name__ == "__main__":
    main()
