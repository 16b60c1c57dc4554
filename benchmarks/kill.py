"""Nothing is lost: `python -m benchmarks.kill FOLDER --kills 100`.

Processes of an ingest are killed (SIGKILL) at random moments while it is busy: the ingest itself,
the store's engine, a parser, Prefect's API. Kills come in storms of up to three, on one store, into
runs that take each other up; then one undisturbed run. After every storm the collection must equal
that of a run nobody disturbed: the same ids, the same payloads but for the run's own marks
(`run_id`, `ingested_at`), the same vectors but for the rounding of bfloat16, which depends on the
batch (cosine above 0.999), and checksums that hold. Half of the storms fall on a store that holds
an earlier state of the documents, so that kills also meet replacements and removals.

A run whose engine, parser or API was killed must finish, or end with exit code 1 and one line.

Most runs take vectors from a hash of the text, write often and little, and do without Prefect; a
share runs the flow, another is `sextant ingest` with the starter.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.encoder import OneLineParser, whole_number
from benchmarks.ingest_corpus import NothingToMeasure, short_ones
from benchmarks.kill_storms import MODES, Storms, draw_storm, flattened
from benchmarks.processes import ChildFailed
from benchmarks.results_file import finish


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All storms, and what they come to."""
    rng = random.Random(options.seed)
    began, deadline = time.perf_counter(), time.monotonic() + options.most_minutes * 60
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        place = Path(name)
        corpus = short_ones(options.folder, options.documents, place / options.folder.name)
        storms = Storms(place, flattened(corpus), options.threads, rng)
        storms.prepare(options.modes)
        hits = 0
        while hits < options.kills and time.monotonic() < deadline:
            hits += storms.storm(draw_storm(options.modes, rng, options.kills - hits))
            print(f"benchmarks.kill: {hits} of {options.kills}", file=sys.stderr, flush=True)
        calm = max(storms.calm.values(), key=len)
    kills = [row for row in storms.kills if row["hit"]]
    return {
        "folder": options.folder.name,
        "documents": options.documents,
        "points": len(calm),
        "seed": options.seed,
        "seconds": round(time.perf_counter() - began),
        "undisturbed_seconds": {
            mode: {since: round(lasted, 2) for since, lasted in seconds.items()}
            for mode, seconds in storms.seconds.items()
        },
        "victims": Counter(row["victim"] for row in kills),
        "modes": Counter(row["mode"] for row in kills),
        "missed": len(storms.kills) - len(kills),
        "storms_equal": sum(storm["equal"] for storm in storms.storms),
        "hung": sum(row["hung"] for row in storms.kills),
        "unclear": sum(not row["clear"] for row in storms.kills),
        "left_over": sum(bool(row["left_over"]) for row in storms.kills),
        "broken_promises": sum(len(row["broken_promises"] or ()) for row in storms.kills),
        "least_cosine": min((s.get("least_cosine", 0.0) for s in storms.storms), default=None),
        "storms": storms.storms,
        "kills": kills,
    }


def is_well(result: dict[str, Any]) -> bool:
    """Whether all storms ended as they must."""
    return result["storms_equal"] == len(result["storms"]) and not any(
        result[name] for name in ("hung", "unclear", "left_over", "broken_promises")
    )


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for, checked."""
    parser = OneLineParser(prog="benchmarks.kill", description=__doc__)
    parser.add_argument("folder", type=Path, help="documents; they are only read")
    parser.add_argument("--kills", type=whole_number(1, 10_000), default=100, metavar="N")
    parser.add_argument("--documents", type=whole_number(3, 10_000), default=30, metavar="N")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--most-minutes", type=float, default=120.0, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=whole_number(1, 1024), default=2, metavar="N")
    parser.add_argument(
        "--scratch", type=Path, help="where stores are made, best in memory [default: temporary]"
    )
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args(arguments)
    options.folder = options.folder.resolve()
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; exit code 1 if anything was lost, hung or left unclear."""
    options = options_of(arguments)
    try:
        result = measure(options)
    except (ChildFailed, NothingToMeasure) as error:
        sys.exit(f"benchmarks.kill: {error}")
    finish("kill", result, file=options.file)
    sys.exit(0 if is_well(result) else 1)


if __name__ == "__main__":
    main()
