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
        ("mistral", {"sliding_window": 128}, 128),
        ("mistral", {"sliding_window": None}, 256),
        ("mistral", {"sliding_window": 4096}, 256),
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
        ("qwen2", {"sliding_window": 64, "use_sliding_window": False}, 256),
        ("qwen3", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 0}, 64),
    ],
)
def test_rows_stay_within_positions_and_window(
    kind: str, changes: dict[str, Any], expected: int, decoder_builder: Callable[..., Any]
) -> None:
    """The bound is the position table, or what is smaller: the attention window where one is in
    use, or LongRoPE's shorter range, above which a row's neighbours would change its vector.
    """
    assert Backbone(decoder_builder(kind, 400, **changes)).max_positions == expected


@torch.inference_mode()
def test_a_row_as_long_as_the_window_sees_all_of_it(decoder_builder: Callable[..., Any]) -> None:
    """With a window of 8 a row of 8 is exact; a row of 9 is not, hence the bound."""
    model = decoder_builder("mistral", 400, sliding_window=8)
    backbone = Backbone(model)
    for length, exact in ((8, True), (9, False)):
        ids = tuple(range(10, 10 + length))
        got = backbone.forward([Row(ids)], EncoderConfig())[0]
        expected = model(torch.tensor([ids])).last_hidden_state[0, -1]
        assert bool((got - expected).abs().max() < 1e-5) is exact


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
    with pytest.raises(ValueError, match="1 rows, 1 auxiliary rows, CP is None"):
        backbone.forward([row], EncoderConfig(), [row])
    cp = EncoderConfig.model_validate({"contrastive_prompting": {"layer": 0}})
    with pytest.raises(ValueError, match="1 rows, 0 auxiliary rows"):
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
