"""Parquet and Arrow files seen from the run, which never reads one itself: see `table_worker`."""

import atexit
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator, Set
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from threading import Lock, Timer
from typing import Any, Final, Literal

from flows.documents.parsing_process import worker_environment
from flows.documents.records.row import Row, Values, failing
from flows.errors import DocumentRejected, FlowError

TableKind = Literal["parquet", "arrow"]

REPLY_SECONDS: Final = 120.0
"""Reading and decoding one row group takes seconds; a reader that takes longer hangs."""
MAX_IDLE: Final = 2
IDLE_SECONDS: Final = 10.0
"""A process that nobody asks is ended after about that time."""
STRIDE: Final = 10_000
"""Rows that are sooner read than skipped by opening the file anew."""


def names(path: str, kind: TableKind) -> tuple[str, ...]:
    """The names of a file's columns.

    Raises:
        DocumentRejected: Damaged, or pyarrow is not installed.
    """
    with _PROCESSES.lent() as process:
        head, _ = process.ask({"path": path, "kind": kind})
    _raise_rejection(head)
    return tuple(head["names"])


def rows(
    path: str, kind: TableKind, *, columns: Set[str], required: Set[str], start: int = 0
) -> Generator[Row, None, None]:
    """Each row from number `start` on, of which only some columns are read.

    Args:
        path: The file.
        kind: What it is.
        columns: Those that are read, where the file has them.
        required: Of them, those in which bytes that are not UTF-8 spoil the row.
        start: The first row.

    Raises:
        DocumentRejected: Damaged, or a part that must be held whole is too large.
    """
    request: dict[str, Any] = {
        "path": path,
        "kind": kind,
        "columns": sorted(columns),
        "required": sorted(required),
        "start": start,
    }
    with _PROCESSES.lent() as process:
        while True:
            head, lines = process.ask(request)
            for line in lines:
                place, values = json.loads(line)
                load = failing(values) if isinstance(values, str) else partial(_same, values)
                yield Row(place, place + 1, place + 1, load)
            _raise_rejection(head)
            if not lines:
                return
            request = {}


def _same(values: Values) -> Values:
    return values


def _raise_rejection(head: dict[str, Any]) -> None:
    if "rejected" in head:
        raise DocumentRejected(head["rejected"])


class _Process:
    """One worker process and the socket to it. Used by one thread at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        patience = struct.pack("ll", round(REPLY_SECONDS), 0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        command = [sys.executable, "-P", "-m", "flows.documents.records.table_worker"]
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own module, no outside input
                    [*command, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=worker_environment(),
                )
            except OSError as error:
                ours.close()
                raise FlowError(
                    f"no process for reading tables could be started: {error.strerror}; "
                    "free memory or processes, and run again"
                ) from error
        self._connection = Connection(ours.detach())

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """The head and the rows of its answer; whatever is raised, the process is no longer of use.

        Raises:
            DocumentRejected: It died of the file, or hangs.
        """
        try:
            self._connection.send_bytes(json.dumps(request).encode())
            head, *lines = self._connection.recv_bytes().split(b"\n")
            return json.loads(head), lines
        except BlockingIOError:
            self.stop()
            raise DocumentRejected(
                f"reading on takes more than {REPLY_SECONDS:g} s; write the file again"
            ) from None
        except (EOFError, OSError, ValueError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            code = self._process.poll() or 0
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            self.stop()
            raise DocumentRejected(
                f"cannot be read: it ended the process that reads it, {how}; write the file again"
            ) from None
        except BaseException:  # interrupted: the answer would be taken for the next one's
            self.stop()
            raise

    def is_alive(self) -> bool:
        """Whether it may be asked."""
        return not self._connection.closed and self._process.poll() is None

    def stop(self) -> None:
        """End it at once: it holds nothing that could be lost. A second call does nothing."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


class _Processes:
    """Those that nobody uses just now."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[_Process] = []
        self._timer: Timer | None = None

    @contextmanager
    def lent(self) -> Iterator[_Process]:
        """A process for one file at a time; kept for the next one, if it is fit for it."""
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is None or not process.is_alive():
            process = _Process()
        try:
            yield process
        finally:
            self._take_back(process)

    def _take_back(self, process: _Process) -> None:
        with self._lock:
            keeps = len(self._idle) < MAX_IDLE and process.is_alive()
            if keeps:
                self._idle.append(process)
            if self._timer is not None:
                self._timer.cancel()
            self._timer = Timer(IDLE_SECONDS, self.stop)
            self._timer.daemon = True
            self._timer.start()
        if not keeps:
            process.stop()

    def stop(self) -> None:
        """End them."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.stop()


_PROCESSES: Final = _Processes()
atexit.register(_PROCESSES.stop)
