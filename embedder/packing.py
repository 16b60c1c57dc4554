"""Packed sequences: many token rows laid end to end, with no padding outside attention.

A row's queries may see more keys than its own tokens: a **prefix**, which many rows share and whose
keys and values were computed once, or a **context**, the opening of another row of the same batch.
All of this is index arithmetic, done once a batch; `embedder.attention` only gathers.

Where every new size costs, strips are filled up to a multiple of tokens, and their rows to a
multiple of columns: nothing reads what is filled in.

Legend: `S` sequences (rows), `T` packed tokens, `L` the longest row, `M` the most keys that a row
sees, `X` keys there are: prefixes, then packed tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Grain:
    """Sizes are rounded up to multiples of these."""

    tokens: int = 1
    """Of the tokens of a strip."""
    columns: int = 1
    """Of the cells of a row."""


FINE: Final = Grain()


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of one prompt that lie next to each other: what a strip is made of."""

    lengths: tuple[int, ...]
    """Own tokens of each row, at least 1."""
    prefix: int = 0
    """Tokens of the prefix that all these rows share."""
    prefix_of: int | None = None
    """Index of the span whose prefix these rows see; None: they have their own."""
    contexts: tuple[tuple[int, int], ...] = ()
    """Where rows go on from other rows: for each the packed index at which its context begins, and
    its length. Empty: they do not. Keys are in the order prefix, context, own."""

    def tokens(self, grain: Grain = FINE) -> int:
        """Packed tokens of these rows, with what is filled in after them."""
        return _up(sum(self.lengths), grain.tokens)


@dataclass(frozen=True)
class Strip:
    """Rows laid side by side for attention."""

    tokens: slice
    """Their packed tokens, and what is filled in after them."""
    query_SL: Tensor
    """int64: packed index of each query's cell; past a row's end, its last token's."""
    full: bool
    """Whether every cell is a token of its own."""
    cell_T: Tensor | None
    """int64: cell of each of the strip's tokens in the flattened (S * L), any for what is filled
    in; None: every cell."""
    key_SM: Tensor
    """int64: index of each key's cell among all X keys; past a row's end, its last token's."""
    offset_S: Tensor
    """int64 (S,): how many keys stand before a row's own first one."""
    length_S: Tensor
    """int64 (S,): own tokens of each row."""
    even: bool
    """Whether all offsets are equal, so that one mask serves every row."""
    first_row: int
    """Index in the batch of the strip's first row."""

    @property
    def rows(self) -> int:
        """S of this strip."""
        return self.query_SL.shape[0]

    @cached_property
    def _biases(self) -> dict[tuple[int | None, bool], Tensor]:
        return {}

    def bias(self, window: int | None) -> Tensor:
        """What to add to logits: 0 where a query sees a key, else minus infinity.

        Float32 (L, M), or (S, 1, L, M) where offsets differ.

        Args:
            window: a query sees that many keys back, itself included; None: all.
        """
        key = (window, False)
        if key not in self._biases:
            columns_L = torch.arange(self.query_SL.shape[1], device=self.key_SM.device)
            keys_M = torch.arange(self.key_SM.shape[1], device=self.key_SM.device)
            offset = self.offset_S[:1] if self.even else self.offset_S
            position_SL1 = (offset[:, None] + columns_L)[:, :, None]
            seen_SLM = keys_M <= position_SL1
            if window is not None:
                seen_SLM &= keys_M > position_SL1 - window
            self._biases[key] = _as_bias(seen_SLM[0] if self.even else seen_SLM[:, None])
        return self._biases[key]

    def last_bias(self, window: int | None) -> Tensor:
        """The same for each row's last query: float32 (S, M)."""
        key = (window, True)
        if key not in self._biases:
            keys_M = torch.arange(self.key_SM.shape[1], device=self.key_SM.device)
            end_S1 = (self.offset_S + self.length_S)[:, None]
            seen_SM = keys_M < end_S1
            if window is not None:
                seen_SM &= keys_M >= end_S1 - window
            self._biases[key] = _as_bias(seen_SM)
        return self._biases[key]

    @cached_property
    def ragged(self) -> tuple[Tensor, Tensor, Tensor]:
        """The rows without padding, for variable-length kernels.

        Indices of all rows' keys end to end, int64; edges of the rows among queries and among
        keys, int32 (S + 1,).
        """
        seen_S = self.offset_S + self.length_S
        column_M = torch.arange(self.key_SM.shape[1], device=self.key_SM.device)
        key_N = self.key_SM[column_M < seen_S[:, None]]
        edges = [F.pad(n.cumsum(0), (1, 0)).to(torch.int32) for n in (self.length_S, seen_S)]
        return key_N, edges[0], edges[1]

    def hides(self, window: int | None) -> bool:
        """Whether that window hides any key from any of these rows."""
        return window is not None and self.key_SM.shape[1] > window


@dataclass(frozen=True)
class Packing:
    """Where each row lies in the packed tensor, and its strips for attention."""

    strips: tuple[Strip, ...]
    start_S: Tensor
    """int64 (S,): packed index of each row's first token."""
    last_S: Tensor
    """int64 (S,): packed index of each row's last token."""
    position_T: Tensor
    """int64 (T,): position of each token in its row, prefix and context counted."""
    tokens: int
    """T."""

    @classmethod
    def of(
        cls, spans: Sequence[Span], device: torch.device | str = "cpu", *, grain: Grain = FINE
    ) -> "Packing":
        """Lay the rows of these spans end to end; prefixes are joined in the spans' order."""
        prefixes = [0, *accumulate(s.prefix if s.prefix_of is None else 0 for s in spans)]
        strips, starts, positions = [], [], []
        row = token = 0
        for index, span in enumerate(spans):
            begin = prefixes[index if span.prefix_of is None else span.prefix_of]
            tokens = slice(token, token + span.tokens(grain))
            start_S, strip, position_T = _strip(
                span, tokens, row, begin, shift=prefixes[-1], columns=grain.columns
            )
            strips.append(_to(strip, device))
            starts.append(start_S)
            positions.append(position_T)
            row, token = row + len(span.lengths), tokens.stop
        start_S = torch.cat(starts)
        length_S = torch.tensor([n for span in spans for n in span.lengths])
        return cls(
            tuple(strips),
            start_S.to(device),
            (start_S + length_S - 1).to(device),
            torch.cat(positions).to(device),
            token,
        )

    @property
    def rows(self) -> int:
        """S."""
        return len(self.last_S)

    def first(self, strips: int) -> "Packing":
        """The packing of the first strips alone; keys are indexed as before."""
        if strips == len(self.strips):
            return self
        rows, tokens = self.strips[strips].first_row, self.strips[strips].tokens.start
        return Packing(
            self.strips[:strips],
            self.start_S[:rows],
            self.last_S[:rows],
            self.position_T[:tokens],
            tokens,
        )


def _strip(
    span: Span, tokens: slice, first_row: int, prefix_start: int, *, shift: int, columns: int
) -> tuple[Tensor, Strip, Tensor]:
    """The packed index of each row's first token, the strip on the CPU, its tokens' positions."""
    length_S = torch.tensor(span.lengths, dtype=torch.int64)
    start_S = tokens.start + length_S.cumsum(0) - length_S
    last_S = start_S + length_S - 1
    longest = _up(int(length_S.max()), columns)
    column_L = torch.arange(longest)
    query_SL = torch.minimum(start_S[:, None] + column_L, last_S[:, None])
    real_SL = column_L < length_S[:, None]
    full = bool(real_SL.all())
    cell_T = real_SL.flatten().nonzero().squeeze(1)
    filled = tokens.stop - tokens.start - len(cell_T)
    prefix_P = torch.arange(prefix_start, prefix_start + span.prefix)
    offset_S = torch.full_like(length_S, span.prefix)
    later_SM = query_SL
    if span.contexts:
        begin_S, context_S = torch.tensor(span.contexts, dtype=torch.int64).T
        key_M = torch.arange(_up(int((context_S + length_S).max()), columns))
        own_SM = torch.minimum(start_S[:, None] + key_M - context_S[:, None], last_S[:, None])
        later_SM = torch.where(key_M < context_S[:, None], begin_S[:, None] + key_M, own_SM)
        offset_S = offset_S + context_S
    key_SM = torch.cat((prefix_P.expand(len(length_S), -1), later_SM + shift), dim=1)
    position_T = (cell_T % longest) + offset_S.repeat_interleave(length_S)
    strip = Strip(
        tokens=tokens,
        query_SL=query_SL,
        full=full,
        cell_T=None if full and not filled else F.pad(cell_T, (0, filled)),
        key_SM=key_SM,
        offset_S=offset_S,
        length_S=length_S,
        even=not span.contexts,
        first_row=first_row,
    )
    return start_S, strip, F.pad(position_T, (0, filled))


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _as_bias(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, float("-inf"))


def _to(strip: Strip, device: torch.device | str) -> Strip:
    return Strip(
        strip.tokens,
        strip.query_SL.to(device),
        strip.full,
        None if strip.cell_T is None else strip.cell_T.to(device),
        strip.key_SM.to(device),
        strip.offset_S.to(device),
        strip.length_S.to(device),
        strip.even,
        strip.first_row,
    )
