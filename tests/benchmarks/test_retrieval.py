"""The retrieval table: fusing as the search does, choosing on other sets, the whole run."""

import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import encoder_tables, peers, results_file, retrieval, retrieval_tables
from benchmarks.retrieval import DENSE, HELD_OUT, HYBRID, LEXICAL, Measured
from flows.evaluation.retrieval_set import RetrievalSet
from search.findings import Finding, text_key
from search.grouping import Group
from search.hybrid import Fusion, fuse


def _measured(
    dense: Mapping[str, tuple[str, ...]],
    lexical: Mapping[str, tuple[str, ...]],
    right: Mapping[str, str],
    name: str = "set",
) -> Measured:
    labelled = RetrievalSet(
        name=name,
        documents={document: document for ranking in dense.values() for document in ranking},
        queries={query: query for query in right},
        grades={query: {document: 1} for query, document in right.items()},
        left_out=0,
    )
    return Measured(labelled=labelled, chunks=1, rankings={DENSE: dense, LEXICAL: lexical})


def _groups(ranking: tuple[str, ...]) -> list[Group]:
    return [
        Group(name, Finding(id=name, score=1 / rank, doc_id=name, text_key=text_key(name)), {name})
        for rank, name in enumerate(ranking, start=1)
    ]


def test_fusing_is_that_of_the_search() -> None:
    """Random rankings of which each side misses some; every k and weight."""
    draws = random.Random(1)
    names = [f"d{number:02}" for number in range(30)]
    for k, weight in ((1, 0.05), (10, 0.3), (60, 0.95)):
        dense, lexical = (tuple(draws.sample(names, 20)) for _ in range(2))
        one = _measured({"q": dense}, {"q": lexical}, {"q": names[0]})
        fusion = Fusion(k=k, dense_weight=weight)
        expected = [found.key for found in fuse(_groups(dense), _groups(lexical), fusion)]
        assert retrieval.fused(one, k=k, dense_weight=weight)["q"] == tuple(expected)


def test_what_is_chosen_for_a_set_is_best_on_the_others() -> None:
    """Vectors are right in two sets, words in the third: its own judgements do not help it."""
    right, wrong = {"q": ("z", "m", "a")}, {"q": ("a", "m", "z")}
    by_vectors = [_measured(right, wrong, {"q": "z"}, f"v{number}") for number in range(2)]
    by_words = _measured(wrong, right, {"q": "z"}, "w")
    chosen = retrieval.choose_without([*by_vectors, by_words])
    assert chosen[2] == (1, 0.55)  # the first choice that trusts vectors more than words
    sets, told = retrieval.with_held_out([*by_vectors, by_words])
    assert told["w"] == {"k": 1, "dense_weight": 0.55}
    assert sets[2].rankings[HELD_OUT]["q"][0] == "a"
    assert set(sets[0].rankings) == {DENSE, LEXICAL, HELD_OUT}


def test_a_row_is_the_mean_over_queries_then_over_sets() -> None:
    """Two queries at ranks 1 and 2 in one set, one at rank 1 in the other."""
    first = _measured(
        {"q": ("a", "b"), "r": ("a", "b")}, {"q": ("b",), "r": ("b",)}, {"q": "a", "r": "b"}, "one"
    )
    second = _measured({"q": ("a",)}, {"q": ()}, {"q": "a"}, "two")
    dense, lexical = retrieval.table([first, second])
    assert dense["sets"]["one"] == {
        "ndcg@10": round((1 + 1 / np.log2(3)) / 2, 4), "recall@100": 1.0, "mrr": 0.75,
    }  # fmt: skip
    assert dense["mean"]["mrr"] == pytest.approx((0.75 + 1) / 2)
    assert lexical["sets"]["two"] == {"ndcg@10": 0.0, "recall@100": 0.0, "mrr": 0.0}


# --- whole -----------------------------------------------------------------------------------

CORPUS = {
    "owls": "An owl hunts at night, and sees in the dark.",
    "sand": "A river carries sand to the sea.",
    "loaf": "Flour, water, salt and yeast make a loaf of bread.",
}
QUERIES = {"q1": ("owl at night", "owls"), "q2": ("bread loaf", "loaf")}


def _write_set(folder: Path) -> None:
    folder.mkdir(parents=True)
    corpus = [{"id": name, "title": "", "text": text} for name, text in CORPUS.items()]
    queries = [{"id": name, "text": text} for name, (text, _) in QUERIES.items()]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    judged = "".join(f"{name}\t{right}\t1\n" for name, (_, right) in QUERIES.items())
    (folder / "qrels.tsv").write_text(f"query\tdocument\tgrade\n{judged}")


class Words(peers.MiniLm):
    """Vectors from a hash of words, in the teacher's place."""

    def _make(self, texts: list[str]) -> Any:
        found = np.zeros((len(texts), 64), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace(".", "").split():
                found[row, sum(word.encode()) % 64] += 1
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_the_whole_run_and_its_table(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two sets, all nine rows, one file; the table tells every row of it."""
    for name in ("first", "second"):
        _write_set(tmp_path / "data" / name)
    (tmp_path / "data/other").mkdir()  # no set: left alone
    results = tmp_path / "results"
    results.mkdir()
    for module in (results_file, encoder_tables):
        monkeypatch.setattr(module, "RESULTS", results)
    monkeypatch.setattr(retrieval.peers, "MiniLm", Words)
    arguments = ["--data", str(tmp_path / "data"), "--encoder", str(folder), "--threads", "1"]
    arguments += ["--cache", str(tmp_path / "cache"), "--file"]
    monkeypatch.setattr(sys, "argv", ["retrieval", *arguments])
    retrieval.main()
    filed = json.loads(capsys.readouterr().out)
    assert filed == json.loads((results / "retrieval.json").read_text())
    assert [(one["name"], one["queries"], one["documents"]) for one in filed["sets"]] == [
        ("first", 2, 3), ("second", 2, 3),
    ]  # fmt: skip
    rows = {row["row"]: row for row in filed["rows"]}
    assert len(rows) == 9
    for name in (retrieval.BM25, retrieval.TFIDF, LEXICAL):
        assert rows[name]["mean"] == {"ndcg@10": 1.0, "recall@100": 1.0, "mrr": 1.0}
    assert set(filed["chosen_on_the_others"]) == {"first", "second"}
    shown = retrieval_tables.retrieval()
    for name in rows:
        assert name in shown
    assert "6 documents, 4 queries" in shown
    assert f"| {HYBRID} | {DENSE} |" in shown
    assert "1.000 / 1.000 / 1.000" in shown


def test_a_folder_without_sets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a line, before a model is loaded; so is a folder that is not there."""
    for place in (tmp_path, tmp_path / "gone"):
        monkeypatch.setattr(sys, "argv", ["retrieval", "--data", str(place)])
        with pytest.raises(SystemExit) as ended:
            retrieval.main()
        assert ended.value.code == 2
        assert "expected folders with corpus.jsonl" in capsys.readouterr().err
