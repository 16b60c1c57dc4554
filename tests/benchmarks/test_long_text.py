"""How pieces rank documents, worked out by hand; and that one forward pass gives every pooling."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from benchmarks.long_text import Cell, Pieces, compare, cut, lexical
from benchmarks.ranking import (
    RetrievalSet,
    best_piece,
    bm25,
    load_set,
    ndcg,
    paired_bootstrap,
)
from benchmarks.read_outs import passes_of, read_out
from embedder.config import Pooling
from embedder.encoder import Encoder
from embedder.errors import TextTooLong
from embedder.specification import specify

TEXTS = ["The keys are rotated every month.", "A cat", "Bread is baked from flour and water, " * 9]


@pytest.fixture(scope="module")
def starter() -> Encoder:
    return Encoder.load("starter")


def test_ndcg_of_a_worked_example() -> None:
    """Relevant documents at ranks 1 and 3 of three: 1 + 1/2 over 1 + 1/log2(3)."""
    score_QD = np.array([[0.9, 0.5, 0.7]])
    relevant_QD = np.array([[True, True, False]])
    assert ndcg(score_QD, relevant_QD) == pytest.approx([1.5 / (1 + 1 / np.log2(3))])


def test_ndcg_is_that_of_scikit_learn() -> None:
    """On scores without ties the two agree, for each query."""
    rng = np.random.default_rng(3)
    score_QD, relevant_QD = rng.normal(size=(20, 40)), rng.random((20, 40)) < 0.3
    expected = [
        ndcg_score([relevant], [score], k=10)
        for relevant, score in zip(relevant_QD, score_QD, strict=True)
    ]
    assert ndcg(score_QD, relevant_QD) == pytest.approx(expected)


def test_ndcg_counts_a_relevant_document_beyond_the_top_as_missed() -> None:
    """Eleven documents, the relevant one last: nothing is gained, though it was ranked."""
    score_QD = -np.arange(11.0)[None]
    relevant_QD = np.arange(11)[None] == 10
    assert ndcg(score_QD, relevant_QD) == [0]


def test_a_document_scores_as_its_best_piece() -> None:
    """Pieces 0 and 2 are of document 0, piece 1 of document 2; document 1 has none."""
    similarity_QP = np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    score_QD = best_piece(similarity_QP, np.array([0, 2, 0]), 3)
    assert score_QD.tolist() == [[0.3, -np.inf, 0.2], [0.9, -np.inf, 0.8]]


def test_bm25_of_a_worked_example() -> None:
    """`cat` is in one of two pieces, twice in four words: log(2) times 2 / (2 + k1 * damping)."""
    score_QP = bm25(["Cat!"], ["cat cat on mats", "dogs sleep"], k1=1.2, b=0.75)
    damping = 1 - 0.75 + 0.75 * 4 / 3
    expected = np.log1p(1.5 / 1.5) * 2 / (2 + 1.2 * damping)
    assert score_QP == pytest.approx(np.array([[expected, 0.0]]))


def test_bm25_counts_a_word_as_often_as_the_query_has_it() -> None:
    """A query's doubled word weighs twice; a word that no piece has weighs nothing."""
    once, twice = bm25(["cat", "cat cat unicorn"], ["cat on mats", "dogs sleep"])
    assert twice == pytest.approx(2 * once)


def test_the_interval_of_equal_differences_is_a_point() -> None:
    """Sets weigh alike, however many queries they have."""
    found = paired_bootstrap([np.full(5, 0.1), np.full(50, 0.3)], resamples=100)
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2, 0.2))


def test_the_interval_is_about_two_standard_errors_either_side() -> None:
    """Of 400 differences of unit variance it reaches from -0.1 to 0.1 around their mean."""
    differences = np.random.default_rng(0).normal(size=400)
    found = paired_bootstrap([differences])
    assert found.mean == pytest.approx(differences.mean())
    assert found.high - found.low == pytest.approx(4 * differences.std() / 20, rel=0.1)


def test_a_set_is_read_and_queries_without_relevant_documents_are_counted(tmp_path: Path) -> None:
    """Title and text become one document; the query that has nothing to find is left out."""
    corpus = [{"id": "a", "title": "Cats", "text": "sleep"}, {"id": "b", "title": "", "text": "x"}]
    _write(tmp_path / "corpus.jsonl", corpus)
    _write(tmp_path / "queries.jsonl", [{"id": i, "text": f"query {i}"} for i in ("1", "2")])
    judged = "query-id\tcorpus-id\tscore\n2\tb\t1\n1\ta\t0\n"
    (tmp_path / "qrels.tsv").write_text(judged, encoding="utf-8")
    labelled = load_set(tmp_path)
    assert labelled.documents == ("Cats\nsleep", "x")
    assert (labelled.queries, labelled.left_out) == (("query 2",), 1)
    assert labelled.relevant_QD.tolist() == [[False, True]]


def test_no_piece_is_longer_than_asked_and_none_of_the_text_is_lost(starter: Encoder) -> None:
    """Every word is in a piece, in order; an empty document has no piece."""
    documents = [TEXTS[2], "", "Short."]
    pieces = cut(documents, starter.tokenizer_json, 16)
    read = starter.encode_with_counts(pieces.texts).tokens
    # Next to the prompt's quotation mark a border can merge otherwise.
    assert read.max() <= 16 + 1
    assert set(pieces.document_P.tolist()) == {0, 2}
    long = [text for text, at in zip(pieces.texts, pieces.document_P, strict=True) if at == 0]
    assert " ".join(long).split() == documents[0].split()


def test_one_forward_pass_gives_every_pooling(starter: Encoder) -> None:
    """Each pooling is the vector that the encoder itself makes with that pooling."""
    for one in passes_of(starter.config):
        encoder = Encoder.load("starter", one.config.model_copy(update={"dtype": "float32"}))
        vectors = read_out(encoder, TEXTS, one.poolings).vectors
        for pooling in one.poolings:
            alone = encoder.config.model_copy(update={"pooling": pooling})
            expected = Encoder.load("starter", alone).encode_document(TEXTS)
            np.testing.assert_allclose(vectors[pooling], expected, atol=1e-5, err_msg=one.label)


def test_passes_take_one_thing_away_at_a_time() -> None:
    """The starter's settings, without CP, without TP, without both, and the bare text."""
    passes = passes_of(specify("starter").config)
    labels = ["eol + TP + CP", "eol + TP", "eol + CP", "eol", "none"]
    assert [one.label for one in passes] == labels
    assert passes[0].poolings == ("last",)
    assert passes[-1].poolings == get_args(Pooling)
    assert passes[-1].config.templates("query") == ("{}",)


def test_a_text_that_does_not_fit_is_an_error(starter: Encoder) -> None:
    """Nothing is cut silently."""
    one = passes_of(starter.config)[0]
    encoder = Encoder.load("starter", one.config)
    with pytest.raises(TextTooLong):
        read_out(encoder, ["word " * 600], one.poolings)


def test_cells_are_compared_with_the_default() -> None:
    """By set nDCG x 100, the mean over sets, and the difference with its interval."""
    default, other = Cell("eol, last", 160), Cell("eol, last", 64)
    scores = {
        ("one", default): np.array([0.5, 0.5]),
        ("one", other): np.array([0.6, 0.6]),
        ("two", default): np.array([0.2]),
        ("two", other): np.array([0.5]),
    }
    base, better = compare(scores, default)
    assert base["difference"] == [0, 0, 0]
    assert better["ndcg"] == {"one": 60, "two": 50}
    assert (better["mean"], better["difference"]) == (55, [20, 20, 20])
    assert better["difference_by_set"] == {"one": [10, 10, 10], "two": [30, 30, 30]}


def test_the_lexical_row_ranks_the_same_pieces() -> None:
    """The document whose second piece has the query's word comes first."""
    labelled = RetrievalSet(
        name="toy",
        documents=("dogs cats", "mice"),
        queries=("cats",),
        relevant_QD=np.array([[True, False]]),
        left_out=0,
    )
    pieces = Pieces(texts=("dogs", "cats", "mice"), document_P=np.array([0, 0, 1]), tokens=3)
    ((key, score_Q),) = lexical([labelled], {"toy": {16: pieces}}).items()
    assert key == ("toy", Cell("BM25", 16))
    assert score_Q.tolist() == [1.0]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
