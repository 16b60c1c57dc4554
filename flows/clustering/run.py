"""Cluster a collection, from its vectors to its report; knows no orchestrator.

Legend: `N` chunks, `M` members of one cluster.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from flows.clustering.exemplars import Exemplar, pick_exemplars
from flows.clustering.files import MARKDOWN_NAME, prepare_folder, write_report
from flows.clustering.fit import Clustering, check_request, fit
from flows.clustering.members import (
    CLUSTER,
    Members,
    Passage,
    Progress,
    read_members,
    read_passages,
)
from flows.clustering.names import keywords, unique_names
from flows.clustering.report import Cluster, ClusterReport, Outlier, TopDocument
from flows.clustering.snippet import one_line
from search.collections import base_name
from search.stores.contract import Collection

NAMING_TEXTS: Final = 200
"""Chunks of each cluster that name it, the nearest to its centroid: bounds the texts in memory."""

NAMING_CHARACTERS: Final = 4000
"""Of each of those, so much is read for words."""

TOP_DOCUMENTS: Final = 5
OUTLIER_EXAMPLES: Final = 10
WRITE_BATCH: Final = 512


def cluster_collection(
    collection: Collection,
    *,
    k: int | None = None,
    seed: int = 0,
    report_folder: Path,
    run_id: str,
    created_at: str,
    progress: Progress = lambda stage, done, total: None,
) -> ClusterReport:
    """Cluster all chunks, write each one's cluster into its metadata, and report.

    The ids are in the store before the report's files are replaced, so that no report speaks of
    ids that are not there. Only chunks whose id changes are written. A run that dies between leaves
    some chunks with their old id; the next run puts them right. Memory: up to four times the
    vectors while they are fitted, and 200 texts per cluster after.

    Args:
        collection: open, written to by nobody else meanwhile; chunks added during the run may stay
            without a cluster until the next.
        k: clusters wanted, 1 to the number of chunks; None to have it chosen.
        seed: of the random starts; the same seed gives the same clusters.
        report_folder: where `clusters.json` and `clusters.md` go; made if it is not there.
        run_id: of this run, for the report.
        created_at: ISO 8601, UTC, for the report.
        progress: called with the stage (`read`, `fit`, `texts`, `write`), what is done, of what.

    Raises:
        InvalidInput: k or seed out of range, or a vector that has no direction.
        FlowError: no chunks, an incomplete chunk, or a folder that cannot be written.
        search.errors.SearchError: the store failed.
    """
    check_request(k=k, seed=seed)
    prepare_folder(report_folder)
    members = read_members(collection, progress=progress)
    count = len(members.ids)

    progress("fit", 0, count)
    clustering = fit(members.vectors, members.ids, k=k, seed=seed)
    progress("fit", count, count)

    picks = _pick(members, clustering)
    passages = _read_texts(collection, members, picks, progress)
    keywords_by_cluster = keywords(
        [
            [passages[row].text[:NAMING_CHARACTERS] for row in rows if row in passages]
            for rows in picks.naming
        ]
    )
    _write_back(collection, members, clustering, progress)
    report = ClusterReport(
        collection=base_name(collection.manifest.name),
        clusters=_clusters(members, clustering, picks, passages, keywords_by_cluster),
        outliers=int(clustering.outliers.sum()),
        report=str(report_folder / MARKDOWN_NAME),
        chunks=count,
        documents=len(members.documents),
        k=clustering.k,
        requested_k=clustering.requested_k,
        criterion=clustering.criterion,
        outlier_examples=tuple(
            Outlier(
                **_exemplar(row, members, clustering, passages[row]).model_dump(),
                cluster=int(clustering.labels[row]),
            )
            for row in picks.strangest
            if row in passages
        ),
        seed=seed,
        fingerprint=collection.manifest.fingerprint,
        run_id=run_id,
        created_at=created_at,
    )
    write_report(report, report_folder)
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picks:
    """Rows of the chunks whose texts are read: by cluster, and the farthest outliers."""

    naming: list[list[int]]
    exemplars: list[list[int]]
    strangest: list[int]


def _pick(members: Members, clustering: Clustering) -> _Picks:
    clusters = [np.flatnonzero(clustering.labels == number) for number in range(clustering.k)]
    outliers = np.flatnonzero(clustering.outliers)
    return _Picks(
        naming=[_nearest(clustering, rows_M)[:NAMING_TEXTS] for rows_M in clusters],
        exemplars=[
            pick_exemplars(
                members.vectors,
                rows_M,
                cosines_N=clustering.cosines,
                documents_N=members.document_of,
            )
            for rows_M in clusters
        ],
        strangest=_nearest(clustering, outliers)[::-1][:OUTLIER_EXAMPLES],
    )


def _nearest(clustering: Clustering, rows_M: npt.NDArray[np.int64]) -> list[int]:
    """The rows by descending cosine to their centroid."""
    order_M = np.argsort(-clustering.cosines[rows_M], kind="stable")
    return [int(row) for row in rows_M[order_M]]


def _read_texts(
    collection: Collection, members: Members, picks: _Picks, progress: Progress
) -> dict[int, Passage]:
    """The texts of all picked rows, by row; one that was deleted meanwhile is left out."""
    rows = sorted(
        {row for picked in (*picks.naming, *picks.exemplars, picks.strangest) for row in picked}
    )
    found = read_passages(collection, [members.ids[row] for row in rows], progress=progress)
    return {row: found[members.ids[row]] for row in rows if members.ids[row] in found}


def _write_back(
    collection: Collection, members: Members, clustering: Clustering, progress: Progress
) -> None:
    """Write the cluster of every chunk whose stored one differs."""
    changed = np.flatnonzero(clustering.labels != members.clusters)
    for start in range(0, len(changed), WRITE_BATCH):
        batch = changed[start : start + WRITE_BATCH]
        collection.set_metadata(
            {members.ids[row]: {CLUSTER: int(clustering.labels[row])} for row in batch}
        )
        progress("write", start + len(batch), len(changed))


def _clusters(
    members: Members,
    clustering: Clustering,
    picks: _Picks,
    passages: dict[int, Passage],
    keywords_by_cluster: list[list[str]],
) -> tuple[Cluster, ...]:
    described: list[Cluster] = []
    for number, name in enumerate(unique_names(keywords_by_cluster)):
        rows_M = np.flatnonzero(clustering.labels == number)
        documents, chunks = np.unique(members.document_of[rows_M], return_counts=True)
        described.append(
            Cluster(
                id=number,
                size=len(rows_M),
                share=round(len(rows_M) / len(members.ids), 4),
                documents=len(documents),
                name=name,
                keywords=tuple(keywords_by_cluster[number]),
                cohesion=_rounded(clustering.cosines[rows_M].mean(dtype=np.float64)),
                outliers=int(clustering.outliers[rows_M].sum()),
                exemplars=tuple(
                    _exemplar(row, members, clustering, passages[row])
                    for row in picks.exemplars[number]
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


def _exemplar(row: int, members: Members, clustering: Clustering, passage: Passage) -> Exemplar:
    document = members.documents[members.document_of[row]]
    return Exemplar(
        id=members.ids[row],
        doc_id=document.doc_id,
        title=document.title,
        source=document.source,
        start=passage.start,
        end=passage.end,
        snippet=one_line(passage.text),
        similarity=_rounded(clustering.cosines[row]),
    )


def _rounded(cosine: np.floating) -> float:
    """Four decimals: what a reader compares, and no more than float32 sums can vouch for."""
    return round(float(cosine), 4)
