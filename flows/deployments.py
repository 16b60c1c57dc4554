"""One schedule as a Prefect deployment: what it should be, what it is, and how it is made so.

A deployment says where the installed package's flow is; no code is copied anywhere. It holds no
secret: a worker reads `SEXTANT_API_KEY` from its own environment.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from flows import scheduled
from flows.recovery import HEARTBEAT_SECONDS, TAG, WORKER_TAG
from flows.schedules import ANCHOR, Schedule, duration, occupied

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse


def wanted(schedule: Schedule, schedules: Sequence[Schedule], *, served: bool) -> dict[str, Any]:
    """What a deployment should be, in plain values."""
    return {
        "entrypoint": scheduled.ENTRY_POINT.format(flow=schedule.flow),
        "schedule": _moments(schedule),
        "parameters": {
            "request": schedule.request,
            "schedule": schedule.name,
            "occupy": occupied(schedule, schedules),
            "timeout_seconds": schedule.timeout_seconds,
        },
        "paused": schedule.paused,
        "concurrency_limit": schedule.concurrency,
        # a run that would overlap the one before it is dropped, not kept for later
        "collision_strategy": "CANCEL_NEW",
        "work_pool_name": None if served else schedule.work_pool,
        "job_variables": {} if served else {"env": _worker_environment()},
        "tags": [TAG] if served else [TAG, WORKER_TAG],
        "description": f"{schedule.flow} of collection {schedule.collection}, {schedule.when}",
        "version": version("sextant-pipeline"),
    }


def _worker_environment() -> dict[str, str]:
    """For a run's process, besides what its worker has."""
    return {
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PYTHONSAFEPATH": "1",  # nothing in a working folder can shadow a module
    }


def _moments(schedule: Schedule) -> dict[str, Any]:
    if schedule.every is None:
        return {"cron": schedule.cron, "timezone": schedule.timezone}
    seconds = duration(schedule.every).total_seconds()
    return {"interval": seconds, "anchor_date": ANCHOR.isoformat()}


def present(found: "DeploymentResponse") -> dict[str, Any]:
    """What a deployment is, in the form of `wanted`."""
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

    moments: dict[str, Any] = {}
    if len(found.schedules) == 1 and found.schedules[0].active:
        schedule = found.schedules[0].schedule
        if isinstance(schedule, CronSchedule):
            moments = {"cron": schedule.cron, "timezone": schedule.timezone}
        elif isinstance(schedule, IntervalSchedule):
            moments = {
                "interval": schedule.interval.total_seconds(),
                "anchor_date": schedule.anchor_date.isoformat(),
            }
    limit, options = found.global_concurrency_limit, found.concurrency_options
    return {
        "entrypoint": found.entrypoint,
        "schedule": moments,
        "parameters": found.parameters,
        "paused": found.paused,
        "concurrency_limit": None if limit is None else limit.limit,
        "collision_strategy": None if options is None else options.collision_strategy.value,
        "work_pool_name": found.work_pool_name,
        "job_variables": found.job_variables,
        "tags": found.tags,
        "description": found.description,
        "version": found.version,
    }


async def create(
    client: "PrefectClient", schedule: Schedule, deployment: Mapping[str, Any]
) -> None:
    """Make a deployment that is not there yet."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate

    flow_id = await client.create_flow_from_name(schedule.flow)
    fields = _fields(schedule, deployment)
    moments = DeploymentScheduleCreate(schedule=fields.pop("schedule"))
    await client.create_deployment(
        flow_id=flow_id, name=schedule.name, schedules=[moments], **fields
    )


async def update(
    client: "PrefectClient", id_: "UUID", schedule: Schedule, deployment: Mapping[str, Any]
) -> None:
    """Make a deployment what it should be; its runs that are due later are made anew."""
    from prefect.client.schemas.actions import DeploymentScheduleUpdate, DeploymentUpdate

    fields = _fields(schedule, deployment)
    moments = DeploymentScheduleUpdate(schedule=fields.pop("schedule"), active=True)
    await client.update_deployment(id_, DeploymentUpdate(schedules=[moments], **fields))


def _fields(schedule: Schedule, deployment: Mapping[str, Any]) -> dict[str, Any]:
    """A deployment in the words of Prefect's client."""
    from prefect.client.schemas.objects import ConcurrencyOptions
    from prefect.client.schemas.schedules import construct_schedule
    from prefect.utilities.callables import parameter_schema

    fields = dict(deployment)
    fields["schedule"] = construct_schedule(**fields["schedule"])
    fields["concurrency_options"] = ConcurrencyOptions(
        collision_strategy=fields.pop("collision_strategy")
    )
    schema = parameter_schema(getattr(scheduled, schedule.flow))
    return {
        **fields,
        "parameter_openapi_schema": schema.model_dump(exclude_unset=True),
        "enforce_parameter_schema": True,
        "pull_steps": [],
    }
