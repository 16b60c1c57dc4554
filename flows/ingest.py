"""Ingest: bring a collection in line with its sources. The flow is thin; the work lies below it."""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from prefect import flow, task
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff
from prefect.utilities.annotations import quote

from flows.documents.source_document import SourceDocument
from flows.ingestion import Ingestion, IngestReport, IngestRequest, recording
from flows.partition import Receipt, store_documents
from flows.run_report import publish_artifact
from flows.session import current, running
from search.errors import StoreUnavailable

IN_FLIGHT: Final = 2
"""Partitions at once: one is embedded while the other is read, parsed and chunked."""


def _may_pass(task: Any, run: Any, state: Any) -> bool:
    """Whether a failure may go away by itself: an engine that restarts, a server that is back."""
    return isinstance(state.result(raise_on_failure=False), StoreUnavailable | ConnectionError)


@task(
    name="store-partition",
    retries=3,
    retry_delay_seconds=exponential_backoff(2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_may_pass,
    persist_result=False,
)
def store_partition(documents: Sequence[SourceDocument]) -> Receipt:
    """Store one partition's documents."""
    return store_documents(documents, current())


@flow(
    name="ingest",
    task_runner=ThreadPoolTaskRunner(max_workers=IN_FLIGHT),  # type: ignore[arg-type]
    persist_result=False,
)
def ingest_flow(request: IngestRequest) -> IngestReport:
    """Store what is new or changed in the sources, remove what vanished, report the rest."""
    with running(request.target) as session, recording(request, session):
        ingestion = Ingestion.begin(request, session)
        session.progress.stage("storing documents", len(ingestion.plan.store))
        store = store_partition.with_options(timeout_seconds=request.partition_seconds)
        futures: deque[PrefectFuture[Receipt]] = deque()
        with ingestion.storing():
            for documents in ingestion.plan.partitions():
                if len(futures) == IN_FLIGHT:
                    ingestion.add(futures.popleft().result())
                # quote: Prefect would walk through every document to look for futures
                futures.append(store.submit(quote(documents)))
            while futures:
                ingestion.add(futures.popleft().result())
        ingestion.remove_vanished()
        report = ingestion.finish()
        warnings = publish_artifact(report)
        return report.model_copy(update={"warnings": (*report.warnings, *warnings)})
