"""Exemplars: a few passages that show what a cluster is about, near its centre, yet unlike.

Legend: `N` vectors, `M` members of one cluster, `C` candidates among them, `D` dimensions.
"""

from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from flows.clustering.spherical import Floats
from flows.clustering.vector_file import Vectors

EXEMPLARS: Final = 5
CANDIDATES: Final = 50
"""Documents nearest to the centroid that may give an exemplar."""

RELEVANCE: Final = 0.5
"""Weight of nearness to the centroid against likeness to the exemplars already picked: with
0.7, a tight cluster showed copies of its first exemplar. All candidates are near the centroid."""


class Exemplar(BaseModel):
    """One passage that stands for its cluster; `start` and `end` are characters of the document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    doc_id: str
    title: str
    source: str
    start: int
    end: int
    snippet: str
    """The passage on one line, clipped to about 200 characters."""
    similarity: float
    """Cosine to the cluster's centroid."""
    kind: Literal["nearest", "diverse", "outlier"] = "nearest"
    """Why it is shown: it is nearest to the centroid; near it, and unlike those before; far."""


def pick_exemplars(
    vectors: Vectors,
    members_M: npt.NDArray[np.int64],
    *,
    cosines_N: Floats,
    documents_N: npt.NDArray[np.int32],
    count: int = EXEMPLARS,
) -> list[int]:
    """Rows of up to `count` exemplars of one cluster: near the centroid, diverse, one a document.

    Of each document only the passage nearest to the centroid stands; of the 50 nearest documents,
    maximal marginal relevance (Carbonell and Goldstein 1998) picks one after the other: the highest
    `0.5 * cosine to the centroid - 0.5 * highest cosine to one already picked`. The first pick is
    thus the member nearest to the centroid. Ties go to the lower row.

    Args:
        vectors: all N of them.
        members_M: the rows that belong to the cluster, ascending, at least one.
        cosines_N: float32 (N,), every vector's cosine to its own centroid.
        documents_N: the number of every vector's document.
        count: exemplars wanted, at least 1.
    """
    candidates: list[int] = []
    seen: set[int] = set()
    for place in np.argsort(-cosines_N[members_M], kind="stable"):
        row = int(members_M[place])
        if int(documents_N[row]) not in seen:
            seen.add(int(documents_N[row]))
            candidates.append(row)
            if len(candidates) == CANDIDATES:
                break
    unit_CD = vectors.take(candidates)
    likeness_CC = unit_CD @ unit_CD.T
    picked = [0]
    while len(picked) < min(count, len(candidates)):
        redundancy_C = likeness_CC[:, picked].max(axis=1)
        marginal_C = RELEVANCE * cosines_N[candidates] - (1 - RELEVANCE) * redundancy_C
        marginal_C[picked] = -np.inf
        picked.append(int(np.argmax(marginal_C)))
    return [candidates[place] for place in picked]
