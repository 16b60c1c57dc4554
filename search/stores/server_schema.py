"""What a collection is made as on a server, and the limits that it and our own requests keep.

The limits stand in the collection itself (Qdrant's strict mode), so that no other program can make
the server scan, or answer with, everything. There is none on the number of a filter's conditions
and values: those are the caller's, and no request of ours would be cut to fit.
"""

from typing import Any, Final

from qdrant_client import models

from search.filters import IndexKind
from search.lexical import BM25
from search.records import DENSE
from search.stores.contract import Manifest, StorageOptions
from search.stores.filter_checks import INDEXED

MANIFEST_KEY: Final = "sextant"
"""Key of the collection's metadata under which the manifest stands, as JSON text."""

POINTS_PER_REQUEST: Final = 256
IDS_PER_REQUEST: Final = 1024
PAGE: Final = 10_000
"""Most points of one page of a scroll."""
HNSW_EF: Final = 256
OVERSAMPLING: Final = 2.0
"""So many times the wanted points are found by the small vectors, and scored by the whole ones."""

MAX_QUERY_LIMIT: Final = 50_000
"""Most points that one query may ask for: 10,000, and what shows a tie at the cut as a whole."""

STRICT_MODE: Final = models.StrictModeConfig(
    enabled=True,
    unindexed_filtering_retrieve=False,
    unindexed_filtering_update=False,
    max_query_limit=MAX_QUERY_LIMIT,
    search_max_hnsw_ef=1024,
    search_max_oversampling=4.0,
    search_allow_exact=True,
    search_max_batchsize=128,
    upsert_max_batchsize=1024,
    max_payload_index_count=32,
)

SCHEMAS: Final[dict[IndexKind, models.PayloadSchemaType]] = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "integer": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "datetime": models.PayloadSchemaType.DATETIME,
    "text": models.PayloadSchemaType.TEXT,
}


def creation(manifest: Manifest, *, text: str) -> dict[str, Any]:
    """Arguments of `QdrantClient.create_collection`, besides the name.

    What lies where is said by `on_disk` and `always_ram`: every server from 1.16 on knows them,
    `memory` came later.

    Args:
        manifest: The collection's, checked.
        text: The manifest as it is kept.
    """
    storage = manifest.storage
    return {
        "vectors_config": {
            DENSE: models.VectorParams(
                size=manifest.dimension,
                distance=models.Distance.COSINE,
                quantization_config=_quantisation(storage),
                on_disk=storage.on_disk or None,
            )
        },
        "sparse_vectors_config": {BM25: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        "on_disk_payload": storage.on_disk or None,
        "shard_number": storage.shards,
        "replication_factor": storage.replicas,
        "strict_mode_config": STRICT_MODE,
        "metadata": {MANIFEST_KEY: text},
    }


def search_parameters(storage: StorageOptions, *, exact: bool) -> models.SearchParams:
    """How a collection is searched: with rescoring where vectors are quantised."""
    quantisation = None
    if storage.quantisation != "none":
        quantisation = models.QuantizationSearchParams(
            ignore=exact, rescore=True, oversampling=OVERSAMPLING
        )
    return models.SearchParams(exact=exact, hnsw_ef=HNSW_EF, quantization=quantisation)


def index_schema(path: str) -> models.PayloadSchemaType:
    """The kind of index that a payload's path has."""
    return SCHEMAS[INDEXED[path]]


def _quantisation(storage: StorageOptions) -> models.ScalarQuantization | None:
    if storage.quantisation == "none":
        return None
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    )
