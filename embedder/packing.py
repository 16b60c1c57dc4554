"""Packed sequences: many token rows laid end to end, with no padding outside attention.

Legend: `S` sequences (rows), `T` packed tokens, `L` the longest row, `H` query heads, `K` key/value
heads, `E` head size, `D` hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each row lies in the packed tensor, and how to lay rows side by side for attention."""

    lengths: tuple[int, ...]
    start_S: Tensor
    """int64 (S,): packed index of each row's first token."""
    last_S: Tensor
    """int64 (S,): packed index of each row's last token."""
    position_T: Tensor
    """int64 (T,): position of each token in its own row."""
    padded_SL: Tensor
    """int64 (S, L): packed index of each cell; past a row's end, its last token's."""
    cell_T: Tensor
    """int64 (T,): cell of each packed token in the flattened (S * L) layout."""

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device | str = "cpu") -> "Packing":
        """Lay rows of these lengths end to end. Every length is at least 1."""
        length_S = torch.tensor(lengths, dtype=torch.int64)
        longest = int(length_S.max())
        last_S = length_S.cumsum(0) - 1
        start_S = last_S - length_S + 1
        column_L = torch.arange(longest)
        padded_SL = torch.minimum(start_S[:, None] + column_L[None, :], last_S[:, None])
        real_SL = column_L[None, :] < length_S[:, None]
        cell_T = real_SL.flatten().nonzero().squeeze(1)
        position_T = cell_T % longest
        return cls(
            tuple(lengths),
            start_S.to(device),
            last_S.to(device),
            position_T.to(device),
            padded_SL.to(device),
            cell_T.to(device),
        )

    @property
    def rows(self) -> int:
        """S."""
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """T."""
        return int(sum(self.lengths))


def _side_by_side(packed_THE: Tensor, packing: Packing) -> Tensor:
    """(T, H, E) -> (S, H, L, E)."""
    rows, longest = packing.padded_SL.shape
    if packing.tokens == rows * longest:
        return packed_THE.reshape(rows, longest, *packed_THE.shape[1:]).transpose(1, 2)
    return packed_THE[packing.padded_SL].transpose(1, 2)


def causal_attention(
    q_THE: Tensor, k_TKE: Tensor, v_TKE: Tensor, packing: Packing, *, scale: float
) -> Tensor:
    """Causal self-attention inside each row, for every token; returns (T, H, E).

    Rows are padded on the right here and only here: under the causal mask no real query can see a
    padded key, so that no other mask is needed and the fast kernel applies.
    """
    q_SHLE = _side_by_side(q_THE, packing)
    k_SHLE = _share_heads(_side_by_side(k_TKE, packing), q_SHLE.shape[1])
    v_SHLE = _share_heads(_side_by_side(v_TKE, packing), q_SHLE.shape[1])
    out_SHLE = F.scaled_dot_product_attention(q_SHLE, k_SHLE, v_SHLE, is_causal=True, scale=scale)
    out_XHE = out_SHLE.transpose(1, 2).flatten(0, 1)
    return out_XHE if out_XHE.shape[0] == packing.tokens else out_XHE[packing.cell_T]


def last_token_attention(
    q_SHE: Tensor, k_TKE: Tensor, v_TKE: Tensor, packing: Packing, *, scale: float
) -> Tensor:
    """Attention of each row's last token over its whole row; returns (S, H, E).

    It equals the last tokens' part of `causal_attention`, at a fraction of the work.
    """
    k_SHLE = _share_heads(_side_by_side(k_TKE, packing), q_SHE.shape[1])
    v_SHLE = _share_heads(_side_by_side(v_TKE, packing), q_SHE.shape[1])
    longest = packing.padded_SL.shape[1]
    length_S = packing.last_S - packing.start_S + 1
    seen_SL = torch.arange(longest, device=q_SHE.device)[None, :] < length_S[:, None]
    out_SHLE = F.scaled_dot_product_attention(
        q_SHE[:, :, None, :], k_SHLE, v_SHLE, attn_mask=seen_SL[:, None, None, :], scale=scale
    )
    return out_SHLE.squeeze(2)


def _share_heads(x_SKLE: Tensor, heads: int) -> Tensor:
    """Repeat key/value heads so that each group of query heads finds its own: (S, H, L, E)."""
    groups = heads // x_SKLE.shape[1]
    return x_SKLE if groups == 1 else x_SKLE.repeat_interleave(groups, dim=1)
