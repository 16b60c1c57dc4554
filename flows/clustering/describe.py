"""What a report says of each cluster, from its rows, texts and name.

Legend: `N` chunks, `M` members of one cluster, `K` clusters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from flows.clustering.exemplars import Exemplar, pick_exemplars
from flows.clustering.fit import Clustering
from flows.clustering.lineage import Lineage
from flows.clustering.members import Members, Passage
from flows.clustering.naming import Name
from flows.clustering.report import Cluster, Outlier, Quote, TopDocument, TreeNode
from flows.clustering.sentences import SENTENCES, Sentence
from flows.clustering.snippet import one_line
from flows.clustering.vector_file import Vectors

NAMING_TEXTS: Final = 200
"""Chunks of each cluster that name it, the nearest to its centroid: bounds the texts in memory."""

TOP_DOCUMENTS: Final = 5
OUTLIER_EXAMPLES: Final = 10
TREE_WORDS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """Rows of the chunks whose texts are read: of each cluster, and the farthest outliers."""

    naming: list[list[int]]
    exemplars: list[list[int]]
    strangest: list[int]

    @property
    def rows(self) -> list[int]:
        """All of them, ascending."""
        picked = (*self.naming, *self.exemplars, self.strangest)
        return sorted({row for rows in picked for row in rows})


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What was found out of the clusters; sequences are by label."""

    keywords: Sequence[Sequence[str]]
    sentences: Sequence[Sequence[Sentence]]
    names: Sequence[Name]
    stability: Sequence[float | None]
    lineage: Lineage


def pick(vectors: Vectors, members: Members, clustering: Clustering) -> Picks:
    """The rows to read texts of."""
    clusters = [np.flatnonzero(clustering.labels == label) for label in range(clustering.k)]
    return Picks(
        naming=[_nearest(clustering, rows_M)[:NAMING_TEXTS] for rows_M in clusters],
        exemplars=[
            pick_exemplars(
                vectors,
                rows_M,
                cosines_N=clustering.cosines,
                documents_N=members.document_of,
            )
            for rows_M in clusters
        ],
        strangest=_nearest(clustering, np.flatnonzero(clustering.outliers))[::-1][
            :OUTLIER_EXAMPLES
        ],
    )


def _nearest(clustering: Clustering, rows_M: npt.NDArray[np.int64]) -> list[int]:
    """The rows by descending cosine to their centroid."""
    order_M = np.argsort(-clustering.cosines[rows_M], kind="stable")
    return [int(row) for row in rows_M[order_M]]


def describe_clusters(
    members: Members,
    clustering: Clustering,
    picks: Picks,
    passages: Mapping[int, Passage],
    found: Described,
) -> tuple[Cluster, ...]:
    """Every cluster, by descending size."""
    described: list[Cluster] = []
    for label, name in enumerate(found.names):
        rows_M = np.flatnonzero(clustering.labels == label)
        documents, chunks = np.unique(members.document_of[rows_M], return_counts=True)
        described.append(
            Cluster(
                id=found.lineage.ids[label],
                size=len(rows_M),
                share=round(len(rows_M) / len(members), 4),
                documents=len(documents),
                name=name.text,
                name_by_person=name.by_person,
                name_check=name.check,
                keywords=tuple(found.keywords[label]),
                sentences=tuple(
                    _quote(sentence, members) for sentence in found.sentences[label][:SENTENCES]
                ),
                queries=name.queries,
                cohesion=_rounded(clustering.cosines[rows_M].mean(dtype=np.float64)),
                stability=found.stability[label],
                fate=found.lineage.fates[label],
                size_before=found.lineage.sizes_before[label],
                outliers=int(clustering.outliers[rows_M].sum()),
                exemplars=tuple(
                    _exemplar(
                        row,
                        members,
                        clustering,
                        passages[row],
                        kind="nearest" if row == picks.exemplars[label][0] else "diverse",
                    )
                    for row in picks.exemplars[label]
                    if row in passages
                ),
                top_documents=tuple(
                    TopDocument(
                        doc_id=members.documents[documents[place]].doc_id,
                        title=members.documents[documents[place]].title,
                        source=members.documents[documents[place]].source,
                        chunks=int(chunks[place]),
                    )
                    for place in np.argsort(-chunks, kind="stable")[:TOP_DOCUMENTS]
                ),
            )
        )
    return tuple(described)


def describe_outliers(
    members: Members,
    clustering: Clustering,
    picks: Picks,
    passages: Mapping[int, Passage],
    ids: Sequence[int],
) -> tuple[Outlier, ...]:
    """The farthest outliers; of those in no cluster, `cluster` is -1."""
    return tuple(
        Outlier(
            **_exemplar(row, members, clustering, passages[row], kind="outlier").model_dump(),
            cluster=ids[label] if (label := int(clustering.labels[row])) >= 0 else -1,
        )
        for row in picks.strangest
        if row in passages
    )


def describe_tree(
    clustering: Clustering,
    keywords: Sequence[Sequence[str]],
    names: Sequence[Name],
    ids: Sequence[int],
) -> tuple[TreeNode, ...]:
    """The tree, its inner groups called by what their clusters have most of."""
    weights: list[dict[str, float]] = [{} for _ in clustering.tree]
    for place in range(len(clustering.tree) - 1, -1, -1):  # children stand behind their parents
        branch = clustering.tree[place]
        if branch.cluster is not None:
            for rank, word in enumerate(keywords[branch.cluster], 1):
                weights[place][word] = branch.size / rank
        if branch.parent is not None:
            above = weights[branch.parent]
            for word, weight in weights[place].items():
                above[word] = above.get(word, 0.0) + weight
    nodes = []
    for branch, own in zip(clustering.tree, weights, strict=True):
        best = sorted(own, key=lambda word: (-own[word], word))[:TREE_WORDS]
        label = branch.cluster
        nodes.append(
            TreeNode(
                parent=branch.parent,
                cluster=None if label is None else ids[label],
                name=names[label].text if label is not None else ", ".join(best) or "all",
                size=branch.size,
            )
        )
    return tuple(nodes)


def _quote(sentence: Sentence, members: Members) -> Quote:
    document = members.document(sentence.row)
    return Quote(
        text=sentence.text,
        doc_id=document.doc_id,
        title=document.title,
        source=document.source,
    )


def _exemplar(
    row: int,
    members: Members,
    clustering: Clustering,
    passage: Passage,
    *,
    kind: Literal["nearest", "diverse", "outlier"],
) -> Exemplar:
    document = members.document(row)
    return Exemplar(
        id=members.id(row),
        doc_id=document.doc_id,
        title=document.title,
        source=document.source,
        start=passage.start,
        end=passage.end,
        snippet=one_line(passage.text),
        similarity=_rounded(clustering.cosines[row]),
        kind=kind,
    )


def _rounded(cosine: np.floating) -> float:
    """Four decimals: what a reader compares, and no more than float32 sums can vouch for."""
    return round(float(cosine), 4)
