"""Batches for distillation: neighbours in the teacher's space side by side.

Random texts are all equally unlike each other and teach little; each batch is made of small runs of
texts that the teacher finds alike, so that its similarity matrix has something to say.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans

RUN = 16
"""Texts per run of neighbours."""


def neighbourhoods(
    vectors: npt.NDArray[np.float16], *, k: int = 256, seed: int = 0
) -> npt.NDArray[np.int32]:
    """A cluster of the teacher's space for each text, int32 (N,)."""
    model = MiniBatchKMeans(k, random_state=seed, batch_size=4096, n_init=1, max_iter=20)
    sample = np.random.default_rng(seed).permutation(len(vectors))[: 40 * k]
    model.fit(vectors[sample].astype(np.float32))
    labels = [
        model.predict(vectors[i : i + 16_384].astype(np.float32))
        for i in range(0, len(vectors), 16_384)
    ]
    return np.concatenate(labels).astype(np.int32)


def epoch(
    lengths: npt.NDArray[np.int32],
    cluster: npt.NDArray[np.int32],
    *,
    token_budget: int,
    seed: int,
) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of each batch of one epoch, in a seeded order; every text comes once.

    Texts are dealt into length classes (so that rows of a batch are of similar length), ordered by
    cluster within a class, cut into runs; the runs are shuffled and filled into batches of about
    `token_budget` tokens.
    """
    rng = np.random.default_rng(seed)
    length_class = np.digitize(lengths, [24, 48, 96])
    batches: list[npt.NDArray[np.int64]] = []
    for one_class in np.unique(length_class):
        members = rng.permutation(np.flatnonzero(length_class == one_class))
        members = members[np.argsort(cluster[members], kind="stable")]
        runs = [members[i : i + RUN] for i in range(0, len(members), RUN)]
        order = rng.permutation(len(runs))
        per_batch = max(2, int(token_budget / lengths[members].mean() / RUN))
        batches.extend(
            np.concatenate([runs[j] for j in order[i : i + per_batch]])
            for i in range(0, len(order), per_batch)
        )
    for j in rng.permutation(len(batches)):
        yield batches[j]
