"""What picks up a run that was killed, and what is put right before serving begins.

Prefect notes a run whose process died as crashed, and leaves it at that. Here it goes back into the
queue until it has begun `ATTEMPTS` times; it goes on from what is stored, and does again only what
had not been committed. Where this process serves, it sees to that itself: `flows.scheduled` after
a crash, `take_up_orphans` after its own end. For workers two automations of the server do: one for
crashed runs, and one for runs whose whole machine is gone, which nobody reports: their heartbeat
stops.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.events import AutomationCore

TAG: Final = "sextant"
WORKER_TAG: Final = "sextant-worker"
"""Of deployments in work pools, besides: the automations are for those only."""
ATTEMPTS: Final = 3
HEARTBEAT_SECONDS: Final = 30
"""The least that Prefect takes."""
SILENCE_SECONDS: Final = 3 * HEARTBEAT_SECONDS
PAGE: Final = 200
LATE: Final = timedelta(seconds=30)


def automations() -> "list[AutomationCore]":
    """Both automations, for runs that workers carry out.

    Their descriptions end in a digest of all that they say, by which a changed one is known.
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events import AutomationCore, EventTrigger, Posture
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.events import ResourceSpecification

    ours = ResourceSpecification(
        {"prefect.resource.id": f"prefect.tag.{WORKER_TAG}", "prefect.resource.role": "tag"}
    )
    silent = AutomationCore(
        name="sextant: a run without heartbeat has crashed",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={
                "prefect.flow-run.heartbeat",
                *(
                    f"prefect.flow-run.{state}"
                    for state in ("Completed", "Failed", "Cancelled", "Crashed", "AwaitingRetry")
                ),
            },
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ours,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_SECONDS),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"no heartbeat for {SILENCE_SECONDS} s: its machine is gone",
            )
        ],
    )
    again = AutomationCore(
        name="sextant: a crashed run is tried again",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Crashed"},
            match=ResourceSpecification(
                {
                    "prefect.resource.id": "prefect.flow-run.*",
                    # how often it has begun; a run that cannot even begin is left to its schedule
                    "prefect.run-count": [str(count) for count in range(1, ATTEMPTS)],
                }
            ),
            match_related=ours,
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED,
                name="AwaitingRetry",
                message="its process died; it goes on from what is stored",
            )
        ],
    )
    for automation in (silent, again):
        said = automation.model_dump(mode="json", include={"trigger", "actions"})
        digest = sha256(json.dumps(_ordered(said)).encode()).hexdigest()[:12]
        automation.description = f"Made by sextant for its scheduled runs; {digest}"
    return [silent, again]


def _ordered(value: Any) -> Any:
    """The same each time, though sets have no order."""
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value) if name != "id"}
    if isinstance(value, list):
        return sorted((_ordered(item) for item in value), key=str)
    return value


async def forget_late_runs(client: "PrefectClient", deployments: Sequence[UUID]) -> int:
    """Delete runs that were due while nobody served; returns how many.

    The next one does what they would have done. Runs that wait for another attempt stay.
    """
    due_before = datetime.now(UTC) - LATE
    late = [
        run
        for run in await _runs(client, deployments, "SCHEDULED")
        if run.auto_scheduled
        and run.run_count == 0
        and run.expected_start_time is not None
        and run.expected_start_time < due_before
    ]
    for run in late:
        await client.delete_flow_run(run.id)
    return len(late)


async def take_up_orphans(client: "PrefectClient", deployments: Sequence[UUID]) -> int:
    """Put back what a server of our own still takes for running; returns how many.

    Only where it is certain that no process of these deployments is alive. The server's automations
    are not asked: one that has just started would miss what happens now.
    """
    from prefect.states import AwaitingRetry, Crashed

    orphans = await _runs(client, deployments, "RUNNING", "PENDING", "CANCELLING")
    for run in orphans:
        if run.run_count < ATTEMPTS:
            message = f"attempt {run.run_count + 1} of {ATTEMPTS}: what served it is gone"
            state: State[Any] = AwaitingRetry(message=message)
        else:
            state = Crashed(message=f"what served it is gone, {ATTEMPTS} times")
        await client.set_flow_run_state(run.id, state, force=True)
    return len(orphans)


async def _runs(
    client: "PrefectClient", deployments: Sequence[UUID], *states: str
) -> "list[FlowRun]":
    """The deployments' runs that are in one of the states."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    if not deployments:
        return []
    types = FlowRunFilterStateType(any_=[StateType(state) for state in states])
    found: list[FlowRun] = []
    while page := await client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(deployments))),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=types)),
        limit=PAGE,
        offset=len(found),
    ):
        found += page
    return found


async def free_slots(client: "PrefectClient") -> None:
    """Free all slots of a server of our own that has just started: nothing runs yet."""
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    for limit in await client.read_global_concurrency_limits(limit=200, offset=0):
        if limit.active_slots:
            await client.update_global_concurrency_limit(
                limit.name, GlobalConcurrencyLimitUpdate(active_slots=0)
            )
