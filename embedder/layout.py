"""What rows share, and where their parts lie: between `embedder.tokens` and `embedder.packing`.

Legend: see `embedder.packing`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from embedder.packing import Packing, Span
from embedder.tokens import PLACEHOLDER_ID, Row


def common_prefix(rows: Sequence[Row]) -> int:
    """How many leading tokens of these rows are the template's and the same in all of them."""
    shared = min(min(row.prefix, len(row.ids) - 1) for row in rows)
    while any(row.ids[:shared] != rows[0].ids[:shared] for row in rows):
        shared -= 1
    return shared


def branches(
    group: Sequence[Row], others: Sequence[Row], parent: Span, index: int, begin: int
) -> tuple[Span, list[tuple[int, ...]]]:
    """Auxiliary rows as endings of the normal rows with which they share their beginning.

    Args:
        group: the normal rows.
        others: the auxiliary rows, row for row.
        parent: the normal rows' span.
        index: which span that is.
        begin: packed index of its first token.

    Returns:
        The auxiliary rows' span, and the token ids that are their own.

    Raises:
        ValueError: an auxiliary row does not begin as its normal row does.
    """
    contexts, lengths, own = [], [], []
    start = begin
    for row, other, length in zip(group, others, parent.lengths, strict=True):
        most = min(len(row.ids), len(other.ids) - 1)
        same = next((i for i in range(most) if row.ids[i] != other.ids[i]), most)
        if same < parent.prefix or PLACEHOLDER_ID in other.ids[same:]:
            raise ValueError("an auxiliary row does not begin as its normal row does")
        contexts.append((start, same - parent.prefix))
        own.append(other.ids[same:])
        lengths.append(len(other.ids) - same)
        start += length
    return Span(tuple(lengths), parent.prefix, index, tuple(contexts)), own


def pooled_spans(rows: Sequence[Row], packing: Packing, *, whole: bool) -> tuple[Tensor, Tensor]:
    """First and after-last packed index, int64 (S,), of what is pooled: the text, or all.

    Openings that rows share are not in the packing, so texts are counted from the rows' ends.
    """
    after_S = packing.last_S + 1
    if whole:
        return packing.start_S, after_S
    before_end = [(len(r.ids) - r.text_start, len(r.ids) - r.text_end) for r in rows]
    low_S, high_S = torch.tensor(before_end, device=after_S.device).T
    return after_S - low_S, after_S - high_S


def spread(weights: Sequence[Tensor], packing: Packing) -> Tensor:
    """The last queries' attention, a (S, M) for each strip, laid on the packed tokens, (T,)."""
    parts = []
    for weight_SM, strip in zip(weights, packing.strips, strict=True):
        own_N = weight_SM[:, -strip.query_SL.shape[1] :].flatten()
        parts.append(own_N if strip.cell_T is None else own_N[strip.cell_T])
    return torch.cat(parts)
