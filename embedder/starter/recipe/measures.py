"""What a student is worth on texts that no step has read.

None of these is a test set. `scored` is a development file of sentence pairs with human scores.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from embedder.starter.recipe.corpus import Corpus

Vectors = npt.NDArray[np.float32]
Means = Callable[[npt.NDArray[np.int64]], Vectors]
"""From indices of the corpus' texts to vectors, (S, D), of any length."""


def held_out_measures(corpus: Corpus, vectors_of: Means) -> dict[str, float]:
    """Cosine to the teacher, and nDCG@10 of finding each right side by its left one."""
    held_out = corpus.held_out
    found_ND = unit(vectors_of(held_out.T.ravel()))
    teacher_ND = corpus.teacher[held_out.T.ravel()].astype(np.float32)
    half = len(held_out)
    return {
        "cosine": round(float((found_ND * teacher_ND).sum(1).mean()), 4),
        "pairs_ndcg": round(_ndcg(found_ND[:half] @ found_ND[half:].T), 4),
    }


def teacher_ndcg(corpus: Corpus) -> float:
    """What the teacher itself reaches there."""
    left, right = corpus.held_out.T
    teacher = corpus.teacher.astype(np.float32)
    return round(_ndcg(teacher[left] @ teacher[right].T), 4)


def spearman_of(first_ND: Vectors, second_ND: Vectors, scores: Any) -> float:
    """Rank correlation of cosines with human scores."""
    cosines = (unit(first_ND) * unit(second_ND)).sum(1)
    return round(float(spearmanr(cosines, scores).statistic), 4)


def _ndcg(similarity_NN: Vectors) -> float:
    """nDCG@10 where row i's one answer is column i."""
    right_N1 = np.diag(similarity_NN)[:, None]
    rank_N = (similarity_NN > right_N1).sum(1)
    return float(np.where(rank_N < 10, 1 / np.log2(rank_N + 2), 0).mean())


def unit(vectors_ND: Vectors) -> Vectors:
    """At unit length; zero stays zero."""
    length_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    scaled: Vectors = vectors_ND / np.maximum(length_N1, 1e-12)
    return scaled
