"""The report of one clustering, as a named result that JSON, Markdown and pages are made from."""

from pydantic import BaseModel, ConfigDict

from flows.clustering.choice import KScore
from flows.clustering.exemplars import Exemplar
from flows.clustering.lineage import Change, Fate
from flows.clustering.method import Algorithm, Projection
from flows.clustering.stability import UNSTABLE_BELOW
from flows.clustering.verification import QueryCheck


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Outlier(Exemplar):
    """A passage far from the centroid of the cluster that it was put into, for want of a better."""

    cluster: int


class TopDocument(_Part):
    """A document with many chunks in a cluster."""

    doc_id: str
    title: str
    source: str
    chunks: int
    """How many of the cluster's chunks are this document's."""


class Quote(_Part):
    """A sentence that says what a cluster is about."""

    text: str
    doc_id: str
    title: str
    source: str


class Cluster(_Part):
    """One cluster: its chunks carry `id` under `metadata.cluster`, `name` as `cluster_name`."""

    id: int
    """Stays from run to run, as long as the cluster is recognised."""
    size: int
    """Chunks."""
    share: float
    """Of the collection's chunks, 0 to 1."""
    documents: int
    """Documents with a chunk in it."""
    name: str
    name_by_person: bool = False
    """Whether somebody gave the name; it is then kept."""
    name_check: QueryCheck | None = None
    """What a search for the name finds of the cluster; None: it was not searched for."""
    keywords: tuple[str, ...]
    sentences: tuple[Quote, ...] = ()
    queries: tuple[QueryCheck, ...] = ()
    """Sample queries, the best first."""
    cohesion: float
    """Mean cosine of its chunks to its centroid: 1 where all are alike."""
    stability: float | None = None
    """See `flows.clustering.stability`, 0 to 1; None: it is too small to judge."""
    fate: Fate = "born"
    """What became of it since the last run."""
    size_before: int | None = None
    """Chunks in the last run; None where it was not there."""
    outliers: int
    exemplars: tuple[Exemplar, ...]
    top_documents: tuple[TopDocument, ...]

    @property
    def unstable(self) -> bool:
        """Whether it is as much an accident as a group."""
        return self.stability is not None and self.stability < UNSTABLE_BELOW

    @property
    def weak_name(self) -> bool:
        """Whether a search for its name finds other clusters first."""
        return self.name_check is not None and self.name_check.weak


class TreeNode(_Part):
    """A group of the tree that `bisecting` makes; parents stand before their children."""

    parent: int | None
    """Its parent's place in the list; None of the root."""
    cluster: int | None
    """The cluster's id, where it is not parted further."""
    name: str
    """A cluster's name, or the keywords that its parts have most of."""
    size: int
    """Chunks."""


class Gone(_Part):
    """A cluster of the last run that this one does not have."""

    id: int
    name: str
    size: int


class ClusterReport(_Part):
    """What a clustering found. `clusters` stand by descending size."""

    collection: str
    clusters: tuple[Cluster, ...]
    outliers: int
    """Chunks unusually far from the centroid for their cluster (`fit.outliers`), each counted in
    its cluster's size, too; of `hdbscan`, those of no cluster."""
    report: str
    """Path of the Markdown file."""
    page: str = ""
    """Path of the HTML file."""
    chunks: int
    documents: int
    algorithm: Algorithm = "kmeans"
    k: int
    requested_k: int | None
    """None where k was chosen; above `k` where fewer distinct vectors were there to part."""
    min_cluster_size: int | None = None
    """Of `hdbscan`: as asked for."""
    criterion: tuple[KScore, ...]
    """Mean silhouette of every k that was tried; empty where k was given."""
    tree: tuple[TreeNode, ...] = ()
    outlier_examples: tuple[Outlier, ...]
    seed: int
    projection: Projection = "pca"
    """How the map was made."""
    mapped: int = 0
    """Chunks on the map: all, or a sample."""
    previous_run: str | None = None
    """The run that `changes` are against; None: this is the first."""
    changes: tuple[Change, ...] = ()
    gone: tuple[Gone, ...] = ()
    fingerprint: str
    """Of the encoder that made the vectors."""
    run_id: str
    created_at: str
    """ISO 8601, UTC."""
    warnings: tuple[str, ...] = ()

    def name_of(self, cluster: int) -> str:
        """The name of a cluster of this run or, where it has died, of the last."""
        names = {one.id: one.name for one in self.gone} | {
            one.id: one.name for one in self.clusters
        }
        return names.get(cluster, f"Cluster {cluster}")
