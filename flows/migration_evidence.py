"""Evidence: how the new version answers the same queries, before anybody is led to it.

Both versions are searched exactly, so that what differs is the encoder and not an index. None of
the figures says which version is better; together they say how much will change, and whether the
new encoder finds what it should.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from flows.console import one_line
from flows.errors import InvalidInput
from search.filters import of_kind, where
from search.records import KIND_CHUNK, METADATA, PAGE_CONTENT, Record
from search.service import best_per_document
from search.stores.contract import Collection

AT: Final = 10
"""Documents of an answer that count."""
SAMPLE: Final = 64
MOST_SAMPLED: Final = 10_000
SELF_RETRIEVAL_SLACK: Final = 0.02
"""By so much the new version may find sampled documents more rarely than the old one."""
LOWEST_SHOWN: Final = 5
QUERY_WORDS: Final = 32
QUERY_CHARACTERS: Final = 400
LONGEST_QUERY: Final = 10_000
"""Characters of a line of the queries' file."""
TITLE_WORDS: Final = 3
"""A title of fewer words says too little to be a query."""
_STOPS: Final = ".!?\u3002\uff01\uff1f"


@dataclass(frozen=True, slots=True)
class Query:
    """A text to search by; of a sampled one, the document that it was taken from."""

    text: str
    doc_id: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The nearest documents to a query, best first, and the best one's score."""

    doc_ids: tuple[str, ...]
    score: float | None
    """None where nothing is stored."""


class Quantiles(BaseModel):
    """Of the best hits' cosine scores."""

    model_config = ConfigDict(frozen=True)

    p10: float
    median: float
    p90: float


class Side(BaseModel):
    """One version, measured."""

    model_config = ConfigDict(frozen=True)

    version: str
    encoder: str
    documents: int
    chunks: int
    self_retrieval: float | None
    """Of the sampled queries, the part whose own document is among the first `AT`."""
    top_score: Quantiles | None


class Lowest(BaseModel):
    """A query that the two versions answer most differently."""

    model_config = ConfigDict(frozen=True)

    query: str
    overlap: float


class Evidence(BaseModel):
    """Old version against new; the content of `evidence.json`."""

    model_config = ConfigDict(frozen=True)

    old: Side
    new: Side
    queries: int
    """By which `overlap` is measured: those of the file, or else the sampled ones."""
    from_file: bool
    sampled: int
    overlap: float | None
    """Mean part of the first `AT` documents that both versions give; None: nothing to compare."""
    score_shift: float | None
    """Median best score of the new version less that of the old one."""
    lowest: tuple[Lowest, ...]
    notes: tuple[str, ...]
    taken_at: str

    def refusal(self, min_overlap: float) -> str | None:
        """Why these figures do not allow a switch; None if they do."""
        if self.overlap is None:
            return "there is no overlap to judge by"
        if self.overlap < min_overlap:
            return f"overlap@{AT} is {self.overlap:.3f}, expected at least {min_overlap:g}"
        old, new = self.old.self_retrieval, self.new.self_retrieval
        if old is not None and new is not None and new < old - SELF_RETRIEVAL_SLACK:
            return (
                f"the new version finds {new:.1%} of the sampled documents by their own words, "
                f"the old one {old:.1%}; it may be {SELF_RETRIEVAL_SLACK:.0%} less"
            )
        return None


def read_queries(file: str) -> tuple[Query, ...]:
    """Queries from a file, one a line; blank lines and repeated ones are left out.

    Raises:
        InvalidInput: it cannot be read, is not UTF-8, or holds no query.
    """
    path = Path(file)
    if not path.is_file():
        raise InvalidInput(f"--queries {file!r}: no such file; check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"--queries {file!r} is not UTF-8 at byte {error.start}; convert it first"
        ) from None
    except OSError as error:
        raise InvalidInput(f"--queries {file!r}: {error.strerror}; check its rights") from error
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_QUERY:
            raise InvalidInput(
                f"--queries {file!r} line {number} has {len(line)} characters; expected a query of "
                f"at most {LONGEST_QUERY}"
            )
    found = tuple(Query(line) for line in dict.fromkeys(lines) if line)
    if not found:
        raise InvalidInput(f"--queries {file!r} holds no query; expected one a line")
    return found


def sample_queries(
    collection: Collection, doc_ids: Iterable[str], *, count: int, seed: int = 0
) -> tuple[Query, ...]:
    """Queries taken from the collection's own documents; the same ones for the same documents.

    A document's query is its title, where that has some words and no other sampled document has
    it, else the first sentence of its first chunk.

    Args:
        collection: Where the texts are.
        doc_ids: Documents to choose among.
        count: How many; fewer where fewer documents have chunks.
        seed: Another one chooses others.
    """
    order = sorted(doc_ids, key=lambda one: hashlib.sha256(f"{seed}\x1f{one}".encode()).digest())
    chosen: list[Record] = []
    while order and len(chosen) < count:
        batch, order = order[:count], order[count:]
        first = of_kind(KIND_CHUNK) & where("chunk", 0) & where("doc_id", *batch)
        found = {r.payload[METADATA]["doc_id"]: r for r in collection.scroll(where=first)}
        chosen += [found[doc_id] for doc_id in batch if doc_id in found]
    chosen = chosen[:count]
    titles = [_line(record.payload[METADATA].get("title", "")) for record in chosen]
    queries = []
    for record, title in zip(chosen, titles, strict=True):
        own = len(title.split()) >= TITLE_WORDS and titles.count(title) == 1
        text = title if own else _first_sentence(record.payload[PAGE_CONTENT])
        if text:
            queries.append(Query(text, record.payload[METADATA]["doc_id"]))
    return tuple(queries)


def answers(collection: Collection, vectors_QD: npt.NDArray[np.float32]) -> tuple[Answer, ...]:
    """The `AT` nearest documents of each query, by an exact search.

    Args:
        collection: Where to look.
        vectors_QD: The queries', by the collection's encoder, float32 of shape (Q, D).
    """
    exact = cast(Collection, _ExactSearch(collection))
    found = []
    for vector_D in vectors_QD:
        records = best_per_document(exact, vector_D, limit=AT)
        doc_ids = tuple(record.payload[METADATA]["doc_id"] for record in records)
        found.append(Answer(doc_ids, records[0].score if records else None))
    return tuple(found)


def compare(
    queries: Sequence[Query],
    old_answers: Sequence[Answer] | None,
    new_answers: Sequence[Answer],
    *,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    notes: Sequence[str],
    taken_at: str,
) -> Evidence:
    """The figures, from the answers of both versions.

    Args:
        queries: Those of a file, if any, and the sampled ones.
        old_answers: The old version's, in the queries' order; None if its encoder is gone.
        new_answers: The new version's.
        old: What is known of the old version: the fields of `Side` that no answer tells.
        new: Likewise.
        notes: What else people should know.
        taken_at: ISO 8601, UTC.
    """
    from_file = any(query.doc_id is None for query in queries)
    judged = [i for i, query in enumerate(queries) if (query.doc_id is None) == from_file]
    overlaps: dict[int, float] = {}
    if old_answers is not None:
        overlaps = {i: overlap(old_answers[i].doc_ids, new_answers[i].doc_ids) for i in judged}
    sides = []
    for fields, given in ((old, old_answers), (new, new_answers)):
        scores = None if given is None else _quantiles([given[i].score for i in judged])
        found = None if given is None else _self_retrieval(queries, given)
        sides.append(Side(**fields, self_retrieval=found, top_score=scores))
    before, after = sides[0].top_score, sides[1].top_score
    lowest = sorted(overlaps, key=lambda i: (overlaps[i], queries[i].text))[:LOWEST_SHOWN]
    small = min(old["documents"], new["documents"]) <= 2 * AT
    more = [f"with so few documents overlap@{AT} says little"] if small and overlaps else []
    return Evidence(
        old=sides[0],
        new=sides[1],
        queries=len(judged),
        from_file=from_file,
        sampled=sum(query.doc_id is not None for query in queries),
        overlap=_rounded(float(np.mean(list(overlaps.values())))) if overlaps else None,
        score_shift=_rounded(after.median - before.median) if before and after else None,
        lowest=tuple(
            Lowest(query=queries[i].text, overlap=_rounded(overlaps[i]))
            for i in lowest
            if overlaps[i] < 1
        ),
        notes=(*notes, *more),
        taken_at=taken_at,
    )


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """The part of the longer answer that both have; 1 if both are empty.

    >>> overlap(["a", "b", "c", "d"], ["d", "x", "b", "y"])
    0.5
    """
    longer = max(len(first), len(second))
    return len(set(first) & set(second)) / longer if longer else 1.0


class _ExactSearch:
    """A collection whose searches are exact, for code that does not ask for it."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def search(
        self, vector: npt.NDArray[np.float32], *, limit: int, where: Any = None
    ) -> list[Record]:
        return self._collection.search(vector, limit=limit, where=where, exact=True)


def _self_retrieval(queries: Sequence[Query], given: Sequence[Answer]) -> float | None:
    own = [
        query.doc_id in answer.doc_ids
        for query, answer in zip(queries, given, strict=True)
        if query.doc_id is not None
    ]
    return _rounded(sum(own) / len(own)) if own else None


def _quantiles(scores: Sequence[float | None]) -> Quantiles | None:
    known = [score for score in scores if score is not None]
    if not known:
        return None
    p10, median, p90 = (_rounded(float(q)) for q in np.quantile(known, (0.1, 0.5, 0.9)))
    return Quantiles(p10=p10, median=median, p90=p90)


def _first_sentence(text: str) -> str:
    """The first sentence of some length, in at most so many words; markup is left as it is."""
    flat = _line(text.lstrip("#=-*> \n"))
    end = next((i + 1 for i, letter in enumerate(flat) if letter in _STOPS and i >= 20), len(flat))
    return " ".join(flat[:end].split()[:QUERY_WORDS])[:QUERY_CHARACTERS].strip()


def _line(text: str) -> str:
    return one_line(text, LONGEST_QUERY)


def _rounded(value: float) -> float:
    return round(value, 4)
