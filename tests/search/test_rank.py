"""What is found without payloads equals what a search finds, in every store."""

import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import InvalidRequest
from search.filters import Filter, where
from search.findings import Finding, text_key
from search.records import Point, Record
from search.stores.contract import Collection
from search.stores.edge_known import KnownChunks

Make = Callable[..., Point]
Query = npt.NDArray[np.float32] | str
WORDS = ("owl", "river", "night", "harbour", "Bread")


def finding(record: Record) -> Finding:
    """What a record that was searched is without its payload."""
    assert record.score is not None
    text = record.payload["page_content"]
    return Finding(record.id, record.score, record.payload["metadata"]["doc_id"], text_key(text))


def searched(collection: Collection, queries: Iterable[Query], **how: Any) -> list[list[Finding]]:
    """Each query by itself, with payloads."""
    return [
        [
            finding(record)
            for record in (
                collection.search_words(query, **how)
                if isinstance(query, str)
                else collection.search(query, **how)
            )
        ]
        for query in queries
    ]


@pytest.fixture
def corpus(collection: Collection, chunk: Make) -> Collection:
    """Three hundred chunks of forty documents, full of equal vectors and equal texts."""
    draws = random.Random(0)
    points = []
    for number in range(300):
        direction = draws.choice([*np.eye(4), [0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, 0.5]])
        point = chunk(f"d{number % 40}", number, vector=direction, cluster=number % 3)
        words = draws.choices(WORDS, k=draws.randint(1, 3))
        point.payload["page_content"] = draws.choice(("  ", " ", "\n")).join(words)
        points.append(point)
    collection.upsert(points)
    return collection


def test_ranking_equals_searching(corpus: Collection) -> None:
    """The same chunks, scores and order; ties and filters included; again when known."""
    axes = [*np.eye(4, dtype=np.float32)]
    queries: list[Query] = [
        axes[0],
        "owl",
        "night river",
        axes[2],
        "absent",
        "the of",
        axes[0],
        "owl",
    ]
    for _ in range(2):
        for limit in (1, 7, 60, 200, 1000):
            for condition in (None, where("cluster", 1), where("doc_id", "d3", "d4")):
                found = corpus.rank(queries, limit=limit, where=condition)
                assert found == searched(corpus, queries, limit=limit, where=condition)
    assert corpus.rank([], limit=3) == []
    assert corpus.rank(["absent"], limit=3) == [[]]


def test_what_is_written_is_ranked_anew(corpus: Collection, chunk: Make) -> None:
    """Nothing that was remembered outlives a write: another text, another document, a deletion."""
    queries: list[Query] = [np.ones(4, dtype=np.float32), "owl", "changed"]
    before = corpus.rank(queries, limit=500)
    first = before[0][0]
    moved = chunk("another", 7, vector=(1, 1, 1, 1))
    moved.payload["page_content"] = "changed owl"
    corpus.upsert([Point(id=first.id, vector=moved.vector, payload=moved.payload)])
    after = corpus.rank(queries, limit=500)
    assert after == searched(corpus, queries, limit=500)
    assert [(one.id, one.doc_id, one.text_key) for one in after[2]] == [
        (first.id, "another", text_key("changed owl"))
    ]
    corpus.set_metadata({one.id: {"cluster": 9} for one in after[1]})
    corpus.delete([first.id])
    corpus.delete_where(where("doc_id", "d1", "d2"))
    left = corpus.rank(queries, limit=500)
    assert left == searched(corpus, queries, limit=500)
    assert left[2] == []
    assert not {first.id} & {one.id for one in left[0]}


@pytest.mark.parametrize(
    ("queries", "how", "message"),
    [
        (["owl"], {"limit": 0}, "limit"),
        ([np.ones(4, dtype=np.float32)], {"limit": True}, "limit"),
        ([np.ones(3, dtype=np.float32)], {"limit": 1}, "shape"),
        ([np.zeros(4, dtype=np.float32)], {"limit": 1}, "length"),
        ([None], {"limit": 1}, "query vector"),
        (["owl"], {"limit": 1, "where": Filter.model_validate({"must": [{"key": "x"}]})}, "filter"),
    ],
)
def test_wrong_queries_are_refused(
    collection: Collection, queries: list[Any], how: dict[str, Any], message: str
) -> None:
    """As a search refuses them."""
    with pytest.raises(InvalidRequest, match=message):
        collection.rank(["owl", *queries], **how)


# --- keys of texts ---------------------------------------------------------------------------


@given(st.lists(st.text(alphabet="ab \t\n\u00a0\u3000\x1c", max_size=12), min_size=2, max_size=2))
def test_keys_are_equal_for_equal_words(texts: list[str]) -> None:
    """White space of any kind, between words or around them, makes no difference."""
    one, two = texts
    assert (text_key(one) == text_key(two)) == (one.split() == two.split())


# --- what a worker remembers -----------------------------------------------------------------


class Shelf:
    """Payloads, and the ids that were read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __call__(self, ids: list[uuid.UUID]) -> Iterable[tuple[uuid.UUID, Mapping[str, Any]]]:
        """Those with odd numbers are gone."""
        self.read += [one.int for one in ids]
        return [
            (one, {"page_content": f"text {one.int}", "metadata": {"doc_id": f"d{one.int}"}})
            for one in ids
            if one.int % 2 == 0
        ]


def test_what_is_known_is_not_read_again() -> None:
    """Until something is written; points that do not exist are left out."""
    shelf = Shelf()
    known = KnownChunks(shelf)
    two, three, four = (uuid.UUID(int=number) for number in (2, 3, 4))
    expected = {str(two): (str(two), "d2", text_key("text 2"))}
    assert known.look_up([two, three]) == expected
    assert known.look_up([two]) == expected
    assert shelf.read == [2, 3]
    assert (known.name(two), known.name(four)) == (str(two), str(four))
    known.forget()
    assert (len(known), known.look_up([two])) == (0, expected)
    assert shelf.read == [2, 3, 2]


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    """What was asked for lately stays; the answer is right all the same."""
    shelf = Shelf()
    known = KnownChunks(shelf, capacity=20)
    often = uuid.UUID(int=10**6)
    for number in range(0, 400, 2):
        some = uuid.UUID(int=number)
        assert known.look_up([often, some]).keys() == {str(often), str(some)}
        assert len(known) <= 20
    assert shelf.read.count(often.int) == 1
    assert len(shelf.read) == 201
