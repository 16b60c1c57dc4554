"""Which encoder is meant: known, checked and fingerprinted without weights and without torch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import embedder
from embedder.config import ContrastivePrompting, EncoderConfig, TokenPrepending
from embedder.encoder import Encoder
from embedder.errors import (
    EmbedderError,
    InvalidConfig,
    ModelUnavailable,
    UnsupportedArchitecture,
)
from embedder.model_files import ModelFiles
from embedder.presets import UNCALIBRATED
from embedder.prompts import AUXILIARY_TEMPLATE, TEMPLATES, auxiliary_text
from embedder.specification import EncoderSpecification, dtype_reason, specify

ROOT = Path(embedder.__file__ or "").parent.parent
FULL: dict[str, Any] = {
    "template": "eol",
    "query_template": "cot",
    "token_prepending": {"start": 1, "exit": 3},
    "contrastive_prompting": {"layer": 1, "mode": "scaled"},
    "max_tokens": 128,
}
CK = {"template": "ck", "query_template": None}
MEAN = {"contrastive_prompting": None, "pooling": "mean"}


def tp(**changes: Any) -> dict[str, Any]:
    return {"token_prepending": {**FULL["token_prepending"], **changes}}


def cp(**changes: Any) -> dict[str, Any]:
    return {"contrastive_prompting": {**FULL["contrastive_prompting"], **changes}}


OTHER_VECTORS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # A field of the settings; settings before, on top of FULL; what changes on top of those.
    "template": ({}, {"template": "cot"}),
    "query_template": ({}, {"query_template": "ke"}),
    "token_prepending": ({}, {"token_prepending": None}),
    "token_prepending.start": ({}, tp(start=2)),
    "token_prepending.exit": ({}, tp(exit=4)),
    "token_prepending.placeholders": ({}, tp(placeholders=2)),
    "token_prepending.position": ({}, tp(position="in_quote")),
    "token_prepending.prompts": (CK, tp(prompts=[1])),
    "token_prepending.on_auxiliary": ({}, tp(on_auxiliary=True)),
    "contrastive_prompting": ({}, {"contrastive_prompting": None}),
    "contrastive_prompting.layer": ({}, cp(layer=2)),
    "contrastive_prompting.strength": ({}, cp(strength=2.0)),
    "contrastive_prompting.mode": ({}, cp(mode="scaled_norm")),
    "contrastive_prompting.auxiliary": ({}, cp(auxiliary="background")),
    "contrastive_prompting.shared_context": ({}, cp(shared_context=True)),
    "pooling": ({"contrastive_prompting": None}, {"pooling": "mean"}),
    "pool_prompt": (MEAN, {"pool_prompt": True}),
    "output_layer": ({}, {"output_layer": -2}),
    "adapter": ({}, {"adapter": "ADAPTER"}),
    "merge_adapter": ({"adapter": "ADAPTER"}, {"merge_adapter": True}),
    "dtype": ({}, {"dtype": "bfloat16"}),
    "max_tokens": ({}, {"max_tokens": 129}),
    "normalise_text": ({}, {"normalise_text": "papers"}),
    "dimensions": ({}, {"dimensions": 16}),
    "precision": ({}, {"precision": "int8"}),
}
NEUTRAL = {"on_overflow": ({}, {"on_overflow": "error"})}
"""An error instead of a vector is no other vector."""

SAME_VECTORS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "template text": ({}, {"template": TEMPLATES["eol"]}),
    "query template text": ({}, {"query_template": TEMPLATES["cot"]}),
    "template in a list": ({}, {"template": ["eol"]}),
    "multi-prompt written out": (CK, {"template": ["cot", TEMPLATES["ke"]]}),
    "no query template is the documents'": (
        {"query_template": None},
        {"query_template": "eol"},
    ),
    "output layer from the front": ({}, {"output_layer": 4}),
    "all prompts named": (CK, tp(prompts=[0, 1])),
    "order of prompts": ({**CK, **tp(prompts=[0, 1])}, tp(prompts=[1, 0])),
    "position spelled in the template": (
        tp(position="in_quote"),
        {
            "template": 'This sentence : "<PST>{}" means in one word:"',
            "query_template": TEMPLATES["cot"].replace(" <PST>", "").replace("{}", "<PST>{}"),
            **tp(position="template"),
        },
    ),
    "a place for placeholders that are not there": (
        {"token_prepending": None},
        {"template": TEMPLATES["eol"].replace(" <PST>", "")},
    ),
    "prepending beyond the output layer": ({"output_layer": 3, **tp(exit=3)}, tp(exit=4)),
    "auxiliary text": (
        {},
        cp(auxiliary=AUXILIARY_TEMPLATE.replace("WORDING", "irrelevant information")),
    ),
    "auxiliary without its placeholder": (
        {},
        cp(auxiliary=auxiliary_text("irrelevant", shared=False).replace(" <PST>", "")),
    ),
    "strength of norm": (cp(mode="norm"), cp(mode="norm", strength=3.0)),
    "strength of sub_head_norm": (cp(mode="sub_head_norm"), cp(mode="sub_head_norm", strength=3)),
    "on_auxiliary without CP": ({"contrastive_prompting": None}, tp(on_auxiliary=True)),
    "merging no adapter": ({}, {"merge_adapter": True}),
    "prompt of the last token": ({}, {"pool_prompt": True}),
    "all dimensions": ({}, {"dimensions": 32}),
    "all dimensions of last_mean": (
        {"contrastive_prompting": None, "pooling": "last_mean"},
        {"dimensions": 64},
    ),
}


def fingerprint(folder: Path, **changes: Any) -> str:
    return specify(str(folder), {**FULL, **changes}).fingerprint


def write_adapter(folder: Path, *, scale: float = 1.0, **changes: Any) -> Path:
    """A LoRA adapter in peft's format, written without peft."""
    folder.mkdir(exist_ok=True)
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_"
    ones = {"A.weight": np.ones((2, 32)), "B.weight": np.ones((32, 2))}
    tensors = {f"{name}{k}": np.float32(scale * v) for k, v in ones.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    settings["layers_to_transform"] = [1]
    (folder / "adapter_config.json").write_text(json.dumps({**settings, **changes}))
    return folder


def line(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, which must be one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def copy(folders: Mapping[str, Path], tmp_path: Path) -> Path:
    """A model folder to be spoilt."""
    return Path(shutil.copytree(folders["llama"], tmp_path / "model"))


# -- the fingerprint ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of rank 2 on one query projection of the tiny decoders."""
    return write_adapter(tmp_path_factory.mktemp("adapter"))


def pair(
    folder: Path, adapter: Path, before: dict[str, Any], changes: dict[str, Any]
) -> tuple[str, str]:
    """Fingerprints before and after a change."""
    first, second = (
        {k: str(adapter) if v == "ADAPTER" else v for k, v in settings.items()}
        for settings in (before, {**before, **changes})
    )
    return fingerprint(folder, **first), fingerprint(folder, **second)


@pytest.mark.parametrize("field", OTHER_VECTORS)
def test_a_setting_that_changes_vectors_changes_the_fingerprint(
    folders: Mapping[str, Path], adapter: Path, field: str
) -> None:
    """Each field by itself."""
    before, after = pair(folders["llama"], adapter, *OTHER_VECTORS[field])
    assert before != after
    assert len(before) == len(after) == 64


def test_no_two_other_settings_share_a_fingerprint(
    folders: Mapping[str, Path], adapter: Path
) -> None:
    """Nor does one change look like another."""
    plain = [changes for before, changes in OTHER_VECTORS.values() if not before]
    found = {pair(folders["llama"], adapter, {}, changes)[1] for changes in plain}
    assert len(found) == len(plain)


def test_every_field_of_the_settings_is_covered_above() -> None:
    """A new field must join a list, or it might be left out of the fingerprint unseen."""
    fields = set(EncoderConfig.model_fields)
    fields |= {f"token_prepending.{field}" for field in TokenPrepending.model_fields}
    fields |= {f"contrastive_prompting.{field}" for field in ContrastivePrompting.model_fields}
    assert set(OTHER_VECTORS) | set(NEUTRAL) == fields


@pytest.mark.parametrize("case", [*SAME_VECTORS.values(), *NEUTRAL.values()], ids=str)
def test_another_spelling_of_the_same_settings_is_the_same_encoder(
    folders: Mapping[str, Path], adapter: Path, case: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """Templates enter by their text, layers by their index, and what cannot matter not at all."""
    before, after = pair(folders["llama"], adapter, *case)
    assert before == after


def vectors(folder: Path, adapter: Path, settings: dict[str, Any]) -> list[Any]:
    """A short and a long text, as document and as query."""
    own = {k: str(adapter) if v == "ADAPTER" else v for k, v in {**FULL, **settings}.items()}
    encoder = Encoder(specify(str(folder), own), device="cpu")
    texts = ["A cat sat", "word " * 200]
    return [a.tolist() for a in (encoder.encode_document(texts), encoder.encode_query(texts))]


@pytest.mark.parametrize("field", OTHER_VECTORS)
def test_what_changes_the_fingerprint_changes_a_vector(
    folders: Mapping[str, Path], adapter: Path, field: str
) -> None:
    """The fingerprint refuses no encoder for nothing."""
    before, changes = OTHER_VECTORS[field]
    folder = folders["llama"]
    assert vectors(folder, adapter, before) != vectors(folder, adapter, {**before, **changes})


@pytest.mark.parametrize("name", SAME_VECTORS)
def test_what_leaves_the_fingerprint_leaves_every_vector(
    folders: Mapping[str, Path], adapter: Path, name: str
) -> None:
    """Up to rounding: vectors cut to all their components are normalised twice."""
    before, changes = SAME_VECTORS[name]
    folder = folders["llama"]
    first, second = (vectors(folder, adapter, s) for s in (before, {**before, **changes}))
    np.testing.assert_allclose(np.array(first), np.array(second), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_other_bytes_in_the_model_change_the_fingerprint(copy: Path, name: str) -> None:
    """One byte of the weights, the tokenizer or the config is enough."""
    before = fingerprint(copy)
    path = copy / name
    content = bytearray(path.read_bytes())
    if name == "model.safetensors":
        content[-1] ^= 1
    else:
        content += b"\n"
    path.write_bytes(content)
    assert fingerprint(copy) != before


def test_architectures_differ(folders: Mapping[str, Path]) -> None:
    """As many fingerprints as decoders."""
    assert len({fingerprint(folder) for folder in folders.values()}) == len(folders)


def test_the_folders_name_and_other_files_do_not_matter(copy: Path) -> None:
    """A copied or renamed folder, with a README beside the weights, is the same encoder."""
    before = fingerprint(copy)
    moved = copy.rename(copy.parent / "elsewhere")
    (moved / "README.md").write_text("Notes.")
    assert fingerprint(moved) == before


def test_an_encoder_has_its_specifications_fingerprint(
    encoder_of: Callable[..., Encoder], folders: Mapping[str, Path]
) -> None:
    """What is compared before loading is what the loaded encoder says of itself."""
    encoder = encoder_of("llama", **FULL)
    assert encoder.fingerprint == fingerprint(folders["llama"])


def test_description_finds_the_same_encoder(folders: Mapping[str, Path]) -> None:
    """What a collection keeps is enough, after a way through JSON."""
    first = specify(str(folders["qwen3"]), FULL)
    again = specify(**json.loads(json.dumps(first.describe())))
    assert again.fingerprint == first.fingerprint


def test_it_needs_no_torch(folders: Mapping[str, Path]) -> None:
    """Name to fingerprint, with every check, in a process that never imports torch."""
    code = (
        "import sys; from embedder.specification import specify; "
        "print(specify(sys.argv[1]).fingerprint); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'tokenizers')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folders["llama"])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == specify(str(folders["llama"])).fingerprint


# -- an adapter ---------------------------------------------------------------------------------


def test_an_adapter_enters_by_its_digest(folders: Mapping[str, Path], tmp_path: Path) -> None:
    """Where it lies and how it was trained do not matter; its weights and scale do."""
    name = str(folders["llama"])

    def of(folder: Path) -> str:
        return specify(name, {"adapter": str(folder)}).fingerprint

    first = of(write_adapter(tmp_path / "a"))
    trained = {"lora_dropout": 0.1, "base_model_name_or_path": "x", "target_modules": "q.*"}
    assert of(write_adapter(tmp_path / "b", **trained)) == first
    others = [
        of(write_adapter(tmp_path / "c", scale=2.0)),
        of(write_adapter(tmp_path / "d", lora_alpha=8)),
        of(write_adapter(tmp_path / "e", use_rslora=True)),
        specify(name).fingerprint,
    ]
    assert len({first, *others}) == 5


def test_a_description_has_the_adapters_absolute_path(
    folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection is searched from other working folders, too."""
    write_adapter(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    first = specify(str(folders["llama"]), EncoderConfig(adapter="a"))
    by_hand = EncoderSpecification("by hand", first.files, EncoderConfig(adapter="a"))
    assert by_hand.describe()["config"]["adapter"] == str(tmp_path / "a")
    monkeypatch.chdir("/")
    again = specify(**json.loads(json.dumps(first.describe())))
    assert again.fingerprint == first.fingerprint == by_hand.fingerprint


def test_an_adapter_is_checked_before_loading(folders: Mapping[str, Path], tmp_path: Path) -> None:
    """A folder that is not there fails at the specification."""
    with pytest.raises(ModelUnavailable, match=r"adapter folder '.*nowhere' does not exist"):
        specify(str(folders["llama"]), {"adapter": str(tmp_path / "nowhere")})


# -- settings of a folder -----------------------------------------------------------------------


def test_a_folder_without_settings_gets_uncalibrated_ones(folders: Mapping[str, Path]) -> None:
    """By depth: prepending in the first fifth, the last layer of a shallow model, no CP."""
    config = specify(str(folders["llama"])).config
    assert config.token_prepending is not None
    assert (config.token_prepending.start, config.token_prepending.exit) == (1, 2)
    assert (config.output_layer, config.contrastive_prompting) == (-1, None)
    assert specify(str(folders["llama"])).source == UNCALIBRATED


@pytest.mark.parametrize(
    ("stored", "expected", "reason"),
    [
        ({"dtype": "bfloat16"}, "bfloat16", "bfloat16: the weights are bfloat16"),
        ({"torch_dtype": "bfloat16", "dtype": None}, "bfloat16", "bfloat16: the weights are bfl"),
        ({"dtype": "float16"}, "bfloat16", "bfloat16: the weights are float16, which overflows an"),
        ({"dtype": "float32"}, "float32", "float32: the weights are float32"),
        ({"dtype": "torch.float32"}, "float32", "float32: the weights are float32"),
        ({"dtype": None}, "float32", "float32: config.json names no dtype"),
        ({"dtype": 16}, "float32", "float32: config.json names no dtype"),
    ],
)
def test_the_number_format_follows_the_weights(
    copy: Path, stored: dict[str, Any], expected: str, reason: str
) -> None:
    """Half precision computes in bfloat16, everything else in float32; and it is said why."""
    rewrite(**stored)(copy)
    found = specify(str(copy))
    assert found.config.dtype == expected
    assert dtype_reason(found.files, found.config).startswith(reason)


@pytest.mark.parametrize(
    ("dtype", "reason"),
    [
        ("float16", "float16: set so, while the weights are float32, and ends at 65504"),
        ("bfloat16", "bfloat16: set so, while the weights are float32"),
        ("float32", "float32: the weights are float32"),
    ],
)
def test_a_number_format_that_was_set_is_called_so(
    folders: Mapping[str, Path], dtype: str, reason: str
) -> None:
    """The reason is the settings', not the model's."""
    found = specify(str(folders["llama"]), {"dtype": dtype})
    assert dtype_reason(found.files, found.config) == reason


def test_a_folder_brings_its_settings_along(copy: Path) -> None:
    """`sextant.json` is read unless settings are given; an adapter in it lies in the folder."""
    write_adapter(copy / "adapter")
    (copy / "sextant.json").write_text(json.dumps({"template": "cot", "adapter": "adapter"}))
    found = specify(str(copy))
    assert found.config == EncoderConfig(template="cot", adapter=str(copy / "adapter"))
    assert found.source == "sextant.json of the model"
    assert specify(str(copy), EncoderConfig()).config == EncoderConfig()
    assert specify(str(copy), EncoderConfig()).source == "given"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "sextant.json' holds []; expected a mapping of settings"),
        ('{"pooling": "max"}', "'max' is not allowed"),
        ('{"output_layer": 9}', "output_layer 9 is beyond this model of 4 layers"),
    ],
)
def test_wrong_settings_in_a_folder(copy: Path, content: str, message: str) -> None:
    """The folder's settings are checked as the user's own."""
    (copy / "sextant.json").write_text(content)
    with pytest.raises(InvalidConfig) as caught:
        specify(str(copy))
    assert message in line(caught)


# -- what cannot be an encoder ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["starte", "no such/folder/here", "../nowhere", "a b/c", "\x00"])
def test_an_unknown_name(name: str) -> None:
    """Neither preset nor folder nor hub id: the three are named."""
    with pytest.raises(InvalidConfig) as caught:
        specify(name)
    text = line(caught)
    assert repr(name) in text
    assert "expected a preset (starter, " in text
    assert "OWNER/NAME" in text


def remove(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lose_a_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def rewrite(**changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "config.json"
        config = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))

    return write


def garble(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text("{") and None


@pytest.mark.parametrize(
    ("spoil", "expected", "message"),
    [
        (remove("config.json"), ModelUnavailable, "has no config.json; expected a transformers"),
        (remove("model.safetensors"), ModelUnavailable, "has no weights; expected *.safetensors"),
        (remove("tokenizer.json"), ModelUnavailable, "no tokenizer.json; expected a fast tokeniz"),
        (pickle_only, ModelUnavailable, "only pickled weights (pytorch_model.bin); expected *.saf"),
        (lose_a_shard, ModelUnavailable, "lacks 1 of 2 weights files (model-00002-of-00002."),
        (garble("model.safetensors.index.json"), ModelUnavailable, "is not an index of weights"),
        (garble("config.json"), ModelUnavailable, "cannot be read as JSON"),
        (rewrite(model_type=None), ModelUnavailable, "names no model_type"),
        (rewrite(num_hidden_layers=None), ModelUnavailable, "has num_hidden_layers None; expected"),
        (rewrite(num_hidden_layers="4"), ModelUnavailable, "has num_hidden_layers '4'; expected"),
        (
            rewrite(model_type="bert"),
            UnsupportedArchitecture,
            "is of type 'bert', which reads in",
        ),
        (rewrite(model_type="t5"), UnsupportedArchitecture, "Sextant needs a decoder-only model"),
        (rewrite(model_type=["llama"]), UnsupportedArchitecture, "is of type ['llama']"),
    ],
)
def test_a_folder_that_is_no_usable_model(
    copy: Path, spoil: Callable[[Path], None], expected: type[EmbedderError], message: str
) -> None:
    """Missing, unsafe, partial, or of another architecture: one line, before anything is loaded."""
    spoil(copy)
    with pytest.raises(expected) as caught:
        specify(str(copy))
    text = line(caught)
    assert message in text
    assert str(copy) in text


@pytest.mark.parametrize(
    "kind",
    [
        *("bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "electra", "deberta-v2"),
        *("albert", "modernbert", "nomic_bert", "xlnet", "t5", "mt5", "bart", "whisper-like"),
    ],
)
def test_what_reads_in_both_directions_is_no_encoder_here(copy: Path, kind: str) -> None:
    """Encoders and encoder-decoders, by name or, where the name is new, by what they say of
    themselves.
    """
    rewrite(model_type=kind, is_encoder_decoder=kind == "whisper-like")(copy)
    with pytest.raises(UnsupportedArchitecture, match=rf"type '{kind}', which reads in both dire"):
        specify(str(copy))


@pytest.mark.parametrize(
    "flag",
    [
        {"model_type": "gemma3_text", "use_bidirectional_attention": True},
        {"model_type": "qwen3", "is_causal": False},
        {"model_type": "newbert", "architectures": ["NewBertForMaskedLM"]},
    ],
)
def test_a_decoder_turned_into_an_encoder_is_recognised(copy: Path, flag: dict[str, Any]) -> None:
    """EmbeddingGemma, for one, has a decoder's type and reads in both directions."""
    rewrite(**flag)(copy)
    with pytest.raises(UnsupportedArchitecture, match="which reads in both directions"):
        specify(str(copy))


@pytest.mark.parametrize(
    ("kind", "own", "instead"),
    [
        ("gemma3", "gemma3_text", "google/gemma-3-1b-pt"),
        ("qwen2_5_vl", "qwen2_5_vl_text", "Qwen/Qwen3-0.6B-Base"),
        ("llava", "llama", "meta-llama/Llama-3.2-1B"),
        ("new_vlm", None, "Qwen/Qwen3-0.6B-Base"),
    ],
)
def test_a_multimodal_model_is_told_from_its_text_part(
    copy: Path, kind: str, own: str | None, instead: str
) -> None:
    """The message names a model of the family that reads text alone."""
    rewrite(model_type=kind, text_config={"model_type": own, "hidden_size": 32})(copy)
    with pytest.raises(UnsupportedArchitecture) as caught:
        specify(str(copy))
    assert f"is of type {kind!r}, a multimodal model around a decoder of type" in line(caught)
    assert f"use the text-only model, such as {instead}" in line(caught)


@pytest.mark.parametrize("kind", ["gpt2", "falcon", "a_decoder_of_2030"])
def test_a_decoder_that_the_loop_does_not_know_may_be_specified(copy: Path, kind: str) -> None:
    """Whether it can be run shows when it is loaded."""
    rewrite(model_type=kind)(copy)
    assert specify(str(copy)).files.layers == 4


@pytest.mark.parametrize(
    ("layers", "dimension"),
    [("n_layer", "n_embd"), ("num_layers", "d_model"), ("n_layers", "d_model")],
)
def test_sizes_are_found_under_their_other_names(copy: Path, layers: str, dimension: str) -> None:
    """GPT-2 and its relatives name them differently."""
    path = copy / "config.json"
    config = json.loads(path.read_text())
    config[layers], config[dimension] = config.pop("num_hidden_layers"), config.pop("hidden_size")
    path.write_text(json.dumps(config))
    found = ModelFiles.in_folder(copy)
    assert (found.layers, found.dimension) == (4, 32)


def test_an_empty_folder(tmp_path: Path) -> None:
    """Any folder is taken for a model's, and told what it lacks."""
    with pytest.raises(ModelUnavailable, match=r"has no config\.json"):
        specify(str(tmp_path))


def test_layers_are_checked_before_loading(folders: Mapping[str, Path]) -> None:
    """A setting that does not fit the model's depth fails at the specification."""
    with pytest.raises(InvalidConfig, match="acts at layer 7"):
        specify(str(folders["llama"]), {"contrastive_prompting": {"layer": 7}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dimensions": 33}, "dimensions 33 cannot be kept of vectors with 32; use 1 to 32"),
        ({"dimensions": 65, "pooling": "last_mean"}, "of vectors with 64; use 1 to 64"),
        (
            {"dimensions": 20, "precision": "binary"},
            "precision 'binary' packs 8 components into a byte, 20 are no multiple of 8; use dim",
        ),
    ],
)
def test_dimensions_are_checked_before_loading(
    folders: Mapping[str, Path], settings: dict[str, Any], message: str
) -> None:
    """More components than there are, or bits that fill no byte."""
    with pytest.raises(InvalidConfig) as caught:
        specify(str(folders["llama"]), settings)
    assert message in line(caught)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 32),
        ({"pooling": "last_mean"}, 64),
        ({"pooling": "last_mean", "dimensions": 40}, 40),
        ({"dimensions": 8, "precision": "binary"}, 8),
    ],
)
def test_the_dimension_is_known_before_loading(
    folders: Mapping[str, Path], settings: dict[str, Any], expected: int
) -> None:
    """Components of a vector, whatever number of bits each has."""
    assert specify(str(folders["llama"]), settings).dimension == expected


def test_a_specification_is_checked_however_it_is_built(folders: Mapping[str, Path]) -> None:
    """Building it by hand is no way around the checks."""
    whole = specify(str(folders["llama"]))
    with pytest.raises(InvalidConfig, match="output_layer 9"):
        EncoderSpecification("by hand", whole.files, EncoderConfig(output_layer=9))


# -- the hub ------------------------------------------------------------------------------------

BLOCK = """
import socket, sys
def refuse(*args, **kwargs): raise OSError("network is blocked")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from embedder.errors import ModelUnavailable
from embedder.specification import specify
try:
    specify(sys.argv[1])
except ModelUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("nobody/nothing", {"HF_HUB_OFFLINE": "1"}),
        ("nobody/nothing", {}),
        ("nobody/nothing", {"HTTPS_PROXY": "http://127.0.0.1:9"}),
        ("nobody/no--thing", {}),
        ("llama-3-8b", {"HF_HUB_OFFLINE": "1"}),
    ],
    ids=["offline", "blocked", "proxy", "no hub id", "preset"],
)
def test_a_model_that_cannot_be_fetched(
    name: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """Not cached and no network: one line, at once, however the network is missing."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, name],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=60,
        env={"HF_HOME": str(tmp_path), "PATH": "", **environment},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    assert "is not cached and cannot be fetched (" in lines[0]
    assert "give a local folder, or fetch it where there is a network" in lines[0]


def test_a_cached_model_needs_no_network(
    folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cache holds whole is used as it is; what it holds in part is fetched."""
    import huggingface_hub

    asked: list[bool] = []

    def snapshot(hub_id: str, *, allow_patterns: list[str], local_files_only: bool = False) -> str:
        asked.append(local_files_only)
        assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in allow_patterns)
        return str(cached if local_files_only else folders["llama"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    cached = folders["llama"]
    assert specify("owner/name").files.folder == cached
    assert asked == [True]
    cached = cached.parent  # holds no config.json
    assert specify("owner/name").files.folder == folders["llama"]
    assert asked == [True, True, False]
