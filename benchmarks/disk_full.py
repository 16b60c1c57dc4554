"""A disk that fills up: `python -m benchmarks.disk_full FOLDER`.

An ingest writes to a small disk until it is full: a tmpfs, where this process may mount one,
otherwise a disk that the store is told to be so small. The disk is too small for the documents, or
just large enough for them but not for building the index, or another program fills it at a random
moment. The run must end with exit code 1 and one line; whatever the store called stored must be
whole; and once the disk is larger, the same command must bring the collection to what an
undisturbed run makes of it, without storing again what was stored.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.encoder import OneLineParser, whole_number
from benchmarks.ingest_child import IngestChild, Outcome, hash_ingest, sextant_ingest
from benchmarks.ingest_contents import (
    Contents,
    broken_promises,
    compare,
    contents,
    contents_of_copy,
    stored_documents,
)
from benchmarks.ingest_corpus import NothingToMeasure, every_nth
from benchmarks.ingest_run import STORING
from benchmarks.processes import ChildFailed
from benchmarks.results_file import finish
from search.errors import SearchError
from search.stores.edge_room import FLOOR_BYTES

MIB: Final = 2**20
LARGE_MIB: Final = 4096
MODES: Final = ("plain", "prefect", "sextant")
DOCUMENTS: Final = "too small for the documents"
INDEX: Final = "too small for the index"
FILLED: Final = "filled by another program"
KINDS: Final = (DOCUMENTS, INDEX, FILLED)
FINELY: Final = ("--group-chunks=64", "--partition-documents=10")
INDEXING: Final = "indexing"
LOOK_SECONDS: Final = 0.02
PATIENCE_SECONDS: Final = 300.0
WORDS: Final = 400


@dataclass(frozen=True)
class Disk:
    """A folder with a size of its own; `mib` of a store that only believes in it."""

    folder: Path
    is_real: bool
    mib: float

    def used_mib(self) -> float:
        """What lies in it, in MiB."""
        if not self.is_real:
            return sum(os.lstat(path).st_blocks * 512 for path in self.folder.rglob("*")) / MIB
        found = os.statvfs(self.folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize / MIB

    def grow(self) -> "Disk":
        """The same, with room enough."""
        if self.is_real:
            _mount("-o", f"remount,size={LARGE_MIB}m", str(self.folder))
        return Disk(self.folder, self.is_real, LARGE_MIB)

    def fill(self) -> Path:
        """Write until nothing more fits; returns the file."""
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(MIB // 16))
        return ballast


@contextlib.contextmanager
def disk(place: Path, mib: float, *, mount: bool) -> Iterator[Disk]:
    """A disk of this size: a tmpfs, or a store's belief."""
    place.mkdir()
    if mount:
        _mount("-t", "tmpfs", "-o", f"size={int(mib * MIB)}", "tmpfs", str(place))
    try:
        yield Disk(place, mount, mib)
    finally:
        if mount:
            subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S603, S607


def may_mount(place: Path) -> bool:
    """Whether this process may mount a tmpfs."""
    try:
        with disk(place, 1, mount=True):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        place.rmdir()


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)  # noqa: S603, S607


def ingest(corpus: Path, mode: str, store: Path, place: Disk, threads: int) -> IngestChild:
    """Start an ingest onto a disk."""
    options = list(FINELY)
    if mode == "prefect":
        options.append("--prefect")
    if not place.is_real:
        options.append(f"--room={place.mib}")
    command = sextant_ingest if mode == "sextant" else hash_ingest
    arguments = command(corpus, store, *([] if mode == "sextant" else options))
    return IngestChild(arguments, folder=corpus.parent, threads=threads)


@dataclass(frozen=True)
class Calm:
    """What a run takes that nothing disturbs, in MiB of disk."""

    points: Contents
    stored_mib: float
    """When all documents are stored, and the index is not built yet."""
    peak_mib: float
    storing_seconds: float


def run_calmly(corpus: Path, mode: str, place: Disk, threads: int) -> Calm:
    """One undisturbed run on a large disk.

    Raises:
        ChildFailed: it failed.
    """
    store = place.folder / "store"
    stored = peak = 0.0
    with ingest(corpus, mode, store, place, threads) as run:
        while run.is_running:
            with contextlib.suppress(FileNotFoundError):  # a file that was just deleted
                peak = max(peak, place.used_mib())
            if INDEXING not in run.stages:
                stored = peak
            time.sleep(LOOK_SECONDS)
        done = run.end(seconds=PATIENCE_SECONDS).require_finished()
    return Calm(contents(store), stored, peak, done.report["storing_seconds"])


def fill_up(run: IngestChild, place: Disk, seconds: float) -> Outcome:
    """Let a run write for a while, then fill its disk."""
    if run.wait_for(STORING, seconds=PATIENCE_SECONDS):
        time.sleep(seconds)
        place.fill()
    return run.end(seconds=PATIENCE_SECONDS)


def size_mib(kind: str, calm: Calm, smallest_mib: float, rng: random.Random) -> float:
    """A size of the disk at which a run fails as it is meant to, if it is not lucky."""
    floor = FLOOR_BYTES / MIB
    if kind == DOCUMENTS:
        return floor + rng.uniform(smallest_mib, calm.stored_mib)
    if kind == INDEX:
        return rng.uniform(floor + calm.stored_mib, max(calm.peak_mib, floor + calm.stored_mib))
    return floor + calm.peak_mib


def one_round(
    scratch: Path,
    corpus: Path,
    options: argparse.Namespace,
    calm: Calm,
    task: tuple[str, str, float],
    rng: random.Random,
) -> dict[str, Any]:
    """Fill the disk, look, make it larger, finish, compare."""
    mode, kind, mib = task
    with disk(scratch / "disk", mib, mount=options.mount) as place:
        store = place.folder / "store"
        with ingest(corpus, mode, store, place, options.threads) as run:
            if kind == FILLED:
                outcome = fill_up(run, place, rng.uniform(0, calm.storing_seconds))
            else:
                outcome = run.end(seconds=PATIENCE_SECONDS)
        left = contents_of_copy(store, scratch)
        row: dict[str, Any] = {
            "mode": mode,
            "kind": kind,
            "disk_mib": round(mib, 1),
            "code": outcome.code,
            "said": outcome.said[-1][:WORDS] if outcome.said else "",
            "lines": len(outcome.said),
            "clear": outcome.is_clear,
            "finished": outcome.finished,
            "hung": outcome.hung,
            "seconds": round(outcome.seconds, 1),
            "points": None if left is None else len(left),
            "documents_stored": None if left is None else stored_documents(left),
            "broken_promises": None if left is None else broken_promises(left),
        }
        (place.folder / "ballast").unlink(missing_ok=True)
        larger = place.grow()
        try:
            with ingest(corpus, mode, store, larger, options.threads) as run:
                last = run.end(seconds=PATIENCE_SECONDS).require_finished()
            row |= compare(calm.points, contents(store))
        except (ChildFailed, SearchError) as error:
            return row | {"equal": False, "failed": str(error)[:WORDS]}
        return row | {"then": last.report["documents"]}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """An undisturbed run in each mode, then the rounds."""
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        scratch = Path(name)
        options.mount = options.mount and may_mount(scratch / "try")
        corpus = every_nth(options.folder, options.documents, scratch / options.folder.name)
        smallest = every_nth(corpus, 1, scratch / "smallest" / options.folder.name)
        calm, least = {}, {}
        for mode in options.modes:
            with disk(scratch / f"calm-{mode}", LARGE_MIB, mount=options.mount) as place:
                calm[mode] = run_calmly(corpus, mode, place, options.threads)
            with disk(scratch / f"least-{mode}", LARGE_MIB, mount=options.mount) as place:
                least[mode] = run_calmly(smallest, mode, place, options.threads).stored_mib
        kinds = KINDS if options.mount else (DOCUMENTS,)
        rows = []
        for number in range(options.rounds):
            kind = kinds[number % len(kinds)]
            mode = options.modes[number // len(kinds) % len(options.modes)]
            mib = size_mib(kind, calm[mode], least[mode], rng)
            folder = scratch / f"round-{number}"
            folder.mkdir()
            rows.append(one_round(folder, corpus, options, calm[mode], (mode, kind, mib), rng))
            print(f"benchmarks.disk_full: {number + 1} of {options.rounds}", file=sys.stderr)
    return {
        "folder": options.folder.name,
        "documents": options.documents,
        "disk": "tmpfs" if options.mount else "as the store was told",
        "seed": options.seed,
        "undisturbed_mib": {
            mode: {
                "one_document": round(least[mode], 1),
                "stored": round(one.stored_mib, 1),
                "peak": round(one.peak_mib, 1),
            }
            for mode, one in calm.items()
        },
        "rounds": rows,
    }


def is_well(result: dict[str, Any]) -> bool:
    """Whether each round failed clearly, or not at all, lost nothing, and was made good."""
    return all(
        row["clear"] and not row["broken_promises"] and row["equal"] for row in result["rounds"]
    )


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for, checked."""
    parser = OneLineParser(prog="benchmarks.disk_full", description=__doc__)
    parser.add_argument("folder", type=Path, help="documents; they are only read")
    parser.add_argument("--rounds", type=whole_number(1, 1000), default=18, metavar="N")
    parser.add_argument("--documents", type=whole_number(1, 10**6), default=60, metavar="N")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=whole_number(1, 1024), default=2, metavar="N")
    parser.add_argument(
        "--no-mount", dest="mount", action="store_false", help="tell the store of a small disk"
    )
    parser.add_argument("--scratch", type=Path, help="where stores and mounts are made")
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args(arguments)
    options.folder = options.folder.resolve()
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; exit code 1 if anything was lost or left unclear."""
    options = options_of(arguments)
    try:
        result = measure(options)
    except (ChildFailed, NothingToMeasure) as error:
        sys.exit(f"benchmarks.disk_full: {error}")
    finish("disk_full", result, file=options.file)
    sys.exit(0 if is_well(result) else 1)


if __name__ == "__main__":
    main()
