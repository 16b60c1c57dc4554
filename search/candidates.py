"""Candidates of an answer: found on both sides, put together, folded and spread."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from search import diversity, grouping, hybrid
from search.collections import base_name
from search.deadline import Deadline
from search.errors import EncoderUnavailable, WordsMissing
from search.examples import Examples, aim
from search.filters import Filter
from search.findings import Finding
from search.grouping import Group
from search.hybrid import Candidate, Mode
from search.options import SearchOptions
from search.protocols import QueryEncoder
from search.query_cache import QueryCache
from search.records import PAGE_CONTENT
from search.stores.contract import Collection


@dataclass(slots=True)
class Answer:
    """An answer in the making; the functions of this room note in it what they do."""

    mode: Mode
    """Which way is taken by now."""
    timings: dict[str, float] = field(default_factory=dict)
    """Stage -> milliseconds."""
    lost: list[str] = field(default_factory=list)
    """What is missing, and why, a line each."""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = (time.perf_counter() - began) * 1e3


def encode(
    collection: Collection,
    encoder: QueryEncoder | None,
    text: str,
    examples: Examples | None,
    cache: QueryCache | None,
    deadline: Deadline,
    answer: Answer,
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


def find(
    collection: Collection,
    text: str,
    vector: npt.NDArray[np.float32] | None,
    answer: Answer,
    *,
    where: Filter | None,
    by_document: bool,
    options: SearchOptions,
    count: int,
) -> list[Candidate]:
    """Candidates of each side, as one list, without their payloads."""
    queries: dict[Mode, npt.NDArray[np.float32] | str] = {}
    if vector is not None:
        queries["dense"] = vector
    if answer.mode != "dense":
        queries["lexical"] = text
    with answer.stage("search"):
        found = _groups(collection, queries, where=where, by_document=by_document, count=count)
        dense, worded = found.get("dense", []), found.get("lexical", [])
        if answer.mode != "dense" and not worded:
            _require_words(collection, answer)
        if answer.mode == "dense":
            return hybrid.alone(dense, "dense")
        if answer.mode == "lexical":
            return hybrid.alone(worded, "lexical")
        return hybrid.fuse(dense, worded, options.fusion)


def _groups(
    collection: Collection,
    queries: Mapping[Mode, npt.NDArray[np.float32] | str],
    *,
    where: Filter | None,
    by_document: bool,
    count: int,
) -> dict[Mode, list[Group]]:
    """The best documents, or chunks, of each side; in one exchange with the store, as a rule."""
    group = grouping.by_document if by_document else grouping.by_chunk
    first = collection.rank(
        list(queries.values()),
        limit=grouping.first_count(count, by_document=by_document),
        where=where,
    )
    groups = {}
    for (side, query), found in zip(queries.items(), first, strict=True):

        def fetch(most: int, wanted: Filter, query: Any = query) -> list[Finding]:
            return collection.rank([query], limit=most, where=wanted)[0]

        groups[side] = group(fetch, limit=count, where=where, first=found)
    return groups


def _require_words(collection: Collection, answer: Answer) -> None:
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


def arrange(
    collection: Collection,
    candidates: list[Candidate],
    options: SearchOptions,
    limit: int,
    deadline: Deadline,
    answer: Answer,
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


def fetched(collection: Collection, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates with their payloads, without those that are gone."""
    found = {one.id: one for one in collection.retrieve([one.record.id for one in candidates])}
    kept = [one for one in candidates if one.record.id in found]
    for one in kept:
        one.record = found[one.record.id]
    return [one for one in kept if PAGE_CONTENT in one.record.payload]
