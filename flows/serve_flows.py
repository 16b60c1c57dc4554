"""Schedules on one machine: a Prefect server on the loopback, and the runs, until told to stop.

The server, the runs' processes and all that they start end with this process, however it dies.
Where `PREFECT_API_URL` names a server, that one is used, and only the runs are ours.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from flows import console
from flows.errors import FlowError, InvalidInput
from flows.orchestration import API_URL, PrefectAPI, require_answer
from flows.schedules import Schedule
from flows.settings import Settings
from flows.state import state_folder

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.runner import Runner

HOME: Final = ".prefect-schedules"
"""In the state folder: the server's database, which knows past runs."""
POLL_SECONDS: Final = 5.0
"""How often the server is asked for runs that are due."""
WATCH_SECONDS: Final = 1.0


def serve(schedules: Sequence[Schedule], settings: Settings) -> None:
    """Run what is scheduled until SIGINT or SIGTERM.

    Raises:
        InvalidInput: there is no schedule, or a key is set that a store in a folder refuses.
        FlowError: the server cannot be started, does not answer, or ends.
    """
    if not schedules:
        raise InvalidInput("nothing is scheduled; add [[schedules]] to sextant.toml")
    if settings.api_key is not None:
        for schedule in schedules:
            if "://" not in schedule.store:
                raise InvalidInput(
                    f"an API key is set, but schedule {schedule.name!r} works on the folder "
                    f"{schedule.store!r}; leave the key out, or serve that schedule elsewhere"
                )
    home = (state_folder(settings.store) / HOME).absolute()
    if url := os.environ.get(API_URL):
        require_answer(url)
    from flows.scheduled import SERVED_BY

    os.environ[SERVED_BY] = str(os.getpid())
    os.environ["PYTHONSAFEPATH"] = "1"  # nothing in a working folder can shadow a run's modules
    api = PrefectAPI.start(home, schedules=True)
    api.wait()
    asyncio.run(_serve(schedules, settings, api))


async def _serve(schedules: Sequence[Schedule], settings: Settings, api: PrefectAPI) -> None:
    from prefect.runner import Runner

    stop = _Stop()
    ids = await _prepare(schedules, settings, api)
    runner = Runner(name="sextant", query_seconds=POLL_SECONDS)
    for schedule in schedules:
        await _hand_over(runner, schedule, ids[schedule.name])
    running = asyncio.create_task(runner.start())
    try:
        while not runner.started and not running.done():
            await asyncio.sleep(0.05)
        _report_errors()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):  # after Prefect has set its own
            loop.add_signal_handler(number, stop.ask)
        _show(schedules, api)
        while not stop.is_set() and not running.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), WATCH_SECONDS)
            api.require_alive()
        if stop.is_set():
            await runner.astop()
    finally:
        if not stop.is_set():
            running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    if not stop.is_set():
        raise FlowError("Prefect's runner ended by itself; start again")
    console.complain("stopped")


class _Stop(asyncio.Event):
    """Set by the first signal."""

    _asked: float = 0.0

    def ask(self) -> None:
        """Stop; asked again, end at once: the runs' processes notice that this one is gone."""
        if not self.is_set():
            self._asked = time.monotonic()
            console.complain(
                "stopping: ending the runs in progress; what they have committed stays"
            )
            self.set()
        elif time.monotonic() > self._asked + 1:  # some senders send to process and group at once
            os._exit(1)


async def _prepare(
    schedules: Sequence[Schedule], settings: Settings, api: PrefectAPI
) -> "dict[str, UUID]":
    """Bring the server in line with the schedules and with what died; deployments by schedule."""
    from prefect.client.orchestration import get_client

    from flows.deploy import apply, deployment_ids, find_changes
    from flows.recovery import forget_late_runs, free_slots, take_up_orphans

    async with get_client() as client:
        steps = await find_changes(
            client, schedules, gpu_slots=settings.gpu_slots, prune=api.is_own, served=True
        )
        await apply(steps)
        ids = await deployment_ids(client, schedules)
        await forget_late_runs(client, list(ids.values()))
        if api.is_own:
            if orphans := await take_up_orphans(client, list(ids.values())):
                console.complain(f"{orphans} runs were cut short when serving ended; trying again")
            await free_slots(client)
        return ids


async def _hand_over(runner: "Runner", schedule: Schedule, id_: "UUID") -> None:
    """Tell the runner of a deployment that stands already; it would make one of its own."""
    from prefect.deployments.runner import RunnerDeployment

    class Standing(RunnerDeployment):
        async def aapply(self, *args: object, **options: object) -> "UUID":
            return id_

    await runner.aadd_deployment(Standing(name=schedule.name, flow_name=schedule.flow))


def _show(schedules: Sequence[Schedule], api: PrefectAPI) -> None:
    now = datetime.now(UTC)
    rows = [
        [
            schedule.name,
            schedule.flow,
            schedule.collection,
            schedule.when,
            "paused" if schedule.paused else f"{schedule.next_after(now):%Y-%m-%d %H:%M:%S %Z}",
        ]
        for schedule in schedules
    ]
    console.table(["name", "flow", "collection", "when", "next"], rows)
    console.say(f"serving at {api.url}; Ctrl-C ends it")


def _report_errors() -> None:
    """Errors of Prefect's runner, in our own lines; once it has set its own logging up."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.complain(console.one_line(record.getMessage(), 300))

    logger = logging.getLogger("prefect.runner")
    logger.handlers, logger.propagate = [Lines(logging.ERROR)], False
    logger.setLevel(logging.ERROR)
