"""Child processes that compute one at a time: told what to do over a pipe, answering in JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent


class ChildFailed(Exception):
    """A child process has ended before it answered; the message has its last words."""


def environment(threads: int) -> dict[str, str]:
    """The environment of every child: the same number of threads everywhere, and no network."""
    count = str(threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "RAYON_NUM_THREADS": count,  # the tokenizers'
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


class Child:
    """One Python process; used as a context, at whose end it ends.

    Args:
        name: what messages call it.
        arguments: of the Python interpreter.
        threads: how many it may use.
        log: file for what it says on standard error.
    """

    def __init__(self, name: str, arguments: Sequence[str], *, threads: int, log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(threads),
                cwd=ROOT,
                text=True,
                encoding="utf-8",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # it has died with a command unread
        self._process.wait()

    def tell(self, **values: Any) -> None:
        """Send one line."""
        if self._process.stdin is None:
            raise ChildFailed(f"{self.name} has no standard input")
        try:
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def hear(self) -> dict[str, Any]:
        """Wait for one line.

        Raises:
            ChildFailed: the process has ended instead.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise self._failure()
        heard: dict[str, Any] = json.loads(line)
        return heard

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.tell(command=command)
        return self.hear()

    def _failure(self) -> ChildFailed:
        code = self._process.wait()
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return ChildFailed(f"{self.name} ended with code {code}: {lines[-1] if lines else '-'}")
