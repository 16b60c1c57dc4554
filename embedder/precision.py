"""Number formats of vectors: shortened (Matryoshka), stored in fewer bits, and scored. No torch.

Legend: N vectors, D components. Wherever (N, D) stands, a single vector (D,) is read as well, and
comes back without its N.

| precision | dtype, shape | bytes | a stored vector is turned by at most (radians) |
|---|---|--:|---|
| float32 | float32 (N, D) | 4 D | 0 |
| float16 | float16 (N, D) | 2 D | asin(2^-11 + sqrt(D) 2^-25): 0.0005 for D <= 65,536 |
| int8 | int8 (N, D) | D | asin(sqrt(D) max|v| / 254): 0.016 where the largest is 4 times the rms |
| binary | uint8 (N, D/8) | D/8 | unbounded: only signs are left |

The bound of a cosine is the sum of its two vectors' bounds. So two cosines further apart than the
sum of theirs keep their order. Errors are mostly far smaller, as they are spread over D components.
"""

from typing import Final, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from embedder.config import Precision
from embedder.errors import InvalidConfig, NonFiniteActivation

Float32: TypeAlias = npt.NDArray[np.float32]
Stored: TypeAlias = npt.NDArray[np.float32 | np.float16 | np.int8 | np.uint8]
"""Vectors in any of the formats."""

DTYPES: Final[dict[Precision, type[np.float32 | np.float16 | np.int8 | np.uint8]]] = {
    "float32": np.float32,
    "float16": np.float16,
    "int8": np.int8,
    "binary": np.uint8,
}


def kept_dimension(
    dimension: int, *, dimensions: int | None = None, precision: Precision = "float32"
) -> int:
    """D of the vectors that a model of `dimension` gives once shortened to `dimensions`.

    It needs no vector, so that an encoder can check its settings before it loads any weight.

    Raises:
        InvalidConfig: more components than there are, a number that bits cannot fill bytes with,
            or an unknown precision.
    """
    if precision not in DTYPES:
        raise InvalidConfig(_unknown(precision))
    kept = dimension if dimensions is None else dimensions
    if not 1 <= kept <= dimension:
        raise InvalidConfig(
            f"dimensions {kept} cannot be kept of vectors with {dimension}; use 1 to {dimension}"
        )
    if precision == "binary" and kept % 8:
        remedy = f"use dimensions {kept // 8 * 8}" if kept > 8 else "use another precision"
        raise InvalidConfig(
            f"precision 'binary' packs 8 components into a byte, {kept} are no multiple of 8; "
            f"{remedy}"
        )
    return kept


def truncate(vectors_ND: Float32, dimensions: int | None) -> Float32:
    """The first `dimensions` components at unit length again (Matryoshka, arXiv 2205.13147).

    Args:
        vectors_ND: float32.
        dimensions: how many to keep; None: all, and the vectors are returned as they came.

    Returns:
        float32 (N, dimensions). A vector whose kept components are all zero stays zero.

    Raises:
        InvalidConfig: there are fewer than `dimensions` components.
    """
    if dimensions is None:
        return vectors_ND
    return _unit(vectors_ND[..., : kept_dimension(vectors_ND.shape[-1], dimensions=dimensions)])


def quantise(vectors_ND: Float32, precision: Precision) -> Stored:
    """Unit vectors in the given number format; nothing is calibrated, each vector stands alone.

    - `float32`: as they came.
    - `float16`: rounded to the nearest.
    - `int8`: round(127 v / max|v|). The scale of each vector is its own and is not kept, as the
      cosine does not depend on it; dot products and distances of raw int8 vectors do.
      (sentence-transformers' `int8` has a range for each component instead, learnt from a corpus,
      and is not interchangeable with this.)
    - `binary`: one bit each, 1 where v > 0; eight to a byte, the first in the highest bit. This is
      the layout of sentence-transformers' `ubinary`.

    >>> quantise(np.array([0.6, -0.8, 0, 0, 0, 0, 0, 0], dtype=np.float32), "int8")
    array([  95, -127,    0,    0,    0,    0,    0,    0], dtype=int8)
    >>> quantise(np.array([0.6, -0.8, 0, 0, 0, 0, 0, 0], dtype=np.float32), "binary")
    array([128], dtype=uint8)

    Raises:
        InvalidConfig: `binary`, and D is no multiple of 8.
        NonFiniteActivation: a vector has NaN or infinity, which int8 and bits would hide.
    """
    _check_finite(vectors_ND)
    match precision:
        case "float32":
            return vectors_ND
        case "float16":
            return vectors_ND.astype(np.float16)
        case "int8":
            return np.rint(127 * _peak_one(vectors_ND)).astype(np.int8)
        case "binary":
            kept_dimension(vectors_ND.shape[-1], precision=precision)
            return np.packbits(vectors_ND > 0, axis=-1)
        case _:
            raise InvalidConfig(_unknown(precision))


def as_float32(vectors: Stored, precision: Precision) -> Float32:
    """The float32 unit vectors (N, D) that stored ones stand for: what is scored.

    `binary` gives +-1/sqrt(D). A zero vector stays zero, except in `binary`, which has no zero:
    there every component of it is -1/sqrt(D).

    Raises:
        InvalidConfig: the array's dtype is not the one of `precision`.
    """
    if precision not in DTYPES:
        raise InvalidConfig(_unknown(precision))
    if vectors.dtype != DTYPES[precision]:
        raise InvalidConfig(
            f"vectors are {vectors.dtype}, precision {precision!r} is stored as "
            f"{np.dtype(DTYPES[precision])}; name the precision they were made with"
        )
    if precision == "float32":
        return vectors.astype(np.float32, copy=False)
    if precision == "binary":
        bits_ND = np.unpackbits(vectors.view(np.uint8), axis=-1)
        return _unit(2 * bits_ND.astype(np.float32) - 1)
    return _unit(vectors.astype(np.float32))


def cosine(first: Stored, second: Stored, precision: Precision) -> Float32:
    """Cosine of every vector of `first` (N) with every one of `second` (M): float32 (N, M).

    Both are stored in `precision`; the sum is always taken in float32. A single vector counts as
    N = 1.
    """
    first_ND = np.atleast_2d(as_float32(first, precision))
    cosine_NM: Float32 = first_ND @ np.atleast_2d(as_float32(second, precision)).T
    return cosine_NM


def _unit(vectors_ND: Float32) -> Float32:
    """L2-normalised; zero vectors stay zero."""
    scaled_ND = _peak_one(vectors_ND)
    return _divide(scaled_ND, np.linalg.norm(scaled_ND, axis=-1, keepdims=True))


def _peak_one(vectors_ND: Float32) -> Float32:
    """Scaled so that the largest component is 1 or -1; zero vectors stay zero.

    Of such vectors squares neither overflow nor vanish, however small the kept components were.
    """
    return _divide(vectors_ND, np.abs(vectors_ND).max(axis=-1, keepdims=True, initial=0))


def _divide(vectors_ND: Float32, lengths_N1: npt.NDArray[np.floating]) -> Float32:
    quotient_ND: Float32 = np.zeros_like(vectors_ND, dtype=np.float32)
    np.divide(vectors_ND, lengths_N1, out=quotient_ND, where=lengths_N1 > 0)
    return quotient_ND


def _check_finite(vectors_ND: Float32) -> None:
    finite_N = np.atleast_1d(np.isfinite(vectors_ND).all(axis=-1))
    if not finite_N.all():
        index = int(np.flatnonzero(~finite_N)[0])
        raise NonFiniteActivation(
            f"vector {index} has NaN or infinity and cannot be stored; encode its text with dtype "
            "bfloat16 or float32",
            index=index,
        )


def _unknown(precision: str) -> str:
    return f"precision {precision!r} is unknown; use one of {', '.join(get_args(Precision))}"
