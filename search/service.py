"""Answering a query: by vectors, by words or both; grouped, folded, explained, page by page."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
import numpy.typing as npt

from search import evidence, grouping, hybrid, lexical, paging
from search.candidates import Answer, arrange, encode, fetched, find
from search.collections import require_fingerprint
from search.deadline import Deadline
from search.errors import InvalidRequest
from search.examples import Examples
from search.filters import Filter
from search.findings import Finding
from search.grouping import DOC_ID as DOC_ID
from search.hits import make_hit
from search.hybrid import Candidate, Mode
from search.options import DEPTH as DEPTH
from search.options import MAX_LIMIT as MAX_LIMIT
from search.options import SearchOptions as SearchOptions
from search.options import check_limit as check_limit
from search.options import check_query as check_query
from search.protocols import QueryEncoder
from search.query_cache import QueryCache
from search.records import METADATA, Hit, Record
from search.relevance import MOST_WORDS, NOTHING_GOOD, Chance
from search.stores.contract import Collection

DEFAULT_MODE: Final[Mode] = "hybrid"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The hits, best first, and the milliseconds that each stage and the `total` took."""

    query: str
    hits: list[Hit]
    timings_ms: dict[str, float]
    mode: Mode = DEFAULT_MODE
    """Which way was taken; not the one asked for if `degraded` says why."""
    degraded: str | None = None
    """What is missing from the answer, and why."""
    nothing_good: bool = False
    """Whether the hits are no better than those of meaningless queries, where those are known."""
    cursor: str | None = None
    """Of the next page; None: this is the last."""


def search(
    collection: Collection,
    encoder: QueryEncoder | None,
    query: str,
    *,
    limit: int = 10,
    where: Filter | None = None,
    by_document: bool = True,
    mode: Mode = DEFAULT_MODE,
    options: SearchOptions | None = None,
    examples: Examples | None = None,
    cursor: str | None = None,
    chance: Chance | None = None,
    cache: QueryCache | None = None,
) -> SearchResult:
    """The chunks that answer a query best, by default the best one of each document.

    Args:
        collection: Where to look.
        encoder: The one that built the collection; None: there is none now.
        query: A text that is not blank, of at most `MAX_QUERY_CHARACTERS`.
        limit: How many hits, 1 to `MAX_LIMIT`.
        where: Which chunks may be found at all.
        by_document: One hit per document; otherwise a document may come several times.
        mode: By vectors (`dense`), words (`lexical`) or both. Without an encoder, or without
            vectors of words, `hybrid` answers by what there is, and says so.
        options: How the answer is made.
        examples: Chunks to be near to, or far from, besides the query.
        cursor: Of the page before, with everything else the same.
        chance: What meaningless queries find; with it hits have percentiles.
        cache: Vectors of queries asked before.

    Returns:
        Hits in order, ranked from 1, on later pages from where the last ended.

    Raises:
        InvalidRequest: a blank or too long query, a limit out of range, an unknown mode, a filter
            on a path without index, a cursor that is none or another request's.
        FingerprintMismatch: another encoder built the collection.
        EncoderUnavailable: `dense`, and there is no encoder.
        WordsMissing: `lexical`, and the collection has no vectors of words.
        StoreUnavailable: the store does not answer.
    """
    options = options or SearchOptions()
    limit = check_limit(limit)
    text = check_query(query)
    if mode not in get_args(Mode):
        raise InvalidRequest(f"mode {mode!r}: expected one of {', '.join(get_args(Mode))}")
    if encoder is not None:
        require_fingerprint(
            collection.manifest, encoder.fingerprint, current_encoder=getattr(encoder, "name", None)
        )
    deadline = Deadline(options.budget_ms)
    answer = Answer(mode)
    request = paging.digest(
        collection.manifest.name, text, where, by_document, mode, options.fusion, options.fold,
        options.fold_cosine, options.diversity, examples,
    )  # fmt: skip
    began = time.perf_counter()
    terms = lexical.query_terms(text)
    vector: npt.NDArray[np.float32] | None = None
    shown, folded = 0, dict[str, list[str]]()
    if cursor is not None:
        page = paging.thaw(cursor, request=request)
        shown, candidates = page.shown, page.candidates
        answer.mode = hybrid.as_mode(page.mode)
    else:
        if mode != "lexical":
            vector = encode(collection, encoder, text, examples, cache, deadline, answer)
        candidates = find(
            collection, text, vector, answer, where=where, by_document=by_document,
            options=options, count=max(options.depth, limit),
        )  # fmt: skip
        candidates, folded = arrange(collection, candidates, options, limit, deadline, answer)
    chosen, rest = candidates[:limit], candidates[limit:]
    with answer.stage("fetch"):
        chosen = fetched(collection, chosen)
    hits = [
        make_hit(one, rank, folded=folded.get(one.record.id, ()), chance=chance, terms=terms)
        for rank, one in enumerate(chosen, start=shown + 1)
    ]
    if options.evidence and not deadline.is_over("the best sentences", answer.lost):
        with answer.stage("evidence"):
            if vector is None and cursor is not None and encoder is not None:
                vector = encode(collection, encoder, text, examples, cache, deadline, answer)
            hits = _with_evidence(hits, vector, encoder, terms)
    answer.timings["total"] = (time.perf_counter() - began) * 1e3
    return SearchResult(
        query=query,
        hits=hits,
        timings_ms=answer.timings,
        mode=answer.mode,
        degraded="; ".join(answer.lost) or None,
        nothing_good=_is_noise(hits, terms, chance, answer.mode),
        cursor=_next(rest, answer.mode, request, shown + len(candidates[:limit])),
    )


def best_per_document(
    collection: Collection,
    vector: npt.NDArray[np.float32],
    *,
    limit: int,
    where: Filter | None = None,
) -> list[Record]:
    """The best chunk of each of the `limit` nearest documents, by (score descending, id).

    Args:
        collection: Where to look.
        vector: The query's, float32 of shape (D,).
        limit: How many documents.
        where: Which chunks may be found at all.
    """
    records: dict[str, Record] = {}

    def fetch(count: int, wanted: Filter) -> list[Finding]:
        found = collection.search(vector, limit=count, where=wanted)
        records.update({one.id: one for one in found})
        return [
            Finding(one.id, one.score or 0.0, one.payload[METADATA]["doc_id"], b"") for one in found
        ]

    groups = grouping.by_document(fetch, limit=limit, where=where)
    return [records[group.best.id] for group in groups]


def _with_evidence(
    hits: list[Hit],
    vector: npt.NDArray[np.float32] | None,
    encoder: QueryEncoder | None,
    terms: Sequence[int],
) -> list[Hit]:
    from dataclasses import replace

    texts = [hit.text for hit in hits]
    if vector is None or encoder is None:
        found = evidence.by_words(texts, terms)
    else:
        found = evidence.by_vectors(texts, vector, encoder, terms)
    return [replace(hit, evidence=one) for hit, one in zip(hits, found, strict=True)]


def _is_noise(hits: Sequence[Hit], terms: Sequence[int], chance: Chance | None, mode: Mode) -> bool:
    """Whether the vectors say no more than chance, and the words are not there either."""
    percentiles = [hit.percentile for hit in hits if hit.percentile is not None]
    if chance is None or mode == "lexical" or not percentiles:
        return False
    if max(percentiles) >= NOTHING_GOOD:
        return False
    if mode == "dense" or not terms:
        return True
    wanted = set(terms)
    most = max(len(wanted.intersection(lexical.query_terms(hit.text))) for hit in hits)
    return most < MOST_WORDS * len(wanted)


def _next(rest: Sequence[Candidate], mode: Mode, request: bytes, shown: int) -> str | None:
    if not rest:
        return None
    return paging.freeze(rest, mode=mode, request=request, shown=shown)
