"""A worker process seen from its parent: started, asked, watched, restarted, ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, cast

from search.errors import (
    CollectionExists,
    CollectionNotFound,
    SearchError,
    StoreInUse,
    StoreUnavailable,
)
from search.stores.edge_wire import Done, Failed, Failure, Open, Owner, Request

Reply = TypeVar("Reply")

START_SECONDS: Final = 300.0
"""Opening a shard replays its log, which takes about a second per hundred thousand points."""
STOP_SECONDS: Final = 30.0

_ERRORS: Final[dict[Failure, type[SearchError]]] = {
    "exists": CollectionExists,
    "not_found": CollectionNotFound,
    "in_use": StoreInUse,
    "occupied": CollectionExists,
    "unavailable": StoreUnavailable,
}


class WorkerDiedError(Exception):
    """The worker ended, or was ended, before it answered. Becomes `StoreUnavailable`."""


class Worker:
    """One running worker process and the socket to it. Not thread-safe: `EngineProcess` is."""

    def __init__(self) -> None:
        self.parent = os.getpid()
        # The engine's panics go to standard error; a pipe that nobody reads would block it.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `stop`
        ours, theirs = socket.socketpair()
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

    def ask(self, request: Request[Any], timeout_seconds: float | None) -> Done | Failed:
        """Send a request and wait for the answer.

        Raises:
            WorkerDiedError: the process ended, or was killed for not answering in time. It is also
                killed if this thread is interrupted: its answer would be taken for the next one's.
        """
        try:
            self._connection.send(request)
            if not self._connection.poll(timeout_seconds):
                self.kill()
                raise WorkerDiedError(f"gave no answer in {timeout_seconds:g} s and was killed")
            return cast("Done | Failed", self._connection.recv())
        except (EOFError, OSError):
            self.kill(grace_seconds=1.0)
            raise WorkerDiedError(self._last_words()) from None
        except BaseException:
            self.kill()
            raise

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

    def _last_words(self) -> str:
        code = self._process.returncode
        self._stderr.seek(0)
        tail = self._stderr.read().decode(errors="replace").strip()[-400:]
        said = f"; it said: {' '.join(tail.split())}" if tail else ""
        if code >= 0:
            return f"ended with exit code {code}{said}"
        hints: dict[int, str] = {
            signal.SIGBUS: " (is the disk full?)",
            signal.SIGKILL: " (out of memory?)",
        }
        return f"was killed by {signal.Signals(-code).name}{hints.get(-code, '')}{said}"


class EngineProcess:
    """The engine of one open collection: requests go in from any thread, one at a time.

    A worker that died is started again: by the next request, and within a read that it failed.
    A write that it failed is reported, not repeated: its caller knows what else has to happen.
    """

    def __init__(self, name: str, opening: Request[None], reopening: Open) -> None:
        """Start the worker and have it make or open the shard.

        Raises:
            CollectionExists, CollectionNotFound, StoreInUse, StoreUnavailable: what it answered.
        """
        self._name = name
        self._reopening = reopening
        self._lock = threading.Lock()
        self._closed = False
        self._worker = self._start(opening)

    @property
    def pid(self) -> int:
        """The current worker's process id."""
        return self._worker.pid

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def read(self, request: Request[Reply], *, timeout_seconds: float) -> Reply:
        """Ask for something; once more with a new worker if the first one dies over it."""
        self._refuse_fork()
        with self._lock:
            try:
                return self._ask(request, timeout_seconds)
            except WorkerDiedError:
                pass
            try:
                return self._ask(request, timeout_seconds)
            except WorkerDiedError as death:
                self._report(request, death, "it died again after a restart")

    def write(self, request: Request[Reply], *, timeout_seconds: float | None) -> Reply:
        """Have something changed; it is on the disk when this returns."""
        self._refuse_fork()
        with self._lock:
            try:
                return self._ask(request, timeout_seconds)
            except WorkerDiedError as death:
                self._report(request, death, "this write may be missing: repeat it")

    def close(self) -> None:
        """End the worker; a second call does nothing, nor does a call in a forked child."""
        if self._worker.parent != os.getpid():
            return
        with self._lock:
            if not self._closed:
                self._closed = True
                self._finalizer()

    def _ask(self, request: Request[Reply], timeout_seconds: float | None) -> Reply:
        if self._closed:
            raise StoreUnavailable(f"collection {self._name!r} is closed; open it again")
        if not self._worker.is_alive():
            self._finalizer()
            self._worker = self._start(self._reopening)
        reply = self._worker.ask(request, timeout_seconds)
        if isinstance(reply, Failed) and reply.fatal:
            self._worker.kill(grace_seconds=STOP_SECONDS)
        return cast("Reply", self._value(reply))

    def _refuse_fork(self) -> None:
        # before the lock: in a forked child it may be held for ever
        if self._worker.parent != os.getpid():
            raise StoreUnavailable(
                f"collection {self._name!r} was opened by process {self._worker.parent} and does "
                "not survive a fork; open it in this process, after the other one closed it"
            )

    def _start(self, opening: Request[None]) -> Worker:
        worker = Worker()
        try:
            self._value(worker.ask(opening, START_SECONDS))
        except WorkerDiedError as death:
            worker.stop()
            raise StoreUnavailable(
                f"the engine of collection {self._name!r} {death}; it could not be opened"
            ) from None
        except BaseException:
            worker.stop()
            raise
        # also at exit, and when the collection is dropped without `close`
        self._finalizer = weakref.finalize(self, worker.stop)
        return worker

    def _value(self, reply: Done | Failed) -> Any:
        if isinstance(reply, Done):
            return reply.value
        text = {
            "exists": "there already; open it, delete it, or choose another name",
            "not_found": "not there; ingest first, or check the name",
            "occupied": f"no collection, but {reply.message}; use another collection or store",
            "in_use": f"in use by {reply.message}; wait for it or stop it",
            "unavailable": f"not available: the engine answered {reply.message!r}",
        }
        raise _ERRORS[reply.failure](f"collection {self._name!r} is {text[reply.failure]}")

    def _report(self, request: Request[Any], death: WorkerDiedError, remedy: str) -> NoReturn:
        raise StoreUnavailable(
            f"the engine of collection {self._name!r} {death} "
            f"during {type(request).__name__.lower()}; {remedy}"
        ) from None


def this_process() -> Owner:
    """This process, as others read it in a lock: without arguments, which may hold secrets."""
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else Path(sys.executable).name
    if name == "__main__.py":
        name = Path(sys.argv[0]).parent.name
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Owner(pid=os.getpid(), command=name, since=since)


def _environment() -> dict[str, str]:
    """Ours, with the folder of this very `search` package first on the path."""
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}
