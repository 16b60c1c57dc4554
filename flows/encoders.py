"""The process's one encoder, and how a store sees it: float32 vectors, whatever its precision."""

import gc
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from embedder.precision import Float32, as_float32
from embedder.specification import EncoderSpecification

if TYPE_CHECKING:
    from embedder.encoder import Encoder

_loading = threading.Lock()
_loaded: tuple[EncoderSpecification, "Encoder"] | None = None


def load_encoder(specification: EncoderSpecification) -> "Encoder":
    """The process's encoder: weights are loaded once, whatever number of runs follow.

    Another specification's weights go before the new ones come, which `lru_cache` would do after: a
    machine that has room for one model need not have it for two.
    """
    global _loaded
    from embedder.encoder import Encoder

    with _loading:
        if _loaded is None or _loaded[0] != specification:
            _loaded = None
            gc.collect()
            _loaded = (specification, Encoder(specification))
        return _loaded[1]


@dataclass(frozen=True, slots=True)
class EncodedChunks:
    """What a store takes of an `embedder.encoder.Encoding`. Row i belongs to chunk i."""

    vectors: Float32
    """Shape (N, D), unit length."""
    truncated: npt.NDArray[np.bool_]
    """Shape (N,): whether a chunk was cut to fit."""


def encode_chunks(encoder: "Encoder", texts: Sequence[str]) -> EncodedChunks:
    """Encode documents' chunks with an encoder of any precision."""
    encoding = encoder.encode_with_counts(texts, prompt_name="document")
    vectors = as_float32(encoding.vectors, encoder.config.precision)
    return EncodedChunks(vectors, encoding.truncated)


@dataclass(frozen=True, slots=True)
class Queries:
    """A `search.protocols.QueryEncoder` over an encoder of any precision."""

    encoder: "Encoder"
    specification: EncoderSpecification

    @property
    def name(self) -> str:
        """What the user calls the encoder: for messages."""
        return self.specification.name

    @property
    def fingerprint(self) -> str:
        """Hash over everything that changes a vector."""
        return self.specification.fingerprint

    def encode_query(self, sentences: Sequence[str]) -> Float32:
        """L2-normalised vectors, float32 of shape (len(sentences), D)."""
        return as_float32(self.encoder.encode_query(sentences), self.encoder.config.precision)
