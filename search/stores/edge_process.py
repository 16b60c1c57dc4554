"""The engine of an open collection: one worker process after the other, if need be."""

import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, cast

from search.errors import (
    CollectionExists,
    CollectionNotFound,
    SearchError,
    StoreInUse,
    StoreUnavailable,
)
from search.stores.edge_child import STOP_SECONDS, Worker, WorkerDiedError, message_of
from search.stores.edge_reads import Read, ReadQueue
from search.stores.edge_room import Room
from search.stores.edge_wire import Done, Failed, Failure, Open, Owner, Request

Reply = TypeVar("Reply")

START_SECONDS: Final = 300.0
"""Opening a shard replays its log, which takes about a second per hundred thousand points."""

_ERRORS: Final[dict[Failure, type[SearchError]]] = {
    "exists": CollectionExists,
    "not_found": CollectionNotFound,
    "in_use": StoreInUse,
    "occupied": CollectionExists,
    "unavailable": StoreUnavailable,
}


class EngineProcess:
    """The engine of one open collection: requests go in from any thread, writes one at a time.

    A worker that died is started again: by the next request, and within a read that it failed.
    A write that it failed is reported, not repeated: its caller knows what else has to happen.
    """

    def __init__(self, name: str, opening: Request[None], reopening: Open) -> None:
        """Start the worker and have it make or open the shard.

        Raises:
            CollectionExists, CollectionNotFound, StoreInUse, StoreUnavailable: what it answered;
                StoreFull, if there is no room to make it.
        """
        self._name = name
        self.room: Final = Room(Path(reopening.folder).parent, name)
        self._reopening = reopening
        self._lock = threading.Lock()
        self._reads = ReadQueue()
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
        """Ask for something; once more with a new worker if the first one dies over it.

        Reads of several threads go together. When the worker dies over some, each is asked again
        by itself, so that the one at fault fails alone.
        """
        self._refuse_fork()
        read = Read(request, message_of(request), timeout_seconds)
        return cast("Reply", self._reads.ask(read, self._exchange))

    def write(
        self,
        request: Request[Reply],
        *,
        timeout_seconds: float | None,
        waiting: Callable[[], None] | None = None,
    ) -> Reply:
        """Have something changed; it is on the disk when this returns.

        Args:
            request: What to change.
            timeout_seconds: How long it may take; None for ever.
            waiting: Called every second or so meanwhile. What it raises ends the worker.

        Raises:
            StoreFull: there is no room for it, or there was none.
            StoreUnavailable: the worker died, or the engine refused.
        """
        self._refuse_fork()
        with self._lock:
            try:
                return self._ask(request, timeout_seconds, waiting)
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

    def _exchange(self, reads: Sequence[Read]) -> None:
        with self._lock:
            try:
                self._ask_together(reads)
            except WorkerDiedError:
                pass
            except SearchError as error:  # closed, or no new worker is to be had
                for read in reads:
                    if not read.is_answered:
                        read.fail(type(error)(*error.args))  # each thread raises its own
            for read in reads:
                if not read.is_answered:
                    self._ask_again(read)

    def _ask_together(self, reads: Sequence[Read]) -> None:
        self._require_worker()

        def answered(number: int, reply: Done | Failed) -> None:
            self._settle(reads[number], reply)

        self._worker.ask_all(
            [read.message for read in reads], [read.timeout_seconds for read in reads], answered
        )

    def _ask_again(self, read: Read) -> None:
        try:
            read.answer(self._ask(read.request, read.timeout_seconds))
        except WorkerDiedError as death:
            try:
                self._report(read.request, death, "it died again after a restart")
            except SearchError as error:
                read.fail(error)
        except SearchError as error:
            read.fail(error)

    def _settle(self, read: Read, reply: Done | Failed) -> None:
        try:
            read.answer(self._checked(reply))
        except SearchError as error:
            read.fail(error)

    def _ask(
        self,
        request: Request[Reply],
        timeout_seconds: float | None,
        waiting: Callable[[], None] | None = None,
    ) -> Reply:
        self._require_worker()
        return cast("Reply", self._checked(self._worker.ask(request, timeout_seconds, waiting)))

    def _require_worker(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"collection {self._name!r} is closed; open it again")
        if not self._worker.is_alive():
            self._finalizer()
            self._worker = self._start(self._reopening)

    def _checked(self, reply: Done | Failed) -> Any:
        """An answer's value, the worker ended if it is fatal."""
        if isinstance(reply, Failed) and reply.fatal:
            self._worker.kill(grace_seconds=STOP_SECONDS)
        return self._value(reply)

    def _refuse_fork(self) -> None:
        # before the lock: in a forked child it may be held for ever
        if self._worker.parent != os.getpid():
            raise StoreUnavailable(
                f"collection {self._name!r} was opened by process {self._worker.parent} and does "
                "not survive a fork; open it in this process, after the other one closed it"
            )

    def _start(self, opening: Request[None]) -> Worker:
        worker = Worker(self.room)
        try:
            self._value(worker.ask(opening, START_SECONDS))
        except WorkerDiedError as death:
            worker.stop()
            raise self._unavailable(f"{death}; it could not be opened", death) from None
        except BaseException:
            worker.stop()
            raise
        # also at exit, and when the collection is dropped without `close`
        self._finalizer = weakref.finalize(self, worker.stop)
        return worker

    def _value(self, reply: Done | Failed) -> Any:
        if isinstance(reply, Done):
            return reply.value
        if reply.failure == "full":
            raise self.room.ran_out(f"the engine answered {reply.message!r}")
        text = {
            "exists": "there already; open it, delete it, or choose another name",
            "not_found": "not there; ingest first, or check the name",
            "occupied": f"no collection, but {reply.message}; use another collection or store",
            "in_use": f"in use by {reply.message}; wait for it or stop it",
            "unavailable": f"not available: the engine answered {reply.message!r}",
        }
        raise _ERRORS[reply.failure](f"collection {self._name!r} is {text[reply.failure]}")

    def _report(self, request: Request[Any], death: WorkerDiedError, remedy: str) -> NoReturn:
        doing = type(request).__name__.lower()
        raise self._unavailable(f"{death} during {doing}; {remedy}", death) from None

    def _unavailable(self, what_happened: str, death: WorkerDiedError) -> StoreUnavailable:
        if death.said_full or (death.by_bus_error and self.room.is_short):
            return self.room.ran_out(f"the engine {what_happened}")
        return StoreUnavailable(f"the engine of collection {self._name!r} {what_happened}")


def this_process() -> Owner:
    """This process, as others read it in a lock: without arguments, which may hold secrets."""
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else Path(sys.executable).name
    if name == "__main__.py":
        name = Path(sys.argv[0]).parent.name
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Owner(pid=os.getpid(), command=name, since=since)
