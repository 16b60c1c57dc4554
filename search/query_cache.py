"""Vectors of queries that were asked before."""

import threading
from collections import OrderedDict
from typing import Final

import numpy as np
import numpy.typing as npt

from search.protocols import QueryEncoder

CAPACITY: Final = 4096
"""Queries kept; at 384 components some 6 MB."""


class QueryCache:
    """Vectors by encoder and text, the least recently asked forgotten. Threads may share it."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """An empty cache.

        Args:
            capacity: Most vectors to keep, 1 or more.
        """
        self._capacity = capacity
        self._vectors: OrderedDict[tuple[str, str], npt.NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        self.asked = 0
        """How often a vector was wanted."""
        self.found = 0
        """How often it was there."""

    def encode(self, encoder: QueryEncoder, text: str) -> npt.NDArray[np.float32]:
        """The query's vector, float32 of shape (D,), not to be written to."""
        key = encoder.fingerprint, text
        with self._lock:
            self.asked += 1
            vector = self._vectors.get(key)
            if vector is not None:
                self.found += 1
                self._vectors.move_to_end(key)
                return vector
        vector = np.array(encoder.encode_query([text])[0], dtype=np.float32)
        vector.setflags(write=False)
        with self._lock:
            self._vectors[key] = vector
            while len(self._vectors) > self._capacity:
                self._vectors.popitem(last=False)
        return vector
