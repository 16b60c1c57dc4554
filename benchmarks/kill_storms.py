"""Storms of kills: runs over one store, each of which loses a process, and what is left then."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from benchmarks import process_watch
from benchmarks.ingest_child import IngestChild, Outcome, hash_ingest, kill, sextant_ingest
from benchmarks.ingest_contents import (
    Contents,
    broken_promises,
    compare,
    contents,
    contents_of_copy,
    copy_store,
)
from benchmarks.ingest_corpus import changed
from benchmarks.ingest_run import FIRST, STORING
from benchmarks.processes import ChildFailed
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
SHARE_WRITING: Final = 0.6
"""Of the kills but of parsers, where the run tells of it: after the first documents are stored."""
START: Final = "start"
FINELY: Final = ("--group-chunks=4", "--partition-documents=5")
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
    seconds: dict[Mode, dict[str, float]] = field(default_factory=dict)
    """Of an undisturbed run: how long it is busy from each of the stages in which kills come."""
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

    def run_calmly(self, mode: Mode, store: Path) -> dict[str, float]:
        """One undisturbed run; how long it was at work from each stage on."""
        with self.start(mode, store) as run:
            outcome = run.end(seconds=PATIENCE_SECONDS).require_finished()
            stages = run.stages
        began, busy = stages[STORING], outcome.report["storing_seconds"]
        seconds = {START: began - run.began, STORING: busy}
        if FIRST in stages:
            seconds[FIRST] = max(0.0, began + busy - stages[FIRST])
        return seconds

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
        since, moment = self.draw_moment(mode, victim)
        with self.start(mode, store) as run:
            hit = since == START or run.wait_for(since, seconds=PATIENCE_SECONDS)
            if hit:
                told = run.began if since == START else run.stages[since]
                time.sleep(max(0.0, told + moment - time.perf_counter()))
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
            "since": since,
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

    def draw_moment(self, mode: Mode, victim: str) -> tuple[str, float]:
        """After which stage, and how many seconds after it."""
        seconds, drawn = self.seconds[mode], self.rng.random()
        since = STORING
        if victim == process_watch.OWN and drawn < SHARE_EARLY:
            since = START
        elif victim != process_watch.PARSERS and FIRST in seconds and drawn > 1 - SHARE_WRITING:
            since = FIRST
        moment = self.rng.random() * seconds[since]
        # parsers are done long before the others
        return since, moment / 2 if victim == process_watch.PARSERS else moment

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


def flattened(folder: Path) -> Path:
    """Move all files of a folder to its top, by their names."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        path.rename(folder / path.name)
    for path in [path for path in folder.iterdir() if path.is_dir()]:
        shutil.rmtree(path)
    date(folder)
    return folder
