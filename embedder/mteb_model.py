"""An `Encoder` as a model that mteb 2 can run (https://github.com/embeddings-benchmark/mteb).

mteb is an optional extra; nothing else in the package imports this module.

    encoder = Encoder.load("starter")
    mteb.evaluate(SextantMteb(encoder), mteb.get_tasks(tasks=["STSBenchmark"]))
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from embedder.encoder import Encoder
from embedder.precision import Float32, as_float32, cosine

try:
    from mteb.models import ModelMeta
    from mteb.models.model_meta import ScoringFunction
    from mteb.types import PromptType
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is not installed, and running mteb needs it; "
        "install with pip install 'sextant-pipeline[mteb]'",
        name=error.name,
    ) from None


class SextantMteb:
    """mteb's `EncoderProtocol` over an `Encoder`.

    Vectors of any precision reach mteb as the float32 unit vectors that they stand for: so every
    task, k-means and classifiers included, scores what would be stored.

    Args:
        encoder: what to run. Results are filed under `sextant/NAME` and the encoder's fingerprint
            as revision, so that those of other settings are never taken for these.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb files the results under; what is not known is left empty."""
        encoder = self._encoder
        return ModelMeta(
            name=f"sextant/{PurePath(encoder.specification.name).name}",
            revision=encoder.fingerprint,
            max_tokens=encoder.config.max_tokens,
            embed_dim=encoder.dimension,
            similarity_fn_name=ScoringFunction.COSINE,
            framework=["PyTorch"],
            use_instructions=True,
            loader=None,
            release_date=None,
            languages=None,
            n_parameters=None,
            memory_usage_mb=None,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            training_datasets=None,
        )

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Float32:
        """Encode a task's texts: as queries where mteb says they are, else as documents.

        Args:
            inputs: a DataLoader whose batches have their texts under `text`.
            task_metadata: not read, nor are the split and the subset: no prompt depends on them.
            hf_split: not read.
            hf_subset: not read.
            prompt_type: `query`, `document`, or None for tasks that know no such roles.
            kwargs: `show_progress_bar` (True unless said otherwise, as in mteb), and `precision`
                (the encoder's, unless said otherwise; mteb files such results apart). `batch_size`
                is not read: batches are made by tokens, and no vector depends on them.

        Returns:
            float32 (N, D), unit length, in the order given.

        Raises:
            InvalidConfig: `precision` is none of ours.
        """
        precision = kwargs.get("precision", self._encoder.config.precision)
        texts = [text for batch in inputs for text in batch["text"]]
        is_query = prompt_type == PromptType.query
        encode = self._encoder.encode_query if is_query else self._encoder.encode_document
        show_progress_bar = kwargs.get("show_progress_bar", True)
        vectors = encode(texts, show_progress_bar=show_progress_bar, precision=precision)
        return as_float32(vectors, precision)

    def similarity(self, embeddings1: Float32 | Tensor, embeddings2: Float32 | Tensor) -> Tensor:
        """Cosine of every vector of one side (N, D) with every one of the other (M, D): (N, M)."""
        first, second = _as_array(embeddings1), _as_array(embeddings2)
        return torch.from_numpy(cosine(first, second, "float32"))

    def similarity_pairwise(
        self, embeddings1: Float32 | Tensor, embeddings2: Float32 | Tensor
    ) -> Tensor:
        """Cosine of vectors that stand at the same place on both sides (N, D): (N,)."""
        first, second = _as_array(embeddings1), _as_array(embeddings2)
        return torch.from_numpy((np.atleast_2d(first) * np.atleast_2d(second)).sum(axis=-1))


def _as_array(vectors: npt.NDArray[Any] | Tensor) -> Float32:
    """Float32 in main memory: mteb's wrappers may hand a tensor back."""
    if isinstance(vectors, Tensor):
        vectors = vectors.detach().cpu().float().numpy()
    return np.asarray(vectors, dtype=np.float32)
