"""The report of one clustering, as a named result that JSON, Markdown and pages are made from."""

from pydantic import BaseModel, ConfigDict

from flows.clustering.choice import KScore
from flows.clustering.exemplars import Exemplar


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


class Cluster(_Part):
    """One cluster: its chunks carry `id` under `metadata.cluster`."""

    id: int
    size: int
    """Chunks."""
    share: float
    """Of the collection's chunks, 0 to 1."""
    documents: int
    """Documents with a chunk in it."""
    name: str
    keywords: tuple[str, ...]
    cohesion: float
    """Mean cosine of its chunks to its centroid: 1 where all are alike."""
    outliers: int
    exemplars: tuple[Exemplar, ...]
    top_documents: tuple[TopDocument, ...]


class ClusterReport(_Part):
    """What a clustering found. `clusters` stand by descending size, numbered from 0."""

    collection: str
    clusters: tuple[Cluster, ...]
    outliers: int
    """Chunks unusually far from the centroid for their cluster (`fit.outliers`); each is counted in
    its cluster's size, too."""
    report: str
    """Path of the Markdown file."""
    chunks: int
    documents: int
    k: int
    requested_k: int | None
    """None where k was chosen; above `k` where fewer distinct vectors were there to part."""
    criterion: tuple[KScore, ...]
    """Mean silhouette of every k that was tried; empty where k was given."""
    outlier_examples: tuple[Outlier, ...]
    seed: int
    fingerprint: str
    """Of the encoder that made the vectors."""
    run_id: str
    created_at: str
    """ISO 8601, UTC."""
