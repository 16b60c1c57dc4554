"""Answering a query, with an encoder that can be worked out by hand."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.collections import require_fingerprint
from search.errors import FingerprintMismatch, InvalidRequest
from search.filters import Filter, where
from search.records import Point, Record, chunk_id
from search.service import best_per_document, search
from search.stores import ties
from search.stores.contract import Collection, Manifest

Make = Callable[..., Point]


class LetterEncoder:
    """A text's vector counts its letters a, b, c and d."""

    name = "letters"

    def __init__(self, fingerprint: str = "f" * 64) -> None:
        self.fingerprint = fingerprint

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, of length 1."""
        counts = np.asarray(
            [[text.count(letter) for letter in "abcd"] for text in sentences], dtype=np.float32
        )
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), dtype=np.float32)


def test_a_hit_is_the_best_chunk_of_its_document(collection: Collection, chunk: Make) -> None:
    """Three documents, seven chunks, one query: worked out by hand."""
    collection.upsert(
        [
            chunk("one", 0, vector=(1, 1, 0, 0)),
            chunk("one", 1, vector=(1, 0, 0, 0), cluster=7),
            chunk("one", 2, vector=(3, 1, 0, 0)),
            chunk("two", 0, vector=(0, 1, 0, 0)),
            chunk("two", 1, vector=(4, 3, 0, 0), language="en"),
            chunk("six", 0, vector=(0, 0, 1, 0)),
            chunk("six", 1, vector=(0, 0, 0, 1)),
        ]
    )
    result = search(collection, LetterEncoder(), "aaa", limit=10, mode="dense")
    assert result.query == "aaa"
    assert [(hit.rank, hit.doc_id) for hit in result.hits] == [(1, "one"), (2, "two"), (3, "six")]
    assert [hit.score for hit in result.hits] == pytest.approx([1.0, 0.8, 0.0], abs=1e-6)
    first, second, _ = result.hits
    assert (first.text, first.source, first.title) == ("one says 1", "one.md", "One")
    assert (first.start, first.end) == (10, 20)
    assert first.metadata == {"chunk": 1, "cluster": 7}
    assert second.metadata == {"chunk": 1, "language": "en"}
    assert set(result.timings_ms) == {"encode", "search", "fetch", "total"}
    assert result.timings_ms["total"] >= result.timings_ms["search"] > 0

    chunks = search(
        collection, LetterEncoder(), "aaa", limit=3, by_document=False, mode="dense"
    ).hits
    assert [hit.doc_id for hit in chunks] == ["one", "one", "two"]
    only = search(
        collection, LetterEncoder(), "aaa", where=where("doc_id", "two", "six"), mode="dense"
    ).hits
    assert [hit.doc_id for hit in only] == ["two", "six"]
    assert search(collection, LetterEncoder(), "aaa", where=where("cluster", 99)).hits == []


def test_a_long_document_does_not_crowd_out_the_others(
    collection: Collection, chunk: Make, head: Callable[[str], Point]
) -> None:
    """Two documents own the first 400 chunks; the tenth document is found nevertheless."""
    points = [chunk("long", i, vector=(1, i / 1e4, 0, 0)) for i in range(200)]
    points += [chunk("longer", i, vector=(1, 0, i / 1e4, 0)) for i in range(200)]
    points += [chunk(f"short{i}", vector=(1, 1, 1, i)) for i in range(12)]
    collection.upsert([*points, *(head(f"short{i}") for i in range(12))])
    hits = search(collection, LetterEncoder(), "a", limit=10, mode="dense").hits
    assert {hit.doc_id for hit in hits[:2]} == {"long", "longer"}
    assert [hit.doc_id for hit in hits[2:]] == [f"short{i}" for i in range(8)]
    assert [hit.rank for hit in hits] == list(range(1, 11))


def test_grouping_equals_grouping_every_chunk(collection: Collection, chunk: Make) -> None:
    """Random corpora full of ties: over-fetch, exclude, fill gives what brute force gives.

    Axes and diagonals have length 1 exactly, so that every engine finds the same ties.
    """
    random_, query = random.Random(5), np.asarray([1, 0, 0, 0], dtype=np.float32)
    for trial in range(6):
        collection.delete([record.id for record in collection.scroll()])
        points = []
        for document in range(random_.randint(1, 25)):
            for ordinal in range(random_.choice([1, 1, 2, 30])):
                diagonal = [random_.choice([-0.5, 0.5]) for _ in range(4)]
                direction = random_.choice([*np.eye(4), diagonal])
                points.append(chunk(f"t{trial}-{document}", ordinal, vector=direction))
        collection.upsert(points)
        everything = collection.search(query, limit=1000, exact=True)
        expected: dict[str, Record] = {}
        for record in everything:
            expected.setdefault(record.payload["metadata"]["doc_id"], record)
        for limit in (1, 3, 10, 100):
            found = best_per_document(collection, query, limit=limit)
            assert [(r.id, r.score) for r in found] == [
                (r.id, r.score) for r in list(expected.values())[:limit]
            ]


class BruteForce:
    """A collection in memory, enough of one to be searched; equal scores come in any order."""

    def __init__(self, scored: dict[str, tuple[str, float]], *, seed: int) -> None:
        self._scored = scored
        self._random = random.Random(seed)

    def search(self, vector: Any, *, limit: int, where: Filter | None = None) -> list[Record]:
        """The best by the scores given, without the documents that `where` excludes."""
        excluded = {value for match in (where or Filter()).must_not for value in match.values}

        def fetch(count: int) -> list[ties.Scored]:
            left = [(i, score) for i, (doc, score) in self._scored.items() if doc not in excluded]
            self._random.shuffle(left)
            return sorted(left, key=lambda scored: -scored[1])[:count]

        return [
            Record(id=i, payload={"metadata": {"doc_id": self._scored[i][0]}}, score=score)
            for i, score in ties.nearest(fetch, limit)
        ]


@settings(max_examples=200, deadline=None)
@given(
    chunks=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=120),
    limit=st.integers(1, 15),
    seed=st.integers(0, 99),
)
def test_grouping_and_ties_are_exact(chunks: list[tuple[int, int]], limit: int, seed: int) -> None:
    """Any documents, any ties, an engine that orders equals at will: (score descending, id)."""
    scored = {
        chunk_id(str(document), ordinal=number, content_hash=""): (str(document), float(score))
        for number, (document, score) in enumerate(chunks)
    }
    expected: dict[str, str] = {}
    for identifier in sorted(scored, key=lambda i: (-scored[i][1], i)):
        expected.setdefault(scored[identifier][0], identifier)
    collection: Any = BruteForce(scored, seed=seed)
    found = best_per_document(collection, np.ones(4, dtype=np.float32), limit=limit)
    assert [record.id for record in found] == list(expected.values())[:limit]


@pytest.mark.parametrize("limit", [0, -1, 1001, True, 1.5])
def test_a_limit_out_of_range_is_refused(limit: Any, empty: Collection) -> None:
    """The message says what was expected."""
    with pytest.raises(InvalidRequest, match=r"limit .*: expected 1 or more, at most 1000"):
        search(empty, LetterEncoder(), "a", limit=limit)


@pytest.mark.parametrize("query", ["", " ", "\n\t\u3000"])
def test_a_blank_query_is_refused(query: str, empty: Collection) -> None:
    """Nothing was asked."""
    with pytest.raises(InvalidRequest, match="blank"):
        search(empty, LetterEncoder(), query)


def test_another_encoder_is_refused(empty: Collection) -> None:
    """Before anything is encoded; the message names both encoders and the ways out."""
    other = LetterEncoder(fingerprint="0123456789abcdef")
    other.name = "syllables"
    with pytest.raises(FingerprintMismatch) as error:
        search(empty, other, "a")
    message = str(error.value)
    for part in (
        repr(empty.manifest.name),
        "'letters'",
        "'syllables'",
        "ffffffffffff)",
        "0123456789ab;",
        "--encoder letters",
        "--collection",
        "ingest again",
    ):
        assert part in message
    require_fingerprint(empty.manifest, "f" * 64)


def test_a_changed_encoder_of_the_same_name_is_called_that(empty: Collection) -> None:
    """Its name would be no remedy: the message says that it has changed."""
    with pytest.raises(FingerprintMismatch, match=r"earlier state of encoder 'letters'.*another"):
        require_fingerprint(empty.manifest, "0" * 64, current_encoder="letters")


class Empty:
    """A collection that nothing may be asked of but its manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest


@pytest.fixture
def empty(manifest: Callable[..., Manifest]) -> Iterator[Any]:
    """A collection whose engine must not be reached."""
    return Empty(manifest("docs"))  # type: ignore[return-value]
