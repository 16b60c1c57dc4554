"""MTEB's clustering protocol: mini-batch k-means on samples, V-measure (arXiv 2502.13595).

Some experiments; in each a sample with replacement is clustered into as many groups as there are
labels, by mini-batch k-means from one k-means++ start. Their mean is the score. It is MTEB's second
and faster protocol (`AbsTaskClustering`), here over all texts of a set, not a share of them.
"""

import random
import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

EXPERIMENTS: Final = 10
SAMPLE: Final = 16_384
"""Vectors of one experiment, at most; all there are of smaller sets."""
BATCH: Final = 512
SEED: Final = 42


def mteb_v_measures(
    vectors_ND: Any,
    labels: Sequence[str],
    *,
    experiments: int = EXPERIMENTS,
    sample: int | None = None,
    seed: int = SEED,
) -> tuple[float, ...]:
    """V-measure, 0 to 1, of each experiment; the same seed gives the same ones, on one thread.

    Args:
        vectors_ND: float32 (N, D), or a sparse matrix of scipy's with rows (CSR).
        labels: of each of them, two kinds or more.
        experiments: how many, 1 or more.
        sample: vectors of one experiment; None: N, at most `SAMPLE`.
        seed: of the samples and of every k-means++ start.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import v_measure_score
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    label_N = np.array(labels)
    size = min(len(label_N), SAMPLE) if sample is None else sample
    clusters = min(len(np.unique(label_N)), size)
    draws = random.Random(seed)
    model = MiniBatchKMeans(
        n_clusters=clusters, batch_size=BATCH, init="k-means++", n_init=1, random_state=seed
    )
    found = []
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # It warns of vectors that repeat, as drawn ones do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(experiments):
            rows = draws.choices(range(len(label_N)), k=size)
            found.append(float(v_measure_score(label_N[rows], model.fit_predict(vectors_ND[rows]))))
    return tuple(found)
