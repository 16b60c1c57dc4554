"""Weights into modules: of every family of decoders, with the attention that each can use."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from embedder.loading import load_model
from embedder.model_files import ModelFiles

SPECIAL = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
WIDE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
FAMILIES: dict[str, tuple[Any, Any, str]] = {
    "llama": (LlamaConfig(**SPECIAL, **WIDE, num_attention_heads=4), LlamaForCausalLM, "sdpa"),
    "gpt2": (GPT2Config(**SPECIAL, n_embd=32, n_layer=2, n_head=4), GPT2LMHeadModel, "sdpa"),
    "gpt_neox": (
        GPTNeoXConfig(**SPECIAL, **WIDE, num_attention_heads=4),
        GPTNeoXForCausalLM,
        "sdpa",
    ),
    # ALiBi, in a code of its own that torch's attention does not replace.
    "bloom": (BloomConfig(**SPECIAL, hidden_size=32, n_layer=2, n_head=4), BloomForCausalLM, "eag"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_with_a_head_gives_its_decoder(
    tmp_path: Path, family: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every weight of the decoder is the checkpoint's; nothing is said, nothing is trainable."""
    config, model_class, attention = FAMILIES[family]
    whole = model_class(config).eval()
    whole.save_pretrained(tmp_path)
    capfd.readouterr()
    model = load_model(tmp_path, dtype=torch.float32)
    assert capfd.readouterr() == ("", "")
    expected = dict(whole.base_model.named_parameters())
    found = dict(model.named_parameters())
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in found.values())
    assert model.config._attn_implementation.startswith(attention)


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_read_off_every_familys_config(tmp_path: Path, family: str) -> None:
    """Whatever it calls them."""
    config, model_class, _ = FAMILIES[family]
    model_class(config).save_pretrained(tmp_path)
    files = ModelFiles(tmp_path)
    assert (files.layers, files.dimension) == (2, 32)
    files.check_architecture()
