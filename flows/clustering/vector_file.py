"""Vectors that are read block by block: from a temporary file, so that memory stays flat.

Legend: `N` vectors, `M` of them, `D` dimensions.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from flows.clustering.spherical import Floats, unit_rows
from flows.errors import FlowError

BLOCK: Final = 16_384
"""Vectors in memory at a time: 25 MB of 384 components."""


class Vectors(Protocol):
    """N unit vectors, float32, in a fixed order."""

    @property
    def dimension(self) -> int:
        """D."""
        ...

    def __len__(self) -> int:
        """N."""
        ...

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """All of them in order: which rows, and these rows, float32 (M, D)."""
        ...

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Floats:
        """The vectors of some rows, in the order asked for: float32 (M, D), a copy."""
        ...


class ArrayVectors:
    """Vectors in memory."""

    def __init__(self, unit_ND: Floats) -> None:
        self._unit_ND = unit_ND

    @property
    def dimension(self) -> int:
        """D."""
        return int(self._unit_ND.shape[1])

    def __len__(self) -> int:
        return len(self._unit_ND)

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """All rows in order, at most `BLOCK` at a time."""
        for start in range(0, len(self), BLOCK):
            rows = slice(start, min(start + BLOCK, len(self)))
            yield rows, self._unit_ND[rows]

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Floats:
        """The vectors of some rows."""
        return np.array(self._unit_ND[np.asarray(rows, dtype=np.int64)])


class VectorFile:
    """Vectors in a file without a name, which is gone with the process however that ends.

    Args:
        folder: where it lies: on a disk, for many systems keep their temporary folder in memory.
        dimension: D.

    Raises:
        FlowError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        self._dimension = dimension
        self._count = 0
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._folder = folder

    @property
    def dimension(self) -> int:
        """D."""
        return self._dimension

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, vectors_MD: Floats, names: Sequence[str]) -> None:
        """Add vectors at length 1.

        Args:
            vectors_MD: float32 (M, D), of any length but 0.
            names: what to call each of them in a message.

        Raises:
            InvalidInput: a vector without direction.
            FlowError: the disk is full.
        """
        data = unit_rows(vectors_MD, names).data.cast("B")
        try:
            while data:
                data = data[os.write(self._file.fileno(), data) :]
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        self._count += len(vectors_MD)

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """All rows in order, at most `BLOCK` at a time."""
        for start in range(0, self._count, BLOCK):
            stop = min(start + BLOCK, self._count)
            yield slice(start, stop), self._read(start, stop)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Floats:
        """The vectors of some rows; neighbours are read together."""
        wanted_M = np.asarray(rows, dtype=np.int64)
        taken_MD = np.empty((len(wanted_M), self._dimension), dtype=np.float32)
        order_M = np.argsort(wanted_M, kind="stable")
        sorted_M = wanted_M[order_M]
        ends = [*(np.flatnonzero(np.diff(sorted_M) != 1) + 1).tolist(), len(sorted_M)]
        begin = 0
        for end in ends if len(sorted_M) else ():
            first, last = int(sorted_M[begin]), int(sorted_M[end - 1])
            taken_MD[order_M[begin:end]] = self._read(first, last + 1)
            begin = end
        return taken_MD

    def _read(self, start: int, stop: int) -> Floats:
        block_MD = np.empty((stop - start, self._dimension), dtype=np.float32)
        data = block_MD.data.cast("B")
        offset = start * self._dimension * 4
        while data:
            read = os.preadv(self._file.fileno(), [data], offset)
            if not read:
                raise FlowError("the temporary file of vectors is shorter than it was; run again")
            data, offset = data[read:], offset + read
        return block_MD


def all_rows(vectors: Vectors) -> Floats:
    """All vectors in memory, float32 (N, D)."""
    return vectors.take(np.arange(len(vectors)))


def sample_rows(count: int, size: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Rows of a sample drawn at random, ascending; all of them where there are no more."""
    if count <= size:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size, replace=False))


def _unwritable(folder: Path, error: OSError) -> FlowError:
    return FlowError(
        f"cannot keep vectors in {folder} while they are clustered: {error.strerror}; "
        "make room, or give a writable folder"
    )
