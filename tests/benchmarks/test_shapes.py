"""The random models have the published dimensions and load wherever a real one does."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks import shapes
from benchmarks.shapes import SHAPES, build_tokenizer, write_model
from embedder.prompts import find_auxiliary, find_template


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("smollm2-135m", 134.5),
        ("qwen3-0.6b", 596.0),
        ("llama-3.2-1b", 1235.8),
        ("llama-3-8b", 8030.3),
    ],
)
def test_a_shape_has_its_models_parameters(name: str, millions: float) -> None:
    """As many as the published model has, to a tenth of a million."""
    config = SHAPES[name].config()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert round(model.num_parameters() / 1e6, 1) == millions


def test_a_folder_loads_whole_in_transformers(folder: Path) -> None:
    """No tensor is missing, none is left over, and none is zero or the same as another."""
    _, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tensors = load_file(folder / "model.safetensors")
    matrices = [t for t in tensors.values() if t.dim() == 2]
    assert all(t.dtype == torch.bfloat16 for t in matrices)
    assert all(abs(float(t.float().std()) - 0.15) < 0.01 for t in matrices)
    assert len({tuple(t.flatten()[:8].tolist()) for t in matrices}) == len(matrices)
    embedding = tensors["model.embed_tokens.weight"]
    assert len(embedding.unique(dim=0)) == len(embedding)


def test_large_models_come_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the weights are cut up, they are the same weights."""
    write_model(SHAPES["tiny"], tmp_path / "one")
    monkeypatch.setattr(shapes, "SHARD_BYTES", 100_000)
    write_model(SHAPES["tiny"], tmp_path / "many")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    one = AutoModelForCausalLM.from_pretrained(tmp_path / "one").state_dict()
    many = AutoModelForCausalLM.from_pretrained(tmp_path / "many").state_dict()
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_the_tokenizer_is_the_same_in_transformers(folder: Path) -> None:
    """Beginning of sequence included, and padding is known."""
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs = AutoTokenizer.from_pretrained(folder)
    text = find_template("eol").render("bada bade")
    assert theirs(text)["input_ids"] == own.encode(text).ids
    assert theirs.pad_token_id == 2
    assert own.encode(text).ids[0] == theirs.bos_token_id == 0


@pytest.mark.parametrize("name", SHAPES)
def test_a_prompt_is_as_long_as_with_a_real_tokenizer(name: str) -> None:
    """Words of the templates are single tokens, and one id stays free for the placeholder."""
    tokenizer = build_tokenizer(SHAPES[name].vocab_size)
    assert tokenizer.get_vocab_size() < SHAPES[name].vocab_size
    eol = tokenizer.encode(find_template("eol").render("bada"))
    assert eol.tokens == [
        *("<s>", "This", "Ġsentence", "Ġ:", 'Ġ"', "bada"),
        *('"', "Ġmeans", "Ġin", "Ġone", "Ġword", ':"'),
    ]
    auxiliary = tokenizer.encode(find_auxiliary("irrelevant").render("bada"))
    assert len(auxiliary.ids) == len(eol.ids) + 4
