"""One running worker process: started, asked over its socket, watched, ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Final, cast

from search.stores.edge_room import Room, says_out_of_space
from search.stores.edge_wire import Done, Failed, Request

STOP_SECONDS: Final = 30.0
TICK_SECONDS: Final = 1.0
BUFFER_BYTES: Final = 131_072
"""Of the socket: several requests are sent before the first answer is read."""


class WorkerDiedError(Exception):
    """The worker ended, or was ended, before it answered. Becomes `StoreUnavailable`."""

    def __init__(
        self, message: str, *, said_full: bool = False, by_bus_error: bool = False
    ) -> None:
        """What happened.

        Args:
            message: In words, to stand after the engine's name.
            said_full: Its last words spoke of a full disk.
            by_bus_error: It died of what a full disk does to it, among other things.
        """
        super().__init__(message)
        self.said_full = said_full
        self.by_bus_error = by_bus_error


class Worker:
    """One running worker process and the socket to it. Not thread-safe: `EngineProcess` is."""

    def __init__(self, room: Room) -> None:
        """Start it; `room` is that of its collection's files."""
        self._room = room
        self.parent = os.getpid()
        # The engine's panics go to standard error; a pipe that nobody reads would block it.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `stop`
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no outside input
                [
                    sys.executable,
                    "-P",  # a file in the current folder must not shadow a module
                    "-m",
                    "search.stores.edge_worker",
                    str(theirs.fileno()),
                    str(self.parent),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                env=_environment(),
            )
        self._connection = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(
        self,
        request: Request[Any],
        timeout_seconds: float | None,
        waiting: Callable[[], None] | None = None,
    ) -> Done | Failed:
        """Send a request and wait for the answer.

        Args:
            request: What to do.
            timeout_seconds: How long to wait; None for ever.
            waiting: Called every `TICK_SECONDS` until the answer is there.

        Raises:
            StoreFull: there is no room for what the request writes; it was not sent.
            WorkerDiedError: the process ended, or was killed for not answering in time. It is also
                killed if this thread is interrupted: its answer would be taken for the next one's.
        """
        message = message_of(request)
        if request.grows:
            self._room.require(len(message))
        elif request.essential:
            self._room.give_way()
        with self._watching():
            self._connection.send_bytes(message)
            return self._reply(timeout_seconds, waiting)

    def ask_all(
        self,
        messages: Sequence[bytes],
        timeouts_seconds: Sequence[float],
        answered: Callable[[int, Done | Failed], None],
    ) -> None:
        """Send requests that write nothing, then wait for the answers, which come in their order.

        Args:
            messages: Of `message_of`; so few bytes that they are sent whether or not they are read.
            timeouts_seconds: How long to wait for each, once those before it are answered.
            answered: Called with the number of each request and its answer.

        Raises:
            WorkerDiedError: see `ask`; what was answered before it is.
        """
        with self._watching():
            for message in messages:
                self._connection.send_bytes(message)
            for number, timeout_seconds in enumerate(timeouts_seconds):
                answered(number, self._reply(timeout_seconds, None))

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Whatever goes wrong inside ends the process: nobody can tell which answer comes next."""
        try:
            yield
        except (EOFError, OSError):
            self.kill(grace_seconds=1.0)
            raise self._death() from None
        except BaseException:
            self.kill()
            raise

    def _reply(
        self, timeout_seconds: float | None, waiting: Callable[[], None] | None
    ) -> Done | Failed:
        if not self._wait(timeout_seconds, waiting):
            self.kill()
            raise WorkerDiedError(f"gave no answer in {timeout_seconds:g} s and was killed")
        return cast("Done | Failed", self._connection.recv())

    def _wait(self, timeout_seconds: float | None, waiting: Callable[[], None] | None) -> bool:
        if waiting is None:
            return self._connection.poll(timeout_seconds)
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while deadline is None or time.monotonic() < deadline:
            if self._connection.poll(TICK_SECONDS):
                return True
            waiting()
        return False

    def kill(self, *, grace_seconds: float = 0.0) -> None:
        """End the process at once; what it acknowledged is on the disk."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_seconds)
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Close the socket, on which the process flushes and ends; kill it if it does not."""
        if os.getpid() != self.parent:
            return  # in a forked child, which shares the socket but owns nothing
        self._connection.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._stderr.close()

    def _death(self) -> WorkerDiedError:
        code = self._process.returncode
        self._stderr.seek(0)
        text = self._stderr.read().decode(errors="replace").strip()
        tail = " ".join(text[-400:].split())
        said, said_full = f"; it said: {tail}" if tail else "", says_out_of_space(text)
        if code >= 0:
            return WorkerDiedError(f"ended with exit code {code}{said}", said_full=said_full)
        hints: dict[int, str] = {
            signal.SIGBUS: " (is the disk full?)",
            signal.SIGKILL: " (out of memory?)",
        }
        return WorkerDiedError(
            f"was killed by {signal.Signals(-code).name}{hints.get(-code, '')}{said}",
            said_full=said_full,
            by_bus_error=-code == signal.SIGBUS,
        )


def message_of(request: Request[Any]) -> bytes:
    """A request as it is sent."""
    return bytes(ForkingPickler.dumps(request))


def _environment() -> dict[str, str]:
    """Ours, with the folder of this very `search` package first on the path."""
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}
