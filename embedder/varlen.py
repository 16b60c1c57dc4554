"""Attention on CUDA by torch's variable-length kernel: no padding, no mask, shared key heads.

It aligns each row's queries with the end of its keys, which is how prefixes and contexts lie here,
and with one split it gives a row the same bits whatever else is in the batch. Written and tested
on a CPU with the kernel's arithmetic in its place; no figure from a GPU exists yet.

Legend: see `embedder.attention`; `N` keys of a strip's rows, end to end.
"""

import inspect
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor

from embedder.packing import Strip

NEEDED: Final = {"scale", "window_size", "enable_gqa", "num_splits"}
"""Arguments that torch's kernel must know; it got them one after the other."""
LARGEST_HEAD: Final = 256
"""Head sizes beyond this are not covered by the kernel."""


@lru_cache(maxsize=1)
def kernel() -> Any:
    """Torch's `varlen_attn`, or None where this torch has none, or an older one."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if set(inspect.signature(varlen_attn).parameters) >= NEEDED else None


def is_usable(q_THE: Tensor, softcap: float | None) -> bool:
    """Whether the kernel covers these queries: on CUDA, in 16 bits, without a soft cap."""
    return (
        q_THE.is_cuda
        and q_THE.dtype in (torch.bfloat16, torch.float16)
        and softcap is None
        and q_THE.shape[-1] <= LARGEST_HEAD
        and kernel() is not None
    )


def varlen_attention(
    q_THE: Tensor, k_XKE: Tensor, v_XKE: Tensor, strip: Strip, *, scale: float, window: int | None
) -> Tensor:
    """Causal self-attention of a strip's tokens, (T of the strip, H, E).

    Args:
        q_THE: queries of all packed tokens.
        k_XKE: keys: those of the prefixes, then those of all packed tokens.
        v_XKE: values, likewise.
        strip: the rows.
        scale: factor on the logits.
        window: how many keys back a query sees, itself included; None: all.
    """
    key_N, edges_q, edges_k = strip.ragged
    out_THE: Tensor = kernel()(
        q_THE[strip.tokens].contiguous(),
        k_XKE[key_N],
        v_XKE[key_N],
        edges_q,
        edges_k,
        strip.query_SL.shape[1],
        strip.key_SM.shape[1],
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=q_THE.shape[1] != k_XKE.shape[1],
        num_splits=1,
    )
    return out_THE
