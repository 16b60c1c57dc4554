"""Cluster: group a collection's chunks, write the groups back, report. Thin over `clustering`."""

from collections.abc import Callable
from pathlib import Path

from prefect import flow, task
from pydantic import BaseModel, ConfigDict

from flows.clustering.report import ClusterReport
from flows.clustering.run import cluster_collection
from flows.progress import Progress
from flows.session import Target, current, running


class ClusterRequest(BaseModel):
    """What to cluster: the flow's parameter, free of secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Target
    k: int | None = None
    seed: int = 0
    report: str
    """Folder for `clusters.json` and `clusters.md`."""


def run_clustering(request: ClusterRequest) -> ClusterReport:
    """Cluster the collection of the session that is open.

    Raises:
        CollectionNotFound: it does not exist.
        InvalidInput: k is out of range.
    """
    session = current()
    return cluster_collection(
        session.existing_collection(),
        k=request.k,
        seed=request.seed,
        report_folder=Path(request.report),
        run_id=session.run_id,
        created_at=session.started_at,
        progress=_stages(session.progress),
    )


def _stages(progress: Progress) -> Callable[[str, int, int], None]:
    """Running totals, as the clustering reports them, into steps."""
    stage, last = "", 0

    def report(name: str, done: int, total: int) -> None:
        nonlocal stage, last
        if name != stage:
            stage, last = name, 0
            progress.stage(f"clustering: {name}", total)
        progress.advance(done - last)
        last = done

    return report


@task(name="cluster-collection", persist_result=False)
def cluster_task(request: ClusterRequest) -> ClusterReport:
    """All of a clustering: its steps share one array of vectors, so they are one task."""
    return run_clustering(request)


@flow(name="cluster", persist_result=False)
def cluster_flow(request: ClusterRequest) -> ClusterReport:
    """Cluster a collection and report."""
    with running(request.target):
        return cluster_task(request)
