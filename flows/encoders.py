"""The process's one encoder, its one thread, and how a store sees it: float32 vectors.

All that computes with the encoder runs in one thread, whoever asks. OpenMP keeps a team of threads
for each thread that ever called it; with more team members than processors its threads sleep
between two steps rather than wait for the next, and encoding takes half as long again.
"""

import gc
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import numpy.typing as npt

from embedder.precision import Float32, as_float32
from embedder.specification import EncoderSpecification

if TYPE_CHECKING:
    from embedder.encoder import Encoder

Value = TypeVar("Value")

_THREAD_NAME: Final = "sextant-encoder"
_thread = ThreadPoolExecutor(1, thread_name_prefix=_THREAD_NAME)
_loading = threading.Lock()
_loaded: tuple[EncoderSpecification, "Encoder"] | None = None


def in_encoder_thread(function: Callable[[], Value]) -> Value:
    """The function's value, computed in the encoder's thread; callers wait their turn.

    Raises:
        BaseException: whatever the function raises.
    """
    if threading.current_thread().name.startswith(_THREAD_NAME):
        return function()
    return _thread.submit(function).result()


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
            _loaded = (specification, in_encoder_thread(lambda: Encoder(specification)))
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
    encoding = in_encoder_thread(lambda: encoder.encode_with_counts(texts, prompt_name="document"))
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
        vectors_ND = in_encoder_thread(lambda: self.encoder.encode_query(sentences))
        return as_float32(vectors_ND, self.encoder.config.precision)
