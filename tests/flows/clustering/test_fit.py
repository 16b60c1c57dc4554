"""k-means on directions: what a clustering promises, on vectors whose clusters are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from flows.clustering import fit as fitting
from flows.clustering.choice import choose_k
from flows.clustering.fit import fit, outliers
from flows.errors import InvalidInput


def _names(count):
    return [f"p{row:05}" for row in range(count)]


def _planted(k, *, each=40, dimension=32, noise=0.6, seed=0):
    """`k` random directions, `each` points around every one; returns vectors and true labels."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(k, dimension))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    truth = np.repeat(np.arange(k), each)
    spread = noise / np.sqrt(dimension)
    vectors = centres[truth] + random.normal(size=(len(truth), dimension)) * spread
    return vectors.astype(np.float32), truth


def test_two_blobs_are_parted_as_the_eye_does():
    """East and north: three points and two; the larger is cluster 0, centroids have length 1."""
    vectors = np.array([[1, 0.1], [0, 2], [5, 0], [0.1, 1], [1, -0.1]], np.float32)
    result = fit(vectors, ["a", "b", "c", "d", "e"], k=2)
    assert result.labels.tolist() == [0, 1, 0, 1, 0]
    np.testing.assert_allclose(result.centroids[0], [1, 0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(result.centroids, axis=1), 1, atol=1e-6)
    assert result.cosines[2] == pytest.approx(1)
    assert result.criterion == ()
    assert vectors[2, 0] == 5, "the input stays as it is"


def test_clusters_of_one_size_are_numbered_by_their_smallest_id():
    """Sizes tie; the cluster that holds id "a" is cluster 0, wherever it stands."""
    vectors = np.array([[0, 1], [0, 1], [1, 0], [1, 0]], np.float32)
    assert fit(vectors, ["c", "d", "a", "b"], k=2).labels.tolist() == [1, 1, 0, 0]


@settings(max_examples=15, deadline=None)
@given(shuffle=st.randoms(use_true_random=False), seed=st.integers(0, 3))
@pytest.mark.parametrize("k", [3, None])
def test_the_order_of_points_does_not_matter(k, shuffle, seed):
    """The same ids get the same labels, centroids and outliers, bit for bit, in any order."""
    vectors, _ = _planted(4, each=8, noise=1.5)
    names = _names(len(vectors))
    order = list(range(len(vectors)))
    shuffle.shuffle(order)
    straight = fit(vectors, names, k=k, seed=seed)
    shuffled = fit(vectors[order], [names[row] for row in order], k=k, seed=seed)
    assert shuffled.labels.tolist() == straight.labels[order].tolist()
    assert shuffled.outliers.tolist() == straight.outliers[order].tolist()
    assert shuffled.cosines.tobytes() == straight.cosines[order].tobytes()
    assert shuffled.centroids.tobytes() == straight.centroids.tobytes()
    assert shuffled.criterion == straight.criterion


def test_a_second_run_is_the_first_again():
    """Equal input and seed, equal bits: with Lloyd's k-means, and in mini-batches."""
    vectors, _ = _planted(5, noise=1.5)
    first, second = (fit(vectors, _names(200), seed=7) for _ in range(2))
    assert first.labels.tobytes() == second.labels.tobytes()
    assert first.centroids.tobytes() == second.centroids.tobytes()


@pytest.mark.parametrize("k", [2, 5, 20])
def test_the_planted_number_of_clusters_is_found(k):
    """Well-parted clusters: k is the planted one, and the partition the planted one."""
    vectors, truth = _planted(k)
    result = fit(vectors, _names(len(vectors)))
    assert result.k == k
    assert adjusted_rand_score(truth, result.labels) > 0.99
    assert k in [score.k for score in result.criterion]


def test_mini_batches_find_the_planted_clusters(monkeypatch):
    """Above the threshold the other algorithm runs, and the answer is as good and as repeatable."""
    monkeypatch.setattr(fitting, "MINI_BATCH_ABOVE", 100)
    vectors, truth = _planted(5)
    first, second = (fit(vectors, _names(len(vectors)), k=5) for _ in range(2))
    assert adjusted_rand_score(truth, first.labels) > 0.99
    assert first.labels.tobytes() == second.labels.tobytes()


def test_every_point_is_nearest_to_its_own_centroid():
    """The fixed point of spherical k-means: no cosine to another centroid is higher."""
    vectors, _ = _planted(6, noise=3.0)
    result = fit(vectors, _names(len(vectors)), k=6)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    best = (unit @ result.centroids.T).max(axis=1)
    np.testing.assert_allclose(result.cosines, best, atol=1e-5)


def test_one_point_is_one_cluster():
    """The smallest input: k chosen or given, one cluster, no warning."""
    for k in (None, 1):
        result = fit(np.array([[0, 3]], np.float32), ["only"], k=k)
        assert (result.k, result.labels.tolist(), result.cosines.tolist()) == (1, [0], [1.0])


def test_identical_vectors_are_one_cluster_whatever_was_asked():
    """Ten copies cannot be parted: one cluster, and the report can say that three were asked."""
    vectors = np.ones((10, 4), np.float32)
    for k in (None, 3):
        result = fit(vectors, _names(10), k=k)
        assert (result.k, result.requested_k, set(result.labels.tolist())) == (1, k, {0})
        assert not result.outliers.any()


def test_copies_up_to_rounding_raise_no_warning():
    """scikit-learn warns of too few distinct points; here the number of clusters says it."""
    vectors = np.ones((20, 8), np.float32)
    vectors[::2, 0] += np.float32(1e-7)
    assert 1 <= fit(vectors, _names(20), k=8).k <= 8


def test_three_distinct_directions_repeated_are_three_clusters():
    """Repeats do not count as structure: k is chosen among the distinct."""
    vectors = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    assert fit(vectors, _names(30)).k == 3


def test_opposite_vectors_have_no_mean_direction_and_no_nan():
    """Two opposites, x and -x, in one cluster cancel out: a centroid of 0, cosines of 0."""
    result = fit(np.array([[1, 0], [-1, 0]], np.float32), ["a", "b"], k=1)
    assert result.centroids.tolist() == [[0, 0]]
    assert result.cosines.tolist() == [0, 0]


def test_as_many_clusters_as_points():
    """All k up to N are allowed: every point its own cluster, numbered by id."""
    result = fit(np.eye(3, dtype=np.float32), ["c", "a", "b"], k=3)
    assert result.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("vectors", "ids", "k", "message"),
    [
        (np.eye(3), ["a", "b", "c"], 0, "k=0"),
        (np.eye(3), ["a", "b", "c"], 4, "k=4 clusters asked of 3 points"),
        (np.eye(3), ["a", "b"], None, "2 ids for 3 vectors"),
        (np.eye(3), ["a", "b", "b"], None, "2 of them distinct"),
        (np.zeros((2, 3)), ["a", "b"], None, "the first is a "),
        (np.array([[1, 0], [np.nan, 1]]), ["a", "b"], None, "the first is b "),
        (np.zeros((0, 3)), [], None, "ingest documents"),
    ],
)
def test_wrong_input_is_refused_with_its_value(vectors, ids, k, message):
    """Each message names the value and what to give instead."""
    with pytest.raises(InvalidInput, match=message):
        fit(vectors.astype(np.float32), ids, k=k)


def test_a_seed_that_scikit_learn_would_refuse_is_refused_in_our_words():
    """A negative seed: an InvalidInput with the range."""
    with pytest.raises(InvalidInput, match="seed=-1"):
        fit(np.eye(2, dtype=np.float32), ["a", "b"], seed=-1)


def test_candidates_are_the_only_values_tried():
    """Given candidates are scored as they are; the best of them is taken."""
    vectors, _ = _planted(4)
    choice = choose_k(vectors, seed=0, candidates=[3, 4, 9])
    assert choice.k == 4
    assert [score.k for score in choice.criterion] == [3, 4, 9]
    for candidates in ([], [1, 2], [160]):
        with pytest.raises(InvalidInput, match="candidates"):
            choose_k(vectors, seed=0, candidates=candidates)


def test_the_point_that_joined_for_want_of_a_better_place_is_an_outlier():
    """Nine points within a hair of the centroid and one at cosine 0.2: that one, in its cluster."""
    cosines = np.array([0.9, 0.91, 0.92, 0.9, 0.93, 0.91, 0.9, 0.92, 0.91, 0.2], np.float32)
    labels = np.zeros(10, np.int32)
    assert np.flatnonzero(outliers(cosines, labels)).tolist() == [9]
    assert not outliers(cosines[-5:], labels[-5:]).any(), "five points are too few to judge"
