"""What a worker runs: the flows as they are, attended; `flows.scheduled.ingest` is an entry point.

Around the flow's own work stand: slots of limits that runs share, a time limit, a prompt end when
the run is told to stop or when the process that serves it is gone, and one line for a failure.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from flows import console
from flows.errors import FlowError
from flows.failures import MESSAGE_CHARACTERS
from flows.recovery import ATTEMPTS
from flows.schedulable import FLOWS

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

ENTRY_POINT: Final = "flows.scheduled.{flow}"
SERVED_BY: Final = "SEXTANT_SERVED_BY"
"""Environment: the process whose end ends the run; set by `sextant serve-flows`."""
LEASE_SECONDS: Final = 60
"""A slot held by a run that was killed is free again after this; the least that Prefect takes."""
STATE_SECONDS: Final = 10.0
"""For the server to note how a run ended; a run does not outlive that."""
TERMINATED: Final = 128 + signal.SIGTERM


def __getattr__(name: str) -> "Flow[..., Any]":
    """The flow of that name, attended; made when Prefect asks for it, for it imports the flow."""
    if name not in FLOWS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    flow = globals()[name] = _attended(name)
    return flow


def _attended(name: str) -> "Flow[..., Any]":
    """A flow of the same name and parameter that does the same work."""
    from prefect.flows import Flow

    inner: Flow[..., Any] = getattr(import_module(FLOWS[name].module), FLOWS[name].attribute)

    def run(
        request: Any,
        schedule: str = "run",
        occupy: dict[str, int] | None = None,
        timeout_seconds: float | None = None,
    ) -> "State[Any]":
        from prefect.runtime import flow_run
        from prefect.states import Completed, Failed

        _end_with(os.environ.get(SERVED_BY))
        attendance = Attendance(schedule, flow_run.id)
        with attendance.ended_by_signals():
            try:
                with _slots(occupy or {}), attendance.time_limit(timeout_seconds):
                    attendance.say("began")
                    done = _summary(inner.fn(request))
            except Exception as error:
                message = _one_line(error)
                attendance.say(f"failed: {message}")
                if not _is_ours(error):
                    raise
                return Failed(message=message)
        attendance.say(done)
        return Completed(message=done)

    run.__name__ = run.__qualname__ = name
    run.__doc__ = inner.fn.__doc__
    run.__annotations__["request"] = inner.fn.__annotations__["request"]
    return Flow(
        run,
        name=inner.name,
        task_runner=inner.task_runner,
        persist_result=False,
        on_crashed=[_after_crash],
    )


def _after_crash(flow: "Flow[..., Any]", flow_run: "FlowRun", state: "State[Any]") -> None:
    """Say that a run's process died, in the process that watched it; try again where that serves.

    Of workers' runs the server itself takes care: `flows.recovery.automations`.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import AwaitingRetry

    attendance = Attendance(str(flow_run.parameters.get("schedule")), str(flow_run.id))
    with get_client(sync_client=True) as client:
        begun = client.read_flow_run(flow_run.id).run_count
        attendance.say(
            f"its process died (attempt {max(begun, 1)} of {ATTEMPTS}); what it committed stays"
        )
        if SERVED_BY in os.environ and 0 < begun < ATTEMPTS:
            again: State[Any] = AwaitingRetry(message=f"attempt {begun + 1} of {ATTEMPTS}")
            client.set_flow_run_state(flow_run.id, again)


@dataclass(frozen=True)
class Attendance:
    """What stands around one run."""

    schedule: str
    """The schedule's name."""
    run_id: str
    """The run's, on the Prefect server."""

    def say(self, what: str) -> None:
        """A line on standard error."""
        console.complain(f"{self.schedule}: {what}")

    @contextmanager
    def time_limit(self, seconds: float | None) -> Iterator[None]:
        """End the process when a run takes too long, wherever it hangs."""
        if seconds is None:
            yield
            return
        message = f"took longer than its {seconds:g} s; raise the schedule's 'timeout'"
        timer = threading.Timer(seconds, self.end, ("Failed", message))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """End at once when told to.

        What is committed is whole, and threads in the midst of work would hold a polite end up for
        long. Ctrl-C is for the process that serves; it tells its runs.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            ending = threading.Thread(target=self.end, args=("Cancelled", "was told to stop"))
            ending.start()
            ending.join(2 * STATE_SECONDS)
            os._exit(TERMINATED)

        before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, stop),
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def end(self, how: str, message: str) -> None:
        """Tell the server how the run ended, and end the process, whatever its threads do.

        An exit code of 0 says that nothing is left to report. Where the server does not hear,
        another code lets the process that serves report a crash.
        """
        code = TERMINATED
        threading.Timer(STATE_SECONDS, os._exit, (code,)).start()
        try:
            from prefect import states
            from prefect.client.orchestration import get_client

            state = getattr(states, how)(message=message)
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(UUID(self.run_id), state, force=True)
            self.say(message)
            code = 0
        finally:
            os._exit(code)


@contextmanager
def _slots(occupy: dict[str, int]) -> Iterator[None]:
    """Hold slots of limits, one limit after the other; waits for them.

    Raises:
        FlowError: a limit is not on the server.
    """
    if not occupy:
        yield
        return
    from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
    from prefect.concurrency.sync import concurrency

    with ExitStack() as held:
        for name, slots in occupy.items():
            try:
                held.enter_context(
                    concurrency(
                        name,
                        occupy=slots,
                        strict=True,
                        lease_duration=LEASE_SECONDS,
                        # What is written is safe to write twice: better than to end a long run.
                        raise_on_lease_renewal_failure=False,
                    )
                )
            except ConcurrencySlotAcquisitionError:
                raise FlowError(
                    f"the Prefect server has no limit {name!r}; apply the schedules again "
                    "(`sextant deploy`)"
                ) from None
        yield


def _end_with(served_by: str | None) -> None:
    """End when the process that serves this one is gone, however it died."""
    if served_by is None or sys.platform == "win32":
        return
    parent = int(served_by)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(TERMINATED)

    threading.Thread(target=watch, daemon=True).start()


def _summary(report: Any) -> str:
    """What a run did, in one line."""
    documents: Any = getattr(report, "documents", None)
    if hasattr(documents, "stored"):
        return (
            f"{documents.stored} documents stored, {documents.unchanged} unchanged, "
            f"{documents.removed} removed, {documents.quarantined} quarantined"
        )
    if hasattr(report, "clusters"):
        return f"{len(report.clusters)} clusters of {report.chunks} chunks"
    return str(getattr(report, "summary", "done"))


def _is_ours(error: Exception) -> bool:
    """Whether an error's message says all that there is to say."""
    from embedder.errors import EmbedderError
    from search.errors import SearchError

    return isinstance(error, FlowError | SearchError | EmbedderError)


def _one_line(error: Exception) -> str:
    text = str(error) if _is_ours(error) else f"unexpected {type(error).__name__}: {error}"
    return console.one_line(text, MESSAGE_CHARACTERS)
