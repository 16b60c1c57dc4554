"""One clustering of a collection's vectors: k given or chosen, deterministic, independent of order.

Legend: `N` vectors, `D` dimensions, `K` clusters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from flows.clustering.bisecting import Node, tree_partition
from flows.clustering.choice import FIT_SAMPLE, KScore, choose
from flows.clustering.densities import density_partition
from flows.clustering.method import Algorithm, Method
from flows.clustering.spherical import MINI_BATCH_ABOVE, Floats, Labels, partition, unit_rows
from flows.clustering.streaming import (
    count_distinct,
    mean_directions,
    one_thread,
    own_cosines,
    stream_partition,
)
from flows.clustering.vector_file import ArrayVectors, Vectors, all_rows, sample_rows
from flows.errors import InvalidInput

STARTS: Final = 8
"""k-means++ starts of the final fit."""

OUTLIER_SCORE: Final = 3.5
"""Modified z-score beyond which a point is an outlier, as Iglewicz and Hoaglin 1993 advise."""

OUTLIER_MIN_SIZE: Final = 8
"""Smaller clusters have no outliers: a median deviation of a handful of points says nothing."""

OUTLIER_MIN_SPREAD: Final = 0.01
"""Least median deviation (a cosine): in a cluster of near-copies, rounding makes no outlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A group of a tree of clusters; its parent stands before it."""

    parent: int | None
    """Place of its parent; None of the root, which comes first."""
    cluster: int | None
    """The label that it is, where it is not parted further."""
    size: int
    """Points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustering:
    """A partition of N vectors into K clusters; rows stand in the order of the vectors given.

    Attributes:
        labels: int32 (N,), cluster of each vector: 0 is the largest, ties by smallest member id;
            -1 for the outliers of `hdbscan`, which belong to no cluster.
        centroids: float32 (K, D), mean direction of each cluster, of length 1 (or 0: no direction).
        cosines: float32 (N,), each vector's cosine to its centroid, or to the nearest one where it
            belongs to no cluster.
        outliers: bool (N,), see `outliers`: an outlier keeps its cluster; of `hdbscan`, its own.
        k: clusters found; below `requested_k` only where fewer distinct vectors were there to part.
        requested_k: what the caller asked for; None where k was chosen.
        criterion: what every k that was tried scored; empty where k was given.
        seed: of the random starts.
        algorithm: which one parted them.
        tree: of `bisecting`, how the clusters came about; else empty.
    """

    labels: Labels
    centroids: Floats
    cosines: Floats
    outliers: npt.NDArray[np.bool_]
    k: int
    requested_k: int | None
    criterion: tuple[KScore, ...]
    seed: int
    algorithm: Algorithm = "kmeans"
    tree: tuple[Branch, ...] = ()


def fit(
    vectors_ND: npt.NDArray[np.float32],
    ids: Sequence[str],
    *,
    k: int | None = None,
    seed: int = 0,
) -> Clustering:
    """Cluster vectors by direction with spherical k-means; see `fit_vectors`.

    The same vectors under the same ids give the same clusters whatever their order, on any number
    of cores: points are sorted by id first and one thread computes.

    Args:
        vectors_ND: float32 (N, D), of any length but 0; they are normalised on a copy.
        ids: one per vector, no two alike.
        k: number of clusters, 1 to N; None chooses it by silhouette (`choice`).
        seed: 0 to 2**32 - 1; another one gives another, equally good, run of k-means.

    Raises:
        InvalidInput: k or seed out of range, ids missing or repeated, vectors empty, not finite
            or of length 0.
    """
    method = Method(k=k, seed=seed)
    method.check()
    if len(ids) != len(vectors_ND):
        raise InvalidInput(f"{len(ids)} ids for {len(vectors_ND)} vectors; give one id per vector")
    if len(set(ids)) != len(ids):
        raise InvalidInput(
            f"{len(ids)} ids, {len(set(ids))} of them distinct; give each vector its own"
        )
    order_N = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    unit_ND = unit_rows(np.asarray(vectors_ND)[order_N], [ids[row] for row in order_N])
    found = fit_vectors(ArrayVectors(unit_ND), method)
    back_N = np.argsort(order_N)
    return replace(
        found,
        labels=found.labels[back_N],
        cosines=found.cosines[back_N],
        outliers=found.outliers[back_N],
    )


def fit_vectors(vectors: Vectors, method: Method) -> Clustering:
    """Cluster vectors that stand in the order of their ids.

    Up to 50,000 vectors go through `KMeans`; more are read block by block (`streaming`), so that
    memory holds a sample and a block of them, and a few numbers of each. `bisecting` grows its tree
    on a sample; `hdbscan` takes up to 100,000 vectors, in memory.

    Args:
        vectors: float32, of length 1, at least one.
        method: what to do.

    Raises:
        InvalidInput: k is above the number of vectors, or they are too many for the algorithm.
    """
    method.check()
    method.check_count(len(vectors))
    criterion: tuple[KScore, ...] = ()
    tree: list[Node] = []
    if method.algorithm == "hdbscan":
        labels_N = density_partition(
            all_rows(vectors), min_cluster_size=method.min_cluster_size, seed=method.seed
        )
    else:
        wanted, criterion = _wanted(vectors, method)
        if method.algorithm == "bisecting":
            with one_thread():
                labels_N, tree = tree_partition(vectors, wanted, seed=method.seed)
        elif len(vectors) <= MINI_BATCH_ABOVE:
            labels_N = partition(all_rows(vectors), wanted, seed=method.seed, starts=STARTS)
        else:
            labels_N = stream_partition(vectors, wanted, seed=method.seed)
    labels_N, numbers = _by_size(labels_N)
    with one_thread():
        centroids_KD = mean_directions(vectors, labels_N)
        cosines_N = own_cosines(vectors, labels_N, centroids_KD)
    return Clustering(
        labels=labels_N,
        centroids=centroids_KD,
        cosines=cosines_N,
        outliers=(labels_N < 0 if method.algorithm == "hdbscan" else outliers(cosines_N, labels_N)),
        k=len(centroids_KD),
        requested_k=method.k,
        criterion=criterion,
        seed=method.seed,
        algorithm=method.algorithm,
        tree=_branches(tree, labels_N, numbers),
    )


def _wanted(vectors: Vectors, method: Method) -> tuple[int, tuple[KScore, ...]]:
    """How many clusters to look for, and what was tried."""
    wanted = method.k
    criterion: tuple[KScore, ...] = ()
    if wanted is None:
        sample = vectors.take(sample_rows(len(vectors), FIT_SAMPLE, seed=method.seed))
        chosen = choose(sample, seed=method.seed)
        wanted, criterion = chosen.k, chosen.criterion
    return count_distinct(vectors, limit=wanted), criterion


def outliers(cosines_N: Floats, labels_N: Labels) -> npt.NDArray[np.bool_]:
    """Which points lie unusually far from their centroid for their own cluster; bool (N,).

    k-means has no outliers of its own: every point joins a cluster. What a reader wants to know is
    which ones joined for want of a better place. A point is one if its cosine to the centroid lies
    more than 3.5 robust standard deviations (1.4826 x the median absolute deviation) below its
    cluster's median: the modified z-score of Iglewicz and Hoaglin 1993. Judging within the cluster
    leaves a loose cluster its looseness; a cluster that is junk throughout shows in its cohesion.
    """
    flagged_N = np.zeros(len(labels_N), dtype=np.bool_)
    for cluster in np.unique(labels_N):
        members = np.flatnonzero(labels_N == cluster)
        if len(members) < OUTLIER_MIN_SIZE:
            continue
        own = cosines_N[members]
        median = np.median(own)
        deviation = max(float(np.median(np.abs(own - median))), OUTLIER_MIN_SPREAD)
        flagged_N[members] = own < median - OUTLIER_SCORE * 1.4826 * deviation
    return flagged_N


def _by_size(labels_N: Labels) -> tuple[Labels, dict[int, int]]:
    """Renumber by descending size; points are sorted by id, so the first member breaks a tie.

    Returns:
        The new labels, and the new number of each old one; negative labels stay.
    """
    old_K, first_K, sizes_K = np.unique(labels_N, return_index=True, return_counts=True)
    ranking = [place for place in np.lexsort((first_K, -sizes_K)) if old_K[place] >= 0]
    numbers = {int(old_K[place]): number for number, place in enumerate(ranking)}
    new_K = np.array([numbers.get(int(old), -1) for old in old_K], dtype=np.int32)
    renumbered_N: Labels = new_K[np.searchsorted(old_K, labels_N)]
    return renumbered_N, numbers


def _branches(
    nodes: Sequence[Node], labels_N: Labels, numbers: Mapping[int, int]
) -> tuple[Branch, ...]:
    """The tree with the sizes of all points, of which it may have seen a sample."""
    sizes = [0] * len(nodes)
    clusters: list[int | None] = [None] * len(nodes)
    leaf = 0
    for place, node in enumerate(nodes):
        if node.children is None:
            clusters[place] = numbers.get(leaf)
            sizes[place] = int((labels_N == numbers.get(leaf, -2)).sum())
            leaf += 1
    for place in range(len(nodes) - 1, 0, -1):  # children stand behind their parents
        sizes[nodes[place].parent or 0] += sizes[place]
    return tuple(
        Branch(parent=node.parent, cluster=clusters[place], size=sizes[place])
        for place, node in enumerate(nodes)
    )
