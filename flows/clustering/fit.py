"""One clustering of a collection's vectors: k given or chosen, deterministic, independent of order.

Legend: `N` vectors, `D` dimensions, `K` clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from flows.clustering.choice import KScore, choose
from flows.clustering.spherical import (
    Floats,
    Labels,
    centroids,
    cosines,
    distinct_rows,
    partition,
    unit_rows,
)
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
class Clustering:
    """A partition of N vectors into K clusters; rows stand in the order of the vectors given.

    Attributes:
        labels: int32 (N,), cluster of each vector: 0 is the largest, ties by smallest member id.
        centroids: float32 (K, D), mean direction of each cluster, of length 1 (or 0: no direction).
        cosines: float32 (N,), each vector's cosine to its centroid.
        outliers: bool (N,), see `outliers`; an outlier keeps its cluster.
        k: clusters found; below `requested_k` only where fewer distinct vectors were there to part.
        requested_k: what the caller asked for; None where k was chosen.
        criterion: what every k that was tried scored; empty where k was given.
        seed: of the random starts.
    """

    labels: Labels
    centroids: Floats
    cosines: Floats
    outliers: npt.NDArray[np.bool_]
    k: int
    requested_k: int | None
    criterion: tuple[KScore, ...]
    seed: int


def fit(
    vectors_ND: npt.NDArray[np.float32],
    ids: Sequence[str],
    *,
    k: int | None = None,
    seed: int = 0,
) -> Clustering:
    """Cluster vectors by direction with spherical k-means.

    The same vectors under the same ids give the same clusters whatever their order, on any number
    of cores: points are sorted by id first and one thread computes. Up to 50,000 vectors go through
    `KMeans`, more through `MiniBatchKMeans`; both end in full rounds of spherical k-means. Memory:
    up to three times the vectors.

    Args:
        vectors_ND: float32 (N, D), of any length but 0; they are normalised on a copy.
        ids: one per vector, no two alike.
        k: number of clusters, 1 to N; None chooses it by silhouette (`choice`).
        seed: 0 to 2**32 - 1; another one gives another, equally good, run of k-means.

    Raises:
        InvalidInput: k or seed out of range, ids missing or repeated, vectors empty, not finite
            or of length 0.
    """
    check_request(k=k, seed=seed)
    if len(ids) != len(vectors_ND):
        raise InvalidInput(f"{len(ids)} ids for {len(vectors_ND)} vectors; give one id per vector")
    if len(set(ids)) != len(ids):
        raise InvalidInput(
            f"{len(ids)} ids, {len(set(ids))} of them distinct; give each vector its own"
        )
    order_N = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    unit_ND = unit_rows(np.asarray(vectors_ND)[order_N], [ids[row] for row in order_N])
    if k is not None and k > len(unit_ND):
        raise InvalidInput(
            f"k={k} clusters asked of {len(unit_ND)} points; give k from 1 to {len(unit_ND)}, "
            "or leave it out to have it chosen"
        )
    criterion: tuple[KScore, ...] = ()
    if k is None:
        chosen = choose(unit_ND, seed=seed)
        wanted, criterion = chosen.k, chosen.criterion
    else:
        wanted = k
    wanted = distinct_rows(unit_ND, limit=wanted)

    labels_N = _by_size(partition(unit_ND, wanted, seed=seed, starts=STARTS))
    centroids_KD = centroids(unit_ND, labels_N)
    cosines_N = cosines(unit_ND, labels_N, centroids_KD)
    back_N = np.argsort(order_N)
    return Clustering(
        labels=labels_N[back_N],
        centroids=centroids_KD,
        cosines=cosines_N[back_N],
        outliers=outliers(cosines_N, labels_N)[back_N],
        k=len(centroids_KD),
        requested_k=k,
        criterion=criterion,
        seed=seed,
    )


def check_request(*, k: int | None, seed: int) -> None:
    """Refuse what no collection could satisfy, before any vector is read.

    Raises:
        InvalidInput: k below 1, or a seed outside 0 to 2**32 - 1.
    """
    if k is not None and k < 1:
        raise InvalidInput(f"k={k}; give 1 or more clusters, or leave it out to have it chosen")
    if not 0 <= seed < 2**32:
        raise InvalidInput(f"seed={seed}; give a whole number from 0 to {2**32 - 1}")


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


def _by_size(labels_N: Labels) -> Labels:
    """Renumber by descending size; points are sorted by id, so the first member breaks a tie."""
    _, first_K, sizes_K = np.unique(labels_N, return_index=True, return_counts=True)
    ranking_K = np.lexsort((first_K, -sizes_K))
    numbers_K = np.empty(len(ranking_K), dtype=np.int32)
    numbers_K[ranking_K] = np.arange(len(ranking_K), dtype=np.int32)
    renumbered_N: Labels = numbers_K[labels_N]
    return renumbered_N
