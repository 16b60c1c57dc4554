"""Work is counted from the shape: a count worked out by hand, and a product that is timed."""

import torch

from benchmarks.ceiling import matmul_flops_per_second, needed_flops, row_flops
from benchmarks.shapes import SHAPES, Shape

ONE = Shape(
    family="llama",
    hidden_size=2,
    intermediate_size=3,
    num_hidden_layers=4,
    num_attention_heads=1,
    num_key_value_heads=1,
    head_dim=2,
    vocab_size=1024,
    max_position_embeddings=64,
    tie_word_embeddings=True,
)


def test_a_row_by_hand() -> None:
    """Two new tokens after one known, through one whole layer and the last one's attention."""
    linear = 2 * (2 * 2 * 2 + 3 * 2 * 3)  # q and o, gate, up and down: two FLOPs a weight
    keys_and_values = 2 * 2 * 2 * 2
    attention = 4 * 2 * (2 + 3)  # the first new token sees two keys, the second three
    last = 2 * keys_and_values + 4 * 2 * 3
    expected = 2 * (linear + keys_and_values) + attention + last
    assert row_flops(ONE, 1, 2, whole_layers=1) == expected


def test_needed_work_is_near_two_flops_a_weight_and_token() -> None:
    """A long text in the smallest real shape: the usual rule, with the auxiliary prompt's part."""
    shape = SHAPES["smollm2-135m"]
    weights = 106.2e6  # without the embedding
    rule = 2 * weights * 400 * (28 + 4) / 30
    assert 1.0 < needed_flops(shape, [400]) / rule < 1.2


def test_a_matrix_product_is_timed() -> None:
    """It gives a speed that a processor can have."""
    speed = matmul_flops_per_second(device="cpu", dtype=torch.float32, size=64, repeats=3)
    assert 1e6 < speed < 1e14
