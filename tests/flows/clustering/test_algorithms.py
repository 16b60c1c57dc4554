"""Streamed k-means, a tree by bisection, dense groups: each on vectors whose groups are known."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from flows.clustering import bisecting, densities, fit, vector_file
from flows.clustering.bisecting import grow_tree
from flows.clustering.densities import density_partition, smallest
from flows.clustering.fit import fit_vectors
from flows.clustering.method import Method
from flows.clustering.stability import stability
from flows.clustering.vector_file import ArrayVectors, VectorFile
from flows.errors import InvalidInput


def _planted(k, *, each=60, dimension=16, noise=0.5, seed=0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(k, dimension))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    truth = random.permutation(np.repeat(np.arange(k), each))
    vectors = centres[truth] + random.normal(size=(len(truth), dimension)) * noise / dimension**0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), truth


def _file(vectors, folder):
    file = VectorFile(folder, vectors.shape[1])
    file.append(vectors, [str(row) for row in range(len(vectors))])
    return file


def test_streamed_k_means_finds_what_k_means_in_memory_finds(tmp_path, monkeypatch):
    """From a file in small blocks: the planted groups, and the same twice, bit for bit."""
    vectors, truth = _planted(6)
    whole = fit_vectors(ArrayVectors(vectors), Method(k=6))
    monkeypatch.setattr(vector_file, "BLOCK", 50)
    monkeypatch.setattr(fit, "MINI_BATCH_ABOVE", 100)
    with _file(vectors, tmp_path) as file:
        first, second = (fit_vectors(file, Method(k=6)) for _ in range(2))
    assert adjusted_rand_score(truth, first.labels) > 0.99
    assert adjusted_rand_score(whole.labels, first.labels) == pytest.approx(1.0)
    assert first.labels.tobytes() == second.labels.tobytes()
    assert first.centroids.tobytes() == second.centroids.tobytes()
    np.testing.assert_allclose(np.linalg.norm(first.centroids, axis=1), 1, atol=1e-5)


def test_streamed_k_is_chosen_on_a_sample(monkeypatch):
    """Planted: five; the sample shows them as well as all do."""
    vectors, _ = _planted(5)
    monkeypatch.setattr(fit, "MINI_BATCH_ABOVE", 100)
    monkeypatch.setattr(fit, "FIT_SAMPLE", 150)
    assert fit_vectors(ArrayVectors(vectors), Method()).k == 5


@pytest.mark.parametrize("algorithm", ["kmeans", "bisecting", "hdbscan"])
def test_identical_vectors_are_one_cluster(algorithm):
    """Nothing to part, whatever the algorithm: one cluster, no warning, no error."""
    found = fit_vectors(
        ArrayVectors(np.tile([[0.6, 0.8]], (30, 1)).astype(np.float32)), Method(algorithm=algorithm)
    )
    assert (found.k, set(found.labels.tolist())) == (1, {0})
    assert stability(
        ArrayVectors(np.tile([[0.6, 0.8]], (30, 1)).astype(np.float32)),
        found,
        Method(algorithm=algorithm),
    ) == [1.0]


def test_a_tree_parts_what_differs_most_first(tmp_path):
    """Two pairs of groups: first the pairs part, then their halves; leaves are the clusters."""
    east, north = np.eye(4, dtype=np.float32)[:2]
    near = np.array([0, 0, 0.45, 0], np.float32)
    rows = [east + near, east - near, north + near, north - near]
    random = np.random.default_rng(1)
    vectors = np.repeat(rows, 30, axis=0) + random.normal(size=(120, 4)) * 0.03
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = fit_vectors(ArrayVectors(vectors), Method(algorithm="bisecting", k=4))
    truth = np.repeat([0, 1, 2, 3], 30)
    assert adjusted_rand_score(truth, found.labels) == 1.0
    root, *others = found.tree
    assert (root.parent, root.cluster, root.size) == (None, None, 120)
    inner = [branch for branch in others if branch.cluster is None]
    assert [(branch.parent, branch.size) for branch in inner] == [(0, 60), (0, 60)]
    leaves = [branch for branch in others if branch.cluster is not None]
    assert sorted(branch.cluster for branch in leaves) == [0, 1, 2, 3]
    sizes = np.bincount(found.labels)
    assert all(branch.size == sizes[branch.cluster] for branch in leaves)


def test_a_tree_grown_on_a_sample_sorts_all_in(monkeypatch):
    """Of 360 vectors 120 make the tree; the others go down it."""
    vectors, truth = _planted(6)
    monkeypatch.setattr(bisecting, "TREE_SAMPLE", 120)
    found = fit_vectors(ArrayVectors(vectors), Method(algorithm="bisecting", k=6))
    assert adjusted_rand_score(truth, found.labels) > 0.9
    assert sum(b.size for b in found.tree if b.cluster is not None) == 360


def test_a_tree_has_no_more_leaves_than_distinct_vectors():
    """Three directions asked for five: three leaves."""
    nodes = grow_tree(np.repeat(np.eye(3, dtype=np.float32), 4, axis=0), 5, seed=0)
    assert sum(node.children is None for node in nodes) == 3


def test_what_lies_between_dense_groups_is_an_outlier():
    """Three tight groups and ten scattered points: the groups whole, the points in none."""
    vectors, truth = _planted(3, each=40, noise=0.2)
    stray = np.random.default_rng(5).normal(size=(10, 16))
    stray /= np.linalg.norm(stray, axis=1, keepdims=True)
    both = np.concatenate([vectors, stray]).astype(np.float32)
    found = fit_vectors(ArrayVectors(both), Method(algorithm="hdbscan"))
    assert found.k == 3
    assert adjusted_rand_score(truth, found.labels[:120]) > 0.95
    assert (found.labels[120:] == -1).sum() >= 8
    assert found.outliers.tolist() == (found.labels == -1).tolist()
    assert found.cosines.shape == (130,)


def test_scattered_points_have_no_dense_group():
    """All outliers, no cluster: an answer, not an error."""
    found = fit_vectors(ArrayVectors(np.eye(12, dtype=np.float32)), Method(algorithm="hdbscan"))
    assert (found.k, found.centroids.shape) == (0, (0, 12))
    assert found.outliers.all()
    few = fit_vectors(ArrayVectors(np.eye(3, dtype=np.float32)), Method(algorithm="hdbscan"))
    assert few.k == 0


@pytest.mark.parametrize("algorithm", ["bisecting", "hdbscan"])
def test_a_second_run_is_the_first_again(algorithm):
    """Equal input and seed, equal labels."""
    vectors, _ = _planted(4)
    first, second = (
        fit_vectors(ArrayVectors(vectors), Method(algorithm=algorithm)) for _ in range(2)
    )
    assert first.labels.tobytes() == second.labels.tobytes()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"k": 0}, "k=0"),
        ({"seed": -1}, "seed=-1"),
        ({"algorithm": "hdbscan", "k": 3}, "finds its number of clusters itself"),
        ({"min_cluster_size": 4}, "it is of 'hdbscan' alone"),
        ({"algorithm": "hdbscan", "min_cluster_size": 1}, "give 2 or more"),
        ({"algorithm": "hdbscan", "min_cluster_size": 4}, "min_cluster_size=4 of 3 points"),
        ({"k": 4}, "k=4 clusters asked of 3 points"),
        ({"algorithm": "bisecting", "k": 4}, "k=4 clusters asked of 3 points"),
    ],
)
def test_wrong_parameters_are_refused_with_their_value(method, message):
    """Before any work, in words that say what to give instead."""
    with pytest.raises(InvalidInput, match=message):
        fit_vectors(ArrayVectors(np.eye(3, dtype=np.float32)), Method(**method))


def test_too_many_points_for_hdbscan(monkeypatch):
    """The bound, and the algorithms that have none."""
    monkeypatch.setattr(densities, "MOST_POINTS", 20)
    with pytest.raises(InvalidInput, match="takes up to 20 points, here are 30; use 'kmeans'"):
        density_partition(np.eye(30, dtype=np.float32))
    assert smallest(100) == 5


def test_planted_groups_are_stable_and_halves_of_one_are_not():
    """Four planted groups come back from any sample; four parts of one round blob do not."""
    vectors, _ = _planted(4)
    method = Method(k=4)
    firm = stability(ArrayVectors(vectors), fit_vectors(ArrayVectors(vectors), method), method)
    assert min(firm) > 0.95
    blob = np.random.default_rng(3).normal(size=(240, 16)).astype(np.float32)
    blob[:, 0] += 6
    blob /= np.linalg.norm(blob, axis=1, keepdims=True)
    loose = stability(ArrayVectors(blob), fit_vectors(ArrayVectors(blob), method), method)
    assert max(loose) < 0.6


def test_a_cluster_too_small_to_judge_has_no_stability():
    """A single point among many: no run has two of it."""
    vectors = np.concatenate([np.tile([[1, 0.01]], (9, 1)), [[-1, 0]]])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    method = Method(k=2)
    clustering = fit_vectors(ArrayVectors(vectors), method)
    assert stability(ArrayVectors(vectors), clustering, method) == [1.0, None]
