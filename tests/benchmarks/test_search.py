"""The measurement of searches, on a few chunks: it makes what it says, and asks what it says."""

import json
import threading
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks import search, search_load, search_tables
from benchmarks.search_corpus import DIMENSION, STOP_WORDS, Question, SearchCorpus
from embedder.specification import EncoderSpecification, specify
from search import lexical
from search.service import search as ask
from search.stores.edge import EdgeStore


@pytest.fixture(scope="module")
def starter() -> EncoderSpecification:
    """Whose tokenizer the words come from."""
    return specify("starter")


@pytest.fixture(scope="module")
def corpus(starter: EncoderSpecification) -> SearchCorpus:
    """Three hundred chunks."""
    return SearchCorpus(300, starter.files.folder / "tokenizer.json")


class AnyVector:
    """Stands in for the starter."""

    name = "starter"

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """The same for every text."""
        return np.full((len(sentences), DIMENSION), DIMENSION**-0.5, dtype=np.float32)


def test_the_corpus_is_as_described(corpus: SearchCorpus, starter: EncoderSpecification) -> None:
    """The same again; unit vectors near to their document's others; words as in prose."""
    points = list(corpus.points())
    again = list(islice(SearchCorpus(10**6, corpus._tokenizer).points(), 300))
    assert [one.id for one in points] == [one.id for one in again]
    for one, two in zip(points, again, strict=True):
        np.testing.assert_array_equal(one.vector, two.vector)
    vectors_ND = np.stack([one.vector for one in points if one.vector is not None])
    assert np.linalg.norm(vectors_ND, axis=1) == pytest.approx(np.ones(300), abs=1e-5)
    documents = [one.payload["metadata"]["doc_id"] for one in points]
    assert 30 < len(set(documents)) < 120
    same = np.asarray(documents)[:, None] == np.asarray(documents)
    cosine_NN = vectors_ND @ vectors_ND.T
    assert cosine_NN[same & ~np.eye(300, dtype=bool)].mean() > 0.3
    assert abs(cosine_NN[~same].mean()) < 0.1
    words = " ".join(one.payload["page_content"] for one in points).lower().split()
    assert 70 <= len(words) / 300 <= 130
    stops = sum(word.strip(".") in STOP_WORDS for word in words) / len(words)
    assert 0.2 < stops < 0.5
    assert len(corpus.vocabulary) == len(set(corpus.vocabulary)) == 50_000


def test_questions_are_about_chunks(corpus: SearchCorpus) -> None:
    """By words and by vectors they find theirs."""
    questions = corpus.questions(40)
    assert len({one.text for one in questions}) == 40
    vectors_ND = np.stack([one.vector for one in corpus.points() if one.vector is not None])
    nearest = [float((vectors_ND @ one.vector_D).max()) for one in questions]
    assert min(nearest) > 0.5
    assert sum(bool(lexical.query_terms(one.text)) for one in questions) > 35


def test_every_way_is_measured(
    tmp_path: Path,
    corpus: SearchCorpus,
    starter: EncoderSpecification,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A row for each way and number of clients; the collection is made once."""
    folder = tmp_path / "300"
    search.build(corpus, folder, starter)
    built = json.loads((folder / search.BUILT).read_text())
    assert (built["chunks"], built["bytes"] > 0) == (300, True)
    search.build(corpus, folder, starter)
    options = search.options_of(["--clients", "1,3", "--questions", "5"])
    questions = corpus.questions(5 + search_load.WARM_UP)
    found = search.rows(folder, questions, AnyVector(starter.fingerprint), options)
    assert [json.loads(line) for line in capsys.readouterr().err.splitlines()] == found
    names = list(dict.fromkeys(row["name"] for row in found))
    assert names == [
        "engine in process, dense", "engine in process, both",
        "engine by its worker, dense", "engine by its worker, both",
        "dense", "lexical", "hybrid", "end to end", "end to end, evidence",
    ]  # fmt: skip
    assert [row["clients"] for row in found] == [1, 3] * len(names)
    for row in found:
        assert row["questions"] == 5
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert (row["engine_cpu_ms"] is None) == row["name"].startswith("engine in process")
    over = search.overheads(found)
    p50 = {row["name"]: row["p50_ms"] for row in found if row["clients"] == 1}
    assert over["dense"] == pytest.approx(p50["dense"] - p50["engine in process, dense"], abs=0.01)
    assert over.keys() == {"dense", "hybrid"}


def test_the_engine_in_process_finds_what_ours_does(
    tmp_path: Path, corpus: SearchCorpus, starter: EncoderSpecification
) -> None:
    """The comparison is of equal work: the same best chunks, with their payloads."""
    search.build(corpus, tmp_path / "300", starter)
    question = corpus.questions(1)[0]
    with search.engine(tmp_path / "300") as (dense, both):
        raw: Any = dense(question)
        found: Any = both(question)
    given = search.GivenVectors(starter.fingerprint, [question])
    with closing(EdgeStore(tmp_path / "300")) as store:
        collection = store.open(search.COLLECTION)
        ours = ask(collection, given, question.text, mode="dense", by_document=False)
        words = ask(collection, given, question.text, mode="lexical", by_document=False)
    assert [str(point.id) for point in raw] == [hit.id for hit in ours.hits]
    assert {str(point.id) for point in found[1]} == {hit.id for hit in words.hits}
    assert all(point.payload["page_content"] for point in raw)


def test_clients_ask_at_once_and_each_question_once() -> None:
    """As many as are asked for are under way together; warming up does not count."""
    questions = [Question(str(number), np.zeros(1, np.float32)) for number in range(32)]
    together, asked = threading.Barrier(4), []

    def answer(question: Question) -> None:
        asked.append(question.text)
        if len(asked) > search_load.WARM_UP:
            together.wait(30)

    row = search_load.measure("x", answer, questions, clients=4, seconds=60)
    assert (row["questions"], row["clients"]) == (12, 4)
    assert sorted(asked, key=int) == [one.text for one in questions]


def test_an_answer_that_fails_is_no_measurement() -> None:
    """It raises."""
    questions = [Question(str(number), np.zeros(1, np.float32)) for number in range(24)]

    def answer(question: Question) -> None:
        if question.text == "22":
            raise LookupError("22")

    for clients in (1, 2):
        with pytest.raises(LookupError):
            search_load.measure("x", answer, questions, clients=clients, seconds=60)


def test_the_table_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a result as it is filed."""
    row = {
        "name": "hybrid", "clients": 16, "questions": 9, "p50_ms": 1.0, "p95_ms": 2.0,
        "p99_ms": 3.0, "per_second": 1234.5, "own_cpu_ms": 0.5, "engine_cpu_ms": 0.25,
        "load_average": 0.5,
    }  # fmt: skip
    size = {
        "chunks": 10_000, "documents": 2000, "write_seconds": 1.5, "index_seconds": 0.1,
        "indexed": 0, "bytes": 2**20, "rows": [row, row | {"engine_cpu_ms": None}],
        "overhead_ms": {"dense": 1.25, "hybrid": -0.1},
    }  # fmt: skip
    filed = {
        "dimension": 384, "bars": search.BARS, "sizes": [size], "hardware": "h", "commit": "c",
        "date": "d",
    }  # fmt: skip
    monkeypatch.setattr(search_tables, "result", {"search": filed}.__getitem__)
    text = search_tables.search_speed()
    assert "dense +1.2 ms, hybrid -0.1 ms" in text
    assert "| hybrid | 16 | 1.00 | 2.00 | 3.00 | 1,234 | 0.50 | 0.25 |" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sizes", "0"], "'0' is not a whole number"),
        (["--sizes", "10,many"], "'many' is not a whole number"),
        (["--clients", ""], "'' is not a whole number"),
        (["--questions", "-1"], "'-1' is not a whole number"),
        (["--seconds", "0"], "--seconds 0: expected more than 0"),
        (["--seconds", "nan"], "--seconds nan: expected more than 0"),
    ],
)
def test_a_wrong_command_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, before anything is measured."""
    with pytest.raises(SystemExit) as raised:
        search.main(arguments)
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
