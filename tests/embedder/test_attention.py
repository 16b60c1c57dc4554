"""Every kernel computes the same attention: written out, by torch's own, by the ragged one."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from embedder import attention as module
from embedder import varlen
from embedder.attention import Rule, causal_attention, last_token_attention
from embedder.packing import FINE, Grain, Packing, Span

HEADS, KEY_HEADS, SIZE = 4, 2, 8
SPANS = {
    "one row": [Span((5,))],
    "equal rows": [Span((4, 4))],
    "unequal rows": [Span((9, 4, 1))],
    "a shared prefix": [Span((5, 3, 1), 4)],
    "two prefixes": [Span((5, 3), 4), Span((6, 2, 2), 7)],
    "longer than a block": [Span((9, 8, 5), 3), Span((2, 2))],
    "branches": [Span((6, 3), 2), Span((2, 3), 2, 0, ((0, 4), (6, 3)))],
}
RULES = [Rule(0.3), Rule(0.3, window=3), Rule(0.3, window=100)]


def rows_by_hand(spans: list[Span]) -> list[list[int]]:
    """For each row the indices of its keys among prefixes and packed tokens, in order."""
    prefixes = sum(span.prefix for span in spans if span.prefix_of is None)
    begins, used = [], 0
    for span in spans:
        if span.prefix_of is None:
            begins.append(used)
            used += span.prefix
        else:
            begins.append(begins[span.prefix_of])
    rows, token = [], 0
    for span, begin in zip(spans, begins, strict=True):
        for i, length in enumerate(span.lengths):
            start, count = span.contexts[i] if span.contexts else (0, 0)
            context = [prefixes + start + j for j in range(count)]
            own = [prefixes + token + j for j in range(length)]
            rows.append([*range(begin, begin + span.prefix), *context, *own])
            token += length
    return rows


def by_hand(q: Tensor, k: Tensor, v: Tensor, spans: list[Span], rule: Rule) -> Tensor:
    """Attention token by token and head by head."""
    lengths = [n for span in spans for n in span.lengths]
    out, token = torch.zeros_like(q), 0
    for keys, length in zip(rows_by_hand(spans), lengths, strict=True):
        for j in range(length):
            seen = keys[: len(keys) - length + j + 1]
            seen = seen if rule.window is None else seen[-rule.window :]
            for head in range(HEADS):
                group = head // (HEADS // KEY_HEADS)
                logit = (k[seen, group] @ q[token, head]) * rule.scale
                if rule.softcap is not None:
                    logit = rule.softcap * torch.tanh(logit / rule.softcap)
                out[token, head] = logit.softmax(0) @ v[seen, group]
            token += 1
    return out


def states(spans: list[Span], grain: Grain = FINE) -> tuple[Packing, Tensor, Tensor, Tensor]:
    packing = Packing.of(spans, grain=grain)
    keys = packing.tokens + sum(span.prefix for span in spans if span.prefix_of is None)
    generator = torch.Generator().manual_seed(1)
    q = torch.randn(packing.tokens, HEADS, SIZE, generator=generator)
    k, v = (torch.randn(keys, KEY_HEADS, SIZE, generator=generator) for _ in range(2))
    return packing, q, k, v


def ragged_kernel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    edges_q: Tensor,
    edges_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
    num_splits: int,
) -> Tensor:
    """What torch's kernel is documented to do, row by row: queries stand at the keys' end."""
    assert (edges_q.dtype, edges_k.dtype) == (torch.int32, torch.int32)
    assert (enable_gqa, num_splits, window_size[1]) == (True, 1, 0)
    out = torch.zeros_like(q)
    for row in range(len(edges_q) - 1):
        (a, b), (c, d) = edges_q[row : row + 2].tolist(), edges_k[row : row + 2].tolist()
        assert b - a <= max_q
        assert d - c <= max_k
        for j in range(b - a):
            position = (d - c) - (b - a) + j
            first = 0 if window_size[0] < 0 else max(0, position - window_size[0])
            for head in range(q.shape[1]):
                group = head // (q.shape[1] // k.shape[1])
                seen = slice(c + first, c + position + 1)
                weight = (k[seen, group] @ q[a + j, head] * scale).softmax(0)
                out[a + j, head] = weight @ v[seen, group]
    return out


CASES = [
    *((kernel, rule) for kernel in ("written out", "torch's", "ragged") for rule in RULES),
    ("written out", Rule(0.3, softcap=2.0)),  # the one kernel that is asked for a soft cap
]


@pytest.mark.parametrize(("kernel", "rule"), CASES, ids=str)
@pytest.mark.parametrize("name", SPANS)
def test_every_kernel_equals_attention_by_hand(
    name: str, kernel: str, rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefixes, contexts, windows, soft caps, shared key heads, rows of any length."""
    if kernel == "ragged":
        monkeypatch.setattr(module, "is_usable", lambda *_: True)
        monkeypatch.setattr(varlen, "kernel", lambda: ragged_kernel)
    if kernel == "torch's":
        monkeypatch.setattr(module, "_blockwise", module._dot_product)
    monkeypatch.setattr(module, "BLOCK", 4)
    packing, q, k, v = states(SPANS[name])
    expected = by_hand(q, k, v, SPANS[name], rule)
    got = torch.cat([causal_attention(q, k, v, strip, rule) for strip in packing.strips])
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", [name for name in SPANS if name != "branches"])
def test_what_is_filled_in_is_read_by_nobody(name: str, rule: Rule) -> None:
    """With sizes rounded up, even infinities in the filling change no token's attention."""
    fine, q, k, v = states(SPANS[name])
    coarse = Packing.of(SPANS[name], grain=Grain(tokens=16, columns=4))
    assert all((s.tokens.stop - s.tokens.start) % 16 == 0 for s in coarse.strips)
    assert all(s.query_SL.shape[1] % 4 == 0 for s in coarse.strips)
    lengths = [n for span in SPANS[name] for n in span.lengths]
    at = torch.cat(
        [torch.arange(a, a + n) for a, n in zip(coarse.start_S.tolist(), lengths, strict=True)]
    )
    prefixes = len(k) - fine.tokens

    def spread(x: Tensor, before: int) -> Tensor:
        wide = torch.full((before + coarse.tokens, *x.shape[1:]), float("nan"))
        wide[:before] = x[:before]
        wide[before + at] = x[before:]
        return wide

    wide = spread(q, 0), spread(k, prefixes), spread(v, prefixes)
    got = torch.cat([causal_attention(*wide, strip, rule) for strip in coarse.strips])
    expected = torch.cat([causal_attention(q, k, v, strip, rule) for strip in fine.strips])
    torch.testing.assert_close(got[at], expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(coarse.position_T[at], fine.position_T)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", SPANS)
def test_the_last_token_alone_equals_its_part_of_the_whole(name: str, rule: Rule) -> None:
    """Its weights add up to one, and lie on the keys it sees."""
    packing, q, k, v = states(SPANS[name])
    expected = by_hand(q, k, v, SPANS[name], rule)[packing.last_S]
    parts = torch.split(q[packing.last_S], [strip.rows for strip in packing.strips])
    for part, strip in zip(parts, packing.strips, strict=True):
        mixed, weight_SHM = last_token_attention(part, k, v, strip, rule)
        rows = slice(strip.first_row, strip.first_row + strip.rows)
        torch.testing.assert_close(mixed, expected[rows], atol=1e-6, rtol=1e-5)
        assert torch.allclose(weight_SHM.sum(-1), torch.tensor(1.0))
        seen_S = (strip.offset_S + strip.length_S).clamp_max(rule.window or 10**6)
        assert (weight_SHM[:, 0] > 0).sum(-1).tolist() == seen_S.tolist()


def test_the_real_ragged_kernel_is_called_as_it_is_defined() -> None:
    """This torch has it, with every argument that we pass; a CPU is never sent there."""
    assert varlen.kernel() is not None
    assert not varlen.is_usable(torch.zeros(1, 1, 8, dtype=torch.bfloat16), None)


def test_positions_go_on_after_prefix_and_context() -> None:
    """Worked example: a prefix of 2, a row of 3, and a branch of 2 after the row's first token."""
    packing = Packing.of([Span((3,), 2), Span((2,), 2, 0, ((0, 1),))])
    assert packing.position_T.tolist() == [2, 3, 4, 3, 4]
    assert packing.strips[1].key_SM.tolist() == [[0, 1, 2, 5, 6]]
    first = packing.first(1)
    assert (first.rows, first.tokens, first.strips[0]) == (1, 3, packing.strips[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SPANS)
def test_the_cuda_kernel_equals_attention_by_hand(name: str) -> None:
    """bfloat16 on a GPU against float32 by hand."""
    _, q, k, v = states(SPANS[name])
    expected = by_hand(q, k, v, SPANS[name], RULES[0])
    device: Any = "cuda"
    on = Packing.of(SPANS[name], device)
    halves = [x.to(device, torch.bfloat16) for x in (q, k, v)]
    got = torch.cat([causal_attention(*halves, strip, RULES[0]) for strip in on.strips])
    assert math.isclose(float((got.float().cpu() - expected).abs().max()), 0, abs_tol=0.05)
