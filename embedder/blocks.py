"""One decoder layer read into its parts, whatever the family arranges differently.

The modules are transformers' own. What differs between families is read off the modules that are
there: norms before or after a part, norms on queries and keys, one projection for all three, rotary
embedding on a part of a head or on none, windows, soft caps.

Legend: see `embedder.attention`; `D` hidden size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from embedder.attention import Rule

Rotary = tuple[Tensor, Tensor]
"""Cosine and signed sine for each packed token, (T, 1, rotated size)."""


class Block:
    """A decoder layer of one of `embedder.model_files.ARCHITECTURES`.

    Args:
        layer: transformers' layer module.
        config: transformers' config of the model.
        index: which layer, from 0.
    """

    def __init__(self, layer: Any, config: Any, index: int) -> None:
        self.layer = layer
        self.attention: Any = layer.self_attn
        self.head_size: int = self.attention.head_dim
        kinds = getattr(config, "layer_types", None)
        self.kind: str = kinds[index] if kinds else "full_attention"
        """`full_attention` or `sliding_attention`; chooses the rotary table where there are two."""
        window = getattr(config, "sliding_window", None)
        slides = self.kind == "sliding_attention" or not kinds
        self.rule = Rule(
            scale=self.attention.scaling,
            window=int(window) if window and slides else None,
            softcap=getattr(self.attention, "attn_logit_softcapping", None),
        )
        self.rotates = bool(getattr(self.attention, "use_rope", True))
        # Gemma norms each part's input and output, OLMo 2 the output alone, all others the input.
        self._gemma = hasattr(layer, "pre_feedforward_layernorm")
        self._norms_output = hasattr(layer, "post_feedforward_layernorm")
        self._fused = hasattr(self.attention, "qkv_proj")
        self._sizes = (
            config.num_attention_heads * self.head_size,
            config.num_key_value_heads * self.head_size,
        )

    def attention_input(self, hidden_TD: Tensor) -> Tensor:
        """What the projections read, (T, D)."""
        if self._norms_output and not self._gemma:
            return hidden_TD
        normed_TD: Tensor = self.layer.input_layernorm(hidden_TD)
        return normed_TD

    def queries(self, input_TD: Tensor, rotary: Rotary) -> Tensor:
        """Rotated query heads, (T, H, E)."""
        heads = self._normed(self._project(input_TD, "q"), "q_norm")
        return rotate(heads, rotary) if self.rotates else heads

    def keys(self, input_TD: Tensor, rotary: Rotary) -> Tensor:
        """Rotated key heads, (T, K, E)."""
        heads = self._normed(self._project(input_TD, "k"), "k_norm")
        return rotate(heads, rotary) if self.rotates else heads

    def values(self, input_TD: Tensor) -> Tensor:
        """Value heads, (T, K, E)."""
        return self._heads(self._project(input_TD, "v"))

    def output(self, residual_TD: Tensor, mixed_THE: Tensor) -> Tensor:
        """The layer's output, (T, D), from what attention mixed."""
        layer = self.layer
        attended_TD = self.attention.o_proj(mixed_THE.flatten(1))
        if self._norms_output:
            attended_TD = layer.post_attention_layernorm(attended_TD)
        hidden_TD: Tensor = residual_TD + attended_TD
        if self._gemma:
            normed_TD = layer.pre_feedforward_layernorm(hidden_TD)
        elif self._norms_output:
            normed_TD = hidden_TD
        else:
            normed_TD = layer.post_attention_layernorm(hidden_TD)
        changed_TD: Tensor = layer.mlp(normed_TD)
        if self._norms_output:
            changed_TD = layer.post_feedforward_layernorm(changed_TD)
        return hidden_TD + changed_TD

    def _project(self, input_TD: Tensor, which: str) -> Tensor:
        """Queries, keys or values, (T, heads * E)."""
        if not self._fused:
            projected_TX: Tensor = getattr(self.attention, f"{which}_proj")(input_TD)
            return projected_TX
        query, key = self._sizes
        bounds = {"q": (0, query), "k": (query, query + key), "v": (query + key, query + 2 * key)}
        low, high = bounds[which]
        fused = self.attention.qkv_proj
        if type(fused) is torch.nn.Linear:
            return F.linear(input_TD, fused.weight[low:high])
        whole_TX: Tensor = fused(input_TD)  # with an adapter on it, only the whole is defined
        return whole_TX[:, low:high]

    def _normed(self, projected_TX: Tensor, name: str) -> Tensor:
        """Heads (T, heads, E), normed each or all together where the model does so."""
        norm = getattr(self.attention, name, None)
        if norm is None:
            return self._heads(projected_TX)
        if norm.weight.shape[0] == self.head_size:
            heads_THE: Tensor = norm(self._heads(projected_TX))
            return heads_THE
        return self._heads(norm(projected_TX))

    def _heads(self, projected_TX: Tensor) -> Tensor:
        return projected_TX.view(len(projected_TX), -1, self.head_size)


def rotate(x_THE: Tensor, rotary: Rotary) -> Tensor:
    """Rotary position embedding in the two-halves layout; what lies beyond its size is kept.

    Args:
        x_THE: query or key heads.
        rotary: cosine, and sine negated in its first half.
    """
    cos_T1R, sin_T1R = rotary
    size = cos_T1R.shape[-1]
    turned_THR = x_THE if size == x_THE.shape[-1] else x_THE[..., :size]
    first, second = turned_THR.chunk(2, dim=-1)
    swapped_THR = torch.cat((second, first), dim=-1)
    out_THR = torch.addcmul(turned_THR * cos_T1R, swapped_THR, sin_T1R).to(x_THE.dtype)
    return out_THR if size == x_THE.shape[-1] else torch.cat((out_THR, x_THE[..., size:]), dim=-1)


def signed(sine_TR: Tensor) -> Tensor:
    """Transformers' sine table as `rotate` wants it: negated in its first half."""
    half = sine_TR.shape[-1] // 2
    return torch.cat((-sine_TR[..., :half], sine_TR[..., half:]), dim=-1)
