"""Killed, interrupted, terminated: no document is lost, no process is left, one line is said."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.session import Target

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]

CommandLine = Any
RequireSame = Callable[[Target, Target], None]

SLOWLY = """
import time
from flows import partition, plan
from search.stores.edge_collection import EdgeCollection
partition.GROUP_CHUNKS, plan.PARTITION_DOCUMENTS = 8, 3
upsert, delete = EdgeCollection.upsert, EdgeCollection.delete
def slow_upsert(self, points):
    time.sleep(0.1)
    upsert(self, points)
    time.sleep(0.1)
def slow_delete(self, ids):
    delete(self, ids)
    time.sleep(0.1)
EdgeCollection.upsert, EdgeCollection.delete = slow_upsert, slow_delete
"""
"""Many small writes with time between them, so that a signal meets every state there is."""


def write_documents(folder: Path, *, version: str, names: range) -> None:
    """Documents of one to seven chunks."""
    folder.mkdir(exist_ok=True)
    for number in names:
        text = f"# Note {number}, {version}\n\n" + "\n\n".join(
            f"Paragraph {part} of {version} note {number} tells of a river and the sea."
            for part in range(1 + 3 * (number % 7))
        )
        (folder / f"{number:02}.md").write_text(text + "\n")


def descendants(mark: str) -> list[str]:
    """Command lines of the processes that carry a mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if f"RUN_MARK={mark}".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # not a process, or gone by now
            continue
    return found


def wait_until_gone(mark: str, *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while left := descendants(mark):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.1)


def start_and_wait_for(
    sextant: CommandLine, target: Target, line: str, mark: str
) -> "subprocess.Popen[str]":
    """Start an ingest of `notes`, and wait until standard error says a line."""
    process: subprocess.Popen[str] = sextant.start(
        "ingest",
        "notes",
        "--json",
        *("--store", target.store, "--collection", target.collection),
        *("--encoder", str(target.encoder), "--chunk-tokens", str(target.chunk_tokens)),
        program=SLOWLY,
        RUN_MARK=mark,
    )
    assert process.stderr is not None
    for said in process.stderr:
        if said.startswith(f"sextant: {line}"):
            return process
    raise AssertionError(f"never said {line!r}")


def ingest(sextant: CommandLine, target: Target) -> Any:
    run = sextant(
        "ingest",
        "notes",
        "--json",
        *("--store", target.store, "--collection", target.collection),
        *("--encoder", str(target.encoder), "--chunk-tokens", str(target.chunk_tokens)),
    )
    assert run.code == 0, run
    return run.json


def test_kill_9_at_random_moments_then_one_full_run(
    sextant: CommandLine, target: Target, require_same: RequireSame, scratch: Path
) -> None:
    """The collection equals that of an undisturbed run, and no process outlives a kill.

    The documents change between the kills, so that a kill also meets replacements and removals.
    """
    notes = sextant.folder / "notes"
    random_moments = random.Random(time.time_ns())
    for number in range(3):
        write_documents(notes, version=f"version {number}", names=range(number, 20, number + 1))
        (notes / f"{number:02}.md").unlink()
        mark = f"kill-{number}-{os.getpid()}"
        stage = "storing documents" if number else "comparing documents"
        with start_and_wait_for(sextant, target, stage, mark) as process:
            time.sleep(random_moments.uniform(0.0, 6.0))
            process.kill()
            process.wait()
            wait_until_gone(mark)
    write_documents(notes, version="last version", names=range(0, 20, 5))

    ingest(sextant, target)
    undisturbed = target.model_copy(update={"store": str(scratch / "undisturbed")})
    ingest(sextant, undisturbed)
    require_same(target, undisturbed)
    assert ingest(sextant, target)["documents"]["unchanged"] == len(list(notes.iterdir()))


@pytest.mark.parametrize(
    ("number", "stage"),
    [
        (signal.SIGINT, "storing documents"),
        (signal.SIGTERM, "storing documents"),
        (signal.SIGINT, "starting Prefect"),
        (signal.SIGTERM, "loading encoder"),
    ],
)
def test_a_signal_ends_a_run_at_once(
    sextant: CommandLine, target: Target, number: signal.Signals, stage: str
) -> None:
    """Ctrl-C reaches the whole group, SIGTERM the command: code 130, one line, nobody left."""
    write_documents(sextant.folder / "notes", version="version 1", names=range(20))
    mark = f"signal-{number}-{stage.split()[0]}-{os.getpid()}"
    with start_and_wait_for(sextant, target, stage, mark) as process:
        time.sleep(0.5)
        began = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=30)
        took = time.monotonic() - began
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == (
        "sextant: interrupted; what was committed stays, the same command goes on from there"
    )
    assert [line for line in err.splitlines() if not line.startswith("sextant: ")] == []
    assert took < 10
    wait_until_gone(mark)


def test_two_ingests_at_once(
    sextant: CommandLine, target: Target, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Into two collections of one store; the second gets a Prefect folder for a while."""
    write_documents(sextant.folder / "notes", version="version 1", names=range(12))
    temporary = tmp_path_factory.mktemp("temporary")
    sextant.environment["TMPDIR"] = str(temporary)
    mark = f"two-{os.getpid()}"
    with start_and_wait_for(sextant, target, "storing documents", mark) as process:
        assert ingest(sextant, target.model_copy(update={"collection": "second"}))
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert out.count("\n") == 1
    wait_until_gone(mark)
    deadline = time.monotonic() + 20
    while left := list(temporary.glob("sextant-prefect-*")):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.slow
def test_a_run_whose_api_is_killed_ends_with_one_line(tmp_path: Path) -> None:
    """Prefect's clients would try for minutes to reach it, and end in a traceback."""
    program = f"""
import os, signal, time
from pathlib import Path
from flows.orchestration import PrefectAPI
api = PrefectAPI.start(Path({str(tmp_path / "prefect")!r}))
api.wait()
api.end_with_it()
api.end_with_it()
os.kill(api._child.pid, signal.SIGKILL)
time.sleep(200)
"""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=environment,  # tests before this one may have set up an API, which would be used
    )
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("sextant: Prefect's local API ended with exit code -9; its log is")
    assert run.stderr.endswith("what was committed stays, the same command goes on from there\n")
    assert run.stderr.count("\n") == 1
