"""A vector belongs to its text alone: not to the batch, the order, the neighbours or the thread."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedder.encoder import Encoder

BOTH: dict[str, Any] = {
    "token_prepending": {"start": 1, "exit": 3},
    "contrastive_prompting": {"layer": 1},
}
MEAN: dict[str, Any] = {"token_prepending": {"start": 1, "exit": 3}, "pooling": "mean"}
TEXTS = [
    "A cat.",
    "The dog looked at the cat on the mat, and the bank kept its rate in March.",
    "",
    "a",
    "Ein kleiner Hund läuft über die Straße.",
    "🦊🧿 emoji at the end 🧿",
    "Prices rose. " * 30,
]
BFLOAT16_COSINE = 0.998
"""Stated bound: in bfloat16 a text's vectors in two batches have at least this cosine. Tiny random
decoders are a hard case: their states lack the large common directions of trained ones."""

relaxed = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("plan", [BOTH, MEAN], ids=["both", "mean"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_one_by_one_equals_all_at_once(
    kind: str, plan: dict[str, Any], encoder_of: Callable[..., Encoder]
) -> None:
    """Batch size does not change a vector (float32: 1e-5)."""
    encoder = encoder_of(kind, **plan)
    together = encoder.encode(TEXTS)
    apart = np.stack([encoder.encode(text) for text in TEXTS])
    assert np.abs(together - apart).max() < 1e-5


@given(order=st.permutations(range(len(TEXTS))), budget=st.sampled_from([1, 70, 150, 8192]))
@relaxed
def test_order_and_packing_do_not_change_a_vector(
    order: list[int], budget: int, encoder_of: Callable[..., Encoder]
) -> None:
    """Any order under any token budget gives each text the vector that it has elsewhere."""
    encoder = encoder_of("llama", **BOTH)
    expected = encoder.encode(TEXTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "_budget", budget)
        got = encoder.encode([TEXTS[i] for i in order])
    assert np.abs(got - expected[order]).max() < 1e-5


@given(neighbours=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60)))
@relaxed
def test_neighbours_do_not_change_a_vector(
    neighbours: list[str], encoder_of: Callable[..., Encoder]
) -> None:
    """Whatever else is in the batch, a text keeps its vector; all are finite and of length 1."""
    encoder = encoder_of("mistral", **BOTH)
    vectors = encoder.encode([*neighbours, TEXTS[1]])
    assert np.abs(vectors[-1] - encoder.encode(TEXTS[1])).max() < 1e-5
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_bfloat16_moves_by_rounding_only(kind: str, encoder_of: Callable[..., Encoder]) -> None:
    """In bfloat16 the batch's shape changes rounding, and no more: the cosine stays high."""
    encoder = encoder_of(kind, dtype="bfloat16", **BOTH)
    together = encoder.encode(TEXTS)
    apart = np.stack([encoder.encode(text) for text in TEXTS])
    assert together.dtype == np.float32
    assert (together * apart).sum(axis=1).min() > BFLOAT16_COSINE


def test_two_threads_agree_with_one(encoder_of: Callable[..., Encoder]) -> None:
    """One encoder may serve several threads at once."""
    encoder = encoder_of("qwen2", **BOTH)
    expected = encoder.encode(TEXTS)
    with ThreadPoolExecutor(2) as pool:
        for got in pool.map(encoder.encode, [TEXTS] * 4):
            assert np.abs(got - expected).max() < 1e-5


def test_a_vector_does_not_depend_on_the_load(
    encoder_of: Callable[..., Encoder], folders: dict[str, Any]
) -> None:
    """Loading again, after other random numbers were drawn, gives the same vectors to the bit."""
    encoder = encoder_of("llama", **BOTH)
    torch.rand(5)
    again = Encoder.load(str(folders["llama"]), encoder.config, device="cpu")
    assert np.array_equal(encoder.encode(TEXTS), again.encode(TEXTS))
