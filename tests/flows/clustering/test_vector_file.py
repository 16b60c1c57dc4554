"""Vectors in a file: what is read back, and what cannot be kept."""

import numpy as np
import pytest

from flows.clustering import vector_file
from flows.clustering.vector_file import ArrayVectors, VectorFile, all_rows, sample_rows
from flows.errors import FlowError, InvalidInput


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """The same 37 vectors in a file, in blocks of 10, and in memory."""
    monkeypatch.setattr(vector_file, "BLOCK", 10)
    raw = np.random.default_rng(0).normal(size=(37, 5)).astype(np.float32)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    with VectorFile(tmp_path, 5) as file:
        file.append(raw[:20], [str(i) for i in range(20)])
        file.append(raw[20:], [str(i) for i in range(20, 37)])
        yield file, ArrayVectors(unit.astype(np.float32))


def test_a_file_reads_as_an_array_does(pair):
    """Blocks, rows in any order and repeated, and all of them."""
    file, array = pair
    rows = [36, 0, 1, 2, 20, 0]
    np.testing.assert_allclose(file.take(rows), array.take(rows), atol=1e-6)
    np.testing.assert_allclose(all_rows(file), all_rows(array), atol=1e-6)
    assert [part for part, _ in file.blocks()] == [part for part, _ in array.blocks()]
    assert file.take([]).shape == (0, 5)
    assert (len(file), file.dimension) == (37, 5)


def test_a_vector_without_direction_is_named(tmp_path):
    """As it is read, by the id of its chunk."""
    with (
        VectorFile(tmp_path, 2) as file,
        pytest.raises(InvalidInput, match="the first is chunk-b"),
    ):
        file.append(np.array([[1, 0], [0, 0]], np.float32), ["chunk-a", "chunk-b"])


def test_nothing_is_left_in_the_folder(tmp_path):
    """The file has no name: a run that is killed leaves nothing behind."""
    with VectorFile(tmp_path, 2) as file:
        file.append(np.eye(2, dtype=np.float32), ["a", "b"])
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    """What the system says, where, and what to do."""

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    with VectorFile(tmp_path, 2) as file:
        monkeypatch.setattr("os.write", full)
        with pytest.raises(FlowError, match="No space left on device; make room"):
            file.append(np.eye(2, dtype=np.float32), ["a", "b"])


def test_a_sample_is_the_same_under_one_seed():
    """Ascending, without repeats; all rows where they are few."""
    first = sample_rows(1000, 10, seed=3)
    assert first.tolist() == sample_rows(1000, 10, seed=3).tolist() == sorted(set(first.tolist()))
    assert first.tolist() != sample_rows(1000, 10, seed=4).tolist()
    assert sample_rows(4, 10, seed=0).tolist() == [0, 1, 2, 3]
