"""Schedules on a Prefect server: what is wanted is held against what is there, then applied."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from flows.deployments import create, present, update, wanted
from flows.recovery import PAGE, TAG, automations
from flows.scheduled import ENTRY_POINT
from flows.schedules import Schedule, limits

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

OUR_ENTRY_POINTS: Final = ENTRY_POINT.format(flow="")

Action = Literal["create", "update", "delete", "unused"]


@dataclass(frozen=True)
class Change:
    """A difference between the file and the server."""

    action: Action
    """`unused`: ours, not in the file any more; goes with `--prune` only."""
    what: str
    """`deployment`, `work pool`, `limit`, `automation`."""
    name: str
    detail: str = ""


@dataclass(frozen=True)
class Step:
    """A change, and what makes it; nothing for one that is only reported."""

    change: Change
    apply: Callable[[], Awaitable[Any]] | None


async def find_changes(
    client: "PrefectClient",
    schedules: Sequence[Schedule],
    *,
    gpu_slots: int,
    prune: bool = False,
    served: bool = False,
) -> list[Step]:
    """What differs between schedules and server, in the order to apply it; changes nothing.

    Args:
        client: Of the server.
        schedules: All of them.
        gpu_slots: Slots of the GPU limit, if an entry occupies any.
        prune: Whether what is ours and not wanted any more goes.
        served: Whether this process runs them itself, without a work pool.
    """
    steps: list[Step] = []
    if not served:
        pools = dict.fromkeys(schedule.work_pool for schedule in schedules)
        steps += [step for name in pools if (step := await _work_pool(client, name))]
    steps += await _limits(client, limits(schedules, gpu_slots=gpu_slots), prune=prune)
    if not served:
        steps += await _automations(client)
    there = dict(await _ours(client))
    for schedule in schedules:
        deployment = wanted(schedule, schedules, served=served)
        found = there.pop(schedule.key, None) or await _named(client, schedule.key)
        steps += _deployment(client, schedule, deployment, found)
    for key, found in there.items():
        delete = partial(client.delete_deployment, found.id) if prune else None
        change = Change("delete" if prune else "unused", "deployment", key)
        steps.append(Step(change, delete))
    return steps


async def apply(steps: Sequence[Step]) -> list[Change]:
    """Make the changes, one after the other; returns all of them."""
    for step in steps:
        if step.apply is not None:
            await step.apply()
    return [step.change for step in steps]


async def deployment_ids(
    client: "PrefectClient", schedules: Sequence[Schedule]
) -> "dict[str, UUID]":
    """Ids of the schedules' deployments, which must be there, by name."""
    return {
        schedule.name: (await client.read_deployment_by_name(schedule.key)).id
        for schedule in schedules
    }


def _deployment(
    client: "PrefectClient",
    schedule: Schedule,
    deployment: Mapping[str, Any],
    found: "DeploymentResponse | None",
) -> list[Step]:
    if found is None:
        change = Change("create", "deployment", schedule.key, schedule.when)
        return [Step(change, partial(create, client, schedule, deployment))]
    now = present(found)
    differing = [name for name, value in deployment.items() if now[name] != value]
    if not differing:
        return []
    change = Change("update", "deployment", schedule.key, ", ".join(differing))
    return [Step(change, partial(update, client, found.id, schedule, deployment))]


async def _ours(client: "PrefectClient") -> "list[tuple[str, DeploymentResponse]]":
    """Deployments that we made, with their full names."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    found: list[tuple[str, DeploymentResponse]] = []
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    while page := await client.read_deployments(
        deployment_filter=tagged, limit=PAGE, offset=len(found)
    ):
        for deployment in page:
            flow = (deployment.entrypoint or "").removeprefix(OUR_ENTRY_POINTS)
            found.append((f"{flow}/{deployment.name}", deployment))
    return [
        (key, deployment)
        for key, deployment in found
        if (deployment.entrypoint or "").startswith(OUR_ENTRY_POINTS)
    ]


async def _named(client: "PrefectClient", key: str) -> "DeploymentResponse | None":
    """A deployment of that name that somebody else made, or that lost its tag."""
    from prefect.exceptions import ObjectNotFound

    try:
        return await client.read_deployment_by_name(key)
    except ObjectNotFound:
        return None


async def _work_pool(client: "PrefectClient", name: str) -> Step | None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        await client.read_work_pool(name)
    except ObjectNotFound:
        pool = WorkPoolCreate(
            name=name,
            type=ProcessWorker.type,
            base_job_template=ProcessWorker.get_default_base_job_template(),
        )
        change = Change("create", "work pool", name, ProcessWorker.type)
        return Step(change, partial(client.create_work_pool, pool))
    return None


async def _limits(client: "PrefectClient", slots: Mapping[str, int], *, prune: bool) -> list[Step]:
    from prefect.client.schemas.actions import (
        GlobalConcurrencyLimitCreate,
        GlobalConcurrencyLimitUpdate,
    )

    steps: list[Step] = []
    there: dict[str, int] = {}
    offset = 0
    while page := await client.read_global_concurrency_limits(limit=PAGE, offset=offset):
        there |= {limit.name: limit.limit for limit in page}
        offset += len(page)
    for name, count in slots.items():
        if name not in there:
            create = GlobalConcurrencyLimitCreate(name=name, limit=count)
            change = Change("create", "limit", name, f"{count} slots")
            steps.append(Step(change, partial(client.create_global_concurrency_limit, create)))
        elif there[name] != count:
            update = GlobalConcurrencyLimitUpdate(limit=count)
            change = Change("update", "limit", name, f"{there[name]} -> {count} slots")
            apply_ = partial(client.update_global_concurrency_limit, name, update)
            steps.append(Step(change, apply_))
    for name in there:
        if name.startswith(f"{TAG} ") and name not in slots:
            delete = partial(client.delete_global_concurrency_limit_by_name, name)
            change = Change("delete" if prune else "unused", "limit", name)
            steps.append(Step(change, delete if prune else None))
    return steps


async def _automations(client: "PrefectClient") -> list[Step]:
    steps: list[Step] = []
    for automation in automations():
        there = await client.read_automations_by_name(automation.name)
        if not there:
            change = Change("create", "automation", automation.name)
            steps.append(Step(change, partial(client.create_automation, automation)))
        elif there[0].description != automation.description or not there[0].enabled:
            change = Change("update", "automation", automation.name)
            steps.append(Step(change, partial(client.update_automation, there[0].id, automation)))
    return steps
