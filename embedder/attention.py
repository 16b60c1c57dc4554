"""Attention over strips of rows: for every token, or for each row's last token alone.

Three kernels compute the same: a matrix product, which is fastest on CPUs for the short rows that
most texts are; torch's scaled dot product for longer ones; and on CUDA torch's variable-length
kernel, which needs no padding at all.

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

SHORT: Final = 256
"""Up to so many keys a row the matrix product is the faster one on CPUs."""


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
    if rule.softcap is not None or (q_THE.device.type == "cpu" and k_SMKE.shape[1] <= SHORT):
        out_SLHE, _ = _matrix_product(q_SLHE, k_SMKE, v_SMKE, strip.bias(rule.window), rule)
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
    out_S1HE, weight_SH1M = _matrix_product(q_SHE[:, None], k_SMKE, v_SMKE, bias_S11M, rule)
    return out_S1HE[:, 0], weight_SH1M[:, :, 0]


def _side_by_side(q_THE: Tensor, strip: Strip) -> Tensor:
    """(T, H, E) -> (S, L, H, E)."""
    if strip.cell_T is None:
        return q_THE[strip.tokens].reshape(*strip.query_SL.shape, *q_THE.shape[1:])
    return q_THE[strip.query_SL]


def _matrix_product(
    q_SLHE: Tensor, k_SMKE: Tensor, v_SMKE: Tensor, bias: Tensor, rule: Rule
) -> tuple[Tensor, Tensor]:
    """Attention written out; weights are formed in float32. Returns (S, L, H, E), (S, H, L, M).

    `bias` is added to the logits: minus infinity where a query does not see a key.

    Query heads that share a key head are stacked along the queries, so that no key is repeated.
    """
    rows, length, heads, size = q_SLHE.shape
    keys, key_heads = k_SMKE.shape[1:3]
    groups = heads // key_heads
    stacked = q_SLHE.reshape(rows, length, key_heads, groups, size).permute(0, 2, 3, 1, 4)
    q_BQE = stacked.reshape(rows * key_heads, groups * length, size)
    k_BME = k_SMKE.transpose(1, 2).reshape(rows * key_heads, keys, size)
    v_BME = v_SMKE.transpose(1, 2).reshape(rows * key_heads, keys, size)
    logit = torch.bmm(q_BQE, k_BME.transpose(1, 2)).float().mul_(rule.scale)
    if rule.softcap is not None:
        logit = torch.tanh(logit / rule.softcap) * rule.softcap
    logit_SHLM = logit.reshape(rows, heads, length, keys).add_(bias)
    weight_SHLM = logit_SHLM.softmax(-1)
    weight_BQM = weight_SHLM.to(v_BME.dtype).reshape(rows * key_heads, groups * length, keys)
    out = torch.bmm(weight_BQM, v_BME).reshape(rows, key_heads, groups, length, size)
    return out.permute(0, 3, 1, 2, 4).reshape(rows, length, heads, size), weight_SHLM


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
