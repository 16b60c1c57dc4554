"""From token states to one vector a text: the last token's, a weighted mean, or both.

Legend: see `embedder.packing`. A pooled span is `low <= t < high`, in packed indices: the text's
own tokens, or the whole row. A span without tokens (an empty text) gives the last token's state.
"""

from typing import get_args

import torch
from torch import Tensor

from embedder.config import Pooling

LAST_ALONE: tuple[Pooling, ...] = ("last",)
"""Poolings that read no other token than the last."""


def needs_attention(pooling: Pooling) -> bool:
    """Whether the pooling reads the last query's attention."""
    return pooling == "attention_weighted_mean"


def pool(
    hidden_TD: Tensor,
    last_S: Tensor,
    low_S: Tensor,
    high_S: Tensor,
    pooling: Pooling,
    *,
    attention_T: Tensor | None = None,
) -> Tensor:
    """Pool each row, (S, D), or (S, 2D) for `last_mean`; in float32, not normalised.

    `last`: the last token (PromptEOL, arXiv 2307.16645). `mean`: every token of the span alike.
    `position_weighted_mean`: weights 1, 2, 3, ... along the span (SGPT, arXiv 2202.08904, eq. 1).
    `attention_weighted_mean`: the last query's attention to each token of the span. `last_mean`:
    last and mean, one after the other (arXiv 2507.22729, the code).

    Args:
        hidden_TD: states at the output layer, any float dtype.
        last_S: int64, packed index of each row's last token.
        low_S: int64, first packed index of each row's span.
        high_S: int64, the index after the last one.
        pooling: which of them.
        attention_T: the last query's attention to each token, mean over heads; read by
            `attention_weighted_mean` alone.
    """
    last_SD = hidden_TD[last_S].float()
    if pooling == "last":
        return last_SD
    empty_S = low_S >= high_S
    low_S, high_S = torch.where(empty_S, last_S, low_S), torch.where(empty_S, last_S + 1, high_S)
    # Spans follow each other in packed order, so that one search finds each token's row.
    token_T = torch.arange(hidden_TD.shape[0], device=hidden_TD.device)
    row_T = torch.searchsorted(high_S, token_T, right=True).clamp_max(len(high_S) - 1)
    inside_T = (token_T >= low_S[row_T]) & (token_T < high_S[row_T])
    match pooling:
        case "mean" | "last_mean":
            weight_T = inside_T.float()
        case "position_weighted_mean":
            weight_T = (token_T - low_S[row_T] + 1) * inside_T.float()
        case "attention_weighted_mean":
            if attention_T is None:
                raise ValueError("attention_weighted_mean needs the last query's attention")
            weight_T = attention_T.float() * inside_T
        case _:
            raise ValueError(f"unknown pooling {pooling!r}; use one of {get_args(Pooling)}")
    total_S = torch.zeros(len(low_S), device=hidden_TD.device).index_add(0, row_T, weight_T)
    share_T = weight_T / total_S[row_T].clamp_min(torch.finfo(torch.float32).tiny)
    mean_SD = torch.zeros_like(last_SD).index_add(0, row_T, hidden_TD.float() * share_T[:, None])
    return torch.cat((last_SD, mean_SD), dim=1) if pooling == "last_mean" else mean_SD
