"""Hits that say something new: near-duplicates folded into one, and variety by choice."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from search.hybrid import Candidate

Vectors = Mapping[str, npt.NDArray[np.float32]]
"""Unit vectors by chunk id, each of shape (D,)."""

DUPLICATE_COSINE: Final = 0.98
"""Two chunks whose vectors are so near say the same in nearly the same words."""


def fold(
    candidates: Sequence[Candidate], vectors: Vectors | None, *, cosine: float = DUPLICATE_COSINE
) -> tuple[list[Candidate], dict[str, list[str]]]:
    """Leave of near-duplicates the best one.

    Args:
        candidates: Best first.
        vectors: Of every candidate; None: only equal texts count, whatever their white space.
        cosine: From this on two chunks count as near-duplicates.

    Returns:
        Those that stay, in order; and by the id of each that stands for others, their ids.
    """
    kept: list[Candidate] = []
    folded: dict[str, list[str]] = {}
    by_text: dict[bytes, str] = {}
    matrix_KD: list[npt.NDArray[np.float32]] = []
    for one in candidates:
        identifier = one.record.id
        twin = by_text.setdefault(one.text_key, identifier)
        if twin == identifier and vectors is not None and matrix_KD:
            similarity_K = np.stack(matrix_KD) @ vectors[identifier]
            nearest = int(similarity_K.argmax())
            if similarity_K[nearest] >= cosine:
                twin = by_text[one.text_key] = kept[nearest].record.id
        if twin != identifier:
            folded.setdefault(twin, []).append(identifier)
            continue
        kept.append(one)
        if vectors is not None:
            matrix_KD.append(vectors[identifier])
    return kept, folded


def spread(
    candidates: Sequence[Candidate], vectors: Vectors, *, diversity: float, limit: int
) -> list[Candidate]:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): the first `limit` anew.

    Each next one has the greatest `(1 - diversity) * relevance - diversity * similarity`, where
    relevance is its score between the candidates' last (0) and best (1), and similarity its cosine
    to the nearest of those chosen. The best one stays first; equal values keep their order.

    Args:
        candidates: Best first.
        vectors: Of every candidate.
        diversity: 0 leaves the order, 1 looks at variety only.
        limit: How many to choose; the others follow as they stood.
    """
    if not candidates or diversity == 0:
        return list(candidates)
    scores_N = np.array([one.score for one in candidates])
    span = float(scores_N.max() - scores_N.min())
    relevance_N = (scores_N - scores_N.min()) / span if span else np.ones(len(scores_N))
    matrix_ND = np.stack([vectors[one.record.id] for one in candidates]).astype(np.float64)
    chosen = [0]
    nearest_N = matrix_ND @ matrix_ND[0]
    left_N = np.ones(len(candidates), dtype=np.bool_)
    left_N[0] = False
    while len(chosen) < min(limit, len(candidates)):
        value_N = (1 - diversity) * relevance_N - diversity * nearest_N
        value_N[~left_N] = -np.inf
        best = int(value_N.argmax())
        chosen.append(best)
        left_N[best] = False
        nearest_N = np.maximum(nearest_N, matrix_ND @ matrix_ND[best])
    rest = [index for index in range(len(candidates)) if left_N[index]]
    return [candidates[index] for index in (*chosen, *rest)]
