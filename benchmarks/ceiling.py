"""How near to the machine's limit: FLOPs that an encoding needs, and a matrix product's speed."""

import time
from collections.abc import Sequence

import torch

from benchmarks.contenders import Layers
from benchmarks.shapes import Shape, build_tokenizer
from embedder.prompts import Template, find_auxiliary, find_template


def matmul_flops_per_second(*, device: str, dtype: torch.dtype, size: int, repeats: int) -> float:
    """The best of `repeats` products of two square matrices, after a warm-up of three."""
    left = torch.randn(size, size, device=device, dtype=dtype)
    right = torch.randn(size, size, device=device, dtype=dtype)
    out = torch.empty_like(left)
    best = float("inf")
    for number in range(repeats + 3):
        _wait(device)
        began = time.perf_counter()
        torch.mm(left, right, out=out)
        _wait(device)
        if number >= 3:
            best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def needed_flops(shape: Shape, lengths: Sequence[int]) -> float:
    """The least FLOPs in which these texts can be encoded with TP and CP (contender c).

    A lower bound, so that the share of the ceiling is one, too. Of a template, what precedes the
    text counts for nothing, since its keys and values need computing once only; in the last layer
    that a row goes through, only the keys and values and the last token's attention count. Norms,
    rotations and the embedding count for nothing.

    Args:
        shape: the model.
        lengths: tokens of each text.
    """
    layers = Layers.of(shape.num_hidden_layers)
    tokenizer = build_tokenizer(shape.vocab_size)

    def around(template: Template, placeholders: int) -> tuple[int, int]:
        before = tokenizer.encode(template.head + template.before).ids  # BOS included
        after = tokenizer.encode(template.after, add_special_tokens=False).ids
        return len(before) + placeholders, len(after)

    before, after = around(find_template("eol"), 1)
    aux_before, aux_after = around(find_auxiliary("irrelevant"), 0)
    total = 0.0
    for length in lengths:
        # The output layer is the last but one: hidden_states[-2] is what layer L-2 gives out.
        total += row_flops(shape, before, length + after, whole_layers=shape.num_hidden_layers - 2)
        total += row_flops(shape, aux_before, length + aux_after, whole_layers=layers.cp)
    return total


def row_flops(shape: Shape, known: int, new: int, *, whole_layers: int) -> float:
    """FLOPs of `new` tokens after `known` ones, whose keys and values are there already."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    queries = shape.num_attention_heads * shape.head_dim
    keys_and_values = 2 * shape.num_key_value_heads * shape.head_dim
    own = 2 * hidden * (2 * queries + 3 * inner)  # q, o, and the MLP's three
    shared = 2 * hidden * keys_and_values
    per_key = 4 * queries  # a logit, and a weighted value
    seen = new * known + new * (new + 1) / 2
    whole = new * (own + shared) + per_key * seen
    last = new * shared + per_key * (known + new)
    return whole_layers * whole + last


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
