"""Cluster: group a collection's chunks, write the groups back, report. Thin over `clustering`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, task
from pydantic import BaseModel, ConfigDict

from flows.clustering.artifact import publish_artifact
from flows.clustering.method import Algorithm, Method, Projection
from flows.clustering.report import ClusterReport
from flows.clustering.run import Wanted, cluster_collection
from flows.clustering.spherical import Floats
from flows.progress import Progress
from flows.runs import recorded, runs_folder
from flows.session import Session, Target, current, running
from flows.state import REPORT, state_folder
from search.collections import base_name


class ClusterRequest(BaseModel):
    """What to cluster: the flow's parameter, free of secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Target
    algorithm: Algorithm = "kmeans"
    k: int | None = None
    min_cluster_size: int | None = None
    seed: int = 0
    projection: Projection = "pca"
    verify_names: bool = True
    """Whether names are searched for, which loads the encoder."""
    report: str | None = None
    """Folder for `clusters.html` and the report's other files; None: `report_folder`."""

    @property
    def method(self) -> Method:
        """What decides the clusters, beside the vectors."""
        return Method(
            algorithm=self.algorithm,
            k=self.k,
            min_cluster_size=self.min_cluster_size,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class SessionEncoder:
    """The collection's own encoder, loaded when it is first asked."""

    session: Session

    def encode_query(self, sentences: Sequence[str]) -> Floats:
        """L2-normalised vectors, float32 of shape (len(sentences), D)."""
        self.session.require_canary()
        return self.session.queries().encode_query(sentences)

    def encode_document(self, sentences: Sequence[str]) -> Floats:
        """Likewise, as chunks are encoded."""
        return self.session.encode_documents(sentences).vectors


def report_folder(target: Target) -> Path:
    """Where a collection's report goes, and where the last run's lies: all versions share it."""
    return state_folder(target.store) / base_name(target.collection) / REPORT


def run_clustering(request: ClusterRequest) -> ClusterReport:
    """Cluster the collection of the session that is open, and record the run.

    Raises:
        CollectionNotFound: it does not exist.
        InvalidInput: a parameter is out of range.
    """
    session = current()
    collection = session.existing_collection()
    request.method.check()
    target = request.target
    with recorded(
        runs_folder(target.store, target.collection),
        run_id=session.run_id,
        kind="cluster",
        collection=base_name(target.collection),
        store=session.store.location,
        versions=session.versions,
        encoder=session.specification.name,
        fingerprint=session.specification.fingerprint,
    ) as recorder:
        report = cluster_collection(
            collection,
            Wanted(
                method=request.method,
                projection=request.projection,
                report_folder=Path(request.report or report_folder(target)),
                state_folder=report_folder(target),
                run_id=session.run_id,
                created_at=session.started_at,
            ),
            encoder=SessionEncoder(session) if request.verify_names else None,
            progress=_stages(session.progress),
        )
        recorder.done(report)
    return report.model_copy(update={"warnings": (*report.warnings, *recorder.warnings)})


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
    """All of a clustering: its steps share one file of vectors, so they are one task."""
    return run_clustering(request)


@flow(name="cluster", persist_result=False)
def cluster_flow(request: ClusterRequest) -> ClusterReport:
    """Cluster a collection and report."""
    with running(request.target):
        report = cluster_task(request)
        warnings = publish_artifact(report)
        return report.model_copy(update={"warnings": (*report.warnings, *warnings)})
