"""An encoder that costs next to nothing: what is left of an ingest is the pipeline."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from embedder.config import EncoderConfig
from embedder.specification import EncoderSpecification

DIMENSION: Final = 384
"""The starter's."""
_ROWS: Final = 4096


@dataclass(frozen=True, slots=True)
class HashEncoding:
    """The fields of `embedder.encoder.Encoding`: (N, D), (N,), (N,)."""

    vectors: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]


class HashEncoder:
    """Stands in for the starter, whose tokenizer it has: a text's hash chooses its unit vector.

    Equal texts have equal vectors; those of different texts point in unrelated directions.
    """

    max_text_tokens = 100_000
    dimension = DIMENSION
    config = EncoderConfig()

    def __init__(self, specification: EncoderSpecification) -> None:
        folder = specification.files.folder
        self.tokenizer_json = (folder / "tokenizer.json").read_text(encoding="utf-8")
        self._table = np.random.default_rng(0).standard_normal((_ROWS, DIMENSION), dtype=np.float32)

    def encode_with_counts(self, texts: Sequence[str], **_: Any) -> HashEncoding:
        """The sum of three rows of a fixed table each; nothing is cut."""
        count = len(texts)
        digests = b"".join(hashlib.blake2b(t.encode(), digest_size=6).digest() for t in texts)
        rows = np.frombuffer(digests, dtype="<u2").reshape(count, 3) % _ROWS
        vectors = self._table[rows].sum(axis=1)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return HashEncoding(vectors, np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool))

    def encode_document(self, texts: Sequence[str], **_: Any) -> npt.NDArray[np.float32]:
        """Vectors alone."""
        return self.encode_with_counts(texts).vectors
