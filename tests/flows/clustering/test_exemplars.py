"""Exemplars: near the centroid, unlike each other, one per document."""

import numpy as np

from flows.clustering.exemplars import pick_exemplars
from flows.clustering.snippet import one_line, valid_text
from flows.clustering.vector_file import ArrayVectors


def _pick(vectors, documents, **options):
    vectors = np.array(vectors, np.float32)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    centroid = unit.mean(axis=0) / np.linalg.norm(unit.mean(axis=0))
    return pick_exemplars(
        ArrayVectors(unit),
        np.arange(len(vectors)),
        cosines_N=unit @ centroid,
        documents_N=np.array(documents, np.int32),
        **options,
    )


def test_one_passage_per_document():
    """Twenty passages of three documents: three exemplars, the nearest of each document."""
    random = np.random.default_rng(0)
    vectors = [1, 0, 0] + random.normal(size=(20, 3)) * 0.1
    documents = [row % 3 for row in range(20)]
    rows = _pick(vectors, documents)
    assert sorted(documents[row] for row in rows) == [0, 1, 2]


def test_the_first_is_the_nearest_and_a_copy_comes_last():
    """Rows 0 and 1 are copies in two documents: the other two sides are shown before the copy."""
    vectors = [[1, 0.3, 0], [1, 0.3, 0], [1, -0.3, 0.2], [1, -0.1, -0.5]]
    rows = _pick(vectors, [0, 1, 2, 3])
    assert rows[0] == 0
    assert rows[-1] == 1
    assert len(_pick(vectors, [0, 1, 2, 3], count=2)) == 2


def test_a_snippet_is_one_clean_line():
    """White space collapses, control and reversing marks go, half a surrogate is replaced."""
    assert one_line("  a\r\n\tb  \u202e c\x1b[2J \u200b") == "a b c[2J"
    assert one_line("half \ud83d pair") == "half \ufffd pair"
    assert valid_text("a\udc80b\n") == "a\ufffdb\n"


def test_a_snippet_is_clipped_at_a_word():
    """At most 200 characters, the ellipsis among them."""
    clipped = one_line("word " * 100)
    assert len(clipped) <= 200
    assert clipped.endswith("word…")
    assert len(one_line("x" * 10_000)) == 200
    assert one_line("x" * 200) == "x" * 200
