"""Threads in which requests are answered: so many at once, so many waiting, so long each."""

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from search.api.problems import Busy, Late

Value = TypeVar("Value")


class Workers:
    """A bounded pool.

    A request that is given up keeps its thread until its work ends: what a thread does cannot be
    broken off. So no more than `concurrency` are ever worked on, however many are given up.
    """

    def __init__(self, *, concurrency: int, waiting: int, timeout_seconds: float) -> None:
        """No thread runs yet.

        Args:
            concurrency: Threads.
            waiting: Requests that may wait for one.
            timeout_seconds: From a request's coming to its answer.
        """
        self._room = concurrency + waiting
        self._timeout_seconds = timeout_seconds
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="sextant-request")
        self._lock = threading.Lock()
        self._held = 0

    @property
    def held(self) -> int:
        """Requests that are worked on or waiting."""
        return self._held

    async def run(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """The function's value, computed in one of the threads.

        Raises:
            Busy: too many are waiting.
            Late: it did not come in time.
        """
        with self._lock:
            if self._held >= self._room:
                raise Busy(f"{self._room} requests are being answered already; try again shortly")
            self._held += 1
        try:
            future = self._threads.submit(functools.partial(function, *arguments))
        except RuntimeError:
            self._release(None)
            raise Busy("the server is stopping; try another, or again shortly") from None
        future.add_done_callback(self._release)
        try:
            # a future that is cancelled while it waits for a thread is never run
            return await asyncio.wait_for(asyncio.wrap_future(future), self._timeout_seconds)
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise  # the function's own
            raise Late(
                f"no answer within {self._timeout_seconds:g} s; ask for less, or give a budget_ms"
            ) from None

    def close(self) -> None:
        """Take no more work; what waits is dropped, what is worked on goes on."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _release(self, future: Future[Any] | None) -> None:
        with self._lock:
            self._held -= 1
