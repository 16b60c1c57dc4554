"""Observers of the layer loop: what they keep of a pass over sentence pairs.

Legend: see `embedder.packing`; `O` output layers, `P` poolings, `N` pairs, `B` pairs of a batch,
`H` heads, `E` head size.
"""

from collections.abc import Collection, Sequence
from typing import Final, get_args

import torch
from torch import Tensor

from embedder.config import EncoderConfig, Pooling
from embedder.layout import pooled_spans
from embedder.packing import Packing
from embedder.pooling import pool
from embedder.precision import Float32
from embedder.tokens import Row

POOLINGS: Final[tuple[Pooling, ...]] = get_args(Pooling)


class Reading:
    """Pools at every output layer and keeps the cosines of the batch's pairs.

    Args:
        rows: the batch's normal rows: for each prompt the first sentences, then the second ones.
        config: says what is pooled, and how many components count.
        prompts: how many prompts a text has.
        pairs: numbers of the batch's pairs.
        cosine_OPN: where the cosines go; other pairs' are left alone.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        config: EncoderConfig,
        prompts: int,
        pairs: list[int],
        cosine_OPN: Float32,
    ) -> None:
        self.prompts = prompts
        self._rows, self._config = rows, config
        self._pairs, self._cosine_OPN = pairs, cosine_OPN
        self._weight_T: Tensor | None = None

    def attention(self, layer: int, last_SHE: Tensor, weight_T: Tensor) -> None:
        """Keep the weights for the states that this layer gives."""
        self._weight_T = weight_T

    def hidden(self, output_layer: int, hidden_TD: Tensor, packing: Packing) -> None:
        """Pool in every way, and keep the cosines."""
        low_S, high_S = pooled_spans(self._rows, packing, whole=self._config.pool_prompt)
        for column, pooling in enumerate(POOLINGS):
            pooled_SD = pool(
                hidden_TD, packing.last_S, low_S, high_S, pooling, attention_T=self._weight_T
            )
            cosine_B = pair_cosines(pooled_SD, self.prompts, self._config.dimensions)
            self._cosine_OPN[output_layer - 1, column, self._pairs] = cosine_B


class Recording:
    """Keeps what some layers' `o_proj` reads at the rows' last tokens, in main memory."""

    def __init__(self, layers: Collection[int]) -> None:
        self._layers = layers
        self.states: dict[int, Tensor] = {}

    def attention(self, layer: int, last_SHE: Tensor, weight_T: Tensor) -> None:
        """Keep it."""
        if layer in self._layers:
            self.states[layer] = last_SHE.cpu()

    def hidden(self, output_layer: int, hidden_TD: Tensor, packing: Packing) -> None:
        """Nothing of it is wanted."""


def pair_cosines(pooled_SD: Tensor, prompts: int, dimensions: int | None) -> Float32:
    """Cosines (B,) of pooled rows: for each prompt B first sentences, then B second ones.

    Prompts are averaged first, then components cut off, as `Encoder` does; a state of zero has
    cosine 0 with everything.
    """
    mean_SD = pooled_SD.reshape(prompts, -1, pooled_SD.shape[1]).mean(0)[:, :dimensions]
    tiny = torch.finfo(torch.float32).tiny
    unit_SD = mean_SD / torch.linalg.vector_norm(mean_SD, dim=1, keepdim=True).clamp_min(tiny)
    first_BD, second_BD = unit_SD.chunk(2)
    cosines: Float32 = (first_BD * second_BD).sum(1).cpu().numpy()
    return cosines
