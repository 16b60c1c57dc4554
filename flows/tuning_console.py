"""What people see of a tuning: the run as it goes, and what it came to."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from flows import console
from flows.progress import LINE_SECONDS

if TYPE_CHECKING:
    from embedder.tuning.trainer import StepDone


class Watching(Protocol):
    """Is told of every step."""

    def __call__(self, step: "StepDone") -> None:
        """A step was done."""


@contextmanager
def watched(*, quiet: bool) -> Iterator[Watching]:
    """A live bar on a terminal, plain lines elsewhere, nothing if quiet; on standard error."""
    if quiet:
        yield lambda step: None
    elif not sys.stderr.isatty():
        yield _Lines()
    else:
        from tqdm import tqdm

        with tqdm(unit="step", file=sys.stderr, dynamic_ncols=True) as bar:

            def told(step: "StepDone") -> None:
                bar.total = step.steps
                measured = {} if step.measure is None else {"dev": f"{step.measure:.4f}"}
                bar.set_postfix({"loss": f"{step.loss:.4f}", **measured}, refresh=False)
                if not bar.n:  # a run that was taken up begins in the middle
                    bar.initial = bar.n = step.step - 1
                bar.update(step.step - bar.n)

            yield told


class _Lines:
    """A line for every checkpoint, and at least one in ten seconds."""

    def __init__(self) -> None:
        self._last = self._began = time.monotonic()
        self._first: int | None = None
        self._tokens = 0

    def __call__(self, step: "StepDone") -> None:
        now = time.monotonic()
        self._first = step.step - 1 if self._first is None else self._first
        self._tokens += step.tokens
        if not step.saved and now - self._last < LINE_SECONDS:
            return
        self._last = now
        seconds = max(1e-9, now - self._began)
        left = seconds * (step.steps - step.step) / (step.step - self._first)
        measured = "" if step.measure is None else f", dev {step.measure:.4f}"
        console.complain(
            f"tuning: {step.step} of {step.steps}, loss {step.loss:.4f}{measured}, "
            f"{self._tokens / seconds:,.0f} tokens/s, {left:.0f} s left"
        )


def show_tuning(report: Mapping[str, Any]) -> None:
    """What a run came to, and how to use it."""
    loss, dev = report["loss"], report["dev"]
    console.say(
        f"{report['ending']}: {report['done']} of {report['steps']} steps in "
        f"{report['seconds']:,.0f} s on {report['hardware']}"
    )
    console.say(
        f"loss {_number(loss['first'])} to {_number(loss['last'])}; "
        f"{report['trained_parameters']:,} parameters trained, in {report['compute']}"
    )
    if rejected := report["data"].get("rejected"):
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())
        console.say(f"rows left out: {reasons}")
    if report["truncated"]:
        console.say(f"texts cut to fit (--max-tokens): {report['truncated']:,}")
    if dev is not None:
        console.say(
            f"dev {dev['measure']}: base {dev['base']:.4f}, tuned {dev['best']:.4f} at step "
            f"{dev['best_step']}"
        )
    for note in report["notes"]:
        console.say(f"note: {note}")
    console.say(f"report: {report['out']}/run/report.html; card: {report['out']}/MODEL_CARD.md")
    console.say(f"use it with --encoder {report['use']}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
