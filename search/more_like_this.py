"""More like this: what is near to chunks, documents or a text, and not one of them."""

import time
from collections.abc import Sequence

from search import diversity, grouping, hybrid
from search.candidates import fetched
from search.collections import require_fingerprint
from search.errors import InvalidRequest
from search.examples import Examples, aim, chunks_of, documents_of
from search.filters import Filter, Match
from search.grouping import DOC_ID, Fetch
from search.hits import make_hit
from search.protocols import QueryEncoder
from search.query_cache import QueryCache
from search.records import Record
from search.relevance import Chance
from search.service import SearchResult, check_limit, check_query
from search.stores.contract import Collection

MAX_TEXT_CHARACTERS = 200_000
"""Of a text that is pasted; the encoder reads as much of it as of a chunk."""


def similar(
    collection: Collection,
    *,
    like: Sequence[str] = (),
    unlike: Sequence[str] = (),
    text: str | None = None,
    encoder: QueryEncoder | None = None,
    limit: int = 10,
    where: Filter | None = None,
    by_document: bool = True,
    chance: Chance | None = None,
    cache: QueryCache | None = None,
) -> SearchResult:
    """Chunks near to examples by their vectors, best first. No encoder is needed without `text`.

    Args:
        collection: Where to look.
        like: Ids of chunks or documents to be near to.
        unlike: Ids of chunks or documents to be far from.
        text: A text to be near to, of at most `MAX_TEXT_CHARACTERS`.
        encoder: The one that built the collection; only for `text`.
        limit: How many hits, 1 to `service.MAX_LIMIT`.
        where: Which chunks may be found at all.
        by_document: One hit per document, and none of the examples' own; otherwise every chunk
            counts but those named.
        chance: What meaningless queries find.
        cache: Vectors of texts asked before.

    Raises:
        InvalidRequest: neither `like` nor `text`, no such chunk or document, a limit out of range.
        FingerprintMismatch: another encoder built the collection.
        StoreUnavailable: the store does not answer.
    """
    limit = check_limit(limit)
    if not like and text is None:
        raise InvalidRequest("expected a chunk, a document or a text to be like")
    timings: dict[str, float] = {}
    began = time.perf_counter()
    vector = None
    if text is not None:
        asked = check_query(text, most=MAX_TEXT_CHARACTERS)
        if encoder is None:
            raise InvalidRequest("a text needs the collection's encoder; name chunks instead")
        require_fingerprint(
            collection.manifest, encoder.fingerprint, current_encoder=getattr(encoder, "name", None)
        )
        vector = cache.encode(encoder, asked) if cache else encoder.encode_query([asked])[0]
        timings["encode"] = (time.perf_counter() - began) * 1e3
    examples = Examples(like=tuple(like), unlike=tuple(unlike))
    target = aim(collection, vector, examples)
    own = [one for name in like for one in chunks_of(collection, name)]
    searching = time.perf_counter()
    fetch: Fetch = lambda most, wanted: collection.rank(  # noqa: E731 - it is passed on
        [target], limit=most, where=wanted
    )[0]
    if by_document:
        groups = grouping.by_document(fetch, limit=limit, where=_outside(where, own))
    else:
        named = {one.id for one in own}
        found = fetch(limit + len(named), where or Filter())
        groups = [grouping.Group(one.id, one, {one.id}) for one in found if one.id not in named][
            :limit
        ]
    candidates, folded = diversity.fold(hybrid.alone(groups, "dense"), None)
    timings["search"] = (time.perf_counter() - searching) * 1e3
    fetching = time.perf_counter()
    candidates = fetched(collection, candidates)
    timings["fetch"] = (time.perf_counter() - fetching) * 1e3
    timings["total"] = (time.perf_counter() - began) * 1e3
    return SearchResult(
        query=text or "",
        hits=[
            make_hit(one, rank, folded=folded.get(one.record.id, ()), chance=chance)
            for rank, one in enumerate(candidates, start=1)
        ],
        timings_ms=timings,
        mode="dense",
    )


def _outside(where: Filter | None, records: Sequence[Record]) -> Filter:
    """The filter, without the documents of some chunks."""
    documents = documents_of(records)
    if not documents:
        return where or Filter()
    return (where or Filter()) & Filter(must_not=(Match(key=DOC_ID, values=documents),))
