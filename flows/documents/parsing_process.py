"""Parsing seen from the run: a few worker processes, limited in time and memory, and replaced."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from flows.documents.formats import Format
from flows.documents.parsed_document import Heading, ParsedDocument
from flows.errors import DocumentRejected, FlowError

START_SECONDS: Final = 120.0
"""Importing the parsers takes a quarter of a second, and much more on a busy machine."""
DOCUMENTS_PER_PROCESS: Final = 1000
"""A process is replaced after so many documents: what parsers leak does not add up."""
MAX_REPLY_BYTES: Final = 1024 * 1024 * 1024
"""A reply above this is no text that a parser made: texts are bounded in `parse`."""


@dataclass(frozen=True, kw_only=True)
class ParseLimits:
    """What parsing one document may take."""

    seconds: float = 60.0
    """By the clock on the wall, not of a processor: a parser that waits hangs, too."""
    memory_mb: int = 1024
    """MiB, beyond what the process has when it starts."""


class ParserDied(FlowError):
    """The process ended before it answered; the message says how. Becomes `DocumentRejected`."""


class ParserKilled(DocumentRejected):
    """Somebody killed the process, not one of our limits: perhaps the document's doing or not."""


class _Process:
    """One worker process and the socket to it. Used by one thread at a time."""

    def __init__(self, limits: ParseLimits) -> None:
        """Start it; whether it comes up is seen by `parse`, while others get on with their work.

        Raises:
            FlowError: the system starts no more processes.
        """
        self._limits = limits
        self._is_ready = False
        self._parent = os.getpid()
        self.documents = 0
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `stop`
        ours, theirs = socket.socketpair()
        # Blocking calls that give up, with BlockingIOError: a stopped process does not even read.
        patience = struct.pack("ll", *divmod(round(limits.seconds * 1e6), 1_000_000))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own module, no outside input
                    [
                        sys.executable,
                        "-P",  # a file in the current folder must not shadow a module
                        "-m",
                        "flows.documents.parsing_worker",
                        str(theirs.fileno()),
                        str(self._parent),
                        str(limits.memory_mb),
                    ],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    env=worker_environment(),
                )
            except OSError as error:
                ours.close()
                self._stderr.close()
                raise FlowError(
                    f"no process for parsing could be started: {error.strerror}; "
                    "free memory or processes, and run again"
                ) from error
        self._connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def parse(self, data: bytes, *, format_: Format, name: str) -> ParsedDocument:
        """Parse one document; whatever is raised, the process may not be fit for another.

        Raises:
            DocumentRejected: by the parser, or for meeting a limit, or for killing its parser.
            ParserDied: the process never came up.
        """
        self._wait_until_ready()
        self.documents += 1
        try:
            reply = self._ask(data, format_, name)
        except ParserDied as death:
            kind = ParserKilled if self._process.returncode == -signal.SIGKILL else DocumentRejected
            raise kind(
                f"its {format_} parser {death} (its memory limit is {self._limits.memory_mb} MiB, "
                "SEXTANT_PARSE_MEMORY_MB); repair it, convert it, or skip it"
            ) from None
        if "rejected" in reply:
            raise DocumentRejected(str(reply["rejected"]))
        reply["headings"] = tuple(Heading(**heading) for heading in reply["headings"])
        return ParsedDocument(**reply)

    def is_alive(self) -> bool:
        """Whether it may take another document."""
        return self._process.poll() is None and not self._connection.closed

    def _wait_until_ready(self) -> None:
        if self._is_ready:
            return
        try:
            ready = (
                self._connection.poll(START_SECONDS) and self._connection.recv_bytes() == b"ready"
            )
        except (EOFError, OSError):
            ready = False
        if not ready:
            words = self._last_words()
            self.stop()
            raise ParserDied(f"the process for parsing {words}; check the installation")
        self._is_ready = True

    def _ask(self, data: bytes, format_: Format, name: str) -> dict[str, Any]:
        seconds = self._limits.seconds
        request = {"format": format_, "name": name, "seconds": seconds}
        try:
            self._connection.send_bytes(json.dumps(request).encode())
            self._connection.send_bytes(data)
            reply: dict[str, Any] = json.loads(self._connection.recv_bytes(MAX_REPLY_BYTES))
        except BlockingIOError:
            self.stop()
            raise DocumentRejected(
                f"parsing it takes more than {seconds:g} s; "
                "split it, skip it, or raise SEXTANT_PARSE_SECONDS"
            ) from None
        except (EOFError, OSError):
            words = self._last_words()
            self.stop()
            raise ParserDied(words) from None
        except BaseException:  # interrupted: the answer would be taken for the next one's
            self.stop()
            raise
        if reply.pop("spent", False):
            self.stop()
        return reply

    def stop(self) -> None:
        """End it at once: it holds nothing that could be lost. A second call does nothing."""
        self.kill()
        self._connection.close()
        self._stderr.close()

    def kill(self) -> None:
        """End it, from any thread: the one that waits for its answer sees it, and cleans up."""
        if os.getpid() == self._parent:  # not in a forked child, which owns nothing
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.poll()
        if code is None:
            return "closed its connection"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        self._stderr.seek(0)
        tail = self._stderr.read().decode(errors="replace").strip()[-200:]
        said = f"; it said: {' '.join(tail.split())}" if tail else ""
        return f"ended with exit code {code}{said}"


@dataclass
class _Workforce:
    """The processes of a pool: what outlives the pool until it is cleared away."""

    idle: list[_Process] = field(default_factory=list)
    busy: set[_Process] = field(default_factory=set)
    is_closed: bool = False

    def stop(self) -> None:
        self.is_closed = True
        for process in self.idle:
            process.stop()
        self.idle.clear()
        for process in self.busy:
            process.kill()


class Parsers:
    """A pool of parsing processes for the threads of one run. `close` when done.

    A document that hangs, crashes or bloats its process is rejected with the reason, and its
    process replaced; other documents do not notice.
    """

    def __init__(self, limits: ParseLimits | None = None, *, processes: int = 2) -> None:
        """Start the first process without waiting for it; more come with more threads."""
        self._limits = limits or ParseLimits()
        self._processes = processes
        self._changed = threading.Condition()
        self._workforce = _Workforce(idle=[_Process(self._limits)])
        # also at exit, and when the pool is dropped without `close`
        self._finalizer = weakref.finalize(self, self._workforce.stop)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the pool as it is now."""
        with self._changed:
            return tuple(p.pid for p in (*self._workforce.idle, *self._workforce.busy))

    def parse(self, data: bytes, *, format: Format, name: str) -> ParsedDocument:
        """What `parsing.parse` makes of the document, made elsewhere. Waits for a free process.

        Raises:
            DocumentRejected: by the parser, or for its time, its memory, or a crash; of one that
                was killed from outside, the second.
            FlowError: no process can be started, or the pool is closed.
        """
        try:
            return self._parse(data, format, name)
        except (ParserKilled, ParserDied):
            # the kernel may have been short of memory, which need not be this document's doing
            return self._parse(data, format, name)

    def _parse(self, data: bytes, format_: Format, name: str) -> ParsedDocument:
        process = self._take()
        try:
            return process.parse(data, format_=format_, name=name)
        except DocumentRejected:
            if self._workforce.is_closed:  # killed by us: nothing is wrong with the document
                raise _closed() from None
            raise
        finally:
            self._give_back(process)

    def close(self) -> None:
        """End the processes, busy ones too; a second call does nothing."""
        with self._changed:
            self._finalizer()
            self._changed.notify_all()

    def _take(self) -> _Process:
        with self._changed:
            workforce = self._workforce
            while not workforce.is_closed:
                if workforce.idle:
                    process = workforce.idle.pop()
                    if not process.is_alive():
                        process.stop()
                        continue
                elif len(workforce.busy) < self._processes:
                    process = _Process(self._limits)
                else:
                    self._changed.wait()
                    continue
                workforce.busy.add(process)
                return process
        raise _closed()

    def _give_back(self, process: _Process) -> None:
        with self._changed:
            self._workforce.busy.discard(process)
            is_worn = process.documents >= DOCUMENTS_PER_PROCESS
            if is_worn or self._workforce.is_closed or not process.is_alive():
                process.stop()
            else:
                self._workforce.idle.append(process)
            self._changed.notify()


def _closed() -> FlowError:
    return FlowError("the processes for parsing are closed; open another run")


def worker_environment() -> dict[str, str]:
    """Ours without our secrets, with the folder of this very `flows` package first on the path."""
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    inherited = {
        name: value for name, value in os.environ.items() if "SEXTANT_" not in name.upper()
    }
    return {**inherited, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}
