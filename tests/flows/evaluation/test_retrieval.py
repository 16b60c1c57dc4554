"""`sextant evaluate retrieval`: metrics by hand, files, and a whole small evaluation."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import ranking as by_matrix
from flows.errors import InvalidInput
from flows.evaluation.ranking import ndcg, recall, reciprocal_rank
from flows.evaluation.retrieval import evaluate_retrieval
from flows.evaluation.retrieval_set import read_retrieval_set
from flows.progress import Silent
from search.hybrid import Fusion

CommandLine = Any


def test_metrics_by_hand() -> None:
    """Three relevant documents, at ranks 1, 3 and not at all."""
    ranking, grades = ["a", "x", "b"], {"a": 1, "b": 1, "c": 1, "z": 0}
    best = 1 + 1 / math.log2(3) + 1 / 2
    assert ndcg(ranking, grades, top=10) == pytest.approx((1 + 1 / 2) / best)
    assert ndcg(ranking, grades, top=1) == 1.0
    assert recall(ranking, grades, top=10) == pytest.approx(2 / 3)
    assert recall(ranking, grades, top=2) == pytest.approx(1 / 3)
    assert reciprocal_rank(ranking, grades) == 1.0
    assert reciprocal_rank(["x", "b"], grades) == 0.5
    assert reciprocal_rank(["x", "z"], grades) == reciprocal_rank([], grades) == 0.0
    assert ndcg([], grades, top=10) == recall([], grades, top=10) == 0.0


def test_grades_count() -> None:
    """A grade of 2 gains twice; below 0 gains nothing."""
    grades = {"a": 1, "b": 2, "c": -1}
    assert ndcg(["b", "a"], grades, top=10) == 1.0
    gained, best = 1 + 2 / math.log2(3), 2 + 1 / math.log2(3)
    assert ndcg(["a", "b", "c"], grades, top=10) == pytest.approx(gained / best)
    assert recall(["c"], grades, top=10) == 0.0


def test_the_benchmarks_measure_the_same() -> None:
    """Their matrices and these lists give one nDCG."""
    draws = np.random.default_rng(0)
    score_QD = draws.random((20, 30))
    relevant_QD = draws.random((20, 30)) < 0.1
    relevant_QD[:, 0] = True
    expected = by_matrix.ndcg(score_QD, relevant_QD)
    for row, value in enumerate(expected):
        ranking = [str(i) for i in np.argsort(-score_QD[row], kind="stable")]
        grades = {str(i): 1 for i in np.flatnonzero(relevant_QD[row])}
        assert ndcg(ranking, grades, top=10) == pytest.approx(value)


# --- files -----------------------------------------------------------------------------------

CORPUS = [
    {"_id": "1", "title": "Owls", "text": "An owl hunts at night."},
    {"_id": "2", "title": "", "text": "A river carries sand to the sea."},
    {"_id": "3", "text": "Flour, water, salt and yeast make a loaf of bread."},
]
QUERIES = [
    {"_id": "q1", "text": "owl"},
    {"_id": "q2", "text": "bread loaf"},
    {"_id": "q3", "text": "nobody knows"},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\t1\t2\nq2\t3\t1\nq3\t2\t0\n"


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Three documents and three queries, one of which nothing answers."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, rows in (("corpus", CORPUS), ("queries", QUERIES)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines + "\n")
    (folder / "qrels.tsv").write_text(QRELS)
    return folder


def test_a_folder_is_read(labelled: Path) -> None:
    """BEIR's names or plain ones; a header or none; titles before texts."""
    found = read_retrieval_set(str(labelled))
    assert (found.name, found.left_out) == ("tiny", 1)
    assert found.documents["1"] == "Owls\nAn owl hunts at night."
    assert found.documents["2"].startswith("A river")
    assert dict(found.queries) == {"q1": "owl", "q2": "bread loaf"}
    assert found.grades == {"q1": {"1": 2}, "q2": {"3": 1}}
    (labelled / "qrels.tsv").write_text("q1\t1\t1\n")
    (labelled / "queries.jsonl").write_text('{"id": "q1", "text": "owl"}\n')
    assert read_retrieval_set(str(labelled)).grades == {"q1": {"1": 1}}


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("corpus.jsonl", "", "corpus.jsonl is empty"),
        ("corpus.jsonl", "{\n", "line 1: expected an object with 'id'"),
        ("corpus.jsonl", "[]\n", "line 1: expected an object"),
        ("corpus.jsonl", '{"id": "1"}\n', "line 1: expected an object"),
        ("corpus.jsonl", '{"id": null, "text": ""}\n', "line 1: expected an object"),
        ("corpus.jsonl", '{"id":1,"text":""}\n\n{"id":"1","text":""}\n', "line 3: id '1' comes tw"),
        ("queries.jsonl", '{"id": "q1", "text": 5}\n', "line 1: expected an object"),
        ("qrels.tsv", "", "no query has a relevant document"),
        ("qrels.tsv", "q1\t1\t0\n", "no query has a relevant document"),
        ("qrels.tsv", "h\nq1 1 1\n", "line 2: expected query, document and grade"),
        ("qrels.tsv", "q1\t1\t1\nq1\t2\tgood\n", "line 2: expected query"),
        ("qrels.tsv", "q9\t1\t1\n", "line 1: no query 'q9'"),
        ("qrels.tsv", "q1\t9\t1\n", "line 1: no document '9'"),
        ("qrels.tsv", b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_a_wrong_file_is_refused(
    labelled: Path, file: str, content: str | bytes, line: str
) -> None:
    """With the line, and what was expected."""
    data = content if isinstance(content, bytes) else content.encode()
    (labelled / file).write_bytes(data)
    with pytest.raises(InvalidInput) as error:
        read_retrieval_set(str(labelled))
    assert line in str(error.value)


def test_a_missing_file_is_named(labelled: Path) -> None:
    """Also a folder that is not there."""
    (labelled / "qrels.tsv").unlink()
    with pytest.raises(InvalidInput, match=r"no qrels\.tsv in it"):
        read_retrieval_set(str(labelled))
    with pytest.raises(InvalidInput, match=r"no corpus\.jsonl in it"):
        read_retrieval_set(str(labelled / "gone"))


# --- whole -----------------------------------------------------------------------------------


def test_a_whole_evaluation(
    labelled: Path, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By words both queries are answered at once; a hybrid of words alone equals them."""
    scores = evaluate_retrieval(
        read_retrieval_set(str(labelled)),
        str(encoder_folder),
        modes=["dense", "lexical", "hybrid"],
        fusion=Fusion(dense_weight=0.0),
        chunk_tokens=32,
        progress=Silent(),
    )
    assert (scores.queries, scores.documents, scores.left_out) == (2, 3, 1)
    fields = scores.fields()
    assert list(fields) == ["task", "queries", "modes"]
    assert (fields["task"], fields["queries"]) == ("tiny", 2)
    assert fields["modes"]["lexical"] == {"ndcg@10": 1.0, "recall@100": 1.0, "mrr": 1.0}
    assert fields["modes"]["hybrid"] == fields["modes"]["lexical"]
    assert fields["modes"]["dense"]["recall@100"] == 1.0  # all three documents are ranked
    assert {name: set(found) for name, found in scores.rankings["dense"].items()} == {
        "q1": {"1", "2", "3"},
        "q2": {"1", "2", "3"},
    }
    assert scores.rankings["lexical"]["q2"] == ("3",)


def test_the_command(sextant: CommandLine, labelled: Path, encoder_folder: Path) -> None:
    """One JSON object of the contract's shape; a table for people; errors end with 2."""
    run = sextant(
        "evaluate", "retrieval", labelled, "--encoder", encoder_folder, "--mode", "lexical",
        "--json", "-q",
    )  # fmt: skip
    assert (run.code, run.err) == (0, "")
    perfect = {"ndcg@10": 1.0, "recall@100": 1.0, "mrr": 1.0}
    task = {"task": "tiny", "queries": 2, "modes": {"lexical": perfect}}
    assert run.json.items() >= task.items()
    assert run.json["tasks"] == [{"name": "tiny", **task, "n": 2}]
    assert run.json["average"] == {"lexical": perfect}
    for arguments, line in (
        ((labelled, "--mode", "fuzzy"), "--mode 'fuzzy': expected dense, lexical or hybrid"),
        ((labelled, "--fusion", "sum"), "--fusion 'sum': expected rrf or minmax"),
        (("gone",), "'gone': no corpus.jsonl in it"),
        ((labelled, "--dense-weight", "2"), "setting 'dense_weight' is 2.0 (option)"),
    ):
        run = sextant("evaluate", "retrieval", *arguments)
        assert (run.code, run.complaint[: len(line)]) == (2, line)
