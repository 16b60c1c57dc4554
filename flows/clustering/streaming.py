"""k-means over more vectors than memory should hold: read block by block, several times over.

Legend: `N` vectors, `M` of one block, `D` dimensions, `K` clusters.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import numpy.typing as npt

from flows.clustering.spherical import Floats, Labels, centroids, directions, nearest, partition
from flows.clustering.vector_file import Vectors, sample_rows

START_SAMPLE: Final = 20_000
"""Vectors whose k-means the mini-batches start from."""

START_RUNS: Final = 4
EPOCHS: Final = 2
"""How often the mini-batches go over all vectors."""

FULL_ROUNDS: Final = 12
"""Rounds of spherical k-means over all vectors, at most."""

SETTLED: Final = 0.001
"""Share of vectors that may still move in the last of them."""


def stream_partition(vectors: Vectors, k: int, *, seed: int) -> Labels:
    """The cluster of every vector, int32 (N,), without gaps; deterministic, in flat memory.

    k-means of a sample gives the first centroids; `MiniBatchKMeans` moves them over all vectors;
    then full rounds of spherical k-means, until fewer than one vector in a thousand moves.

    Args:
        vectors: of length 1, in an order that does not depend on when they were stored.
        k: clusters to look for, 1 to the number of distinct vectors.
        seed: of the starts.
    """
    from sklearn.cluster import MiniBatchKMeans

    count = len(vectors)
    with one_thread():
        start_MD = vectors.take(sample_rows(count, START_SAMPLE, seed=seed))
        found_KD = centroids(start_MD, partition(start_MD, k, seed=seed, starts=START_RUNS))
        model = MiniBatchKMeans(
            n_clusters=len(found_KD), init=found_KD, n_init=1, random_state=seed
        )
        for _ in range(EPOCHS):
            for _, block_MD in vectors.blocks():
                model.partial_fit(block_MD)
        found_KD = directions(model.cluster_centers_)
        labels_N = np.full(count, -1, dtype=np.int32)
        for _ in range(FULL_ROUNDS):
            moved = 0
            for rows, block_MD in vectors.blocks():
                labels_M = nearest(block_MD, found_KD)
                moved += int((labels_M != labels_N[rows]).sum())
                labels_N[rows] = labels_M
            labels_N = without_gaps(labels_N)
            found_KD = mean_directions(vectors, labels_N)
            if moved <= SETTLED * count:
                break
    return labels_N


def mean_directions(vectors: Vectors, labels_N: Labels) -> Floats:
    """The mean direction of every cluster, float32 (K, D); negative labels are left out."""
    count = int(labels_N.max(initial=-1)) + 1
    sums_KD = np.zeros((count, vectors.dimension), dtype=np.float64)
    for rows, block_MD in vectors.blocks():
        labels_M = labels_N[rows]
        order_M = np.argsort(labels_M, kind="stable")
        order_M = order_M[labels_M[order_M] >= 0]
        if not len(order_M):
            continue
        own, starts = np.unique(labels_M[order_M], return_index=True)
        sums_KD[own] += np.add.reduceat(block_MD[order_M], starts, axis=0, dtype=np.float64)
    return directions(sums_KD)


def own_cosines(vectors: Vectors, labels_N: Labels, centroids_KD: Floats) -> Floats:
    """Each vector's cosine to its own centroid, float32 (N,); without a cluster, to the nearest.

    0 where there is no cluster at all.
    """
    cosines_N = np.zeros(len(vectors), dtype=np.float32)
    if not len(centroids_KD):
        return cosines_N
    for rows, block_MD in vectors.blocks():
        labels_M = labels_N[rows]
        if (labels_M < 0).any():
            labels_M = np.where(labels_M < 0, nearest(block_MD, centroids_KD), labels_M)
        cosines_N[rows] = np.einsum("nd,nd->n", block_MD, centroids_KD[labels_M])
    return np.clip(cosines_N, -1.0, 1.0)


def count_distinct(vectors: Vectors, *, limit: int) -> int:
    """How many different vectors there are, counted up to `limit`."""
    seen: set[bytes] = set()
    for _, block_MD in vectors.blocks():
        for row_D in block_MD:
            seen.add(row_D.tobytes())
            if len(seen) >= limit:
                return len(seen)
    return len(seen)


def without_gaps(labels_N: npt.NDArray[np.int32]) -> Labels:
    """The labels counted from 0 without gaps, in their order."""
    return np.unique(labels_N, return_inverse=True)[1].astype(np.int32)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, so that a seed gives the same bits; scikit-learn's advice is unheard."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
