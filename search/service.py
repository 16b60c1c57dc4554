"""Answering a query: encode it, find the nearest chunks, show one per document."""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from search.collections import require_fingerprint
from search.errors import InvalidRequest
from search.filters import Filter, Match
from search.protocols import QueryEncoder
from search.records import METADATA, PAGE_CONTENT, Hit, Record
from search.stores.contract import Collection

MAX_LIMIT: Final = 1000
OVERFETCH: Final = 3
"""Chunks fetched per document wanted, at first; a document rarely has more among the best."""
MAX_FETCH: Final = 10_000
DOC_ID: Final = f"{METADATA}.doc_id"

_HIT_FIELDS: Final = {"doc_id", "source", "title", "start", "end"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The hits, best first, and the milliseconds that `encode`, `search` and `total` took."""

    query: str
    hits: list[Hit]
    timings_ms: dict[str, float]


def search(
    collection: Collection,
    encoder: QueryEncoder,
    query: str,
    *,
    limit: int = 10,
    where: Filter | None = None,
    by_document: bool = True,
) -> SearchResult:
    """The chunks nearest to a query, by default the best one of each document.

    Args:
        collection: Where to look.
        encoder: The one that built the collection.
        query: A text that is not blank.
        limit: How many hits, 1 to `MAX_LIMIT`.
        where: Which chunks may be found at all.
        by_document: One hit per document; otherwise a document may come several times.

    Returns:
        Hits ordered by (score descending, id), ranked from 1.

    Raises:
        InvalidRequest: a blank query, a limit out of range, a filter on a path without index.
        FingerprintMismatch: another encoder built the collection.
        StoreUnavailable: the store does not answer.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit {limit!r}: expected 1 or more, at most {MAX_LIMIT}")
    if not query.strip():
        raise InvalidRequest(f"query {query!r} is blank: expected a text to search for")
    require_fingerprint(
        collection.manifest,
        encoder.fingerprint,
        current_encoder=getattr(encoder, "name", None),
    )
    started = time.perf_counter()
    vector = encoder.encode_query([query])[0]
    encoded = time.perf_counter()
    if by_document:
        records = best_per_document(collection, vector, limit=limit, where=where)
    else:
        records = collection.search(vector, limit=limit, where=where)
    finished = time.perf_counter()
    return SearchResult(
        query=query,
        hits=[_hit(record, rank) for rank, record in enumerate(records, start=1)],
        timings_ms={
            "encode": (encoded - started) * 1e3,
            "search": (finished - encoded) * 1e3,
            "total": (finished - started) * 1e3,
        },
    )


def best_per_document(
    collection: Collection,
    vector: npt.NDArray[np.float32],
    *,
    limit: int,
    where: Filter | None = None,
) -> list[Record]:
    """The best chunk of each of the `limit` nearest documents, by (score descending, id).

    More chunks than documents are fetched; while documents are missing, those found are excluded
    and the search goes on among the others. Chunks come in order and the next round starts below
    the last, so the result equals that of grouping every chunk.

    Args:
        collection: Where to look.
        vector: The query's, float32 of shape (D,).
        limit: How many documents.
        where: Which chunks may be found at all.
    """
    best: dict[str, Record] = {}
    wanted = where or Filter()
    fetch = min(limit * OVERFETCH, MAX_FETCH)
    while True:
        records = collection.search(vector, limit=fetch, where=wanted)
        for record in records:
            best.setdefault(record.payload[METADATA]["doc_id"], record)
        if len(best) >= limit or len(records) < fetch:
            return list(best.values())[:limit]
        found = Filter(must_not=(Match(key=DOC_ID, values=tuple(best)),))
        wanted = (where or Filter()) & found
        fetch = min(fetch * 2, MAX_FETCH)  # a few long documents crowd the top


def _hit(record: Record, rank: int) -> Hit:
    if record.score is None:
        raise TypeError(f"record {record.id} has no score; expected the result of a search")
    metadata = record.payload[METADATA]
    return Hit(
        rank=rank,
        score=record.score,
        id=record.id,
        doc_id=metadata["doc_id"],
        source=metadata["source"],
        title=metadata["title"],
        text=record.payload[PAGE_CONTENT],
        start=metadata["start"],
        end=metadata["end"],
        metadata={key: value for key, value in metadata.items() if key not in _HIT_FIELDS},
    )
