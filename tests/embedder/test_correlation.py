"""Rank correlation against SciPy's, and standard errors against theory; pairs and their halves."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from embedder.correlation import Resampling, average_ranks, spearman
from embedder.errors import InvalidConfig, InvalidText
from embedder.scored_pairs import FEWEST_PAIRS, ScoredPairs


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=3, max_size=30))
def test_spearman_is_scipys(pairs: list[tuple[int, int]]) -> None:
    """With ties, which get the mean of their ranks. A constant ranks nothing: 0, not NaN."""
    first, second = np.array(pairs, dtype=np.float64).T
    assert average_ranks(first).tolist() == stats.rankdata(first).tolist()
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert spearman(first, second) == 0
    else:
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second)[0])


def test_standard_errors_are_about_right_and_repeat() -> None:
    """For uncorrelated values it is near 1 / sqrt(N - 1); of the difference to itself, 0."""
    random = np.random.default_rng(3)
    scores, cosines, others = random.standard_normal((3, 400))
    chances = Resampling(scores, seed=0)
    assert chances.error(cosines) == pytest.approx(1 / 399**0.5, rel=0.15)
    assert chances.difference_error(cosines, cosines) == 0
    # Nearly the same cosines: their difference is known far better than either.
    close = cosines + 0.01 * others
    assert chances.difference_error(cosines, close) < 0.1 * chances.error(cosines)
    assert Resampling(scores, seed=0).error(cosines) == chances.error(cosines)
    assert Resampling(scores, seed=1).error(cosines) != chances.error(cosines)


def made(pairs: int) -> ScoredPairs:
    """Pairs that can be told apart."""
    names = [str(i) for i in range(pairs)]
    return ScoredPairs(tuple(names), tuple(names), np.arange(pairs, dtype=np.float64))


@given(st.integers(FEWEST_PAIRS, 60), st.integers(0, 5))
def test_halves_share_nothing_and_lose_nothing(pairs: int, seed: int) -> None:
    """Each pair is in one half; by seed."""
    choosing, checking = made(pairs).halves(seed=seed)
    assert 0 <= len(choosing) - len(checking) <= 1
    assert sorted(chain(choosing.first, checking.first), key=int) == list(made(pairs).first)
    for half in (choosing, checking):
        assert half.score_N.tolist() == [float(text) for text in half.first]
    assert made(pairs).halves(seed=seed)[0].first == choosing.first


def test_samples_are_drawn_by_seed() -> None:
    """Without replacement, in the order of the file; no more than there are."""
    pairs = made(50)
    sample = pairs.sample(30, seed=1)
    assert len(set(sample.first)) == 30
    assert list(sample.score_N) == sorted(sample.score_N)
    assert sample.first == pairs.sample(30, seed=1).first != pairs.sample(30, seed=2).first
    assert pairs.sample(50, seed=1) is pairs


def test_pairs_that_cannot_be_ranked_are_refused() -> None:
    """Too few, all alike, not as many scores as pairs, no number, no text."""
    with pytest.raises(InvalidConfig, match="19 pairs are too few to choose by and to check with"):
        made(19).halves(seed=0)
    texts = tuple("abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(InvalidConfig, match="the scores of 13 pairs are all 2; expected scores"):
        ScoredPairs(texts, texts, np.full(26, 2.0)).halves(seed=0)
    with pytest.raises(InvalidConfig, match="1 first sentences, 2 second ones and 3 scores"):
        ScoredPairs(("a",), ("b", "c"), np.zeros(3))
    with pytest.raises(InvalidConfig, match="pair 1 has score nan; expected a number"):
        ScoredPairs(("a", "b"), ("a", "b"), np.array([0, np.nan]))
    with pytest.raises(InvalidText, match="lone surrogate"):
        ScoredPairs(("\ud800",), ("b",), np.zeros(1))
