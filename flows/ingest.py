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
from flows.ingestion import Ingestion, IngestReport, IngestRequest
from flows.partition import Receipt, store_documents
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
    with running(request.target) as session:
        ingestion = Ingestion.begin(request, session)
        session.progress.stage("storing documents", len(ingestion.plan.store))
        futures: deque[PrefectFuture[Receipt]] = deque()
        for documents in ingestion.plan.partitions():
            if len(futures) == IN_FLIGHT:
                ingestion.add(futures.popleft().result())
            # quote: Prefect would walk through every document to look for futures
            futures.append(store_partition.submit(quote(documents)))
        while futures:
            ingestion.add(futures.popleft().result())
        ingestion.remove_vanished()
        return ingestion.finish()
