"""Dense groups and what lies between them: HDBSCAN (Campello, Moulavi and Sander 2013).

Legend: `N` vectors, `D` dimensions, `P` principal components.
"""

import math
from typing import Final

import numpy as np

from flows.clustering.spherical import Floats, Labels, distinct_rows
from flows.clustering.streaming import one_thread
from flows.errors import InvalidInput

MOST_POINTS: Final = 100_000
"""Its time grows with their square; k-means has no such bound."""

COMPONENTS: Final = 24
"""Distances between neighbours say little in hundreds of dimensions; so many keep most of what
tells topics apart."""

MIN_SAMPLES: Final = 5
"""Neighbours that make a place dense: low, so that fewer points count as outliers."""

FEWEST: Final = 5

OUTLIER: Final = -1
"""The label of a point of no cluster."""


def density_partition(
    unit_ND: Floats, *, min_cluster_size: int | None = None, seed: int = 0
) -> Labels:
    """The cluster of every vector, int32 (N,), -1 for outliers; deterministic.

    Vectors of more than 24 dimensions are first projected onto their first 24 principal components.

    Args:
        unit_ND: float32 (N, D), rows of length 1, at most `MOST_POINTS`.
        min_cluster_size: the fewest points of a cluster, 2 or more; None: see `smallest`.
        seed: has no part in it where the projection is exact, as it is here.

    Raises:
        InvalidInput: too many vectors, or a smallest cluster larger than all.
    """
    from sklearn.cluster import HDBSCAN
    from sklearn.decomposition import PCA

    count = len(unit_ND)
    if count > MOST_POINTS:
        raise InvalidInput(
            f"algorithm 'hdbscan' takes up to {MOST_POINTS:,} points, here are {count:,}; "
            "use 'kmeans' or 'bisecting'"
        )
    if min_cluster_size is not None and min_cluster_size > count:
        raise InvalidInput(
            f"min_cluster_size={min_cluster_size} of {count} points; give 2 to {count}"
        )
    size = smallest(count) if min_cluster_size is None else min_cluster_size
    if distinct_rows(unit_ND, limit=2) < 2:  # a single place, as dense as can be
        return np.zeros(count, dtype=np.int32)
    if count <= max(size, MIN_SAMPLES):
        return np.full(count, OUTLIER, dtype=np.int32)
    with one_thread():
        points_NP = unit_ND
        if min(unit_ND.shape) > COMPONENTS:
            reduce = PCA(n_components=COMPONENTS, svd_solver="covariance_eigh", random_state=seed)
            points_NP = reduce.fit_transform(unit_ND)
        model = HDBSCAN(
            min_cluster_size=size,
            min_samples=min(MIN_SAMPLES, size),
            n_jobs=1,
            copy=True,
        )
        labels_N: Labels = model.fit_predict(points_NP).astype(np.int32)
    return np.maximum(labels_N, OUTLIER).astype(np.int32)


def smallest(count: int) -> int:
    """The fewest points of a cluster where nobody says: half the square root of all, 5 at least.

    >>> smallest(50), smallest(10_000)
    (5, 50)
    """
    return max(FEWEST, round(math.sqrt(count) / 2))
