"""What `search` needs to know of an encoder: a Protocol, no import of `embedder`."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class QueryEncoder(Protocol):
    """Turns queries into vectors of the space that a collection's chunks live in."""

    @property
    def fingerprint(self) -> str:
        """Hash over everything that changes a vector; equal to the collection's."""
        ...

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """L2-normalised vectors, float32 of shape (len(sentences), D)."""
        ...
