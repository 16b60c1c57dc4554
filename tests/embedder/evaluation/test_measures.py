"""STS, classification and clustering: against scipy, scikit-learn and mteb, and by hand."""

import importlib
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from embedder.errors import InvalidConfig
from embedder.evaluation.classification import (
    ClassificationSet,
    classify,
    features,
    measure_classification,
    stratified_folds,
)
from embedder.evaluation.clustering import mteb_v_measures
from embedder.evaluation.function_words import FUNCTION_WORDS, is_function_word
from embedder.evaluation.sts import StsScore, column_of, measure_sts, papers_table
from embedder.evaluation.surfaces import words
from embedder.scored_pairs import ScoredPairs


def _directions(texts: Sequence[str]) -> Any:
    """Unit vectors drawn by each text's own letters."""
    rows = [np.random.default_rng(list(text.encode())).standard_normal(8) for text in texts]
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# --- STS -------------------------------------------------------------------------------------


def test_spearman_over_all_pairs() -> None:
    """As scipy has it, ties included; a sentence of several pairs is encoded once."""
    calls: list[list[str]] = []

    def encode(texts: Sequence[str]) -> Any:
        calls.append(list(texts))
        return _directions(texts)

    first, second = tuple("abcdeabc"), tuple("bcdefghi")
    scores = np.array([1.0, 2, 2, 5, 0, 3, 3, 4])
    found = measure_sts("set", encode, ScoredPairs(first, second, scores))
    cosines = (_directions(first) * _directions(second)).sum(1)
    assert found.spearman == pytest.approx(float(spearmanr(cosines, scores).statistic))
    assert (found.name, found.pairs) == ("set", 8)
    assert calls == [list("abcdefghi")]


@pytest.mark.parametrize(
    ("scores", "message"), [([1.0], "has 1 pair; expected 2"), ([2.0, 2.0], "are all 2; expected")]
)
def test_scores_that_rank_nothing_are_refused(scores: list[float], message: str) -> None:
    """A correlation with a constant would be 0, which is no measurement."""
    texts = ("a", "b")[: len(scores)]
    with pytest.raises(InvalidConfig, match=message):
        measure_sts("set", _directions, ScoredPairs(texts, texts, np.array(scores)))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("sts12_test", ("STS12", 0)),
        ("STS16", ("STS16", 0)),
        ("stsb_dev", ("STS-B", 1)),
        ("STSBenchmark", ("STS-B", 0)),
        ("sts-b-validation", ("STS-B", 1)),
        ("sickr_trial", ("SICK-R", 2)),
        ("SICK-R", ("SICK-R", 0)),
        ("sts17", None),
        ("stsbase", None),
        ("sickness", None),
        ("my_sts12", None),
    ],
)
def test_names_of_the_papers_table(name: str, column: tuple[str, int] | None) -> None:
    """Files as they are called; what is called otherwise is in no column."""
    assert column_of(name) == column


def test_the_papers_table() -> None:
    """Test sets before others, the papers' order, and the mean over the columns that are there."""
    figures = {"stsb_train": 0.9, "stsb_dev": 0.8, "sts12_test": 0.6, "other": 0.1}
    scores = [StsScore(name=n, spearman=s, pairs=9) for n, s in figures.items()]
    table = papers_table(scores)
    assert table is not None
    assert [(c, s.name) for c, s in table.columns.items()] == [
        ("STS12", "sts12_test"),
        ("STS-B", "stsb_dev"),
    ]
    assert table.average == pytest.approx(0.7)
    assert not table.is_complete
    assert papers_table(scores[-1:]) is None
    whole = [StsScore(name=n, spearman=0.5, pairs=9) for n in ("sts12", "sts13", "sts14", "sts15")]
    whole += [StsScore(name=n, spearman=0.5, pairs=9) for n in ("sts16", "stsb", "sickr")]
    assert papers_table(whole).is_complete  # type: ignore[union-attr]


# --- classification --------------------------------------------------------------------------


def _labelled(labels: Sequence[str], **changes: Any) -> ClassificationSet:
    settings: dict[str, Any] = {"name": "set", "others": None, "splits": None}
    texts = tuple(f"text {i}" for i in range(len(labels)))
    return ClassificationSet(**settings | {"texts": texts, "labels": tuple(labels)} | changes)


def _blobs(labels: Sequence[str], spread: float) -> Any:
    """A direction a label, with noise."""
    names = sorted(set(labels))
    noise = np.random.default_rng(0).standard_normal((len(labels), 6))
    vectors = np.eye(6)[[names.index(label) for label in labels]] + spread * noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_cross_validation() -> None:
    """Labels that vectors show are found; labels that they do not show are guessed."""
    labels = ["a", "b"] * 60
    found = classify(_labelled(labels), _blobs(labels, 0.1), folds=5)
    assert (found.accuracy, found.tested, found.classes) == (1.0, 120, 2)
    assert found.protocol == "5-fold, C chosen within each"
    assert len(found.strengths) == 5
    chance = classify(_labelled(labels), _directions([f"{i}" for i in range(120)]), folds=5)
    assert 0.3 < chance.accuracy < 0.7
    again = classify(_labelled(labels), _directions([f"{i}" for i in range(120)]), folds=5)
    assert again == chance


def test_given_splits() -> None:
    """Only `test` is tested, only `train` trained with: labels turned round in `test` score 0."""
    labels = ["a", "b"] * 40
    splits = ("train",) * 60 + ("test",) * 20
    vectors = _blobs(labels, 0.1)
    turned = labels[:60] + ["b", "a"] * 10
    for dev, protocol in ((False, "folds of train"), (True, "chosen on dev")):
        own = ("train",) * 50 + ("dev",) * 10 + ("test",) * 20 if dev else splits
        right = classify(_labelled(labels, splits=own), vectors)
        wrong = classify(_labelled(turned, splits=own), vectors)
        assert (right.accuracy, wrong.accuracy, right.tested) == (1.0, 0.0, 20)
        assert right.std is None
        assert protocol in right.protocol


def test_pairs_are_told_by_difference_and_product() -> None:
    """SentEval's features; order does not count."""
    first, second = _directions(["a", "b"]), _directions(["c", "d"])
    found = features(first, second)
    assert found.shape == (2, 16)
    np.testing.assert_allclose(found[:, :8], np.abs(first - second))
    np.testing.assert_allclose(found[:, 8:], first * second)
    np.testing.assert_array_equal(found, features(second, first))
    same = [f"t{i}" for i in range(40)]
    others = [t if i % 2 else f"u{i}" for i, t in enumerate(same)]
    labels = ["same" if t == u else "other" for t, u in zip(same, others, strict=True)]
    pairs = _labelled(labels, texts=tuple(same), others=tuple(others))
    assert measure_classification(pairs, _directions, folds=4).accuracy == 1.0


def test_rare_labels() -> None:
    """A label of two texts among many neither fails nor warns; sparse features serve as well."""
    from scipy.sparse import csr_matrix

    labels = ["a"] * 30 + ["b"] * 30 + ["c"] * 2
    vectors = _blobs(labels, 0.05)
    found = classify(_labelled(labels), vectors, folds=10)
    assert found.accuracy > 0.9
    sparse = classify(_labelled(labels), csr_matrix(vectors), folds=10)
    assert sparse.accuracy == pytest.approx(found.accuracy, abs=0.05)


def test_folds_are_even() -> None:
    """Each label lies in every fold as often as it can."""
    labels = np.array([0] * 25 + [1] * 10)
    fold = stratified_folds(labels, 5, seed=3)
    assert np.bincount(fold[labels == 0]).tolist() == [5] * 5
    assert np.bincount(fold[labels == 1]).tolist() == [2] * 5


@pytest.mark.parametrize(
    ("labels", "splits", "message"),
    [
        ("aa", None, "has 1 label"),
        ("aab", None, "label 'b' of 'set' has one text"),
        ("abab", ("train",) * 4, "has no test split"),
        ("abab", ("test",) * 4, "has no train split"),
        ("aaab", ("train", "train", "train", "test"), "train split of 'set' has one label"),
    ],
)
def test_what_cannot_be_learnt_is_refused(
    labels: str, splits: tuple[str, ...] | None, message: str
) -> None:
    """Before any vector is made."""
    with pytest.raises(InvalidConfig, match=message):
        _labelled(list(labels), splits=splits)


def test_a_sample_keeps_its_proportions() -> None:
    """Of splits and labels; the same seed draws the same rows."""
    labels = ["a"] * 60 + ["b"] * 40
    splits = ("train",) * 30 + ("test",) * 30 + ("train",) * 20 + ("test",) * 20
    some = _labelled(labels, splits=splits).sample(20, seed=1)
    assert (len(some), some.labels.count("a"), some.splits.count("train")) == (20, 12, 10)  # type: ignore[union-attr]
    assert some == _labelled(labels, splits=splits).sample(20, seed=1)
    assert _labelled(labels).sample(100, seed=0) == _labelled(labels)


# --- clustering ------------------------------------------------------------------------------


def test_the_protocol_is_mtebs_own() -> None:
    """The same samples and the same V-measures as mteb's own function gives."""
    clustering = importlib.import_module("mteb.abstasks.clustering")
    labels = [f"{i % 4}" for i in range(120)]
    vectors = _blobs(labels, 0.5)
    expected, _ = clustering._evaluate_clustering_bootstrapped(
        vectors,
        [[label] for label in labels],
        n_clusters=3,
        cluster_size=120,
        kmean_batch_size=512,
        max_depth=None,
        rng_state=random.Random(42),
        seed=42,
    )
    found = mteb_v_measures(vectors, labels, experiments=3)
    assert found == pytest.approx(tuple(expected["v_measure"]["Level 0"]))
    assert len(set(found)) > 1


def test_clusters_that_are_labels() -> None:
    """Far groups score about 1, repeated vectors 0; nothing warns."""
    labels = ["a", "b"] * 50
    assert min(mteb_v_measures(_blobs(labels, 0.01), labels, experiments=2)) > 0.99
    assert mteb_v_measures(np.ones((6, 3), np.float32), ["a", "b"] * 3, experiments=1) == (
        pytest.approx(0.0),
    )


# --- words -----------------------------------------------------------------------------------


def test_function_words() -> None:
    """Closed classes and contractions of them; no word with content."""
    for word in ("The", "whom", "DON'T", "it\u2019s", "they've", "can't", "without"):
        assert is_function_word(word), word
    for word in ("dog", "system", "bill", "dog's", "AI's", "interest", "running"):
        assert not is_function_word(word), word
    assert all(word == word.lower() for word in FUNCTION_WORDS)


def test_pieces_find_their_words() -> None:
    """Parts of a word are of it; empty pieces go with what follows."""
    assert words(["It", "'s", " un", "", "clear", " ", "?!"]) == [
        *("It's", "It's", "unclear", "unclear", "unclear"),
        *(None, None),
    ]
