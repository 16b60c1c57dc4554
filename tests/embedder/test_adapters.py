"""LoRA adapters: on our base model they do what they did in training, or they are refused."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)

from embedder.adapter_files import AdapterFiles
from embedder.adapters import attach_adapter
from embedder.config import EncoderConfig
from embedder.encoder import Encoder
from embedder.errors import InvalidConfig, ModelUnavailable
from embedder.loading import load_model
from embedder.model_files import ModelFiles
from embedder.specification import specify

pytestmark = [
    # What peft's own model says while it is trained and saved; ours says nothing.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.* LoRA tensor.s. have invalid shape"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning"),
]

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "attention_bias": True,
}
LINEAR = ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Q0 = "model.layers.0.self_attn.q_proj"

ON_EITHER: dict[str, dict[str, Any]] = {
    "usual": {"target_modules": LINEAR},
    "all linear layers": {"target_modules": "all-linear", "use_rslora": True},
    "bias of its own": {"target_modules": ["q_proj"], "lora_bias": True},
    "dora": {"target_modules": ["q_proj", "down_proj"], "use_dora": True},
}
ON_A_HEAD: dict[str, dict[str, Any]] = {
    "some layers": {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    "a pattern with the decoder's name": {"target_modules": r"model\.layers\.[01]\..*\.v_proj"},
    "ranks by full name": {
        "target_modules": ["q_proj"],
        "rank_pattern": {Q0: 2},
        "alpha_pattern": {Q0: 64},
    },
    "a head, which no vector goes through": {"target_modules": ["q_proj", "lm_head"]},
}
CASES = [(True, name) for name in (*ON_EITHER, *ON_A_HEAD)] + [(False, n) for n in ON_EITHER]


def train(model: Any, folder: Path, **settings: Any) -> list[Tensor]:
    """Save model and a random adapter of peft's; returns the adapted hidden states of `ids()`."""
    base = model.base_model if model.base_model is not model else model
    base.save_pretrained(folder / "model")
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, **settings)
    adapted = get_peft_model(model, config).eval()
    generator = torch.Generator().manual_seed(3)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data.copy_(parameter.data * (1 + 0.3 * noise) + 0.1 * noise)
    adapted.save_pretrained(str(folder / "adapter"))
    for module in adapted.modules():  # DoRA keeps norms from before the noise
        getattr(module, "_dora_cache", {}).clear()
    with torch.no_grad():
        return list(adapted(input_ids=ids(), output_hidden_states=True).hidden_states)


def ids() -> Tensor:
    return torch.randint(0, 100, (3, 11), generator=torch.Generator().manual_seed(5))


def states(model: Any) -> list[Tensor]:
    with torch.no_grad():
        return list(model(input_ids=ids(), output_hidden_states=True).hidden_states)


def random(model: Any) -> Any:
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(1 + 0.2 * noise if "norm" in name else 0.25 * noise)
    return model.eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, list[Tensor]]]:
    """`trained(head, name)`: folder with `model` and `adapter`, and the adapted states by peft."""
    done: dict[tuple[bool, str], tuple[Path, list[Tensor]]] = {}

    def get(head: bool = True, name: str = "usual") -> tuple[Path, list[Tensor]]:
        if (head, name) not in done:
            folder = tmp_path_factory.mktemp("adapter")
            model = random((LlamaForCausalLM if head else LlamaModel)(LlamaConfig(**SHAPE)))
            found = train(model, folder, **{**ON_EITHER, **ON_A_HEAD}[name])
            done[head, name] = (folder, found)
        return done[head, name]

    return get


@pytest.fixture
def copy(trained: Callable[..., tuple[Path, list[Tensor]]], tmp_path: Path) -> Path:
    """A folder with `model` and `adapter`, to be spoilt."""
    return Path(shutil.copytree(trained()[0], tmp_path / "copy"))


def settings_of(folder: Path, **changes: Any) -> None:
    path = folder / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def tensors_of(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    path = folder / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def attach(folder: Path, *, merge: bool = False, dtype: torch.dtype = torch.float32) -> Any:
    model = load_model(folder / "model", dtype=dtype)
    return attach_adapter(model, folder / "adapter", merge=merge)


# -- what it does -------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "beside"])
@pytest.mark.parametrize(("head", "name"), CASES)
def test_an_adapter_does_what_it_did_in_training(
    trained: Callable[..., tuple[Path, list[Tensor]]], head: bool, name: str, merge: bool
) -> None:
    """Every hidden state is peft's own, whether it was trained with a head on the model or not."""
    folder, expected = trained(head, name)
    AdapterFiles.in_folder(folder / "adapter").check(ModelFiles(folder / "model"))
    found = states(attach(folder, merge=merge))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    plain = states(load_model(folder / "model", dtype=torch.float32))
    assert (plain[-1] - found[-1]).abs().max() > 0.01


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "beside"])
def test_an_adapter_on_another_family(tmp_path: Path, merge: bool) -> None:
    """GPT-2 calls its decoder `transformer` and keeps its weights transposed."""
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=100, n_positions=64)
    config.bos_token_id = config.eos_token_id = 0
    settings = {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}
    expected = train(random(GPT2LMHeadModel(config)), tmp_path, **settings)
    model = attach(tmp_path, merge=merge)
    assert isinstance(model, GPT2Model)
    torch.testing.assert_close(states(model)[-1], expected[-1], rtol=1e-5, atol=1e-5)
    AdapterFiles.in_folder(tmp_path / "adapter").check(ModelFiles(tmp_path / "model"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("merge", [True, False], ids=["merged", "beside"])
def test_what_is_left_is_frozen_and_of_one_dtype(
    trained: Callable[..., tuple[Path, list[Tensor]]], merge: bool, dtype: torch.dtype
) -> None:
    """Without dropout, without gradients; merged, without a trace of peft."""
    model = attach(trained()[0], merge=merge, dtype=dtype)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(isinstance(m, torch.nn.Dropout) for m in model.modules())
    query = type(model.layers[0].self_attn.q_proj)
    assert (query is torch.nn.Linear) == merge
    assert any("lora" in name for name, _ in model.named_parameters()) != merge


def test_attaching_draws_no_random_numbers(
    trained: Callable[..., tuple[Path, list[Tensor]]],
) -> None:
    """A caller's seed gives what it gave without an adapter."""
    folder = trained()[0]
    model = load_model(folder / "model", dtype=torch.float32)
    before = torch.get_rng_state()
    attach_adapter(model, folder / "adapter", merge=False)
    assert torch.equal(before, torch.get_rng_state())


def test_an_encoder_with_an_adapter(
    folders: Mapping[str, Path], decoder_builder: Callable[..., Any], tmp_path: Path
) -> None:
    """Merged and beside give the same vectors, and other ones than no adapter."""
    train(decoder_builder("llama", 400), tmp_path, target_modules=LINEAR)
    texts = ["A cat.", "The dog looked at the cat."]
    adapter = str(tmp_path / "adapter")
    settings: list[dict[str, Any]] = [{}, {"adapter": adapter}, {"adapter": adapter}]
    settings = [{"max_tokens": 64, **s} for s in settings]
    settings[2]["merge_adapter"] = True
    specified = [specify(str(folders["llama"]), EncoderConfig(**s)) for s in settings]
    plain, beside, merged = (
        torch.from_numpy(Encoder(s, device="cpu").encode_document(texts)) for s in specified
    )
    torch.testing.assert_close(beside, merged, rtol=1e-4, atol=1e-5)
    assert (plain - beside).abs().max() > 0.01
    assert len({s.fingerprint for s in specified}) == 3


# -- what is refused before loading -------------------------------------------------------------


def check(folder: Path) -> None:
    AdapterFiles.in_folder(folder / "adapter").check(ModelFiles(folder / "model"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: shutil.rmtree(f), "does not exist; give a folder with adapter_config.json"),
        (lambda f: (f / "adapter_config.json").unlink(), "has no adapter_config.json; expected a"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "has no weights; expected adapter_"),
        (
            lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
            "has only pickled weights (adapter_model.bin); expected adapter_model.safetensors",
        ),
        (lambda f: (f / "adapter_config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "is no JSON object"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"x"), "cannot be read ("),
    ],
)
def test_files_that_are_no_adapter(copy: Path, spoil: Callable[[Path], Any], message: str) -> None:
    """Missing, unsafe or damaged: one line, without peft and without weights."""
    spoil(copy / "adapter")
    with pytest.raises(ModelUnavailable) as caught:
        check(copy)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "is of peft_type 'IA3'; use a LoRA adapter"),
        ({"peft_type": None}, "is of peft_type None"),
        ({"modules_to_save": ["embed_tokens"]}, 'has modules_to_save ["embed_tokens"], which is m'),
        ({"bias": "all"}, 'has bias "all", which is more than plain LoRA; train it without'),
        ({"trainable_token_indices": [1]}, "has trainable_token_indices [1]"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "has layer_replication"),
        ({"a_field_of_2030": {"on": True}}, 'has a_field_of_2030 {"on": true}'),
        ({"init_lora_weights": "pissa"}, "'pissa', which changes the model's own weights"),
    ],
)
def test_what_is_more_than_plain_lora(copy: Path, changes: dict[str, Any], message: str) -> None:
    """Nothing that changes a vector is passed over in silence, not even what is still unknown."""
    settings_of(copy, **changes)
    with pytest.raises(InvalidConfig) as caught:
        check(copy)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": []},
        {"init_lora_weights": "gaussian"},
        {"a_field_of_2030": None},
        {"a_field_of_2030": False},
    ],
)
def test_what_changes_no_vector_is_let_through(copy: Path, changes: dict[str, Any]) -> None:
    """The head's own weights, how training began, and fields that are not set."""
    settings_of(copy, **changes)
    check(copy)
    attach(copy)


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.embed_tokens.weight",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.model.layers.0.input_layernorm.weight",
        "something.else",
    ],
)
def test_tensors_that_are_no_lora_weights(copy: Path, name: str) -> None:
    """Embeddings and whole modules."""
    tensors_of(copy, lambda tensors: tensors.update({name: torch.ones(2, 2)}))
    with pytest.raises(InvalidConfig, match=f"holds '{name}', which is no LoRA weight"):
        check(copy)


def test_an_adapter_of_the_head_alone(copy: Path) -> None:
    """It would change nothing."""

    def only_head(tensors: dict[str, Tensor]) -> None:
        tensors.clear()
        tensors["base_model.model.lm_head.lora_A.weight"] = torch.ones(4, 32)

    tensors_of(copy, only_head)
    with pytest.raises(InvalidConfig, match="changes no layer of the decoder; leave it out"):
        check(copy)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"hidden_size": 64}, "was made for hidden size 32, this model has 64; use the model it"),
        ({"num_hidden_layers": 2}, "has weights for layer 2, this model has 2 layers, counted fr"),
    ],
)
@pytest.mark.parametrize("target", ["q_proj", "down_proj"])
def test_an_adapter_for_another_size(
    tmp_path: Path, model: dict[str, Any], message: str, target: str
) -> None:
    """Seen from the shapes of its weights, whichever side faces the hidden state."""
    train(LlamaForCausalLM(LlamaConfig(**SHAPE)), tmp_path, target_modules=[target])
    settings_of(tmp_path, base_model_name_or_path="some/model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **model}))
    with pytest.raises(InvalidConfig) as caught:
        check(tmp_path)
    assert message in str(caught.value)
    assert "(some/model)" in str(caught.value)


# -- what is refused while it is put on ---------------------------------------------------------

A0 = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def renamed(old: str, new: str) -> Callable[[dict[str, Tensor]], None]:
    def rename(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[name.replace(old, new)] = tensors.pop(name)

    return rename


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(A0), "1 weights do not fit (model.layers.0.self_attn.q_proj.lora_A.def"),
        (renamed("layers.0.self_attn.q_proj", "layers.0.self_attn.k_proj"), "4 weights do not"),
        (renamed("base_model.model.model", "base_model.model.decoder"), "has no 'decoder.layers."),
        (renamed("q_proj", "query"), "this model has no 'model.layers.0.self_attn.query'"),
        (lambda t: t.update({A0: torch.ones(3, 32)}), "size mismatch for model.layers.0.self_att"),
    ],
    ids=["lost", "elsewhere", "another decoder", "unknown module", "another rank"],
)
def test_every_weight_finds_its_place_and_every_place_its_weight(
    copy: Path, change: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    """An adapter that is put on in part would pass for the whole."""
    tensors_of(copy, change)
    with pytest.raises(InvalidConfig) as caught:
        attach(copy)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_that_peft_does_not_take(copy: Path) -> None:
    """Its complaint comes as ours."""
    settings_of(copy, r=-1)
    with pytest.raises(InvalidConfig, match="cannot be put on this model: "):
        attach(copy)


def test_an_adapter_that_breaks_the_weights(copy: Path) -> None:
    """Merging NaN into a model is noticed at once."""
    tensors_of(copy, lambda tensors: tensors[A0].fill_(float("nan")))
    with pytest.raises(InvalidConfig, match="NaNs detected in the merged weights"):
        attach(copy, merge=True)
