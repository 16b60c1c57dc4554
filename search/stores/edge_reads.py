"""Reads of several threads that go to a worker together, and are answered one after the other.

One thread, the leader, sends its own read and those that others have queued, one after the other,
and hands out the answers as they come; the worker is never idle in between. What came meanwhile
goes with the next leader, the first of those who wait.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from search.stores.edge_wire import Request

MOST: Final = 16
"""Reads sent together. Unanswered requests must fit in the socket's buffer, or both sides wait."""
MAX_BYTES: Final = 32_768
"""Of requests sent together; a longer one goes alone."""


class Read:
    """A request, and its answer once it is there."""

    def __init__(self, request: Request[Any], message: bytes, timeout_seconds: float) -> None:
        """Not sent yet.

        Args:
            request: What is asked.
            message: The same, as it is sent.
            timeout_seconds: How long the answer may take.
        """
        self.request = request
        self.message = message
        self.timeout_seconds = timeout_seconds
        self.is_answered = False
        self._value: Any = None
        self._error: BaseException | None = None
        self.woken = threading.Event()
        """Set when its thread is to go on: it is answered, or leads."""

    def answer(self, value: Any) -> None:
        """Give the answer."""
        self._value, self.is_answered = value, True
        self.woken.set()

    def fail(self, error: BaseException) -> None:
        """There is none."""
        self._error, self.is_answered = error, True
        self.woken.set()

    def outcome(self) -> Any:
        """The answer.

        Raises:
            BaseException: what `fail` was given.
        """
        if self._error is not None:
            raise self._error
        return self._value


Exchange: TypeAlias = Callable[[Sequence[Read]], None]
"""Answers reads or fails them, each, in the order given. What it raises reaches the leader; reads
that it left unanswered then go with the next."""


class ReadQueue:
    """Who waits, and who leads. Threads share it."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: deque[Read] = deque()
        self._leader: Read | None = None
        self._lock = threading.Lock()

    def ask(self, read: Read, exchange: Exchange) -> Any:
        """The answer to a read.

        Args:
            read: This thread's.
            exchange: One and the same for all reads; only one thread calls it at a time.

        Raises:
            BaseException: what the exchange failed it with.
        """
        try:
            with self._lock:
                self._waiting.append(read)
                if self._leader is None:
                    self._leader = read
            if self._leader is not read:
                read.woken.wait()
            if not read.is_answered:
                self._lead(exchange)
        finally:
            self._leave(read)
        return read.outcome()

    def _lead(self, exchange: Exchange) -> None:
        """Send the first of the queue, which is this thread's own, and some that follow."""
        reads: list[Read] = []
        try:
            with self._lock:
                size = 0
                while self._waiting and len(reads) < MOST:
                    size += len(self._waiting[0].message)
                    if reads and size > MAX_BYTES:
                        break
                    reads.append(self._waiting.popleft())
            exchange(reads)
        finally:
            with self._lock:
                left = [read for read in reads[1:] if not read.is_answered]
                self._waiting.extendleft(reversed(left))

    def _leave(self, read: Read) -> None:
        """A thread has its answer, or was interrupted: if it led, the first who waits leads now."""
        with self._lock:
            if read in self._waiting:
                self._waiting.remove(read)
            if self._leader is read:
                self._leader = self._waiting[0] if self._waiting else None
                if self._leader is not None:
                    self._leader.woken.set()
