"""Spherical k-means: unit vectors, centroids on the sphere, cosine as the likeness.

scikit-learn's k-means finds the partition; a few rounds of spherical k-means (Dhillon and Modha
2001, "Concept decompositions for large sparse text data using clustering") then move each vector to
the centroid of highest cosine, so that "its cluster" and "its most similar centroid" are the same.

Everything runs on one thread: with several, scikit-learn and BLAS add up partial sums in the order
in which threads finish, and the last bits, then the labels, differ between runs and machines.

Legend: `N` vectors, `D` dimensions, `K` clusters.
"""

import warnings
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from flows.errors import InvalidInput

Floats: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int32]

MINI_BATCH_ABOVE: Final = 50_000
"""Up to this many vectors, `KMeans` in memory. Above, mini-batches from a file (`streaming`)."""

SPHERICAL_ROUNDS: Final = 50
BLOCK: Final = 65_536
"""Vectors compared with the centroids at a time: bounds the (N, K) table of cosines."""


def unit_rows(vectors_ND: npt.ArrayLike, names: Sequence[str] | None = None) -> Floats:
    """A float32 copy of the vectors, each of length 1; the input stays as it is.

    Args:
        vectors_ND: shape (N, D), N and D at least 1.
        names: what to call each row in a message; its number otherwise.

    Raises:
        InvalidInput: another shape, no rows, a value that is not finite, or a vector of length 0.
    """
    unit_ND = np.array(vectors_ND, dtype=np.float32, order="C")
    if unit_ND.ndim != 2 or 0 in unit_ND.shape:
        raise InvalidInput(
            f"vectors have shape {unit_ND.shape}; clustering needs (N, D), at least one of each: "
            "ingest documents first"
        )
    norms_N = np.linalg.norm(unit_ND, axis=1)
    bad = np.flatnonzero(~np.isfinite(norms_N) | (norms_N == 0))
    if bad.size:
        row = int(bad[0])
        name = names[row] if names is not None else f"row {row}"
        raise InvalidInput(
            f"{bad.size} vectors have no direction, the first is {name} (length {norms_N[row]}); "
            "expected finite vectors longer than 0: embed those texts again"
        )
    unit_ND /= norms_N[:, None]
    return unit_ND


def distinct_rows(vectors_ND: Floats, *, limit: int) -> int:
    """How many different rows there are, counted up to `limit`."""
    seen: set[bytes] = set()
    for row_D in vectors_ND:
        seen.add(row_D.tobytes())
        if len(seen) >= limit:
            break
    return len(seen)


def partition(unit_ND: Floats, k: int, *, seed: int, starts: int) -> Labels:
    """The label of every vector, int32 (N,), counted from 0 without gaps; deterministic.

    Fewer than `k` labels come back where fewer clusters keep a member, as with repeated vectors.

    Args:
        unit_ND: float32 (N, D), rows of length 1.
        k: clusters to look for, 1 to the number of distinct rows.
        seed: of the k-means++ starts.
        starts: how many starts to try; the one with the least squared distance wins.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if k == 1:
        return np.zeros(len(unit_ND), dtype=np.int32)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # It warns of vectors that repeat up to rounding; the number of labels tells that, too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(n_clusters=k, n_init=starts, random_state=seed)
        model.fit(unit_ND)
        labels_N = nearest(unit_ND, directions(model.cluster_centers_))
        for _ in range(SPHERICAL_ROUNDS):
            labels_N = _without_gaps(labels_N)
            moved_N = nearest(unit_ND, centroids(unit_ND, labels_N))
            if np.array_equal(moved_N, labels_N):
                break
            labels_N = moved_N
        return _without_gaps(labels_N)


def nearest(unit_ND: Floats, centroids_KD: Floats) -> Labels:
    """For every vector the centroid of highest cosine, the lower number in a tie; int32 (N,)."""
    labels_N = np.empty(len(unit_ND), dtype=np.int32)
    for start in range(0, len(unit_ND), BLOCK):
        block = slice(start, start + BLOCK)
        labels_N[block] = np.argmax(unit_ND[block] @ centroids_KD.T, axis=1)
    return labels_N


def centroids(unit_ND: Floats, labels_N: Labels) -> Floats:
    """The mean direction of every cluster, float32 (K, D), each of length 1.

    A cluster whose members cancel out (x and -x) has no direction: its row is 0, and so is every
    cosine to it.
    """
    sizes_K = np.bincount(labels_N)
    order_N = np.argsort(labels_N, kind="stable")
    ends_K = np.cumsum(sizes_K)
    sums_KD = np.stack(
        [
            unit_ND[order_N[end - size : end]].sum(axis=0, dtype=np.float64)
            for size, end in zip(sizes_K, ends_K, strict=True)
        ]
    )
    return directions(sums_KD)


def directions(vectors_KD: npt.NDArray[np.floating]) -> Floats:
    """The rows at length 1; a row shorter than rounding errors, which points nowhere, becomes 0."""
    norms_K = np.linalg.norm(vectors_KD, axis=1)
    pointing_K = norms_K > 1e-6
    unit_KD = vectors_KD / np.where(pointing_K, norms_K, 1.0)[:, None]
    return np.where(pointing_K[:, None], unit_KD, 0.0).astype(np.float32)


def _without_gaps(labels_N: Labels) -> Labels:
    return np.unique(labels_N, return_inverse=True)[1].astype(np.int32)
