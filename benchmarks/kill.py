"""Nothing is lost: `python -m benchmarks.kill FOLDER --rounds 10`.

An ingest is killed (SIGKILL) at random moments, round after round; then one full run. The
collection must equal that of a run nobody disturbed: the same ids, the same payloads but for the
run's own marks (`run_id`, `ingested_at`), and the same vectors but for the rounding of bfloat16,
which depends on the batch (cosine above 0.999). The moments are drawn so
that the rounds together stay within the work to be done: each kill falls into a run that is busy.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results_file import finish
from flows.documents.formats import FORMAT_OF_SUFFIX
from search.records import METADATA
from search.stores.locate import open_store

OWN_MARKS = ("run_id", "ingested_at")


def command(folder: Path, store: Path) -> list[str]:
    """The ingest that is killed."""
    return [
        *(sys.executable, "-m", "flows", "ingest", str(folder)),
        *("--store", str(store), "--quiet", "--json"),
    ]


def timed(arguments: list[str]) -> float:
    """Wall-clock seconds of a run that must succeed."""
    began = time.perf_counter()
    subprocess.run(arguments, check=True, capture_output=True)  # noqa: S603
    return time.perf_counter() - began


def contents(store: Path) -> dict[str, tuple[str, Any]]:
    """Every point by id: its payload without the run's marks, as JSON, and its vector."""
    place = open_store(store)
    points = {}
    for record in place.open("docs").scroll(with_vectors=True):
        payload = json.loads(json.dumps(record.payload))
        for mark in OWN_MARKS:
            payload[METADATA].pop(mark, None)
        points[record.id] = (json.dumps(payload, sort_keys=True), record.vector)
    place.close()
    return points


def least_cosine(one: dict[str, tuple[str, Any]], other: dict[str, tuple[str, Any]]) -> float:
    """The smallest cosine of a point's two vectors, over the ids that both have."""
    pairs = [(one[i][1], other[i][1]) for i in one.keys() & other.keys() if one[i][1] is not None]
    return float(min(np.dot(a, b) for a, b in pairs))


def measure(folder: Path, rounds: int, seed: int) -> dict[str, Any]:
    """Kill, finish, compare."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        calm, stormy = Path(name) / "calm", Path(name) / "stormy"
        smallest = min(
            (p for p in folder.rglob("*") if p.suffix in FORMAT_OF_SUFFIX),
            key=lambda p: (p.stat().st_size, str(p)),
        )
        start_up = timed(command(smallest, Path(name) / "one"))
        seconds = timed(command(folder, calm))
        work = max(0.0, seconds - start_up)
        killed = []
        for _ in range(rounds):
            moment = start_up / 2 + rng.random() * (start_up / 2 + 2 * work / (rounds + 2))
            run = subprocess.Popen(  # noqa: S603
                command(folder, stormy), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                run.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                run.send_signal(signal.SIGKILL)
                run.wait()
            stored = len(contents(stormy)) if (stormy / "docs" / "manifest.json").exists() else 0
            killed.append({"after_seconds": round(moment, 1), "points": stored})
        done = subprocess.run(command(folder, stormy), check=True, capture_output=True)  # noqa: S603
        last = json.loads(done.stdout)
        one, other = contents(calm), contents(stormy)
    return {
        "folder": folder.name,
        "start_up_seconds": round(start_up, 1),
        "undisturbed_seconds": round(seconds, 1),
        "kills": killed,
        "last_run": last["documents"],
        "points": len(one),
        "same_ids": one.keys() == other.keys(),
        "same_payloads": {i: p for i, (p, _) in one.items()}
        == {i: p for i, (p, _) in other.items()},
        "least_cosine": round(least_cosine(one, other), 6),
    }


def main() -> None:
    """Measure and print; exit code 1 if the collections differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    result = measure(options.folder.resolve(), options.rounds, options.seed)
    finish("kill", result, file=options.file)
    same = result["same_ids"] and result["same_payloads"]
    raise SystemExit(0 if same and result["least_cosine"] > 0.999 else 1)


if __name__ == "__main__":
    main()
