"""Attention over strips of rows: for every token, or for each row's last token alone.

Three kernels compute the same: on CPUs matrix products written out, which are faster there than
torch's own kernel (`benchmarks.kernels`); on CUDA torch's variable-length kernel, which needs no
padding at all; and torch's scaled dot product where that one does not apply.

Legend: see `embedder.packing`; `H` query heads, `K` key/value heads, `G` query heads for each of
them, `E` head size.
"""

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from embedder.packing import Strip
from embedder.varlen import is_usable, varlen_attention

BLOCK: Final = 128
"""Queries that are multiplied at once: with all keys up to the block's last one, so that little
of what the causal mask hides is computed, and the logits of a batch stay small."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one layer attends."""

    scale: float
    """Factor on the logits."""
    window: int | None = None
    """How many keys back a query sees, itself included; None: all."""
    softcap: float | None = None
    """Logits are squeezed to `softcap * tanh(logits / softcap)` (Gemma 2)."""


def causal_attention(
    q_THE: Tensor, k_XKE: Tensor, v_XKE: Tensor, strip: Strip, rule: Rule
) -> Tensor:
    """Causal self-attention of a strip's tokens; returns (T of the strip, H, E).

    Args:
        q_THE: queries of all packed tokens.
        k_XKE: keys: those of the prefixes, then those of all packed tokens.
        v_XKE: values, likewise.
        strip: the rows.
        rule: scale, window, soft cap.
    """
    if is_usable(q_THE, rule.softcap):
        return varlen_attention(q_THE, k_XKE, v_XKE, strip, scale=rule.scale, window=rule.window)
    q_SLHE = _side_by_side(q_THE, strip)
    k_SMKE, v_SMKE = k_XKE[strip.key_SM], v_XKE[strip.key_SM]
    if q_THE.device.type == "cpu" or rule.softcap is not None:
        out_SLHE = _blockwise(q_SLHE, k_SMKE, v_SMKE, strip, rule)
    else:
        out_SLHE = _dot_product(q_SLHE, k_SMKE, v_SMKE, strip, rule)
    out_XHE = out_SLHE.flatten(0, 1)
    return out_XHE if strip.cell_T is None else out_XHE[strip.cell_T]


def last_token_attention(
    q_SHE: Tensor, k_XKE: Tensor, v_XKE: Tensor, strip: Strip, rule: Rule
) -> tuple[Tensor, Tensor]:
    """Attention of each row's last token over what it sees: (S, H, E), and its weights (S, H, M).

    It equals the last tokens' part of `causal_attention`, at a fraction of the work.
    """
    k_SMKE, v_SMKE = k_XKE[strip.key_SM], v_XKE[strip.key_SM]
    bias_S11M = strip.last_bias(rule.window)[:, None, None]
    q_SKG1E = q_SHE.reshape(len(q_SHE), k_SMKE.shape[2], -1, 1, q_SHE.shape[2])
    out, weight = _matrix_product(q_SKG1E, _stack(k_SMKE), _stack(v_SMKE), bias_S11M, rule)
    return out.flatten(1, 3), weight.flatten(1, 3)


def _side_by_side(q_THE: Tensor, strip: Strip) -> Tensor:
    """(T, H, E) -> (S, L, H, E)."""
    if strip.full:
        start = strip.tokens.start
        own_THE = q_THE[start : start + strip.query_SL.numel()]
        return own_THE.reshape(*strip.query_SL.shape, *q_THE.shape[1:])
    return q_THE[strip.query_SL]


def _blockwise(q_SLHE: Tensor, k_SMKE: Tensor, v_SMKE: Tensor, strip: Strip, rule: Rule) -> Tensor:
    """Attention written out, block of queries after block; (S, L, H, E)."""
    rows, length, heads, size = q_SLHE.shape
    keys, key_heads = k_SMKE.shape[1:3]
    q_SKGLE = q_SLHE.view(rows, length, key_heads, -1, size).permute(0, 2, 3, 1, 4)
    k_BME, v_BME, bias = _stack(k_SMKE), _stack(v_SMKE), strip.bias(rule.window)
    blocks = []
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        # The block's last query sees the keys before the row and those of the row up to itself.
        seen = keys - length + end if strip.even else keys
        out, _ = _matrix_product(
            q_SKGLE[:, :, :, start:end],
            k_BME[:, :seen],
            v_BME[:, :seen],
            bias[..., start:end, :seen],
            rule,
        )
        blocks.append(out.permute(0, 3, 1, 2, 4).reshape(rows, end - start, heads, size))
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=1)


def _stack(x_SMKE: Tensor) -> Tensor:
    """(S, M, K, E) -> (S * K, M, E): a matrix for each row and key head."""
    return x_SMKE.transpose(1, 2).reshape(-1, x_SMKE.shape[1], x_SMKE.shape[3])


def _matrix_product(
    q_SKGLE: Tensor, k_BME: Tensor, v_BME: Tensor, bias: Tensor, rule: Rule
) -> tuple[Tensor, Tensor]:
    """Attention of these queries to these keys; weights are formed in float32.

    Query heads that share a key head are stacked along the queries, so that no key is repeated.

    Returns:
        (S, K, G, L, E), and the weights (S, K, G, L, M).
    """
    rows, key_heads, groups, length, size = q_SKGLE.shape
    q_BQE = q_SKGLE.reshape(rows * key_heads, groups * length, size)
    logit = torch.bmm(q_BQE, k_BME.transpose(1, 2)).float().mul_(rule.scale)
    if rule.softcap is not None:
        logit = torch.tanh(logit / rule.softcap) * rule.softcap
    weight = logit.view(rows, key_heads * groups, length, -1).add_(bias).softmax(-1)
    weight_BQM = weight.to(v_BME.dtype).view(rows * key_heads, groups * length, -1)
    out = torch.bmm(weight_BQM, v_BME).view(q_SKGLE.shape)
    return out, weight.view(rows, key_heads, groups, length, -1)


def _dot_product(
    q_SLHE: Tensor, k_SMKE: Tensor, v_SMKE: Tensor, strip: Strip, rule: Rule
) -> Tensor:
    """Attention by torch's own kernel."""
    groups = q_SLHE.shape[2] // k_SMKE.shape[2]
    k_SHME = k_SMKE.transpose(1, 2).repeat_interleave(groups, dim=1)
    v_SHME = v_SMKE.transpose(1, 2).repeat_interleave(groups, dim=1)
    # With as many keys as queries, all in one row, the causal mask needs no tensor.
    square = strip.even and q_SLHE.shape[1] == k_SMKE.shape[1] and not strip.hides(rule.window)
    out_SHLE = F.scaled_dot_product_attention(
        q_SLHE.transpose(1, 2),
        k_SHME,
        v_SHME,
        attn_mask=None if square else strip.bias(rule.window).to(q_SLHE.dtype),
        is_causal=square,
        scale=rule.scale,
    )
    return out_SHLE.transpose(1, 2)
