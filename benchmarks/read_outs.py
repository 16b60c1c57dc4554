"""One encoder read in many ways: with and without TP and CP, and every pooling of one forward pass.

Legend: `N` texts, `S` rows of a batch, `T` packed tokens, `E` components of a vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from embedder.backbone import Backbone
from embedder.batching import by_token_budget
from embedder.config import EncoderConfig, Kind, Pooling
from embedder.encoder import Encoder
from embedder.packing import Packing
from embedder.pooling import pool
from embedder.tokens import Row

Floats = npt.NDArray[np.float32]
POOLINGS: Final[tuple[Pooling, ...]] = get_args(Pooling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One run of the model over the texts, and the poolings that are read from it."""

    label: str
    config: EncoderConfig
    poolings: tuple[Pooling, ...]

    def settings(self, pooling: Pooling) -> str:
        """What the tables call the pass with one of its poolings."""
        return f"{self.label}, {pooling}"


def passes_of(config: EncoderConfig) -> list[Pass]:
    """The settings as they are, with TP or CP or both taken away, and the bare text.

    Every pooling is read where CP is off; with CP, which acts on the last token alone, the
    settings' own. A text that does not fit is an error, never cut.
    """
    base = config.model_copy(update={"on_overflow": "error"})
    named = base.template if isinstance(base.template, str) else "+".join(base.template)
    passes = []
    for tp, cp in ((True, True), (True, False), (False, True), (False, False)):
        if (tp and base.token_prepending is None) or (cp and base.contrastive_prompting is None):
            continue
        off = {} if tp else {"token_prepending": None}
        off |= {} if cp else {"contrastive_prompting": None}
        label = named + " + TP" * tp + " + CP" * cp
        poolings = (base.pooling,) if cp else POOLINGS
        passes.append(Pass(label=label, config=base.model_copy(update=off), poolings=poolings))
    bare = {"template": "none", "query_template": None}
    config = passes[-1].config.model_copy(update=bare)
    return [*passes, Pass(label="none", config=config, poolings=POOLINGS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOut:
    """What came of some texts."""

    vectors: dict[Pooling, Floats]
    """By pooling: unit vectors, (N, E)."""
    computed_N: npt.NDArray[np.int64]
    """Tokens that were computed for each text: its prompts', without their shared opening."""


@torch.inference_mode()
def read_out(
    encoder: Encoder, texts: Sequence[str], poolings: Sequence[Pooling], *, kind: Kind = "document"
) -> ReadOut:
    """Every pooling from one forward pass, on the CPU.

    Raises:
        ValueError: several templates, or a model that the layer loop does not cover.
        TextTooLong: a text does not fit and the settings say `on_overflow="error"`.
    """
    prompted, backbone = encoder.prompting(kind).tokenize(texts), encoder.backbone
    if len(prompted.normal) > 1 or not isinstance(backbone, Backbone):
        raise ValueError("read-outs need one template and a model that the layer loop covers")
    parts: dict[Pooling, list[Floats]] = {pooling: [] for pooling in poolings}
    order: list[int] = []
    for batch in by_token_budget(prompted.costs):
        rows, auxiliary = prompted.rows(batch)
        # Who looks on makes the loop compute all of the last layer, which a last token can do
        # without.
        states = _States() if tuple(poolings) != (encoder.config.pooling,) else None
        pooled_SE = backbone.forward(rows, encoder.config, auxiliary, observer=states)
        for pooling, part in parts.items():
            part.append(states.pool(rows, pooling) if states else pooled_SE.numpy())
        order += batch
    at_N = np.argsort(order)
    return ReadOut(
        vectors={pooling: _unit(np.concatenate(part)[at_N]) for pooling, part in parts.items()},
        computed_N=np.array(prompted.costs, dtype=np.int64),
    )


def _unit(pooled_NE: Floats) -> Floats:
    vectors: Floats = pooled_NE / np.linalg.norm(pooled_NE, axis=1, keepdims=True)
    return vectors


class _States:
    """Keeps what the layer loop shows of the output layer: one forward pass, every pooling."""

    def __init__(self) -> None:
        self._hidden_TD: Tensor | None = None
        self._weight_T: Tensor | None = None
        self._last_S: Tensor | None = None

    def attention(self, layer: int, last_SHE: Tensor, weight_T: Tensor) -> None:
        """The last call is the output layer's."""
        self._weight_T = weight_T

    def hidden(self, output_layer: int, hidden_TD: Tensor, packing: Packing) -> None:
        """The last call is the output layer's."""
        self._hidden_TD, self._last_S = hidden_TD, packing.last_S

    def pool(self, rows: Sequence[Row], pooling: Pooling) -> Floats:
        """Each row, pooled over its text's tokens."""
        if self._hidden_TD is None or self._last_S is None:
            raise ValueError("no hidden states were shown; run the layers first")
        end_S = self._last_S + 1  # counted from the rows' ends, where no prefix is cut off
        low_S = end_S - torch.tensor([len(row.ids) - row.text_start for row in rows])
        high_S = end_S - torch.tensor([len(row.ids) - row.text_end for row in rows])
        pooled_SE = pool(
            self._hidden_TD, self._last_S, low_S, high_S, pooling, attention_T=self._weight_T
        )
        vectors: Floats = pooled_SE.numpy()
        return vectors
