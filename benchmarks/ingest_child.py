"""An ingest as a child process: started, watched, killed, waited for, and what it said."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks import process_watch
from benchmarks.processes import ROOT, ChildFailed, environment
from flows.failures import DONE, WITH_QUARANTINE
from flows.settings import ENVIRONMENT_PREFIX

MARK: Final = "INGEST_CHILD"
"""Variable in the environment of a child and of all that it starts."""

_STAGE: Final = re.compile(
    r"sextant: (?P<stage>comparing documents|loading encoder|starting Prefect|storing documents"
    r"|first documents stored|removing documents|indexing)(?: \S+)?(?: \(\d+\)|: \d.*)?$"
)
"""A line that tells how far a run is, not why it failed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    code: int
    """Negative: the signal that killed it."""
    answer: dict[str, Any] | None
    """What it printed: one JSON object, or nothing."""
    said: tuple[str, ...]
    """Lines on standard error but for those about progress."""
    seconds: float
    hung: bool = False
    """It did not end in the time that it had, and was killed."""

    @property
    def finished(self) -> bool:
        """Whether the run came to its end, perhaps with documents in quarantine."""
        return self.code in (DONE, WITH_QUARANTINE) and self.answer is not None

    @property
    def report(self) -> dict[str, Any]:
        """Of a run that finished, its report."""
        answer = self.require_answer()
        report: dict[str, Any] = answer.get("report", answer)
        return report

    def require_answer(self) -> dict[str, Any]:
        """What it printed.

        Raises:
            ChildFailed: that was nothing, or no JSON object.
        """
        if self.answer is None:
            raise ChildFailed(f"an ingest ended with code {self.code} and printed no JSON object")
        return self.answer

    @property
    def is_clear(self) -> bool:
        """Whether it finished and said nothing else, or failed with one line and exit code 1."""
        if self.hung:
            return False
        if self.finished:
            return not self.said
        return self.code == 1 and len(self.said) == 1 and self.said[0].startswith("sextant: ")

    def require_finished(self) -> "Outcome":
        """The outcome, if the run finished.

        Raises:
            ChildFailed: it did not.
        """
        if not self.finished:
            words = "hung" if self.hung else f"ended with code {self.code}"
            raise ChildFailed(f"an ingest {words}: {self.said[-1] if self.said else '-'}")
        return self


class IngestChild:
    """One running ingest; used as a context, at whose end nothing of it is left.

    Args:
        arguments: of the Python interpreter.
        folder: where it runs.
        threads: how many each of its processes may compute with.
        variables: of the environment, beside the usual ones; `SEXTANT_*` of ours are left out.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        threads: int,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.mark = f"{MARK}={os.getpid()}-{time.monotonic_ns()}"
        self._said: list[str] = []
        self._stages: dict[str, float] = {}
        self._changed = threading.Condition()
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `__exit__`
        self.began = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=child_environment(threads) | dict([self.mark.split("=")]) | dict(variables or {}),
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Of the ingest itself."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def stages(self) -> dict[str, float]:
        """The stages that it has told of, and when: of `time.perf_counter`, seconds."""
        with self._changed:
            return dict(self._stages)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pid in (self.pid, *process_watch.marked(self.mark)):
            kill(pid)
        self._process.wait()
        self._listener.join()
        self._out.close()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def wait_for(self, stage: str, *, seconds: float) -> bool:
        """Wait until it tells of a stage; False if it ends, or is silent so long."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while stage not in self._stages and self.is_running and time.monotonic() < deadline:
                self._changed.wait(0.1)
            return stage in self._stages

    def pids(self, role: str) -> list[int]:
        """Its processes that are there for something, see `process_watch.ROLES`."""
        return [pid for pid, found in process_watch.roles(self.pid).items() if found == role]

    def end(self, *, seconds: float) -> Outcome:
        """Wait until it ends, and kill it if it takes too long."""
        hung = False
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            hung = True
            self._process.kill()
            self._process.wait()
        took = time.perf_counter() - self.began
        self._listener.join(timeout=5.0)  # what outlives the run may hold its standard error open
        self._out.seek(0)
        text = self._out.read().decode(errors="replace")
        try:
            answer = json.loads(text) if text else None
        except ValueError:
            answer = None  # it was killed while it printed
        with self._changed:
            said = tuple(self._said)
        return Outcome(self._process.returncode, answer, said, took, hung)

    def left_over(self, *, seconds: float) -> list[str]:
        """Command lines of what still runs of it some time after its end: empty, as it should."""
        deadline = time.monotonic() + seconds
        while (left := process_watch.marked(self.mark)) and time.monotonic() < deadline:
            time.sleep(0.05)
        lines = (process_watch.command_line(pid).replace(b"\0", b" ").decode() for pid in left)
        return [line for line in lines if line]

    def _listen(self) -> None:
        for line in self._process.stderr or ():
            with self._changed:
                found = _STAGE.match(line)
                if found:
                    self._stages.setdefault(found["stage"], time.perf_counter())
                elif line.strip():
                    self._said.append(line.rstrip("\n"))
                self._changed.notify_all()


def kill(pid: int) -> bool:
    """SIGKILL; False if there is no such process any more."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def child_environment(threads: int) -> dict[str, str]:
    """The benchmarks' environment without settings of ours, and with this checkout to import."""
    inherited = {
        name: value
        for name, value in environment(threads).items()
        if not name.upper().startswith((ENVIRONMENT_PREFIX, "PREFECT_"))
    }
    return inherited | {"PYTHONPATH": str(ROOT)}


def hash_ingest(folder: Path, store: Path, *options: str) -> list[str]:
    """Arguments of an ingest with vectors from a hash."""
    return ["-m", "benchmarks.ingest_run", str(folder), str(store), *options]


def sextant_ingest(folder: Path, store: Path, *options: str) -> list[str]:
    """Arguments of `sextant ingest` itself."""
    return ["-m", "flows", "ingest", str(folder), "--store", str(store), "--json", *options]
