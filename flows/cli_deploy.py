"""`sextant serve-flows` and `sextant deploy`: what `[[schedules]]` in sextant.toml says, done."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli_options import AsJson, Debug, print_json, settings_of
from flows.errors import FlowError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows.deploy import Change
    from flows.schedules import Schedule


def serve_flows(debug: Debug = False) -> None:
    """Run what sextant.toml schedules, on this machine, until Ctrl-C or SIGTERM.

    A Prefect server is started on the loopback, unless PREFECT_API_URL names one. A run whose
    process was killed is tried again, three times in all. Exit code 0: stopped as asked.
    """
    from flows.schedules import read_schedules
    from flows.serve_flows import serve

    settings = settings_of()
    serve(read_schedules(settings), settings)


def deploy(
    work_pool: Annotated[
        str | None,
        typer.Option(
            "--work-pool",
            metavar="NAME",
            help="Work pool of entries that name none [default: sextant]",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be changed")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Delete sextant's deployments and limits that are not in sextant.toml",
        ),
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Bring the Prefect server at PREFECT_API_URL in line with what sextant.toml schedules.

    Makes the work pool, deployments with their schedules, limits, and the automations that pick
    up killed runs. A second time changes nothing. Workers run what is due: `prefect worker start
    --pool sextant --type process`, where sextant is installed and SEXTANT_API_KEY is set.
    """
    from flows.orchestration import API_URL, QUIET, require_answer
    from flows.schedules import read_schedules

    settings = settings_of()
    schedules = read_schedules(settings, work_pool=work_pool)
    url = os.environ.get(API_URL)
    if not url:
        raise InvalidInput(
            f"{API_URL} is not set; expected the address of a Prefect server, e.g. "
            "http://127.0.0.1:4200/api (one machine needs none: `sextant serve-flows`)"
        )
    require_answer(url)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    changes = _deploy(schedules, settings.gpu_slots, dry_run=dry_run, prune=prune)
    if as_json:
        print_json(_as_json(changes, schedules, dry_run=dry_run))
    else:
        _show(changes, schedules, dry_run=dry_run)


def _deploy(
    schedules: "Sequence[Schedule]", gpu_slots: int, *, dry_run: bool, prune: bool
) -> "list[Change]":
    import asyncio

    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException

    from flows.deploy import apply, find_changes

    async def run() -> "list[Change]":
        async with get_client() as client:
            steps = await find_changes(client, schedules, gpu_slots=gpu_slots, prune=prune)
            return [step.change for step in steps] if dry_run else await apply(steps)

    try:
        return asyncio.run(run())
    except (HTTPError, PrefectException) as error:
        raise FlowError(
            f"the Prefect server refused: {error or type(error).__name__}; what was applied "
            "stays, the same command goes on from there"
        ) from error


def _as_json(
    changes: "Sequence[Change]", schedules: "Sequence[Schedule]", *, dry_run: bool
) -> dict[str, Any]:
    from dataclasses import asdict
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    return {
        "dry_run": dry_run,
        "changes": [asdict(change) for change in changes],
        "schedules": [
            {
                "name": schedule.name,
                "flow": schedule.flow,
                "collection": schedule.collection,
                "when": schedule.when,
                "paused": schedule.paused,
                "next": None if schedule.paused else schedule.next_after(now).isoformat(),
                "work_pool": schedule.work_pool,
            }
            for schedule in schedules
        ],
    }


def _show(changes: "Sequence[Change]", schedules: "Sequence[Schedule]", *, dry_run: bool) -> None:
    from flows import console

    made = [change for change in changes if change.action != "unused"]
    for change in made:
        detail = f" ({change.detail})" if change.detail else ""
        console.say(f"{change.action} {change.what} {change.name!r}{detail}")
    for change in changes:
        if change.action == "unused":
            console.say(f"{change.what} {change.name!r} is not in sextant.toml; --prune deletes")
    what = "nothing was changed" if dry_run or not made else f"{len(made)} changes made"
    console.say(f"{len(schedules)} schedules; {what}")
