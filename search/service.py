"""Answering a query: by vectors, by words or both; grouped, folded, explained, page by page."""

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from search import diversity, evidence, grouping, hybrid, lexical, paging
from search.collections import base_name, require_fingerprint
from search.deadline import Deadline
from search.errors import EncoderUnavailable, InvalidRequest, WordsMissing
from search.examples import Examples, aim
from search.filters import Filter
from search.grouping import DOC_ID as DOC_ID
from search.grouping import Group
from search.hits import make_hit
from search.hybrid import Candidate, Fusion, Mode
from search.protocols import QueryEncoder
from search.query_cache import QueryCache
from search.records import PAGE_CONTENT, Hit, Record
from search.relevance import MOST_WORDS, NOTHING_GOOD, Chance
from search.stores.contract import Collection

MAX_LIMIT: Final = 1000
MAX_QUERY_CHARACTERS: Final = 20_000
DEPTH: Final = 100
"""Candidates that each side gives, at least; further pages come out of them."""
DEFAULT_MODE: Final[Mode] = "hybrid"

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class SearchOptions(BaseModel):
    """How an answer is made, beside what is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fusion: Fusion = Fusion()
    fold: bool = True
    """Of chunks with equal texts, the best one is shown."""
    fold_cosine: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of chunks with vectors at least so near, too; e.g. `diversity.DUPLICATE_COSINE`."""
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0: by score alone; towards 1: hits that differ from each other."""
    evidence: bool = False
    """Whether each hit gets its best sentence."""
    depth: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = DEPTH
    budget_ms: Annotated[float, Field(gt=0)] | None = None
    """After so long what can be left out is left out: the answer says what."""


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
    """Whether the hits are no better than those of a meaningless query; None was measured: False.
    """
    cursor: str | None = None
    """Of the next page; None: this is the last."""


@dataclass(slots=True)
class _Answer:
    """An answer in the making."""

    mode: Mode
    timings: dict[str, float] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = (time.perf_counter() - began) * 1e3


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
    answer = _Answer(mode)
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
            vector = _encode(collection, encoder, text, examples, cache, deadline, answer)
        candidates = _find(
            collection, text, vector, answer, where=where, by_document=by_document,
            options=options, count=max(options.depth, limit),
        )  # fmt: skip
        candidates, folded = _arrange(collection, candidates, options, limit, deadline, answer)
    chosen, rest = candidates[:limit], candidates[limit:]
    if cursor is not None:
        with answer.stage("search"):
            chosen = _fetched(collection, chosen)
    hits = [
        make_hit(one, rank, folded=folded.get(one.record.id, ()), chance=chance, terms=terms)
        for rank, one in enumerate(chosen, start=shown + 1)
    ]
    if options.evidence and not deadline.is_over("the best sentences", answer.lost):
        with answer.stage("evidence"):
            if vector is None and cursor is not None and encoder is not None:
                vector = _encode(collection, encoder, text, examples, cache, deadline, answer)
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
    groups = grouping.by_document(
        lambda count, wanted: collection.search(vector, limit=count, where=wanted),
        limit=limit,
        where=where,
    )
    return [group.best for group in groups]


def check_limit(limit: int) -> int:
    """The number of hits wanted.

    Raises:
        InvalidRequest: it is not 1 to `MAX_LIMIT`.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit {limit!r}: expected 1 or more, at most {MAX_LIMIT}")
    return limit


def check_query(query: str, *, most: int = MAX_QUERY_CHARACTERS) -> str:
    """The query as it is asked: control characters are spaces.

    Raises:
        InvalidRequest: it is blank, or longer than `most` characters.
    """
    if not isinstance(query, str):
        raise InvalidRequest(f"query of {type(query).__name__}: expected a text to search for")
    if len(query) > most:
        raise InvalidRequest(
            f"query of {len(query):,} characters: expected at most {most:,}; shorten it"
        )
    text = _CONTROL.sub(" ", query).strip()
    if not text:
        raise InvalidRequest(f"query {query[:20]!r} is blank: expected a text to search for")
    return text


def _encode(
    collection: Collection,
    encoder: QueryEncoder | None,
    text: str,
    examples: Examples | None,
    cache: QueryCache | None,
    deadline: Deadline,
    answer: _Answer,
) -> npt.NDArray[np.float32] | None:
    """The query's vector; None where words have to do."""
    name = base_name(collection.manifest.name)
    try:
        if encoder is None:
            raise EncoderUnavailable(
                f"the encoder of collection {name!r} is not there; use `--mode lexical`"
            )
        known = encoder
        with answer.stage("encode"):
            vector = deadline.run(
                lambda: cache.encode(known, text) if cache else known.encode_query([text])[0]
            )
        return vector if examples is None else aim(collection, vector, examples)
    except EncoderUnavailable as error:
        if answer.mode == "dense":
            raise
        answer.mode = "lexical"
        answer.lost.append(f"by words only: {error}")
        return None


def _find(
    collection: Collection,
    text: str,
    vector: npt.NDArray[np.float32] | None,
    answer: _Answer,
    *,
    where: Filter | None,
    by_document: bool,
    options: SearchOptions,
    count: int,
) -> list[Candidate]:
    """Candidates of each side, as one list."""
    group = grouping.by_document if by_document else grouping.by_chunk
    dense: list[Group] = []
    worded: list[Group] = []
    with answer.stage("search"):
        if vector is not None:
            with answer.stage("dense"):
                dense = group(
                    lambda most, wanted: collection.search(vector, limit=most, where=wanted),
                    limit=count,
                    where=where,
                )
        if answer.mode != "dense":
            with answer.stage("lexical"):
                worded = group(
                    lambda most, wanted: collection.search_words(text, limit=most, where=wanted),
                    limit=count,
                    where=where,
                )
                if not worded:
                    _require_words(collection, answer)
        if answer.mode == "dense":
            return hybrid.alone(dense, "dense")
        if answer.mode == "lexical":
            return hybrid.alone(worded, "lexical")
        return hybrid.fuse(dense, worded, options.fusion)


def _require_words(collection: Collection, answer: _Answer) -> None:
    """Tell a query whose words are nowhere from a collection that has no vectors of words."""
    status = collection.status()
    if status.worded or not status.vectors:
        return
    name = base_name(collection.manifest.name)
    missing = (
        f"collection {name!r} was made before words were indexed; "
        f"`sextant reindex --collection {name}` indexes them, and embeds nothing anew"
    )
    if answer.mode == "lexical":
        raise WordsMissing("; ".join([missing, *answer.lost]))
    answer.mode = "dense"
    answer.lost.append(f"by vectors only: {missing}")


def _arrange(
    collection: Collection,
    candidates: list[Candidate],
    options: SearchOptions,
    limit: int,
    deadline: Deadline,
    answer: _Answer,
) -> tuple[list[Candidate], dict[str, list[str]]]:
    """Fold what says the same, and spread what is left."""
    needs_vectors = options.fold_cosine is not None or options.diversity > 0
    vectors: diversity.Vectors | None = None
    folded: dict[str, list[str]] = {}
    if needs_vectors and not deadline.is_over("near-duplicates and diversity", answer.lost):
        with answer.stage("vectors"):
            found = collection.retrieve([one.record.id for one in candidates], with_vectors=True)
            vectors = {one.id: one.vector for one in found if one.vector is not None}
            candidates = [one for one in candidates if one.record.id in vectors]
    if options.fold or options.fold_cosine is not None:
        nearness = vectors if options.fold_cosine is not None else None
        candidates, folded = diversity.fold(
            candidates, nearness, cosine=options.fold_cosine or diversity.DUPLICATE_COSINE
        )
    if vectors is not None and options.diversity:
        most = max(limit, options.depth)
        candidates = diversity.spread(candidates, vectors, diversity=options.diversity, limit=most)
    return candidates, folded


def _fetched(collection: Collection, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates of a cursor with their payloads, without those that are gone."""
    found = {one.id: one for one in collection.retrieve([one.record.id for one in candidates])}
    kept = [one for one in candidates if one.record.id in found]
    for one in kept:
        one.record = found[one.record.id]
    return [one for one in kept if PAGE_CONTENT in one.record.payload]


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
        found = evidence.by_vectors(texts, vector, encoder)
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
