"""Vectors made before: what is equal is embedded once.

A vector depends on nothing but the encoder and the embedded text, so that an equal text may take
it: from this run, or from the version of a document that the store holds.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from flows.documents.context import embedded_text
from search.checksums import verify_record
from search.filters import of_kind, where
from search.records import KIND_CHUNK, METADATA, PAGE_CONTENT
from search.stores.contract import Collection

CACHE_BYTES: Final = 8 * 1024 * 1024
"""Of vectors kept from this run: five thousand of 384 components."""
CONTEXT: Final = "context"
"""Key of `metadata` for what was said before the text when it was embedded."""

Vector = npt.NDArray[np.float32]


class KnownVectors:
    """The vectors of one run's latest texts, a bounded number of bytes. Threads may share it."""

    def __init__(self, *, most_bytes: int = CACHE_BYTES) -> None:
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, text: str) -> Vector | None:
        """The vector of a text, float32 of shape (D,), if it is known."""
        key = _key(text)
        with self._lock:
            vector = self._vectors.get(key)
            if vector is not None:
                self._vectors.move_to_end(key)
            return vector

    def add(self, text: str, vector: Vector) -> None:
        """Keep a vector; those that were asked for the longest ago go."""
        key = _key(text)
        with self._lock:
            if key in self._vectors:
                return
            self._vectors[key] = vector.copy()  # a row of a batch would keep the whole batch
            self._bytes += vector.nbytes
            while self._bytes > self._most_bytes:
                _, gone = self._vectors.popitem(last=False)
                self._bytes -= gone.nbytes

    def add_stored(self, collection: Collection, doc_ids: Iterable[str]) -> None:
        """Learn the vectors of the chunks that the store holds of some documents."""
        for doc_id in doc_ids:
            chunks = of_kind(KIND_CHUNK) & where("doc_id", doc_id)
            for record in collection.scroll(where=chunks, with_vectors=True):
                if record.vector is not None and verify_record(record) is not False:
                    context = record.payload[METADATA].get(CONTEXT, "")
                    self.add(embedded_text(context, record.payload[PAGE_CONTENT]), record.vector)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
