"""How firmly a cluster stands: whether it comes back from part of the points, and other starts.

Of nested samples (each within the next), under two seeds each, the same algorithm makes clusters
again. A cluster's stability is the mean, over these runs, of the highest Jaccard likeness (shared
points by all points of both) of its sampled members to a cluster found again: Hennig 2007,
"Cluster-wise assessment of cluster stability", with samples in place of bootstraps. 1 is found
again exactly; below 0.6 a cluster is as much an accident as a group.

Legend: `N` points, `S` of a sample, `K` clusters.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from flows.clustering.bisecting import tree_partition
from flows.clustering.densities import density_partition, smallest
from flows.clustering.fit import Clustering
from flows.clustering.method import Method
from flows.clustering.spherical import Floats, Labels, distinct_rows, partition
from flows.clustering.streaming import one_thread
from flows.clustering.vector_file import ArrayVectors, Vectors

SAMPLE: Final = 8_000
"""Points of the largest sample."""

SHARES: Final = (0.5, 0.75, 1.0)
"""Of the largest sample, nested; where all points fit in it, only the first two differ from all."""

SEEDS: Final = 2
STARTS: Final = 2

UNSTABLE_BELOW: Final = 0.6
FEWEST: Final = 2
"""Members in a sample without which a run says nothing of a cluster."""


def stability(vectors: Vectors, clustering: Clustering, method: Method) -> list[float | None]:
    """The stability of every cluster, 0 to 1; None where no run had two of its members.

    Args:
        vectors: in the order of the clustering's labels.
        clustering: what is judged.
        method: how it was made.
    """
    nested = np.random.default_rng(method.seed).permutation(len(vectors))[:SAMPLE]
    found: list[list[float]] = [[] for _ in range(clustering.k)]
    for share in SHARES:
        rows_S = np.sort(nested[: max(1, round(share * len(nested)))])
        sample_SD = vectors.take(rows_S)
        labels_S = clustering.labels[rows_S]
        for offset in range(1, SEEDS + 1):
            again_S = _again(
                sample_SD,
                clustering.k,
                method,
                seed=(method.seed + offset) % 2**32,
                share=len(rows_S) / len(vectors),
            )
            for cluster, likeness in _likeness(labels_S, again_S).items():
                found[cluster].append(likeness)
    return [round(float(np.mean(some)), 4) if some else None for some in found]


def _again(sample_SD: Floats, k: int, method: Method, *, seed: int, share: float) -> Labels:
    """The same algorithm, on a sample."""
    if method.algorithm == "hdbscan":
        whole = method.min_cluster_size or smallest(round(len(sample_SD) / share))
        size = min(max(2, round(whole * share)), len(sample_SD))
        return density_partition(sample_SD, min_cluster_size=size, seed=seed)
    wanted = distinct_rows(sample_SD, limit=k)
    if method.algorithm == "bisecting":
        with one_thread():
            return tree_partition(ArrayVectors(sample_SD), wanted, seed=seed)[0]
    return partition(sample_SD, wanted, seed=seed, starts=STARTS)


def _likeness(labels_S: npt.NDArray[np.int32], again_S: npt.NDArray[np.int32]) -> dict[int, float]:
    """For each cluster with enough members here, its highest Jaccard likeness to one found again.

    Where nothing was found again that shares a member, 0.
    """
    found: dict[int, float] = {}
    again_sizes = np.bincount(again_S[again_S >= 0], minlength=1)
    for cluster in np.unique(labels_S[labels_S >= 0]).tolist():
        own = labels_S == cluster
        size = int(own.sum())
        if size < FEWEST:
            continue
        inside = again_S[own]
        shared = np.bincount(inside[inside >= 0], minlength=len(again_sizes))
        found[cluster] = float(np.max(shared / (size + again_sizes - shared)))
    return found
