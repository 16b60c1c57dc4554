"""Migrate: re-embed a collection with another encoder, beside the old version. Thin by intent."""

from typing import Any

from prefect import flow, task
from prefect.tasks import exponential_backoff

from flows.migration_report import MigrationReport
from flows.migration_request import MigrationRequest
from flows.migration_session import current, migrating
from search.errors import StoreFull, StoreUnavailable


def _may_pass(task: Any, run: Any, state: Any) -> bool:
    """Whether a failure may go away by itself: an engine that restarts, a server that is back."""
    failure = state.result(raise_on_failure=False)
    passes = isinstance(failure, StoreUnavailable | ConnectionError)
    return passes and not isinstance(failure, StoreFull)


@task(
    name="embed-part",
    retries=3,
    retry_delay_seconds=exponential_backoff(2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_may_pass,
    persist_result=False,
)
def embed_part(number: int) -> None:
    """Embed and store one part of what was spooled."""
    current().store_part(number)


@flow(name="migrate", persist_result=False)
def migrate_flow(request: MigrationRequest) -> MigrationReport:
    """Bring the new version in line with the old one, compare their answers, switch if asked."""
    with migrating(request) as migration:
        while True:
            while migration.next_round():
                for number in migration.parts():
                    embed_part(number)
                migration.end_round()
            report = migration.conclude()
            if report is not None:
                return report
