"""Work done ahead: an iterator that runs in a thread of its own, a bounded number of items ahead.

Stages chained this way overlap, none runs away from the next, and an error or an early end of any
of them ends all:

    parsed = ahead(parse_all(documents), depth=4)
    chunked = ahead(chunk_all(parsed), depth=4)
    for group in ahead(embed_all(chunked), depth=1):
        write(group)
"""

import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

_PATIENCE_SECONDS: Final = 0.1
"""How long a producer that nobody needs any more may go without noticing."""


@dataclass(frozen=True, slots=True)
class _Made(Generic[Item]):
    item: Item


@dataclass(frozen=True, slots=True)
class _Ended:
    error: BaseException | None


def ahead(items: Iterable[Item], *, depth: int) -> Generator[Item]:
    """The same items in the same order, made by a thread, at most `depth` and one ahead.

    Args:
        items: Iterated, and closed if it can be, in that thread only.
        depth: Items that wait to be taken, 1 or more.

    Raises:
        BaseException: whatever iterating raised, after the items before it.
    """
    queue: Queue[_Made[Item] | _Ended] = Queue(maxsize=depth)
    unwanted = threading.Event()

    def put(message: _Made[Item] | _Ended) -> bool:
        while not unwanted.is_set():
            try:
                queue.put(message, timeout=_PATIENCE_SECONDS)
            except Full:
                continue
            return True
        return False

    def make() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(_Made(item)):
                    break
        except BaseException as raised:  # noqa: BLE001 - it is raised again where the items go
            error = raised
        finally:
            if isinstance(items, Generator):
                items.close()
            put(_Ended(error))

    thread = threading.Thread(target=make, name="sextant-ahead", daemon=True)
    thread.start()
    try:
        while True:
            message = queue.get()
            if isinstance(message, _Ended):
                if message.error is not None:
                    raise message.error
                return
            yield message.item
    finally:
        unwanted.set()
        _empty(queue)
        thread.join()


def _empty(queue: "Queue[_Made[Item] | _Ended]") -> None:
    """Free what the items hold: the producer may still be at work on its last."""
    while True:
        try:
            queue.get_nowait()
        except Empty:
            return


class BusyTimes:
    """Seconds that each stage was at work rather than waiting; threads may share it."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """Count the time of the block to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[stage] += time.perf_counter() - began

    def seconds(self) -> dict[str, float]:
        """Stage -> seconds so far, in the order in which the stages began."""
        with self._lock:
            return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}
