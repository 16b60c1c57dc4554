"""The public encoder over decoders that the layer loop does not cover."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BloomConfig, BloomModel, GPT2Config, GPT2Model, GPTNeoXConfig, GPTNeoXModel

from embedder.encoder import Encoder
from embedder.hooked import HookedBackbone
from embedder.prompts import MULTI_PROMPTS

SETTINGS: dict[str, Any] = {
    "token_prepending": {"start": 1, "exit": 2},
    "contrastive_prompting": {"layer": 1},
    "max_tokens": 200,
}
TEXTS = ["A cat.", "The dog looked at the cat on the mat.", ""]
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gpt_neox": (
        GPTNeoXConfig,
        GPTNeoXModel,
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    ),
    "gpt2": (GPT2Config, GPT2Model, {"n_embd": 32, "n_layer": 3, "n_head": 4}),
    "bloom": (BloomConfig, BloomModel, {"hidden_size": 32, "n_layer": 3, "n_head": 4}),
}


@pytest.fixture(params=MODELS)
def folder(request: pytest.FixtureRequest, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    config_class, model_class, shape = MODELS[request.param]
    if request.param == "gpt_neox":
        shape = {**shape, "intermediate_size": 48}
    torch.manual_seed(3)
    model = model_class(config_class(**shape, vocab_size=tokenizer.get_vocab_size()))
    model.save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_the_encoder_falls_back_to_hooks(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line in the log, and the same contract: shapes, unit length, no batch in a vector.

    Story: Bloom states no positions, and its folder ended in a traceback.
    """
    with caplog.at_level(logging.WARNING):
        encoder = Encoder.load(str(folder), SETTINGS, device="cpu")
    assert isinstance(encoder.backbone, HookedBackbone)
    assert sum("is not covered by the layer loop" in r.message for r in caplog.records) == 1
    together = encoder.encode(TEXTS)
    assert together.shape == (3, 32)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    apart = np.stack([encoder.encode(text) for text in TEXTS])
    assert np.abs(together - apart).max() < 1e-5
    several = Encoder.load(str(folder), {**SETTINGS, "template": "ck"}, device="cpu")
    states = [
        Encoder.load(str(folder), {**SETTINGS, "template": key}, device="cpu").encode(
            TEXTS, normalize_embeddings=False
        )
        for key in MULTI_PROMPTS["ck"]
    ]
    mean = np.mean(states, axis=0)
    got = several.encode(TEXTS, normalize_embeddings=False)
    assert np.abs(got - mean).max() / np.abs(mean).max() < 1e-5
