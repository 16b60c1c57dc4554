"""Vectors of words for chunks that were stored before there were any. Nothing is embedded anew."""

from collections.abc import Callable
from typing import Final

from search.filters import of_kind
from search.records import KIND_CHUNK, Point, Record
from search.stores.contract import Collection

BATCH: Final = 1000


def reindex(collection: Collection, progress: Callable[[int], None] | None = None) -> int:
    """Write every chunk again as it is, so that its words are indexed; harmless to repeat.

    Killed half-way it goes on at the next call, or changes nothing where it was done. Chunks that
    another program writes meanwhile should not be: what it replaced could come back.

    Args:
        collection: Where.
        progress: Called now and then with the chunks written since the last call.

    Returns:
        How many chunks lacked a vector of words.

    Raises:
        StoreUnavailable, StoreFull: the store failed; what was written stays.
    """
    status = collection.status()
    lacking = status.vectors - status.worded
    if lacking <= 0:
        return 0
    batch: list[Record] = []
    for record in collection.scroll(where=of_kind(KIND_CHUNK), with_vectors=True):
        batch.append(record)
        if len(batch) == BATCH:
            _write(collection, batch, progress)
            batch = []
    _write(collection, batch, progress)
    return lacking


def _write(
    collection: Collection, records: list[Record], progress: Callable[[int], None] | None
) -> None:
    collection.upsert([Point(id=one.id, vector=one.vector, payload=one.payload) for one in records])
    if progress is not None:
        progress(len(records))
