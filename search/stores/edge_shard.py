"""The engine's shard of one collection: made, loaded, and loaded again with other thresholds."""

import shutil
from pathlib import Path
from typing import Final

import qdrant_edge as qdrant

from search.lexical import BM25
from search.stores.edge_files import sync_folder, write_durably
from search.stores.edge_wire import Create, Layout, RefusedError

DENSE: Final = "dense"
PAGE_CONTENT: Final = "page_content"
SHARD: Final = "shard"
MANIFEST: Final = "manifest.json"
LEFTOVERS: Final = {SHARD, f"{MANIFEST}.partial"}
"""What a creation that died half-way leaves in its folder."""
BYTES_PER_VALUE: Final = 4

_SCHEMAS: Final = {
    "keyword": qdrant.PayloadSchemaType.Keyword,
    "integer": qdrant.PayloadSchemaType.Integer,
    "float": qdrant.PayloadSchemaType.Float,
    "datetime": qdrant.PayloadSchemaType.Datetime,
    "text": qdrant.PayloadSchemaType.Text,
}


def create(folder: Path, request: Create) -> qdrant.EdgeShard:
    """Make the shard and its indexes, then the manifest: with that the collection is there.

    Raises:
        RefusedError: the folder holds something else.
    """
    if folder.exists():  # left by a creation that died half-way: the manifest comes last
        foreign = sorted({entry.name for entry in folder.iterdir()} - LEFTOVERS)
        if foreign:  # somebody's own folder: `--store .` makes this easy to meet
            raise RefusedError("occupied", f"{str(folder)!r} holds {foreign[0]!r}")
        shutil.rmtree(folder)
    (folder / SHARD).mkdir(parents=True)
    shard = qdrant.EdgeShard.create(str(folder / SHARD), _config(request.layout, wal_enabled=True))
    for path, schema in request.indexes:
        shard.update(indexing(path, schema))
    shard.flush()
    write_durably(folder / MANIFEST, request.manifest)
    sync_folder(folder.parent)
    return shard


def indexing(path: str, kind: str) -> qdrant.UpdateOperation:
    """The operation that indexes a payload path."""
    return qdrant.UpdateOperation.create_field_index(path, _SCHEMAS[kind])


def load(
    folder: Path, layout: Layout | None = None, *, index_from: int | None = None
) -> qdrant.EdgeShard:
    """Load the shard, as it is or with another threshold, which takes some 50 ms.

    Args:
        folder: The collection's.
        layout: The shard's own; needed with `index_from`.
        index_from: Vectors in a segment from which on `optimize` indexes it.
    """
    if layout is None or index_from is None:
        return qdrant.EdgeShard.load(str(folder / SHARD))
    kilobytes = max(1, index_from * layout.dimension * BYTES_PER_VALUE // 1024)
    thresholds = qdrant.EdgeOptimizersConfig(indexing_threshold=kilobytes)
    return qdrant.EdgeShard.load(str(folder / SHARD), _config(layout, optimizers=thresholds))


def _config(
    layout: Layout,
    *,
    optimizers: qdrant.EdgeOptimizersConfig | None = None,
    wal_enabled: bool | None = None,
) -> qdrant.EdgeConfig:
    quantised = None
    if layout.quantisation == "int8":
        quantised = qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8)
    return qdrant.EdgeConfig(
        vectors={
            DENSE: qdrant.EdgeVectorParams(
                size=layout.dimension,
                distance=qdrant.Distance.Cosine,
                quantization_config=quantised,
            )
        },
        sparse_vectors={BM25: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
        optimizers=optimizers,
        wal_enabled=wal_enabled,
    )
