"""Cluster a collection, from its vectors to its report; knows no orchestrator."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from flows.clustering.describe import (
    Described,
    Picks,
    describe_clusters,
    describe_outliers,
    describe_tree,
    pick,
)
from flows.clustering.files import (
    MARKDOWN_NAME,
    PAGE_NAME,
    prepare_folder,
)
from flows.clustering.finding_names import find_names
from flows.clustering.fit import Clustering, fit_vectors
from flows.clustering.leaving import leave
from flows.clustering.lineage import Lineage, trace
from flows.clustering.links import document_link
from flows.clustering.map_points import PointMap, check_projection, make_map
from flows.clustering.members import (
    UNCLUSTERED,
    Mark,
    Members,
    Passage,
    Progress,
    read_members,
    read_passages,
)
from flows.clustering.method import Method, Projection
from flows.clustering.naming import Search, earlier_names
from flows.clustering.report import ClusterReport, Gone
from flows.clustering.stability import stability
from flows.clustering.state import (
    Remembered,
    clusters_of_documents,
    recall,
)
from flows.clustering.vector_file import VectorFile
from flows.clustering.verification import TextEncoder, check_queries
from flows.clustering.writing_back import write_back
from search.collections import base_name
from search.stores.contract import Collection

UNKNOWN_RUN: Final = "unknown"

NO_CLUSTER: Final = Mark(cluster=-1)
"""What a chunk says that `hdbscan` puts into no cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a clustering is to do.

    Attributes:
        method: algorithm, its parameters and the seed.
        projection: how the map is made.
        report_folder: where the report goes; made if it is not there.
        state_folder: what the last run left, and the next finds; None: the report's folder.
        run_id: of this run.
        created_at: ISO 8601, UTC.
    """

    method: Method = field(default_factory=Method)
    projection: Projection = "pca"
    report_folder: Path
    state_folder: Path | None = None
    run_id: str
    created_at: str

    @property
    def state(self) -> Path:
        """Where the last run left what this one needs."""
        return self.state_folder or self.report_folder


def cluster_collection(
    collection: Collection,
    wanted: Wanted,
    *,
    encoder: TextEncoder | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> ClusterReport:
    """Cluster all chunks, write each one's cluster and its name into its metadata, and report.

    The ids are in the store before the report's files are replaced, so that no report speaks of
    ids that are not there. Only chunks whose cluster or name changes are written. A run that dies
    between leaves some chunks with their old mark; the next run puts them right.

    Memory: forty bytes a chunk, each document once, 200 texts a cluster, and the vectors: of up to
    50,000 chunks all, of more a sample and a block, the rest in a temporary file of the state's
    folder.

    Args:
        collection: open, written to by nobody else meanwhile; chunks added during the run may stay
            without a cluster until the next.
        wanted: what to do.
        encoder: the collection's own, to search for names and to choose sentences; None: names are
            not searched for.
        progress: called with the stage (`read`, `fit`, `stability`, `texts`, `names`, `write`,
            `map`), what is done, of what.

    Raises:
        InvalidInput: a parameter out of range, or a vector that has no direction.
        FlowError: no chunks, an incomplete chunk, or a folder that cannot be written.
        search.errors.SearchError: the store failed.
    """
    wanted.method.check()
    check_projection(wanted.projection)
    prepare_folder(wanted.report_folder)
    prepare_folder(wanted.state)
    with VectorFile(wanted.state, collection.manifest.dimension) as vectors:
        members = read_members(collection, vectors, progress=progress)
        return _Run(collection, wanted, encoder, progress, vectors, members).report()


@dataclass
class _Run:
    """One clustering under way."""

    collection: Collection
    wanted: Wanted
    encoder: TextEncoder | None
    progress: Progress
    vectors: VectorFile
    members: Members

    def report(self) -> ClusterReport:
        method, members = self.wanted.method, self.members
        count = len(members)
        method.check_count(count)
        self.progress("fit", 0, count)
        clustering = fit_vectors(self.vectors, method)
        self.progress("fit", count, count)
        self.progress("stability", 0, 1)
        firm = stability(self.vectors, clustering, method)
        self.progress("stability", 1, 1)

        before = recall(self.wanted.state)
        lineage = self._lineage(clustering, before)
        picks = pick(self.vectors, members, clustering)
        passages = self._passages(picks)
        self.progress("names", 0, max(1, clustering.k))
        words, sentences, names, warnings = find_names(
            clustering,
            picks,
            passages,
            ids=lineage.ids,
            earlier=earlier_names(members.marks, before.clusters if before else ()),
            encoder=self.encoder,
            search=self._search(clustering),
        )
        self.progress("names", max(1, clustering.k), max(1, clustering.k))
        found = Described(
            keywords=words, sentences=sentences, names=names, stability=firm, lineage=lineage
        )
        write_back(
            self.collection,
            members,
            clustering.labels,
            [
                Mark(cluster=cluster, name=name.text, by_person=name.by_person)
                for cluster, name in zip(lineage.ids, found.names, strict=True)
            ],
            none=NO_CLUSTER,
            progress=self.progress,
        )
        self.progress("map", 0, count)
        plane = self._map(clustering, lineage)
        self.progress("map", count, count)
        report = self._report(clustering, found, picks, passages, plane, before, warnings)
        folders = [self.wanted.report_folder, self.wanted.state]
        leave(report, members, clustering, lineage, packed_map=plane.packed, folders=folders)
        return report

    def _lineage(self, clustering: Clustering, before: Remembered | None) -> Lineage:
        """What became of the last run's clusters: by chunks, by documents, by centroids."""
        members = self.members
        before_N = members.clusters
        unknown = np.flatnonzero(before_N == UNCLUSTERED)
        if len(unknown) and before is not None:
            places = np.unique(members.document_of[unknown]).tolist()
            last = clusters_of_documents(
                self.wanted.state, {members.documents[place].doc_id for place in places}
            )
            own = np.full(len(members.documents), UNCLUSTERED, dtype=np.int32)
            for place in places:
                own[place] = last.get(members.documents[place].doc_id, UNCLUSTERED)
            before_N[unknown] = own[members.document_of[unknown]]
        return trace(
            clustering.labels,
            before_N,
            before.before(self.collection.manifest.fingerprint) if before else [],
            centroids_KD=clustering.centroids,
            next_id=before.next_id if before else 0,
        )

    def _passages(self, picks: Picks) -> dict[int, Passage]:
        """The texts of all picked rows, by row; one that was deleted meanwhile is left out."""
        ids = {self.members.id(row): row for row in picks.rows}
        found = read_passages(self.collection, list(ids), progress=self.progress)
        return {row: found[one] for one, row in ids.items() if one in found}

    def _search(self, clustering: Clustering) -> Search | None:
        """How queries are looked up; None without an encoder."""
        encoder = self.encoder
        if encoder is None:
            return None
        return lambda asked: check_queries(
            asked,
            self.collection,
            encoder,
            members=self.members,
            labels_N=clustering.labels,
            vectors=self.vectors,
            seed=self.wanted.method.seed,
        )

    def _map(self, clustering: Clustering, lineage: Lineage) -> PointMap:
        sources = {document.source for document in self.members.documents}
        return make_map(
            self.vectors,
            self.members,
            clustering,
            projection=self.wanted.projection,
            ids=lineage.ids,
            links={source: document_link(source) for source in sources},
            seed=self.wanted.method.seed,
        )

    def _report(
        self,
        clustering: Clustering,
        found: Described,
        picks: Picks,
        passages: dict[int, Passage],
        plane: PointMap,
        before: Remembered | None,
        warnings: Sequence[str],
    ) -> ClusterReport:
        members, wanted, lineage = self.members, self.wanted, found.lineage
        return ClusterReport(
            collection=base_name(self.collection.manifest.name),
            clusters=describe_clusters(members, clustering, picks, passages, found),
            outliers=int(clustering.outliers.sum()),
            report=str(wanted.report_folder / MARKDOWN_NAME),
            page=str(wanted.report_folder / PAGE_NAME),
            chunks=len(members),
            documents=len(members.documents),
            algorithm=clustering.algorithm,
            k=clustering.k,
            requested_k=clustering.requested_k,
            min_cluster_size=wanted.method.min_cluster_size,
            criterion=clustering.criterion,
            tree=describe_tree(clustering, found.keywords, found.names, lineage.ids),
            outlier_examples=describe_outliers(members, clustering, picks, passages, lineage.ids),
            seed=wanted.method.seed,
            projection=wanted.projection,
            mapped=len(plane.rows),
            previous_run=self._previous(before),
            changes=lineage.changes if self._previous(before) else (),
            gone=self._gone(before, lineage),
            fingerprint=self.collection.manifest.fingerprint,
            run_id=wanted.run_id,
            created_at=wanted.created_at,
            warnings=tuple(warnings),
        )

    def _previous(self, before: Remembered | None) -> str | None:
        """The last run; `unknown` where the store alone remembers it."""
        if before is not None:
            return before.run_id
        return UNKNOWN_RUN if any(mark.cluster >= 0 for mark in self.members.marks) else None

    def _gone(self, before: Remembered | None, lineage: Lineage) -> tuple[Gone, ...]:
        """The last run's clusters that this one has not, with their names."""
        kept = before.clusters if before else ()
        names = earlier_names(self.members.marks, kept)
        sizes = {one.id: one.size for one in kept}
        own = self.members.clusters
        gone = {one for change in lineage.changes for one in change.before} - set(lineage.ids)
        return tuple(
            Gone(
                id=one,
                name=names[one].text if one in names else f"Cluster {one}",
                size=sizes.get(one, int((own == one).sum())),
            )
            for one in sorted(gone)
        )
