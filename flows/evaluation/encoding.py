"""Texts into vectors for an evaluation: slice by slice, with signs of life."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from embedder.evaluation.sts import Encode
from embedder.precision import Float32
from flows.encoders import encode_chunks
from flows.progress import Progress

if TYPE_CHECKING:
    from embedder.encoder import Encoder

SLICE_TEXTS: Final = 512
"""Texts encoded between two signs of life."""


def encoding_with(encoder: "Encoder", stage: str, progress: Progress) -> Encode:
    """A function that encodes texts as documents, and tells of every slice.

    Args:
        encoder: of any precision; the vectors are the float32 ones that it stands for.
        stage: what to call the work.
        progress: is told.
    """

    def encode(texts: Sequence[str]) -> Float32:
        progress.stage(stage, len(texts))
        parts = []
        for start in range(0, len(texts), SLICE_TEXTS):
            some = texts[start : start + SLICE_TEXTS]
            parts.append(encode_chunks(encoder, list(some)).vectors)
            progress.advance(len(some))
        return np.concatenate(parts)

    return encode
