"""Whole answers: modes, degradation, folding, pages, evidence, examples, chance, time budgets."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from search import evidence, lexical, relevance
from search.errors import EncoderUnavailable, FingerprintMismatch, InvalidRequest, WordsMissing
from search.examples import Examples, aim
from search.filters import where
from search.findings import Finding
from search.more_like_this import similar
from search.query_cache import QueryCache
from search.records import Point, Record
from search.relevance import Chance, measure
from search.service import SearchOptions, SearchResult, search
from search.stores.contract import Collection, Status

Make = Callable[..., Point]
PLAIN = SearchOptions(fold=False)


class Letters:
    """A text's vector counts its letters a, b, c and d, and a little of each."""

    name = "letters"
    fingerprint = "f" * 64

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, of length 1."""
        self.calls.append(list(sentences))
        counts = np.asarray(
            [[text.count(letter) + 1e-3 for letter in "abcd"] for text in sentences], np.float32
        )
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), np.float32)


class Gone(Letters):
    """An encoder that cannot be loaded."""

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Never."""
        raise EncoderUnavailable("its files are gone")


@pytest.fixture
def corpus(collection: Collection, chunk: Make) -> Collection:
    """By vectors `a` is best for aaa, then b, c; by words `c`."""
    texts = {"a": "Owls hunt.", "b": "A river. It carries sand.", "c": "zebra aaa zebra"}
    vectors = {"a": (1, 0, 0, 0), "b": (3, 1, 0, 0), "c": (1, 1, 0, 0)}
    points = []
    for name, text in texts.items():
        point = chunk(name, vector=vectors[name])
        point.payload["page_content"] = text
        points.append(point)
    collection.upsert(points)
    return collection


def order(result: SearchResult) -> str:
    return "".join(hit.doc_id for hit in result.hits)


def test_each_mode_and_why(corpus: Collection) -> None:
    """Worked out by hand, with the ranks of both sides."""
    dense = search(corpus, Letters(), "aaa", mode="dense")
    assert (order(dense), dense.mode, dense.degraded) == ("abc", "dense", None)
    words = search(corpus, Letters(), "aaa", mode="lexical")
    assert (order(words), words.mode) == ("c", "lexical")
    both = search(corpus, Letters(), "aaa")
    assert (order(both), both.mode) == ("cab", "hybrid")
    first = both.hits[0]
    assert first.ranks is not None
    assert (first.ranks.dense_rank, first.ranks.lexical_rank) == (3, 1)
    assert first.score == pytest.approx(0.3 / 13 + 0.7 / 11)
    assert first.ranks.lexical_score == pytest.approx(words.hits[0].score)
    assert [first.text[start:end] for start, end in first.marks] == ["aaa"]
    assert {"encode", "search", "fetch", "total"} <= both.timings_ms.keys()


def test_an_answer_is_the_same_each_time(corpus: Collection) -> None:
    """Also where scores are equal."""
    found = [search(corpus, Letters(), "abcd owls river", options=PLAIN) for _ in range(3)]
    assert len({str(one.hits) for one in found}) == 1


@pytest.mark.parametrize("encoder", [None, Gone()])
def test_without_an_encoder_words_answer_and_say_so(corpus: Collection, encoder: Any) -> None:
    """Hybrid degrades; dense alone cannot; words alone need no encoder."""
    result = search(corpus, encoder, "zebra")
    assert (order(result), result.mode) == ("c", "lexical")
    assert result.degraded is not None
    assert "by words only" in result.degraded
    with pytest.raises(EncoderUnavailable):
        search(corpus, encoder, "zebra", mode="dense")
    words = search(corpus, encoder, "zebra", mode="lexical")
    assert (order(words), words.degraded) == ("c", None)


class Wordless:
    """A collection as it was before there were vectors of words."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    def rank(self, queries: list[Any], **how: Any) -> list[list[Finding]]:
        """Nothing by words."""
        vectors = [query for query in queries if not isinstance(query, str)]
        found = iter(self._collection.rank(vectors, **how))
        return [[] if isinstance(query, str) else next(found) for query in queries]

    def status(self) -> Status:
        """Vectors, and none of words."""
        return Status(points=3, vectors=3, indexed=0, bytes=None, worded=0)


def test_a_collection_without_words_says_so(corpus: Collection) -> None:
    """Dense goes on; words alone name the remedy."""
    old: Any = Wordless(corpus)
    result = search(old, Letters(), "aaa")
    assert (order(result), result.mode) == ("abc", "dense")
    assert result.degraded is not None
    assert "sextant reindex --collection" in result.degraded
    with pytest.raises(WordsMissing, match="sextant reindex"):
        search(old, Letters(), "aaa", mode="lexical")
    with pytest.raises(WordsMissing, match=r"reindex.*files are gone"):
        search(old, Gone(), "aaa")


def test_words_that_are_nowhere_find_nothing(corpus: Collection) -> None:
    """That is an answer, not a failure."""
    result = search(corpus, Letters(), "unheard", mode="lexical")
    assert (result.hits, result.degraded) == ([], None)


def test_equal_texts_are_shown_once(collection: Collection, chunk: Make) -> None:
    """With the ids of the others; unless all are wanted."""
    points = [chunk(f"d{i}", vector=(1, i / 100, 0, 0)) for i in range(5)]
    for point in points[:3]:
        point.payload["page_content"] = "the very same words"
    collection.upsert(points)
    result = search(collection, Letters(), "a", mode="dense")
    assert order(result) == "d0d3d4"
    assert set(result.hits[0].duplicates) == {points[1].id, points[2].id}
    assert len(search(collection, Letters(), "a", mode="dense", options=PLAIN).hits) == 5
    near = SearchOptions(fold_cosine=0.999)
    assert order(search(collection, Letters(), "a", mode="dense", options=near)) == "d0"


def test_diversity_changes_the_order(collection: Collection, chunk: Make) -> None:
    """The third best says something else, and comes second."""
    vectors = {"one": (1, 0, 0, 0), "two": (1, 0.05, 0, 0), "far": (1, 0, 1.2, 0)}
    collection.upsert([chunk(name, vector=vector) for name, vector in vectors.items()])
    assert order(search(collection, Letters(), "a", mode="dense")) == "onetwofar"
    spread = SearchOptions(diversity=0.9)
    assert order(search(collection, Letters(), "a", mode="dense", options=spread)) == "onefartwo"


# --- pages -----------------------------------------------------------------------------------


def test_pages_are_frozen(collection: Collection, chunk: Make) -> None:
    """Whatever is written or deleted meanwhile: no hit twice, none skipped, ranks go on."""
    points = [chunk(f"d{i:02}", vector=(1, i / 50, 0, 0)) for i in range(30)]
    collection.upsert(points)
    how: dict[str, Any] = {"limit": 8, "mode": "dense"}
    first = search(collection, Letters(), "a", **how)
    assert first.cursor is not None
    collection.upsert([chunk(f"new{i}", vector=(1, 1e-4 * i, 0, 0)) for i in range(5)])
    collection.delete([points[9].id])
    second = search(collection, None, "a", cursor=first.cursor, **how)
    assert second.cursor is not None
    third = search(collection, Letters(), "a", cursor=second.cursor, **how)
    last = search(collection, Letters(), "a", cursor=third.cursor, **how)
    assert last.cursor is None
    seen = [hit.doc_id for page in (first, second, third, last) for hit in page.hits]
    assert seen == [f"d{i:02}" for i in range(30) if i != 9]
    assert [hit.rank for hit in second.hits[:2]] == [9, 10]
    ranks = second.hits[0].ranks
    assert ranks is not None
    assert ranks.dense_rank == 9
    assert second.hits[0].score == pytest.approx(ranks.dense_score)


def test_a_cursor_belongs_to_its_request(corpus: Collection) -> None:
    """Another query, mode, filter or grouping is refused; so is what is no cursor."""
    cursor = search(corpus, Letters(), "aaa", limit=1).cursor
    changes: list[dict[str, Any]] = [
        {"mode": "dense"},
        {"by_document": False},
        {"where": where("doc_id", "a")},
        {"options": SearchOptions(diversity=0.5)},
        {"examples": Examples(like=("a",))},
    ]
    for change in changes:
        with pytest.raises(InvalidRequest, match="another request"):
            search(corpus, Letters(), "aaa", cursor=cursor, **change)
    with pytest.raises(InvalidRequest, match="another request"):
        search(corpus, Letters(), "aab", cursor=cursor)
    with pytest.raises(InvalidRequest, match="not one of ours"):
        search(corpus, Letters(), "aaa", cursor="page 2")


def test_a_cursor_that_names_other_points_shows_chunks_only(
    corpus: Collection, head: Callable[[str], Point]
) -> None:
    """A token that was made by hand gives nothing but what a search would."""
    from search import paging
    from search.hybrid import Candidate

    corpus.upsert([head("a")])
    text, options = "aaa", SearchOptions()
    request = paging.digest(
        corpus.manifest.name,
        text,
        None,
        True,
        "hybrid",
        options.fusion,
        options.fold,
        options.fold_cosine,
        options.diversity,
        None,
    )
    record = Record(id=head("a").id, payload={})
    forged = paging.freeze(
        [Candidate(key="", record=record, score=1.0)], mode="hybrid", request=request, shown=0
    )
    assert search(corpus, Letters(), text, cursor=forged).hits == []


# --- evidence --------------------------------------------------------------------------------


def test_sentences_have_exact_offsets() -> None:
    """White space outside; short pieces join the next; scripts without spaces have ends too."""
    text = "  Dr. Owl hunts at night!  It sees well.\n\nA heading\n\n东京很大。我喜欢北京的烤鸭。"
    found = [text[start:end] for start, end in evidence.sentences(text)]
    assert found[0] == "Dr. Owl hunts at night!"
    assert found[1] == "It sees well."
    assert "".join(found).replace("\n", "") == text.replace("\n", "").replace("  ", "")
    assert evidence.sentences("") == evidence.sentences(" \n ") == []
    assert len(evidence.sentences("One more sentence here. " * 500)) == evidence.MAX_SENTENCES


def test_evidence_is_the_nearest_sentence(collection: Collection, chunk: Make) -> None:
    """By vectors; by words where there is no encoder; all sentences in one call."""
    point = chunk("a")
    point.payload["page_content"] = "bbbb bbbb bbbb. aaaa owls aaaa. cccc cccc cccc."
    collection.upsert([point])
    encoder, options = Letters(), SearchOptions(evidence=True)
    (hit,) = search(collection, encoder, "aa", options=options, mode="dense").hits
    assert hit.evidence is not None
    assert hit.text[hit.evidence.start : hit.evidence.end] == "aaaa owls aaaa."
    assert hit.evidence.score > 0.9
    assert [len(call) for call in encoder.calls] == [1, 3]
    (hit,) = search(collection, None, "owl", options=options).hits
    assert hit.evidence is not None
    assert hit.text[hit.evidence.start : hit.evidence.end] == "aaaa owls aaaa."
    assert hit.evidence.score == 1.0
    assert evidence.by_words(["nothing of it here"], lexical.query_terms("owl")) == [None]
    assert evidence.by_vectors([""], np.ones(4, np.float32), encoder) == [None]


def test_no_more_sentences_are_encoded_than_promise_something() -> None:
    """Each hit has its share: sentences with the query's words, then those that come first."""
    filler = [f"Filler number {word} of all." for word in ("one", "two", "three", "four", "five")]
    text = " ".join([*filler, "Here the owl hunts.", "An owl at night aaaa.", *filler])
    encoder, query_D = Letters(), np.asarray([1, 0, 0, 0], np.float32)
    hits = [text.replace("Filler", f"Filler{n}").replace("aaaa", f"aaaa{n}") for n in range(16)]
    terms = lexical.query_terms("owl at night")
    found = evidence.by_vectors(hits, query_D, encoder, terms)
    assert [len(call) for call in encoder.calls] == [17]
    for hit, one in zip(hits, found, strict=True):
        assert one is not None
        assert hit[one.start : one.end].startswith("An owl at night aaaa")
    few = evidence.by_vectors(hits[:2], query_D, encoder, terms)
    assert few == found[:2]
    assert len(encoder.calls[1]) == 2 * 6 + 1
    wordless = evidence.by_vectors([text] * 33, query_D, encoder)
    assert wordless[0] is not None
    assert text[wordless[0].start : wordless[0].end] == filler[0]


# --- examples --------------------------------------------------------------------------------


def test_more_like_this(corpus: Collection) -> None:
    """By document, chunk or text; the examples themselves are not among the hits."""
    assert order(similar(corpus, like=["a"])) == "bc"
    chunk_id = next(iter(corpus.scroll(where=where("doc_id", "c")))).id
    assert order(similar(corpus, like=[chunk_id])) == "ba"
    assert order(similar(corpus, like=[chunk_id.upper()], by_document=False)) == "ba"
    assert order(similar(corpus, text="bbb", encoder=Letters())) == "cba"
    assert order(similar(corpus, like=["b"], unlike=["a"])) == "ca"
    found = similar(corpus, like=["a"], where=where("doc_id", "c"))
    assert [(hit.doc_id, hit.rank) for hit in found.hits] == [("c", 1)]


def test_a_query_is_drawn_towards_examples(corpus: Collection) -> None:
    """Rocchio: query + 0.75 like - 0.25 unlike, of length 1."""
    query = np.asarray([1, 0, 0, 0], np.float32)
    target = aim(corpus, query, Examples(like=("c",), unlike=("b",)))
    expected = query + 0.75 * np.asarray([0.5, 0.5, 0, 0]) ** 0.5
    expected = expected - 0.25 * np.asarray([3, 1, 0, 0]) / 10**0.5
    assert target == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)
    result = search(corpus, Letters(), "aaa", mode="dense", examples=Examples(like=("c",)))
    assert order(result) == "bac"


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({}, "expected a chunk, a document or a text"),
        ({"like": ["aa"]}, "no chunk or document 'aa' in the collection; did you mean 'a'?"),
        ({"like": ["00000000-0000-0000-0000-000000000000"]}, "no chunk or document"),
        ({"like": [""]}, "no chunk or document ''"),
        ({"like": ["a"] * 101}, "at most 100 examples"),
        ({"text": " \x00 "}, "blank"),
        ({"text": "x" * 200_001}, "200,001 characters"),
        ({"text": "owl"}, "needs the collection's encoder"),
        ({"like": ["a"], "limit": 0}, "limit 0"),
    ],
)
def test_examples_that_cannot_be(corpus: Collection, how: dict[str, Any], line: str) -> None:
    """Each with the remedy."""
    with pytest.raises(InvalidRequest) as error:
        similar(corpus, **how)
    assert line in str(error.value)


def test_examples_that_cancel_out(corpus: Collection) -> None:
    """There is no direction to look in."""
    with pytest.raises(InvalidRequest, match="no direction"):
        aim(corpus, np.asarray([-0.75, 0, 0, 0], np.float32), Examples(like=("a",)))


# --- what is wrong with a query --------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("", "blank"),
        (" \n\t", "blank"),
        ("\x00\x01\x7f", "blank"),
        ("x" * 20_001, "20,001 characters: expected at most 20,000"),
        ("x" * 100_000, "expected at most 20,000"),
    ],
)
def test_a_query_that_asks_nothing_is_refused(corpus: Collection, query: str, line: str) -> None:
    """Before the encoder is asked."""
    encoder = Letters()
    with pytest.raises(InvalidRequest, match=line):
        search(corpus, encoder, query)
    assert encoder.calls == []


def test_control_characters_and_surrogates_are_spaces(corpus: Collection) -> None:
    """The encoder and the engine get text."""
    encoder = Letters()
    result = search(corpus, encoder, "aaa\x00\ud800\x1b[31m zebra")
    assert encoder.calls == [["aaa   [31m zebra"]]
    assert order(result)[0] == "c"


def test_an_unknown_mode_is_refused(corpus: Collection) -> None:
    """With those there are."""
    with pytest.raises(InvalidRequest, match="expected one of hybrid, dense, lexical"):
        search(corpus, Letters(), "a", mode="fuzzy")  # type: ignore[arg-type]
    other = Letters()
    other.fingerprint = "0" * 64
    with pytest.raises(FingerprintMismatch):
        search(corpus, other, "a")
    with pytest.raises(FingerprintMismatch):
        similar(corpus, text="a", encoder=other)


# --- chance ----------------------------------------------------------------------------------


def test_chance_is_measured_and_told(collection: Collection, chunk: Make) -> None:
    """Percentiles count meaningless queries; a best hit below all of them is nothing good."""
    draws = np.random.default_rng(0)
    points = [chunk(f"d{i}", vector=draws.normal(size=4)) for i in range(40)]
    for i, point in enumerate(points):
        point.payload["page_content"] = f"{'abcd'[i % 4] * 3} word{i}"
    collection.upsert(points)
    chance = measure(collection, Letters(), queries=32)
    assert chance is not None
    assert chance == measure(collection, Letters(), queries=32)
    assert list(chance.best) == sorted(chance.best)
    assert (len(chance.best), chance.chunks) == (32, 40)
    assert chance.fits(collection, chunks=60)
    assert not chance.fits(collection, chunks=61)
    assert not chance.model_copy(update={"fingerprint": "0"}).fits(collection, chunks=40)
    assert Chance.model_validate_json(chance.model_dump_json()) == chance

    high = chance.model_copy(update={"best": (0.9999999,) * 9 + (1.0,)})
    result = search(collection, Letters(), "abc", chance=high, mode="dense")
    assert result.nothing_good
    assert result.hits[0].percentile == 0.0
    low = chance.model_copy(update={"best": (-1.0, 0.0)})
    result = search(collection, Letters(), "abc", chance=low, mode="dense")
    assert (result.nothing_good, result.hits[0].percentile) == (False, 1.0)
    assert not search(collection, Letters(), "word7", chance=high).nothing_good
    assert search(collection, Letters(), "abc of nothing here", chance=high).nothing_good
    assert not search(collection, Letters(), "abc", chance=high, mode="lexical").nothing_good
    assert not search(collection, Letters(), "abc").nothing_good


def test_chance_needs_chunks_with_words(collection: Collection, chunk: Make) -> None:
    """A small collection, or one without text, has none; searching it works."""
    assert measure(collection, Letters()) is None
    points = [chunk(f"d{i}", vector=(1, i, 0, 0)) for i in range(relevance.FEWEST_CHUNKS)]
    collection.upsert(points[1:])
    assert measure(collection, Letters()) is None
    for point in points:
        point.payload["page_content"] = ""
    collection.upsert(points)
    assert measure(collection, Letters()) is None
    assert search(collection, Letters(), "a").hits


# --- time and memory -------------------------------------------------------------------------


def test_query_vectors_are_kept() -> None:
    """By encoder and text; the least recently asked goes first; nobody may change one."""
    cache, encoder = QueryCache(2), Letters()
    for text in ("a", "b", "a", "c", "b"):
        cache.encode(encoder, text)
    assert encoder.calls == [["a"], ["b"], ["c"], ["b"]]
    assert (cache.asked, cache.found) == (5, 1)
    other = Letters()
    other.fingerprint = "0" * 64
    cache.encode(other, "b")
    assert other.calls == [["b"]]
    with pytest.raises(ValueError, match="read-only"):
        cache.encode(encoder, "b")[0] = 1


def test_an_encoder_that_is_late_is_not_waited_for(corpus: Collection) -> None:
    """Words answer within the budget; what else is late is left out, and said."""
    release = threading.Event()

    class Slow(Letters):
        def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
            """When it is let."""
            release.wait(60)
            return super().encode_query(sentences)

    options = SearchOptions(budget_ms=20, evidence=True, diversity=0.5)
    try:
        result = search(corpus, Slow(), "zebra", options=options)
        assert (order(result), result.mode) == ("c", "lexical")
        assert result.degraded is not None
        for part in ("by words only", "20 ms", "without near-duplicates", "the best sentences"):
            assert part in result.degraded
        with pytest.raises(EncoderUnavailable, match="20 ms"):
            search(corpus, Slow(), "zebra", mode="dense", options=options)
    finally:
        release.set()


def test_failures_within_a_budget_are_raised(corpus: Collection) -> None:
    """From the thread that encodes."""

    class Broken(Letters):
        def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
            """Fail."""
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(corpus, Broken(), "zebra", options=SearchOptions(budget_ms=60_000))


def test_the_package_is_light_and_names_what_it_has() -> None:
    """`import search` loads nothing; every name leads somewhere, modules or not."""
    source = (
        "import json, sys, search\n"
        "heavy = {'numpy', 'pydantic', 'torch', 'qdrant_edge', 'qdrant_client', 'prefect'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))\n"
        "import search.more_like_this, search.facets\n"
        "print(json.dumps({name: type(getattr(search, name)).__name__ for name in search.__all__}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60
    )
    first, second = run.stdout.splitlines()
    assert json.loads(first) == []
    assert "module" not in json.loads(second).values()
    import search as package

    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018
