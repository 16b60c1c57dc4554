"""Fewer components, fewer bits: what survives, and by how much a cosine can move."""

from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from embedder.config import Precision
from embedder.errors import InvalidConfig, NonFiniteActivation
from embedder.precision import DTYPES, as_float32, cosine, kept_dimension, quantise, truncate

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ROUNDING = 1e-6
"""Room for float32 sums over at most 64 components."""

COMPONENTS = st.floats(-1, 1, width=32)


def unit_vectors(*, width: int | None = None) -> st.SearchStrategy[npt.NDArray[np.float32]]:
    """Rows of unit length (N, D), peaked and flat ones, D a multiple of 8."""
    shapes = array_shapes(min_dims=2, max_dims=2, max_side=8).map(
        lambda shape: (shape[0], width or 8 * shape[1])
    )
    return shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=COMPONENTS)).map(unit)


def unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Normalised in float64; rows without length become the first axis."""
    wide = rows.astype(np.float64)
    wide[np.linalg.norm(wide, axis=1) < 1e-6, 0] = 1
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def exact_cosine(first: Any, second: Any) -> npt.NDArray[np.float64]:
    """In float64, of what float32 vectors are."""
    wide = [
        v.astype(np.float64) / np.linalg.norm(v, axis=1, keepdims=True) for v in (first, second)
    ]
    return wide[0] @ wide[1].T


def turned(vectors: npt.NDArray[np.float32], precision: Precision) -> npt.NDArray[np.float64]:
    """The module's bounds: radians by which storing can turn each vector."""
    root = np.sqrt(vectors.shape[1])
    if precision == "float16":
        return np.full(len(vectors), np.arcsin(2.0**-11 + root * 2.0**-25))
    if precision == "int8":
        return np.arcsin(root * np.abs(vectors).max(axis=1).astype(np.float64) / 254)
    return np.zeros(len(vectors))


# -- the bounds ---------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@given(first=unit_vectors(width=24), second=unit_vectors(width=24))
def test_a_cosine_moves_by_no_more_than_the_bound(
    precision: Precision, first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]
) -> None:
    """|cos - cos32| <= the sum of both vectors' angles, on peaked, flat and tiny components."""
    scored = cosine(quantise(first, precision), quantise(second, precision), precision)
    bound = turned(first, precision)[:, None] + turned(second, precision)[None]
    assert (np.abs(scored - exact_cosine(first, second)) <= bound + ROUNDING).all()


@pytest.mark.parametrize("precision", ["float16", "int8"])
@given(queries=unit_vectors(width=16), documents=unit_vectors(width=16))
def test_cosines_further_apart_than_the_bounds_keep_their_order(
    precision: Precision, queries: npt.NDArray[np.float32], documents: npt.NDArray[np.float32]
) -> None:
    """A document that is clearly nearer stays nearer."""
    scored = cosine(quantise(queries, precision), quantise(documents, precision), precision)
    exact = exact_cosine(queries, documents)
    bound = turned(queries, precision)[:, None] + turned(documents, precision)[None] + ROUNDING
    lead = exact[:, :, None] - exact[:, None, :]
    clear = lead > bound[:, :, None] + bound[:, None, :]
    assert (scored[:, :, None] > scored[:, None, :])[clear].all()


def test_figures_of_the_docstring() -> None:
    """0.0005 for float16 up to 65,536 components; 0.016 for int8 where the largest is 4 rms."""
    assert np.arcsin(2.0**-11 + 256 * 2.0**-25) < 0.0005
    vectors = np.full((1, 400), 0.05, dtype=np.float32)
    vectors[0, 0] = 0.2
    assert turned(vectors, "int8")[0] == pytest.approx(0.016, abs=5e-4)


def test_most_errors_are_far_below_the_bound() -> None:
    """On 384 Gaussian components, cosines of int8 vectors are off by 0.003 at most, not 0.03."""
    random = np.random.default_rng(0)
    vectors = unit(random.standard_normal((200, 384)).astype(np.float32))
    stored = quantise(vectors, "int8")
    error = np.abs(cosine(stored, stored, "int8") - exact_cosine(vectors, vectors))
    assert error.max() < 0.003


@given(vectors=unit_vectors())
def test_binary_of_the_same_and_of_the_opposite(vectors: npt.NDArray[np.float32]) -> None:
    """1 with itself; -1 with its opposite, where no component is zero (zero counts as negative)."""
    vectors = np.where(vectors == 0, np.float32(0.5), vectors)
    bits, opposite = quantise(vectors, "binary"), quantise(-vectors, "binary")
    assert np.diag(cosine(bits, bits, "binary")) == pytest.approx(1, abs=ROUNDING)
    assert np.diag(cosine(bits, opposite, "binary")) == pytest.approx(-1, abs=ROUNDING)


# -- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS)
@given(vectors=unit_vectors())
def test_stored_vectors_come_back_as_unit_vectors(
    precision: Precision, vectors: npt.NDArray[np.float32]
) -> None:
    """Format and shape are the table's; what comes back is float32 (N, D) of unit length."""
    before = vectors.copy()
    stored = quantise(vectors, precision)
    width = vectors.shape[1] // 8 if precision == "binary" else vectors.shape[1]
    assert (stored.dtype, stored.shape) == (DTYPES[precision], (len(vectors), width))
    back = as_float32(stored, precision)
    assert (back.dtype, back.shape) == (np.float32, vectors.shape)
    assert np.linalg.norm(back, axis=1) == pytest.approx(1, abs=ROUNDING)
    assert np.array_equal(vectors, before), "inputs are untouched"
    assert np.array_equal(quantise(vectors, precision), stored), "the same twice"


@pytest.mark.parametrize("precision", ["float32", "int8", "binary"])
@given(vectors=unit_vectors())
def test_storing_again_changes_nothing(
    precision: Precision, vectors: npt.NDArray[np.float32]
) -> None:
    """Read back and stored once more, a vector has the same bytes: re-indexing cannot drift."""
    stored = quantise(vectors, precision)
    assert np.array_equal(quantise(as_float32(stored, precision), precision), stored)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_single_vector(precision: Precision) -> None:
    """(D,) in, (D,) out, the same numbers as in a row; its cosine is (1, M)."""
    rows = unit(np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32))
    stored = quantise(rows, precision)
    assert np.array_equal(quantise(rows[1], precision), stored[1])
    assert np.array_equal(as_float32(stored[1], precision), as_float32(stored, precision)[1])
    assert np.array_equal(truncate(rows[1], 5), truncate(rows, 5)[1])
    scored = cosine(stored[1], stored, precision)
    assert scored.shape == (1, 3)
    assert scored[0] == pytest.approx(cosine(stored, stored, precision)[1], abs=ROUNDING)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_vectors(precision: Precision) -> None:
    """(0, D) stays (0, D): an empty batch is no special case."""
    stored = quantise(np.empty((0, 16), dtype=np.float32), precision)
    assert as_float32(stored, precision).shape == (0, 16)
    assert cosine(stored, stored, precision).shape == (0, 0)


def test_worked_examples() -> None:
    """int8: the largest component is 127; binary: the first component is the highest bit."""
    vectors = np.array([[0.6, -0.8, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]], dtype=np.float32)
    assert quantise(vectors, "int8").tolist() == [[95, -127, *[0] * 6], [*[0] * 7, 127]]
    assert quantise(vectors, "binary").tolist() == [[0b1000_0000], [0b0000_0001]]
    signs = as_float32(np.array([[0b1000_0001]], dtype=np.uint8), "binary") * np.sqrt(8)
    assert signs == pytest.approx(np.array([[1, -1, -1, -1, -1, -1, -1, 1]]))


def test_binary_has_the_layout_of_sentence_transformers() -> None:
    """Parity with its `ubinary`."""
    module = pytest.importorskip("sentence_transformers.util.quantization")
    vectors = unit(np.random.default_rng(2).standard_normal((5, 24)).astype(np.float32))
    theirs = module.quantize_embeddings(vectors, precision="ubinary")
    assert np.array_equal(quantise(vectors, "binary"), theirs)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_zero_stays_zero(precision: Precision) -> None:
    """No direction is made up for a vector that has none."""
    zero = np.zeros((2, 8), dtype=np.float32)
    assert not quantise(zero, precision).any()
    assert not as_float32(quantise(zero, precision), precision).any()
    assert not truncate(zero, 4).any()


# -- fewer components ---------------------------------------------------------------------------


@given(vectors=unit_vectors(width=16), dimensions=st.integers(1, 16))
def test_truncation_keeps_the_direction_of_what_it_keeps(
    vectors: npt.NDArray[np.float32], dimensions: int
) -> None:
    """Unit length again, however little of it was in the first components; or zero."""
    kept = truncate(vectors, dimensions)
    assert (kept.dtype, kept.shape) == (np.float32, (len(vectors), dimensions))
    for short, long in zip(kept, vectors[:, :dimensions].astype(np.float64), strict=True):
        length = np.linalg.norm(long)
        assert short == pytest.approx(long / length if length else long, abs=ROUNDING)


def test_no_truncation() -> None:
    """None keeps every component, and every bit."""
    vectors = np.array([[0.6, 0.8]], dtype=np.float32)
    assert truncate(vectors, None) is vectors
    assert truncate(vectors, 1).tolist() == [[1]]


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [0, 9])
def test_components_that_are_not_there(dimensions: int) -> None:
    """Named with what there is, with and without vectors."""
    message = f"dimensions {dimensions} cannot be kept of vectors with 8; use 1 to 8"
    with pytest.raises(InvalidConfig, match=message):
        truncate(np.ones((1, 8), dtype=np.float32), dimensions)
    with pytest.raises(InvalidConfig, match=message):
        kept_dimension(8, dimensions=dimensions)


@pytest.mark.parametrize(("size", "remedy"), [(20, "use dimensions 16"), (6, "another precision")])
def test_bits_that_fill_no_byte(size: int, remedy: str) -> None:
    """Padding bits would count as components in every cosine."""
    with pytest.raises(InvalidConfig, match=f"{size} are no multiple of 8; .*{remedy}"):
        quantise(np.ones((1, size), dtype=np.float32), "binary")
    with pytest.raises(InvalidConfig, match=remedy):
        kept_dimension(64, dimensions=size, precision="binary")
    assert kept_dimension(64, dimensions=size, precision="int8") == size
    assert kept_dimension(64, precision="binary") == 64


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_not_finite_is_not_stored(precision: Precision, value: float) -> None:
    """Cast to int8, NaN would be 0; as a bit, -1."""
    vectors = np.ones((3, 8), dtype=np.float32)
    vectors[2, 5] = value
    with pytest.raises(NonFiniteActivation, match="vector 2 has NaN or infinity") as got:
        quantise(vectors, precision)
    assert got.value.index == 2


@pytest.mark.parametrize("precision", PRECISIONS)
def test_vectors_of_another_precision(precision: Precision) -> None:
    """Bits read as numbers, or int8 as unit vectors, would score, and wrongly."""
    for other in PRECISIONS:
        stored = quantise(np.eye(8, dtype=np.float32), other)
        if other != precision:
            with pytest.raises(InvalidConfig, match=f"vectors are .*, precision '{precision}' is"):
                cosine(stored, stored, precision)


def test_an_unknown_precision() -> None:
    """No last branch takes what nobody knows."""
    unknown: Any = "int4"
    vectors = np.eye(8, dtype=np.float32)
    message = "precision 'int4' is unknown; use one of float32"
    for call in (quantise, as_float32):
        with pytest.raises(InvalidConfig, match=message):
            call(vectors, unknown)
    with pytest.raises(InvalidConfig, match=message):
        kept_dimension(8, precision=unknown)
