"""Which modules an adapter is put on, for each family, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import GPT2Config, GPT2Model, GPTNeoXConfig, GPTNeoXModel

from embedder.adapter_files import AdapterFiles
from embedder.errors import InvalidConfig
from embedder.specification import EncoderSpecification
from embedder.tuning.lora import find_targets, put_lora, save_adapter
from tests.embedder.conftest import DECODERS

GATED = {"q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
FUSED = {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}


def lasts(names: list[str]) -> set[str]:
    return {name.rpartition(".")[2] for name in names}


@pytest.mark.parametrize("kind", DECODERS)
def test_the_papers_modules_by_the_names_of_each_family(
    kind: str, decoder_builder: Callable[..., Any], tokenizer: Tokenizer
) -> None:
    model = decoder_builder(kind, tokenizer.get_vocab_size())
    found = find_targets(model, 4)
    assert lasts(found) == (FUSED if kind == "phi3" else GATED)
    assert len(found) == 4 * len(lasts(found))


@pytest.mark.parametrize(
    ("config", "model", "names"),
    [
        (
            GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=9),
            GPT2Model,
            {"c_attn", "c_proj", "c_fc"},
        ),
        (
            GPTNeoXConfig(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=8,
                vocab_size=9,
            ),
            GPTNeoXModel,
            {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
        ),
    ],
)
def test_other_decoders_too(config: Any, model: Any, names: set[str], tmp_path: Path) -> None:
    """What comes of it is an adapter that the encoder takes for one of its own."""
    built = model(config)
    found = find_targets(built, 2)
    assert lasts(found) == names
    settings = put_lora(built, found, rank=2, alpha=4, dropout=0.0, seed=0)
    trained = {n: p.detach() for n, p in built.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * len(found)
    save_adapter(settings, trained, tmp_path, base="x", rank=2)
    files = AdapterFiles.in_folder(tmp_path)
    assert len(files.names) == len(trained)
    files._check_method()


def test_layers_above_the_output_layer_get_none(
    decoder_builder: Callable[..., Any], tokenizer: Tokenizer
) -> None:
    found = find_targets(decoder_builder("llama", tokenizer.get_vocab_size()), 2)
    assert {name.split(".")[1] for name in found} == {"0", "1"}


def test_wanted_modules_must_be_there(
    decoder_builder: Callable[..., Any], tokenizer: Tokenizer
) -> None:
    model = decoder_builder("phi3", tokenizer.get_vocab_size())
    assert lasts(find_targets(model, 4, ["o_proj"])) == {"o_proj"}
    with pytest.raises(InvalidConfig, match=r"names 'q_proj', which this model does not have; cho"
                       "ose from down_proj, gate_up_proj, o_proj, qkv_proj"):  # fmt: skip
        find_targets(model, 4, ["o_proj", "q_proj"])


def test_no_usual_name_is_an_error_that_names_what_is_there(
    decoder_builder: Callable[..., Any], tokenizer: Tokenizer
) -> None:
    model = decoder_builder("llama", tokenizer.get_vocab_size())
    for layer in model.layers:
        layer.mlp = nn.ModuleDict({"mixer": nn.Linear(2, 2)})
        layer.self_attn = nn.ModuleDict({"reader": nn.Linear(2, 2)})
    with pytest.raises(InvalidConfig, match="name them in lora_modules: mixer, reader"):
        find_targets(model, 4)


def test_an_adapter_begins_as_nothing_the_same_by_the_same_seed(
    decoder_builder: Callable[..., Any], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        model = decoder_builder("llama", tokenizer.get_vocab_size())
        put_lora(model, find_targets(model, 4), rank=3, alpha=6, dropout=0.1, seed=seed)
        return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}

    one, same, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    firsts = [name for name in one if "lora_A" in name]
    assert not any(torch.equal(one[name], other[name]) for name in firsts)
    assert all(bool((one[name] == 0).all()) for name in one if "lora_B" in name)
    assert all(value.dtype == torch.float32 for value in one.values())


def test_the_adapters_files_say_what_it_is(
    base_of: Callable[..., EncoderSpecification],
    decoder_builder: Callable[..., Any],
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    model = decoder_builder("phi3", tokenizer.get_vocab_size())
    settings = put_lora(model, find_targets(model, 4), rank=3, alpha=6, dropout=0.1, seed=1)
    trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    save_adapter(settings, trained, tmp_path, base="some/base", rank=3)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (written["r"], written["lora_alpha"], written["lora_dropout"]) == (3, 6, 0.1)
    assert written["base_model_name_or_path"] == "some/base"
    files = AdapterFiles.in_folder(tmp_path)
    files.check(base_of("phi3").files)
    with pytest.raises(InvalidConfig, match=r"some/base|hidden size"):
        files.check(_wider(base_of))


def _wider(base_of: Callable[..., EncoderSpecification]) -> Any:
    """Files of a model with another hidden size."""
    import dataclasses

    files = base_of("phi3").files
    wide = dataclasses.replace(files)
    wide.__dict__["architecture"] = {**files.architecture, "hidden_size": 64}
    return wide
