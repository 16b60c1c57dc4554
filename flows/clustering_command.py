"""What `sextant cluster` does, between the options that were read and the result that is shown."""

from pathlib import Path
from typing import TYPE_CHECKING

from flows.clustering.method import Algorithm, Projection
from flows.errors import InvalidInput
from flows.orchestration import PrefectAPI, no_heartbeat
from flows.progress import Progress
from flows.session import Target, running
from flows.state import prefect_home
from search.filters import of_kind
from search.records import KIND_CHUNK

if TYPE_CHECKING:
    from flows.clustering.report import ClusterReport


def run_cluster(
    target: Target,
    progress: Progress,
    *,
    k: int | None = None,
    seed: int = 0,
    report: str | None = None,
    algorithm: Algorithm = "kmeans",
    min_cluster_size: int | None = None,
    projection: Projection = "pca",
    verify_names: bool = True,
) -> "ClusterReport":
    """Run the clustering flow over a collection that exists, whichever encoder built it.

    Raises:
        InvalidInput: a parameter that no clustering of this collection can have.
        CollectionNotFound: there is none.
    """
    from flows.clustering.densities import MOST_POINTS
    from flows.clustering.map_points import check_projection
    from flows.clustering.method import Method

    method = Method(algorithm=algorithm, k=k, min_cluster_size=min_cluster_size, seed=seed)
    method.check()
    check_projection(projection)
    target = target.model_copy(update={"encoder": None})
    with running(target) as session:
        session.progress = progress
        chunks = session.existing_collection().count(of_kind(KIND_CHUNK))
        if k is not None and k > chunks:
            raise InvalidInput(
                f"k is {k}; collection {target.collection!r} has {chunks} chunks; use 1 to {chunks}"
            )
        if min_cluster_size is not None and min_cluster_size > chunks:
            raise InvalidInput(
                f"min_cluster_size is {min_cluster_size}; collection {target.collection!r} has "
                f"{chunks} chunks; use 2 to {chunks}"
            )
        if algorithm == "hdbscan" and chunks > MOST_POINTS:
            raise InvalidInput(
                f"algorithm 'hdbscan' takes up to {MOST_POINTS:,} chunks, collection "
                f"{target.collection!r} has {chunks:,}; use kmeans or bisecting"
            )
        api = PrefectAPI.start(prefect_home(target.store))
        progress.stage("starting Prefect")
        api.wait()
        api.end_with_it()
        from flows.cluster import ClusterRequest, cluster_flow

        with no_heartbeat():
            return cluster_flow(
                ClusterRequest(
                    target=target,
                    algorithm=algorithm,
                    k=k,
                    min_cluster_size=min_cluster_size,
                    seed=seed,
                    projection=projection,
                    verify_names=verify_names,
                    report=report and str(Path(report).absolute()),
                )
            )
