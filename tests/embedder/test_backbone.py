"""What the layer loop asks of a model before it runs it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from embedder.backbone import Backbone
from embedder.config import EncoderConfig
from embedder.errors import UnsupportedArchitecture
from embedder.tokens import Row


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("llama", {}, 256),
        ("mistral", {"sliding_window": 128}, 256),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 10000.0,
                    "short_factor": [1.0] * 4,
                    "long_factor": [2.0] * 4,
                    "original_max_position_embeddings": 100,
                }
            },
            100,
        ),
    ],
)
def test_rows_stay_within_positions(
    kind: str, changes: dict[str, Any], expected: int, decoder_builder: Callable[..., Any]
) -> None:
    """The bound is the position table, or LongRoPE's shorter range, above which a row's neighbours
    would change its vector. An attention window is no bound: it is applied.
    """
    assert Backbone(decoder_builder(kind, 400, **changes)).max_positions == expected


@pytest.mark.parametrize("length", [7, 8, 9, 20, 300])
@torch.inference_mode()
def test_rows_beyond_the_window_are_exact(length: int, decoder_builder: Callable[..., Any]) -> None:
    """With a window of 8, shorter and longer rows agree with transformers, by every kernel."""
    model = decoder_builder("mistral", 400, sliding_window=8, max_position_embeddings=512)
    backbone = Backbone(model)
    rows = [Row(tuple(range(10, 10 + n)), prefix=4) for n in (length, 6)]
    got = backbone.forward(rows, EncoderConfig())
    for row, vector in zip(rows, got, strict=True):
        expected = model(torch.tensor([row.ids])).last_hidden_state[0, -1]
        assert float((vector - expected).abs().max()) < 1e-5


def test_encoder_only_models_are_refused() -> None:
    """BERT has other layers than the loop knows: an error that names what it covers."""
    model = BertModel(
        BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
        )
    )
    with pytest.raises(UnsupportedArchitecture, match=r"'bert'.*llama, mistral, qwen2, qwen3"):
        Backbone(model)


def test_the_placeholder_is_seeded_and_of_the_embeddings_scale(
    decoder_builder: Callable[..., Any],
) -> None:
    """Its initial vector is no random draw: torch's own generator neither feeds nor feels it."""
    first = Backbone(decoder_builder("llama", 400))
    state = torch.get_rng_state()
    vector = first.placeholder()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert torch.equal(vector, Backbone(decoder_builder("llama", 400)).placeholder())
    scale = first.model.embed_tokens.weight.square().mean().sqrt()
    assert 0.5 < float(vector.square().mean().sqrt() / scale) < 2


def test_auxiliary_rows_come_with_cp_and_only_then(decoder_builder: Callable[..., Any]) -> None:
    """CP without auxiliary rows, or the other way round, is a caller's mistake."""
    backbone = Backbone(decoder_builder("llama", 400))
    row = Row((0, 5))
    with pytest.raises(ValueError, match="1 auxiliary rows came, 0 are needed"):
        backbone.forward([row], EncoderConfig(), [row])
    cp = EncoderConfig.model_validate({"contrastive_prompting": {"layer": 0}})
    with pytest.raises(ValueError, match="0 auxiliary rows came, 1 are needed"):
        backbone.forward([row], cp)


@torch.inference_mode()
def test_packing_leaves_the_callers_rows_alone(decoder_builder: Callable[..., Any]) -> None:
    """Rows of different lengths side by side equal the same rows each alone."""
    backbone = Backbone(decoder_builder("qwen3", 400))
    rows = [Row((0, 5, 6)), Row((0,)), Row(tuple(range(3, 40)))]
    together = backbone.forward(rows, EncoderConfig())
    for row, vector in zip(rows, together, strict=True):
        alone = backbone.forward([row], EncoderConfig())[0]
        torch.testing.assert_close(vector, alone, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_an_opening_is_computed_once(decoder_builder: Callable[..., Any]) -> None:
    """Keys and values of a template's opening are kept, and deepened when more layers are asked."""
    backbone = Backbone(decoder_builder("llama", 400))
    rows = [Row((0, 7, 8, 20 + i, 30), prefix=3) for i in range(3)]
    shallow = backbone.forward(rows, EncoderConfig(output_layer=2))
    kept = backbone._prefixes[0, 7, 8]
    assert len(kept) == 2
    backbone.forward(rows, EncoderConfig())
    assert len(backbone._prefixes[0, 7, 8]) == 4
    again = backbone.forward(rows, EncoderConfig(output_layer=2))
    assert torch.equal(shallow, again)
    assert list(backbone._prefixes) == [(0, 7, 8)]


@torch.inference_mode()
def test_a_row_whose_opening_merged_differently_shares_less(
    decoder_builder: Callable[..., Any],
) -> None:
    """What rows claim to share is looked at: only what is the same is shared."""
    backbone = Backbone(decoder_builder("llama", 400))
    rows = [Row((0, 7, 8, 20), prefix=3), Row((0, 7, 9, 20), prefix=3), Row((0, 7), prefix=2)]
    got = backbone.forward(rows, EncoderConfig())
    for row, vector in zip(rows, got, strict=True):
        plain = backbone.forward([Row(row.ids)], EncoderConfig())[0]
        torch.testing.assert_close(vector, plain, atol=1e-5, rtol=0)


def test_training_shares_nothing_and_has_gradients(decoder_builder: Callable[..., Any]) -> None:
    """While weights move, an opening's keys and values would be stale."""
    model = decoder_builder("llama", 400).requires_grad_(requires_grad=True)
    backbone = Backbone(model)
    rows = [Row((0, 7, 8, 20 + i), prefix=3) for i in range(2)]
    backbone.forward(rows, EncoderConfig()).sum().backward()
    assert not backbone._prefixes
    assert all(p.grad is not None for p in model.layers[0].self_attn.parameters())
