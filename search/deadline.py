"""How long a request may take, and what is left out when it has taken that."""

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from search.errors import EncoderUnavailable

Value = TypeVar("Value")


class Deadline:
    """A request's time budget, counted from here."""

    def __init__(self, budget_ms: float | None) -> None:
        """None: there is none, and nothing is left out."""
        self._budget_ms = budget_ms
        self._end = None if budget_ms is None else time.monotonic() + budget_ms / 1e3

    def is_over(self, stage: str, lost: list[str]) -> bool:
        """Whether a stage is to be left out; if so, `lost` gets a line that says it."""
        if self._end is None or time.monotonic() < self._end:
            return False
        lost.append(f"without {stage}: the time budget of {self._budget_ms:g} ms was used up")
        return True

    def run(self, function: Callable[[], Value]) -> Value:
        """The function's value, if it comes in time; what is late runs on and is dropped.

        Raises:
            EncoderUnavailable: it did not come in time.
        """
        if self._end is None:
            return function()
        outcome: queue.SimpleQueue[tuple[Value | None, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                outcome.put((function(), None))
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                outcome.put((None, error))

        threading.Thread(target=run, name="sextant-encode", daemon=True).start()
        try:
            value, error = outcome.get(timeout=max(0.0, self._end - time.monotonic()))
        except queue.Empty:
            raise EncoderUnavailable(
                f"the encoder did not answer within the time budget of {self._budget_ms:g} ms"
            ) from None
        if error is not None:
            raise error
        return value  # type: ignore[return-value]
