"""The decoder as a layer loop over packed rows: exact early exit, TP and CP as small interventions.

The modules are transformers' own; only the loop is ours. It computes no language-model head and
no cache, stops at the output layer, and in the last layer that it runs it computes the last token
only.

Legend: see `embedder.packing`; `P` placeholder tokens in the batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from embedder.config import EncoderConfig
from embedder.contrastive_prompting import contrast
from embedder.errors import UnsupportedArchitecture
from embedder.model_files import ARCHITECTURES
from embedder.packing import Packing, causal_attention, last_token_attention
from embedder.token_prepending import prepend_last_state
from embedder.tokens import PLACEHOLDER_ID, Row

PLACEHOLDER_SEED = 2412_11556


def longest_row(config: Any) -> int:
    """The longest row, in tokens, that a model of this (transformers) config is exact for.

    Its positions; its attention window, which the loop does not cut off; and under LongRoPE the
    shorter of its two ranges, since above it the table depends on the longest row of the batch.
    """
    limits = [int(config.max_position_embeddings)]
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True):
        limits.append(int(window))
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        limits.append(int(rope["original_max_position_embeddings"]))
    return min(limits)


class Backbone:
    """A loaded decoder and the loop over its layers.

    Args:
        model: transformers' base model (no head) of one of `ARCHITECTURES`, in eval mode.
        placeholder_D: initial embedding of the placeholder token, shape (D,). Its value hardly
            matters (arXiv 2412.11556, table 7), so by default it is a fixed, seeded vector of the
            embedding matrix' own scale.

    Raises:
        UnsupportedArchitecture: the model's type is not in `ARCHITECTURES`.
    """

    def __init__(self, model: PreTrainedModel, *, placeholder_D: Tensor | None = None) -> None:
        decoder: Any = model
        config = decoder.config
        if config.model_type not in ARCHITECTURES:
            raise UnsupportedArchitecture(
                f"model type {config.model_type!r} is not covered by the layer loop; "
                f"use one of {', '.join(ARCHITECTURES)}"
            )
        self.model = decoder
        self.layers: list[Any] = list(decoder.layers)
        self.dimension: int = config.hidden_size
        self.heads: int = config.num_attention_heads
        self.head_size: int = (
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        )
        self._fixed_placeholder_D = placeholder_D

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self.model.embed_tokens.weight.device
        return device

    @property
    def max_positions(self) -> int:
        """The longest row the model was made for, in tokens."""
        return longest_row(self.model.config)

    def placeholder(self) -> Tensor:
        """Initial embedding of the placeholder token, (D,)."""
        if self._fixed_placeholder_D is not None:
            return self._fixed_placeholder_D
        weight_VD: Tensor = self.model.embed_tokens.weight
        generator = torch.Generator().manual_seed(PLACEHOLDER_SEED)
        noise_D = torch.randn(self.dimension, generator=generator)
        scale = weight_VD.detach().float().square().mean().sqrt().cpu()
        vector_D = (noise_D * scale).to(weight_VD)
        if not weight_VD.requires_grad:  # while it is being trained, its scale moves
            self._fixed_placeholder_D = vector_D
        return vector_D

    def forward(
        self,
        rows: Sequence[Row],
        config: EncoderConfig,
        auxiliary: Sequence[Row] = (),
    ) -> Tensor:
        """Encode rows; returns the pooled states, (S, D), in the model's dtype, not normalised.

        Args:
            rows: the normal prompts.
            config: output layer, TP, CP and pooling.
            auxiliary: the auxiliary prompts of CP, row for row; empty without CP.
        """
        output = config.resolve_output_layer(len(self.layers))
        cp = config.contrastive_prompting
        if (cp is not None) != bool(auxiliary) or (auxiliary and len(auxiliary) != len(rows)):
            raise ValueError(f"{len(rows)} rows, {len(auxiliary)} auxiliary rows, CP is {cp}")

        # Normal rows come first, so that the auxiliary rows leave the batch by a slice.
        batch = [*rows, *auxiliary]
        ids_T = torch.tensor([i for row in batch for i in row.ids], dtype=torch.int64)
        packing = Packing.of([len(row.ids) for row in batch], self.device)
        normal = Packing.of([len(row.ids) for row in rows], self.device) if auxiliary else packing
        placeholder_P, source_P = self._placeholders(ids_T, packing)
        hidden_TD = self._embed(ids_T.to(self.device), placeholder_P)
        rotary = self._rotary(hidden_TD, packing)

        tp = config.token_prepending
        mean_pooled = config.pooling == "mean"
        for index in range(output):
            if auxiliary and cp is not None and index == cp.layer + 1:
                hidden_TD = hidden_TD[: normal.tokens]
                rotary = (rotary[0][: normal.tokens], rotary[1][: normal.tokens])
                keep_P = placeholder_P < normal.tokens
                placeholder_P, source_P = placeholder_P[keep_P], source_P[keep_P]
                packing = normal
            if tp is not None and tp.start <= index < tp.exit and len(placeholder_P):
                hidden_TD = prepend_last_state(hidden_TD, placeholder_P, source_P)
            last_only = index == output - 1 and not mean_pooled
            steer = cp if cp is not None and index == cp.layer else None
            hidden_TD = self._layer(
                self.layers[index], hidden_TD, rotary, packing, normal, steer, last_only
            )
        if output == len(self.layers):
            hidden_TD = self.model.norm(hidden_TD)
        return self._pool_mean(hidden_TD, rows, normal) if mean_pooled else hidden_TD

    # -- one layer ---------------------------------------------------------------------------

    def _layer(
        self,
        layer: Any,
        hidden_TD: Tensor,
        rotary: tuple[Tensor, Tensor],
        packing: Packing,
        normal: Packing,
        steer: Any,
        last_only: bool,
    ) -> Tensor:
        """One decoder layer; with `last_only` it returns the normal rows' last tokens, (S, D)."""
        attention = layer.self_attn
        scale: float = attention.scaling
        normed_TD = layer.input_layernorm(hidden_TD)
        k_TKE = self._rotate(self._project(attention, "k", normed_TD), rotary)
        v_TKE = self._project(attention, "v", normed_TD)

        last_S = packing.last_S
        if last_only:
            at_last = (rotary[0][last_S], rotary[1][last_S])
            q_SHE = self._rotate(self._project(attention, "q", normed_TD[last_S]), at_last)
            mixed_XHE = last_token_attention(q_SHE, k_TKE, v_TKE, packing, scale=scale)
            normal_S = torch.arange(normal.rows, device=last_S.device)
            residual_XD = hidden_TD[last_S]
            auxiliary_SHE = mixed_XHE[normal.rows :]
            kept = normal.rows
        else:
            cut = normal.tokens
            q_THE = self._rotate(self._project(attention, "q", normed_TD), rotary)
            if steer is None:
                mixed_XHE = causal_attention(q_THE, k_TKE, v_TKE, packing, scale=scale)
                auxiliary_SHE = mixed_XHE[:0]
            else:
                # The auxiliary rows are needed here for the last thing that they ever say.
                mixed_XHE = causal_attention(
                    q_THE[:cut], k_TKE[:cut], v_TKE[:cut], normal, scale=scale
                )
                auxiliary_SHE = last_token_attention(
                    q_THE[last_S], k_TKE, v_TKE, packing, scale=scale
                )[normal.rows :]
            normal_S = normal.last_S
            residual_XD = hidden_TD
            kept = hidden_TD.shape[0] if steer is None else cut
        mixed_XHE = mixed_XHE[:kept]
        residual_XD = residual_XD[:kept]
        if steer is not None:
            steered_SHE = contrast(mixed_XHE[normal_S], auxiliary_SHE, steer)
            mixed_XHE = mixed_XHE.index_copy(0, normal_S, steered_SHE.to(mixed_XHE.dtype))

        hidden_XD: Tensor = residual_XD + attention.o_proj(mixed_XHE.flatten(1))
        mlp_XD: Tensor = layer.mlp(layer.post_attention_layernorm(hidden_XD))
        return hidden_XD + mlp_XD

    def _project(self, attention: Any, which: str, normed_TD: Tensor) -> Tensor:
        """Query, key or value heads, (T, heads, E), normed per head where the model does so."""
        projected_TX: Tensor = getattr(attention, f"{which}_proj")(normed_TD)
        x_THE = projected_TX.reshape(len(projected_TX), -1, self.head_size)
        head_norm = getattr(attention, f"{which}_norm", None)
        if head_norm is not None:
            x_THE = head_norm(x_THE)
        return x_THE

    @staticmethod
    def _rotate(x_THE: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """Rotary position embedding in the two-halves layout."""
        cos_T1E, sin_T1E = rotary
        first, second = x_THE.chunk(2, dim=-1)
        return x_THE * cos_T1E + torch.cat((-second, first), dim=-1) * sin_T1E

    def _rotary(self, hidden_TD: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        cos, sin = self.model.rotary_emb(hidden_TD, packing.position_T[None])
        return cos[0][:, None], sin[0][:, None]

    # -- in and out --------------------------------------------------------------------------

    def _placeholders(self, ids_T: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """Packed indices of placeholders, and of the last token of each one's row."""
        placeholder_P = (ids_T == PLACEHOLDER_ID).nonzero().squeeze(1).to(self.device)
        row_P = torch.searchsorted(packing.last_S, placeholder_P)
        return placeholder_P, packing.last_S[row_P]

    def _embed(self, ids_T: Tensor, placeholder_P: Tensor) -> Tensor:
        hidden_TD: Tensor = self.model.embed_tokens(ids_T.clamp_min(0))
        if len(placeholder_P):
            vector_PD = self.placeholder().to(hidden_TD).expand(len(placeholder_P), -1)
            hidden_TD = hidden_TD.index_copy(0, placeholder_P, vector_PD)
        return hidden_TD

    @staticmethod
    def _pool_mean(hidden_TD: Tensor, rows: Sequence[Row], packing: Packing) -> Tensor:
        """Mean over each row's text tokens, (S, D); over the whole row where the text is empty."""
        means = []
        for start, row in zip(packing.start_S.tolist(), rows, strict=True):
            low, high = (row.text_start, row.text_end)
            if low == high:
                low, high = 0, len(row.ids)
            means.append(hidden_TD[start + low : start + high].mean(0))
        return torch.stack(means)
