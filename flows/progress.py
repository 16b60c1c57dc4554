"""Progress of long commands: a live bar in a terminal, a plain line now and then elsewhere.

Everything goes to standard error; standard output belongs to results.
"""

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_SECONDS: Final = 10.0
"""A plain line at most this often."""


class Progress(Protocol):
    """What the work below calls; it knows nothing of terminals."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stage begins, of so many steps if that is known."""
        ...

    def advance(self, steps: int = 1, *, chunks: int = 0, tokens: int = 0) -> None:
        """So many steps, chunks and tokens are done."""
        ...


class Silent:
    """No progress: libraries, tests, `--quiet`."""

    def stage(self, name: str, total: int | None = None) -> None:
        """Ignore it."""

    def advance(self, steps: int = 1, *, chunks: int = 0, tokens: int = 0) -> None:
        """Ignore it."""


class Lines:
    """Plain lines on standard error, for logs and pipes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start("", None)

    def _start(self, name: str, total: int | None) -> None:
        self._name, self._total = name, total
        self._done = self._chunks = self._tokens = 0
        self._began = self._last = time.monotonic()

    def stage(self, name: str, total: int | None = None) -> None:
        """Print the stage's name."""
        with self._lock:
            self._start(name, total)
            of = f" ({total})" if total is not None else ""
            print(f"sextant: {name}{of}", file=sys.stderr, flush=True)  # noqa: T201

    def advance(self, steps: int = 1, *, chunks: int = 0, tokens: int = 0) -> None:
        """Print a line if ten seconds have passed since the last."""
        with self._lock:
            self._done += steps
            self._chunks += chunks
            self._tokens += tokens
            now = time.monotonic()
            if now - self._last < LINE_SECONDS:
                return
            self._last = now
            parts = [f"{self._done}" + (f" of {self._total}" if self._total else "")]
            if self._chunks:
                parts.append(f"{self._chunks} chunks")
            if self._tokens:
                parts.append(f"{self._tokens / (now - self._began):,.0f} tokens/s")
            if self._total and self._done:
                left = (now - self._began) * (self._total - self._done) / self._done
                parts.append(f"{left:.0f} s left")
            print(f"sextant: {self._name}: {', '.join(parts)}", file=sys.stderr, flush=True)  # noqa: T201


class Live:
    """A live bar on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None
        self._chunks = self._tokens = 0
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def stage(self, name: str, total: int | None = None) -> None:
        """Put a new bar in place of the last."""
        with self._lock:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=total, detail="")
            self._chunks = self._tokens = 0
            self._began = time.monotonic()

    def advance(self, steps: int = 1, *, chunks: int = 0, tokens: int = 0) -> None:
        """Move the bar."""
        with self._lock:
            if self._task is None:
                return
            self._chunks += chunks
            self._tokens += tokens
            rate = self._tokens / max(1e-9, time.monotonic() - self._began)
            detail = f"{self._chunks} chunks, {rate:,.0f} tokens/s" if self._chunks else ""
            self._bar.update(self._task, advance=steps, detail=detail)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
