"""A name is put to the test: searched for in the collection, does it find its cluster?

Precision is the share of members among the first hits, by the search that people use. Recall is the
share of the cluster found among as many chunks as it has, exactly where all chunks fit in the
sample, else estimated on it.

Legend: `Q` queries, `S` chunks of a sample, `D` dimensions.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from flows.clustering.members import Members
from flows.clustering.spherical import Floats, Labels
from flows.clustering.vector_file import Vectors, sample_rows
from search.stores.contract import Collection

HITS: Final = 50
"""Hits of which precision is the share of members; fewer of a smaller cluster."""

RECALL_SAMPLE: Final = 20_000
WEAK_BELOW: Final = 0.5
"""Precision below which a name is marked as weak: most of what it finds lies elsewhere."""


class TextEncoder(Protocol):
    """The collection's own encoder, for queries and for texts."""

    def encode_query(self, sentences: Sequence[str]) -> Floats:
        """L2-normalised vectors, float32 of shape (len(sentences), D)."""
        ...

    def encode_document(self, sentences: Sequence[str]) -> Floats:
        """Likewise, as chunks are encoded."""
        ...


class QueryCheck(BaseModel):
    """What a query found of its cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    query: str
    precision: float
    """Share of members among the first `hits` hits, 0 to 1."""
    hits: int
    recall: float | None
    """Share of the cluster among as many chunks as it has; None: none of it was in the sample."""

    @property
    def weak(self) -> bool:
        """Whether most of what it finds first lies elsewhere."""
        return self.precision < WEAK_BELOW


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, and the label of the cluster that it is to find."""

    query: str
    label: int


def check_queries(
    asked: Sequence[Asked],
    collection: Collection,
    encoder: TextEncoder,
    *,
    members: Members,
    labels_N: Labels,
    vectors: Vectors,
    seed: int = 0,
) -> list[QueryCheck]:
    """Search for each query, and count what it finds of its cluster; in the order given.

    Raises:
        SearchError: the store failed.
        EmbedderError: the encoder did.
    """
    if not asked:
        return []
    queries_QD = encoder.encode_query([one.query for one in asked])
    sample = sample_rows(len(vectors), RECALL_SAMPLE, seed=seed)
    recalls = _recalls(
        queries_QD, [one.label for one in asked], vectors.take(sample), labels_N[sample]
    )
    sizes = np.bincount(labels_N[labels_N >= 0])
    found = []
    for one, query_D, recall in zip(asked, queries_QD, recalls, strict=True):
        hits = int(min(HITS, sizes[one.label]))
        rows = [_row(members, r.id) for r in collection.search(query_D, limit=hits)]
        right = sum(row is not None and int(labels_N[row]) == one.label for row in rows)
        found.append(
            QueryCheck(query=one.query, precision=round(right / hits, 4), hits=hits, recall=recall)
        )
    return found


def _recalls(
    queries_QD: Floats, labels: Sequence[int], sample_SD: Floats, labels_S: Labels
) -> list[float | None]:
    found: list[float | None] = []
    for query_D, label in zip(queries_QD, labels, strict=True):
        own = labels_S == label
        size = int(own.sum())
        if not size:
            found.append(None)
            continue
        first = np.argsort(-(sample_SD @ query_D), kind="stable")[:size]
        found.append(round(float(own[first].mean()), 4))
    return found


def _row(members: Members, identifier: str) -> int | None:
    """The row of a chunk, by bisection: rows are in the order of the ids; None: it is new."""
    wanted = uuid.UUID(identifier).bytes
    ids: npt.NDArray[np.uint8] = members.ids
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if ids[middle].tobytes() < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < len(ids) and ids[low].tobytes() == wanted else None
