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
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from benchmarks import process_watch
from benchmarks.encoder import OneLineParser, whole_number
from benchmarks.ingest_child import IngestChild, Outcome, hash_ingest, kill, sextant_ingest
from benchmarks.ingest_contents import (
    Contents,
    broken_promises,
    compare,
    contents,
    contents_of_copy,
    copy_store,
)
from benchmarks.ingest_corpus import NothingToMeasure, changed, short_ones
from benchmarks.ingest_run import STORING
from benchmarks.processes import ChildFailed
from benchmarks.results_file import finish
from search.errors import SearchError

Mode: TypeAlias = Literal["plain", "prefect", "sextant"]

MODES: Final[dict[Mode, float]] = {"plain": 0.75, "prefect": 0.15, "sextant": 0.10}
"""Shares of the kills: without Prefect, the flow with hashes, the whole command."""
_FLOW: Final = {
    process_watch.OWN: 0.3,
    process_watch.ENGINE: 0.2,
    process_watch.PARSERS: 0.1,
    process_watch.PREFECT: 0.4,
}
VICTIMS: Final[dict[Mode, dict[str, float]]] = {
    "plain": {process_watch.OWN: 0.55, process_watch.ENGINE: 0.22, process_watch.PARSERS: 0.23},
    "prefect": _FLOW,
    "sextant": _FLOW,
}
"""Shares of the kills of a mode."""
STORM: Final = 3
SHARE_EARLY: Final = 0.15
"""Of the kills of the ingest itself: before it stores, while it loads encoder and Prefect."""
FINELY: Final = ("--group-chunks=8", "--partition-documents=5")
"""Many small writes, so that a kill meets every state there is."""
PATIENCE_SECONDS: Final = 240.0
GONE_SECONDS: Final = 30.0
"""A worker notices within two seconds that its parent is gone; a busy machine is slower."""
WORDS: Final = 300


@dataclass
class Storms:
    """Storms over one corpus, in one folder."""

    place: Path
    corpus: Path
    threads: int
    rng: random.Random
    calm: dict[str, Contents] = field(default_factory=dict)
    """By encoder."""
    seconds: dict[Mode, tuple[float, float]] = field(default_factory=dict)
    """Of an undisturbed run: from its start to storing, and what that took."""
    kills: list[dict[str, Any]] = field(default_factory=list)
    storms: list[dict[str, Any]] = field(default_factory=list)
    """What was found after each."""

    def command(self, mode: Mode, store: Path) -> list[str]:
        """Arguments of an ingest of the corpus."""
        if mode == "sextant":
            return sextant_ingest(self.corpus, store, "--allow-removals")
        return hash_ingest(
            self.corpus, store, *FINELY, *(["--prefect"] if mode == "prefect" else [])
        )

    def start(self, mode: Mode, store: Path) -> IngestChild:
        """Start an ingest."""
        return IngestChild(self.command(mode, store), folder=self.place, threads=self.threads)

    def prepare(self, modes: Sequence[Mode]) -> None:
        """Stores of an earlier state, then undisturbed runs of today's, timed.

        Raises:
            ChildFailed: one of them failed.
        """
        with earlier_state(self.corpus):
            for mode in {encoder_of(mode): mode for mode in reversed(modes)}.values():
                self.run_calmly(mode, self.earlier(mode))
        for mode in modes:
            store = self.place / f"calm-{mode}"
            self.seconds[mode] = self.run_calmly(mode, store)
            self.calm.setdefault(encoder_of(mode), contents(store))

    def earlier(self, mode: Mode) -> Path:
        """The store of the earlier state."""
        return self.place / f"earlier-{encoder_of(mode)}"

    def run_calmly(self, mode: Mode, store: Path) -> tuple[float, float]:
        """One undisturbed run; the seconds before and after it began to store."""
        with self.start(mode, store) as run:
            outcome = run.end(seconds=PATIENCE_SECONDS).require_finished()
            return run.stages[STORING] - run.began, outcome.report["storing_seconds"]

    def storm(self, kills: Sequence[tuple[Mode, str]]) -> int:
        """Kill, finish, compare; returns how many kills have hit."""
        mode = kills[0][0]
        store = self.place / "stormy"
        onto_earlier = self.rng.random() < 0.5
        if onto_earlier:
            copy_store(self.earlier(mode), store)
        rows = []
        for kill_mode, victim in kills:
            row, finished = self.kill_once(kill_mode, victim, store)
            rows.append(row)
            if finished:
                break  # there is nothing left to disturb
        found = self.finish(mode, store)
        number = len(self.storms)
        self.storms.append(
            {"storm": number, "onto_earlier_state": onto_earlier, "kills": len(rows), **found}
        )
        self.kills += [{"storm": number, **row, "equal": found["equal"]} for row in rows]
        shutil.rmtree(store, ignore_errors=True)
        return sum(row["hit"] for row in rows)

    def kill_once(self, mode: Mode, victim: str, store: Path) -> tuple[dict[str, Any], bool]:
        """One run, in which one process is killed; whether it finished all the same."""
        early, busy = self.seconds[mode]
        is_early = victim == process_watch.OWN and self.rng.random() < SHARE_EARLY
        moment = self.rng.random() * (early if is_early else busy)
        if victim == process_watch.PARSERS:
            moment /= 2  # they are done long before the others
        with self.start(mode, store) as run:
            hit = is_early or run.wait_for(STORING, seconds=PATIENCE_SECONDS)
            if hit:
                since = run.began if is_early else run.stages[STORING]
                time.sleep(max(0.0, since + moment - time.perf_counter()))
                hit = strike(run, victim, self.rng)
            struck = time.perf_counter()
            outcome = run.end(seconds=PATIENCE_SECONDS)
            lasted = time.perf_counter() - struck
            left = run.left_over(seconds=GONE_SECONDS)
        points = None if left else contents_of_copy(store, self.place)
        row = {
            "victim": victim,
            "mode": mode,
            "hit": hit,
            "since": "start" if is_early else STORING,
            "moment_seconds": round(moment, 3),
            "points": None if points is None else len(points),
            "broken_promises": None if points is None else broken_promises(points),
            "ended_after_seconds": round(lasted, 2),
            "code": outcome.code,
            "said": outcome.said[-1][:WORDS] if outcome.said else "",
            "clear": is_clear(outcome, victim),
            "hung": outcome.hung,
            "left_over": left,
        }
        return row, outcome.finished

    def finish(self, mode: Mode, store: Path) -> dict[str, Any]:
        """One undisturbed run, and how the collection then differs from the calm one."""
        last: Mode = "sextant" if mode == "sextant" else "plain"
        try:
            with self.start(last, store) as run:
                outcome = run.end(seconds=PATIENCE_SECONDS).require_finished()
            found = compare(self.calm[encoder_of(mode)], contents(store))
        except (ChildFailed, SearchError) as error:
            return {"equal": False, "failed": str(error)[:WORDS]}
        return {**found, "last_run": outcome.report["documents"]}


def encoder_of(mode: Mode) -> str:
    """Stores are of one encoder."""
    return "starter" if mode == "sextant" else "hash"


def strike(run: IngestChild, victim: str, rng: random.Random) -> bool:
    """Kill one process of a run; False if there is none, or it is not running any more."""
    pids = [run.pid] if victim == process_watch.OWN else run.pids(victim)
    return run.is_running and bool(pids) and kill(rng.choice(pids))


def is_clear(outcome: Outcome, victim: str) -> bool:
    """Whether a run ended as it may: one that was itself killed says nothing more."""
    if victim == process_watch.OWN and outcome.code == -signal.SIGKILL:
        return not outcome.said and not outcome.hung
    return outcome.is_clear


@contextmanager
def earlier_state(corpus: Path) -> Iterator[None]:
    """Meanwhile, of three documents one is missing, one is another, and two will vanish.

    All files are dated alike, before and after: a document that stays is the same in every point.
    """
    today = {path: path.read_bytes() for path in sorted(corpus.iterdir())}
    extra = [corpus / f"vanishing-{number}.txt" for number in range(2)]
    for number, (path, data) in enumerate(today.items()):
        text = data.decode(errors="replace")
        if number < len(extra):
            extra[number].write_text(changed(text, seed="vanishing"), encoding="utf-8")
        if number % 3 == 1:
            path.unlink()
        elif number % 3 == 2:
            path.write_text(changed(text, seed="earlier"), encoding="utf-8")
    date(corpus)
    yield
    for path in extra:
        path.unlink(missing_ok=True)
    for path, data in today.items():
        path.write_bytes(data)
    date(corpus)


def date(folder: Path) -> None:
    """Give all files of a folder the same time."""
    for path in folder.iterdir():
        os.utime(path, (1.6e9, 1.6e9))


def draw_storm(modes: Sequence[Mode], rng: random.Random, most: int) -> list[tuple[Mode, str]]:
    """Kills that fall on one store: in which mode, and of what."""
    size = min(most, rng.randint(1, STORM))
    drawn = [rng.choices(modes, [MODES[mode] for mode in modes])[0] for _ in range(size)]
    same = [mode for mode in drawn if encoder_of(mode) == encoder_of(drawn[0])]
    return [(mode, rng.choices(*zip(*VICTIMS[mode].items(), strict=True))[0]) for mode in same]


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
            mode: {"to_storing": round(early, 2), "storing": round(busy, 2)}
            for mode, (early, busy) in storms.seconds.items()
        },
        "victims": Counter(row["victim"] for row in kills),
        "modes": Counter(row["mode"] for row in kills),
        "missed": len(storms.kills) - len(kills),
        "storms_equal": sum(storm["equal"] for storm in storms.storms),
        "hung": sum(row["hung"] for row in storms.kills),
        "unclear": sum(not row["clear"] for row in storms.kills),
        "left_over": sum(bool(row["left_over"]) for row in storms.kills),
        "broken_promises": sum(row["broken_promises"] or 0 for row in storms.kills),
        "least_cosine": min((s.get("least_cosine", 0.0) for s in storms.storms), default=None),
        "storms": storms.storms,
        "kills": kills,
    }


def flattened(folder: Path) -> Path:
    """Move all files of a folder to its top, by their names."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        path.rename(folder / path.name)
    for path in [path for path in folder.iterdir() if path.is_dir()]:
        shutil.rmtree(path)
    date(folder)
    return folder


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
