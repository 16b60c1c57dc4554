"""One ingest in a process of its own: `python -m benchmarks.ingest_run FOLDER STORE`.

It runs as `sextant ingest` does, with Prefect or without, and prints one JSON object: the run's
report, its seconds, its processor time. Vectors come from a hash of the text unless the starter is
asked for. Everything else is set by `SEXTANT_*` variables. Standard error gets the stages, and one
line if the run fails; exit codes are those of `sextant`.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import process_watch
from benchmarks.ingest_encoder import HashEncoder
from embedder.specification import specify
from flows import commands, embedded, partition, plan, session
from flows.console import complain
from flows.encoders import EncodedChunks, encode_chunks
from flows.failures import WITH_QUARANTINE, explain
from flows.ingestion import Ingestion, IngestReport, IngestRequest, recording
from flows.partition import Receipt, store_documents
from flows.progress import Lines, Progress
from flows.session import Session, running
from flows.settings import load_settings
from search.stores.edge_room import Room

if TYPE_CHECKING:
    from embedder.encoder import Encoder

STORING: Final = "storing documents"
FIRST: Final = "first documents stored"
IN_FLIGHT: Final = 2
"""As in `flows.ingest`, which cannot be imported without Prefect."""


class Telling(Lines):
    """Also tells when the first documents are stored."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins."""
        self._waits = name == STORING
        super().stage(name, total)

    def advance(self, steps: int = 1, *, chunks: int = 0, tokens: int = 0) -> None:
        """So much is done."""
        if self._waits and steps:
            self._waits = False
            complain(FIRST)
        super().advance(steps, chunks=chunks, tokens=tokens)


def plainly(request: IngestRequest, progress: Progress) -> tuple[IngestReport, dict[str, float]]:
    """The flow's steps without Prefect; the report, and the processor time until all was stored."""
    with running(request.target) as run:
        run.progress = progress
        with recording(request, run):
            return _plainly(request, run)


def _plainly(request: IngestRequest, run: Session) -> tuple[IngestReport, dict[str, float]]:
    ingestion = Ingestion.begin(request, run)
    run.progress.stage(STORING, len(ingestion.plan.store))
    with ThreadPoolExecutor(IN_FLIGHT) as pool, ingestion.storing():
        begun: deque[Future[Receipt]] = deque()
        for documents in ingestion.plan.partitions():
            if len(begun) == IN_FLIGHT:
                ingestion.add(begun.popleft().result())
            begun.append(pool.submit(store_documents, documents, run))
        while begun:
            ingestion.add(begun.popleft().result())
    stored = cpu_seconds()
    ingestion.remove_vanished()
    return ingestion.finish(), stored


def cpu_seconds() -> dict[str, float]:
    """Processor time so far: of this process, the engine's, the parsers', and of all.

    Children that have ended count as parsers: those are replaced now and then.
    """
    seconds = dict.fromkeys((process_watch.ENGINE, process_watch.PARSERS), 0.0)
    for pid, role in process_watch.roles(os.getpid()).items():
        if role != process_watch.OWN:
            seconds[role] = seconds.get(role, 0.0) + process_watch.cpu_seconds([pid])
    seconds[process_watch.OWN] = _used(resource.RUSAGE_SELF)
    seconds[process_watch.PARSERS] += _used(resource.RUSAGE_CHILDREN)
    return seconds | {"all": sum(seconds.values())}


def _used(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def record_slices(slices: list[list[str]]) -> None:
    """Note which texts are encoded together, by their digests."""

    def encode_and_note(encoder: "Encoder", texts: Sequence[str]) -> EncodedChunks:
        slices.append([text_digest(text) for text in texts])
        return encode_chunks(encoder, texts)

    replace_in("encode_chunks", encode_and_note, session)


def text_digest(text: str) -> str:
    """What a text is known by."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def limit_room(folder: Path, mib: float) -> None:
    """Let the store believe that its disk has so many MiB, where no real one can be mounted."""

    def free(room: Room) -> int:
        disk = shutil.disk_usage(folder if folder.exists() else folder.parent)
        taken = sum(os.lstat(path).st_blocks * 512 for path in folder.rglob("*"))
        return int(min(disk.free, max(0, mib * 2**20 - taken)))

    replace_in("free_bytes", property(free), Room)


def replace_in(name: str, value: object, *owners: object) -> None:
    """Let a name stand for something else in modules or classes."""
    for owner in owners:
        setattr(owner, name, value)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Ingest; what `main` prints."""
    slices: list[list[str]] = []
    if options.slices:
        record_slices(slices)
    if options.encoder == "hash":
        encoder = HashEncoder(specify("starter"))
        replace_in("load_encoder", lambda specification: encoder, session)
    if options.group_chunks:
        replace_in("GROUP_CHUNKS", options.group_chunks, embedded, partition)
    if options.partition_documents:
        replace_in("PARTITION_DOCUMENTS", options.partition_documents, plan)
    if options.room:
        limit_room(options.store, options.room)
    settings = load_settings(store=str(options.store))
    request = IngestRequest.of([str(options.folder)], settings, allow_removals=True)
    stored: dict[str, float] = {}
    before, began = cpu_seconds(), time.perf_counter()
    if options.prefect:
        report = commands.run_ingest(request, Telling())
    else:
        report, stored = plainly(request, Telling())
    ended, wall = cpu_seconds(), time.perf_counter() - began
    if options.slices:
        options.slices.write_text(json.dumps(slices), encoding="utf-8")
    return {
        "report": report.model_dump(mode="json"),
        "wall_seconds": round(wall, 3),
        "cpu_seconds": {
            # after the run, its children count as parsers: what was theirs stands in `storing`
            "whole": round(ended["all"] - before["all"], 3),
            "storing": stored
            and {role: round(s - before.get(role, 0.0), 3) for role, s in stored.items()},
        },
    }


def main() -> None:
    """Run, and print one JSON object or one line of complaint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--encoder", choices=("hash", "starter"), default="hash")
    parser.add_argument("--prefect", action="store_true", help="as `sextant ingest` does")
    parser.add_argument("--group-chunks", type=int, help="write as soon as so many are ready")
    parser.add_argument("--partition-documents", type=int, help="most of one partition")
    parser.add_argument("--slices", type=Path, help="file for what was encoded together")
    parser.add_argument("--room", type=float, metavar="MIB", help="pretend a disk of this size")
    options = parser.parse_args()
    try:
        result = run(options)
    except Exception as error:  # noqa: BLE001 - as `sextant` ends
        sys.exit(explain(error))
    json.dump(result, sys.stdout)
    print()
    sys.exit(WITH_QUARANTINE if result["report"]["quarantine"] else 0)


if __name__ == "__main__":
    main()
