"""Words as sparse vectors, alike in every store."""

import contextlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge
from hypothesis import given
from hypothesis import strategies as st

from search import lexical
from search.checksums import damaged
from search.errors import InvalidRequest
from search.filters import where
from search.records import Point
from search.reindex import reindex
from search.stores.contract import Collection
from search.stores.edge import EdgeStore

Make = Callable[..., Point]


def text_chunk(chunk: Make, doc_id: str, text: str, **extra: Any) -> Point:
    """A chunk with a text of its own."""
    point = chunk(doc_id, **extra)
    point.payload["page_content"] = text
    return point


def test_scores_are_bm25_over_chunks_alone(
    collection: Collection, chunk: Make, head: Callable[[str], Point]
) -> None:
    """Worked out by hand: saturation, length and IDF; heads are no documents to the IDF."""
    texts = {"a": "owl owl night", "b": "owl river", "c": "sand sea shore"}
    collection.upsert([text_chunk(chunk, name, text) for name, text in texts.items()])
    collection.upsert([head(name) for name in "abcdefgh"])

    def score(count: int, words: int, *, within: int) -> float:
        damping = lexical.SATURATION * (
            1 - lexical.LENGTH_WEIGHT + lexical.LENGTH_WEIGHT * words / lexical.AVERAGE_WORDS
        )
        rarity = math.log(1 + (3 - within + 0.5) / (within + 0.5))
        return rarity * count * (lexical.SATURATION + 1) / (count + damping)

    found = collection.search_words("Owls?", limit=10)
    assert [one.payload["metadata"]["doc_id"] for one in found] == ["a", "b"]
    assert [one.score for one in found] == pytest.approx(
        [score(2, 3, within=2), score(1, 2, within=2)], rel=1e-5
    )
    rare = collection.search_words("night river", limit=10)
    assert [one.score for one in rare] == pytest.approx(
        [score(1, 2, within=1), score(1, 3, within=1)], rel=1e-5
    )
    assert collection.status().worded == 3


def test_a_word_that_a_query_repeats_counts_as_often(collection: Collection, chunk: Make) -> None:
    """A pasted paragraph says by that what it is about."""
    collection.upsert([text_chunk(chunk, "a", "owl"), text_chunk(chunk, "b", "lamp")])
    for query, best in (("owl, lamp and owls", "a"), ("lamp owl lamp", "b")):
        first, second = collection.search_words(query, limit=5)
        assert first.payload["metadata"]["doc_id"] == best
        assert first.score == pytest.approx(2 * second.score)
    assert sorted(lexical.query_vector("owl lamp owls")[1]) == [1.0, 2.0]


def test_filters_limits_and_ties(collection: Collection, chunk: Make) -> None:
    """Equal scores are ordered by id, even at the cut; filters hold; no word finds nothing."""
    points = [text_chunk(chunk, f"d{i}", "the same words", cluster=i % 2) for i in range(40)]
    collection.upsert(points)
    ids = sorted(point.id for point in points)
    assert [one.id for one in collection.search_words("words", limit=7)] == ids[:7]
    odd = {point.id for point in points[1::2]}
    found = collection.search_words("words", limit=50, where=where("cluster", 1))
    assert {one.id for one in found} == odd
    for nothing in ("", "the of and", "?!", "absent", "\x00"):
        assert collection.search_words(nothing, limit=5) == []
    for limit in (0, -1, True):
        with pytest.raises(InvalidRequest, match="limit"):
            collection.search_words("words", limit=limit)


def test_a_chunk_without_words_is_stored(collection: Collection, chunk: Make) -> None:
    """It counts as one that has a vector of words, and is found by none."""
    collection.upsert([text_chunk(chunk, "a", "?!"), text_chunk(chunk, "b", "owl")])
    assert [one.payload["metadata"]["doc_id"] for one in collection.search_words("owl", limit=5)]
    assert collection.status().worded == 2


def test_writing_again_replaces_the_words(collection: Collection, chunk: Make) -> None:
    """What a chunk said before does not find it any more."""
    collection.upsert([text_chunk(chunk, "a", "owl")])
    collection.upsert([text_chunk(chunk, "a", "river")])
    assert collection.search_words("owl", limit=5) == []
    assert len(collection.search_words("river", limit=5)) == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("LIGHTHOUSES", "a lighthouse"),
        ("cafe", "CAFÉ"),
        ("running", "she runs"),
        ("北京", "我喜欢北京的烤鸭"),
        ("x86", "x86-64"),
        ("Straße", "die STRASSE straße"),
    ],
)
def test_words_find_their_forms(asked: str, said: str) -> None:
    """Case, accents, English endings, and scripts without spaces."""
    assert set(lexical.query_terms(asked)) & set(lexical.document_terms(said)[0])


def test_a_lone_surrogate_is_no_failure() -> None:
    """The engine cannot take one; its neighbours are read."""
    assert lexical.query_terms("owl \ud800 night") == lexical.query_terms("owl ? night")
    assert lexical.query_vector("owl \ud800 night") == lexical.query_vector("owl ? night")
    assert lexical.document_terms("\ud800") == ([], [])


def test_marks_are_the_words_of_the_query() -> None:
    """Offsets of characters, whatever the form of the word."""
    text = "Two OWLS, one owl's nest; an émigré owlet."
    terms = lexical.query_terms("owl emigre")
    assert [text[start:end] for start, end in lexical.marks(text, terms)] == [
        "OWLS",
        "owl",
        "émigré",
    ]


def test_there_is_nothing_to_do_where_nothing_lacks(collection: Collection, chunk: Make) -> None:
    """No point is written."""
    collection.upsert([text_chunk(chunk, "a", "owl")])
    assert reindex(collection) == 0


def test_old_chunks_get_their_words(
    folder: Path, manifest: Callable[..., Any], chunk: Make, head: Callable[[str], Point]
) -> None:
    """Those written before there were vectors of words; everything else stays as it is."""
    points = [text_chunk(chunk, f"d{i}", f"owl {i}", vector=(1, i, 0, 0)) for i in range(1200)]
    with contextlib.closing(EdgeStore(folder)) as store:
        store.create(manifest("docs")).upsert([*points, head("d0")])
    shard = qdrant_edge.EdgeShard.load(str(folder / "docs" / "shard"))
    ids: Any = [point.id for point in points[:1100]]
    shard.update(qdrant_edge.UpdateOperation.delete_vectors(ids, [lexical.BM25]))
    shard.flush()
    shard.close()
    with contextlib.closing(EdgeStore(folder)) as store:
        collection = store.open("docs")
        assert (collection.status().worded, collection.status().vectors) == (100, 1200)
        before = {one.id: one.payload for one in collection.scroll()}
        told: list[int] = []
        assert reindex(collection, told.append) == 1100
        assert told == [1000, 200]
        assert collection.status().worded == 1200
        assert len(collection.search_words("owl", limit=2000)) == 1200
        assert {one.id: one.payload for one in collection.scroll()} == before
        assert list(damaged(collection)) == []


@given(
    text=st.text(alphabet="owlOWLs _-.\n\u00e9\u6771", max_size=60),
    query=st.text(alphabet="owls \u6771", max_size=8),
)
def test_marks_are_whole_words(text: str, query: str) -> None:
    """Each word whose terms were asked for, wherever it stands, and nothing else."""
    terms = lexical.query_terms(query)
    expected = [
        word.span()
        for word in re.finditer(r"\w+", text)
        if not set(terms).isdisjoint(lexical.query_terms(word[0]))
    ]
    assert list(lexical.marks(text, terms)) == expected
