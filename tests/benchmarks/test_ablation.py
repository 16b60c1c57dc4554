"""The ablation's rows, samples and memory; on a tiny folder of sets, with contenders of our own."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ablation import (
    Kept,
    Sizes,
    TfIdf,
    measure,
    sample_retrieval,
    tasks_in,
    variations,
)
from benchmarks.ranking import load_set
from embedder.specification import specify

WORDS = ["owl", "bread", "river", "lamp", "stone", "orbit"]


class Counting:
    """Vectors of words, and how often it was asked."""

    name = "counting"

    def __init__(self, key: str = "one") -> None:
        self.key, self.calls = key, 0

    def represent(self, documents: Sequence[str], queries: Sequence[str] = ()) -> tuple[Any, Any]:
        """A component a word."""
        self.calls += 1
        found = []
        for texts in (documents, queries):
            counts = np.array([[0.01 + t.count(w) for w in WORDS] for t in texts] or [[1.0] * 6])
            found.append((counts / np.linalg.norm(counts, axis=1)[:, None]).astype(np.float32))
        return found[0], found[1]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One small set of each family."""
    texts = [f"{WORDS[i % 2]} {WORDS[i % 2]} number {i}" for i in range(40)]
    pairs = [
        {"sentence1": a, "sentence2": b, "score": float(a.split()[0] == b.split()[0])}
        for a, b in zip(texts, texts[3:], strict=False)
    ]
    pairs += [{"sentence1": a, "sentence2": a, "score": 1.0} for a in texts]
    labelled = [{"text": text, "label": text.split()[0]} for text in texts]
    documents = [{"id": str(i), "title": "", "text": f"{w} {w}."} for i, w in enumerate(WORDS)]
    queries = [{"id": f"q{i}", "text": w} for i, w in enumerate(WORDS)]
    files = {
        "sts/pairs.jsonl": pairs,
        "classification/topics.jsonl": labelled,
        "clustering/topics.jsonl": labelled,
        "retrieval/words/corpus.jsonl": documents,
        "retrieval/words/queries.jsonl": queries,
    }
    for name, rows in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    qrels = "".join(f"q{i}\t{i}\t1\n" for i in range(len(WORDS)))
    (tmp_path / "retrieval/words/qrels.tsv").write_text("query\tdocument\tgrade\n" + qrels)
    return tmp_path


def _tokenizer() -> str:
    return (specify("starter").files.folder / "tokenizer.json").read_text(encoding="utf-8")


def test_rows_are_encoders_of_their_own() -> None:
    """All that the settings allow, and nothing twice: no CP under a mean without TP."""
    rows = list(variations(specify("starter"), ["eol", "none"]))
    labels = [tuple(label.values()) for label, _ in rows]
    assert len({found.fingerprint for _, found in rows}) == len(rows)
    assert ("eol", "+TP+CP", "last") in labels
    assert ("eol", "+TP+CP", "mean") in labels
    assert ("eol", "+CP", "mean") not in labels
    assert not [label for label in labels if label[0] == "none" and "TP" in label[1]]
    by_label = {tuple(label.values()): found for label, found in rows}
    assert by_label["eol", "+TP+CP", "last"].fingerprint == specify("starter").fingerprint


def test_vectors_that_show_it_all_score_it_all(data: Path, tmp_path: Path) -> None:
    """Each family's figure; TF-IDF's sparse rows are taken as well."""
    sizes = Sizes(pairs=60, rows=40, texts=40, experiments=2, folds=2)
    tasks = tasks_in(data, sizes, _tokenizer())
    assert sorted({family for family, _ in tasks}) == sorted(
        ["sts", "classification", "clustering", "retrieval"]
    )
    kept = Kept(tmp_path / "state", sizes)
    (row, other) = measure(
        [({"encoder": "c"}, Counting()), ({"encoder": "t"}, TfIdf())], tasks, kept
    )
    assert row["means"] == pytest.approx(
        {"sts": 100.0, "classification": 100.0, "clustering": 100.0, "retrieval": 100.0}, abs=1.0
    )
    assert other["means"]["retrieval"] == 100.0
    assert all(-100 <= figure <= 100 for figure in other["sets"].values())


def test_what_is_known_is_not_measured_again(data: Path, tmp_path: Path) -> None:
    """Not even after an interruption in the midst of a line; a new encoder or sample is."""
    sizes = Sizes(pairs=60, rows=40, texts=40, experiments=2, folds=2)
    tasks = tasks_in(data, sizes, _tokenizer())
    state = tmp_path / "state"
    first = measure([({}, Counting())], tasks, Kept(state, sizes))
    with state.open("a") as file:
        file.write('{"key": "cu')
    again = Counting()
    assert measure([({}, again)], tasks, Kept(state, sizes)) == first
    assert again.calls == 0
    for contender, own in ((Counting("other"), sizes), (Counting(), Sizes(pairs=10))):
        measure([({}, contender)], tasks, Kept(state, own))
        assert contender.calls == len(tasks)
    known = Counting("other")
    measure([({}, known)], tasks, Kept(state, sizes))
    assert known.calls == 0


def test_a_sample_keeps_what_answers(data: Path) -> None:
    """Every drawn query still has its documents."""
    whole = load_set(data / "retrieval/words")
    some = sample_retrieval(whole, queries=2, documents=4)
    assert (len(some.queries), len(some.documents)) == (2, 4)
    assert some.relevant_QD.any(axis=1).all()
    for query, relevant in zip(some.queries, some.relevant_QD, strict=True):
        assert some.documents[int(np.flatnonzero(relevant)[0])].startswith(query)
