"""Which encoder is meant: known, checked and fingerprinted without weights and without torch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import embedder
from embedder.config import EncoderConfig
from embedder.encoder import Encoder
from embedder.errors import (
    EmbedderError,
    InvalidConfig,
    ModelUnavailable,
    UnsupportedArchitecture,
)
from embedder.prompts import AUXILIARY_TEMPLATE, TEMPLATES
from embedder.specification import EncoderSpecification, specify

ROOT = Path(embedder.__file__ or "").parent.parent
FULL: dict[str, Any] = {
    "template": "eol",
    "query_template": "cot",
    "token_prepending": {"start": 1, "exit": 3},
    "contrastive_prompting": {"layer": 1, "mode": "scaled"},
    "max_tokens": 64,
}
OTHER_VECTORS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "template": {"template": "cot"},
    "query template": {"query_template": "ke"},
    "no query template": {"query_template": None},
    "no tp": {"token_prepending": None},
    "tp start": {"token_prepending": {"start": 2, "exit": 3}},
    "tp exit": {"token_prepending": {"start": 1, "exit": 4}},
    "placeholders": {"token_prepending": {"start": 1, "exit": 3, "placeholders": 2}},
    "on auxiliary": {"token_prepending": {"start": 1, "exit": 3, "on_auxiliary": True}},
    "no cp": {"contrastive_prompting": None},
    "cp layer": {"contrastive_prompting": {"layer": 2, "mode": "scaled"}},
    "cp mode": {"contrastive_prompting": {"layer": 1, "mode": "norm"}},
    "cp strength": {"contrastive_prompting": {"layer": 1, "mode": "scaled", "strength": 2.0}},
    "auxiliary": {
        "contrastive_prompting": {"layer": 1, "mode": "scaled", "auxiliary": "background"}
    },
    "pooling": {"contrastive_prompting": None, "pooling": "mean"},
    "output layer": {"output_layer": -2},
    "dtype": {"dtype": "bfloat16"},
    "max tokens": {"max_tokens": 65},
    "normalise text": {"normalise_text": "papers"},
}


def fingerprint(folder: Path, **changes: Any) -> str:
    return specify(str(folder), {**FULL, **changes}).fingerprint


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


def test_each_setting_that_changes_a_vector_changes_the_fingerprint(
    folders: Mapping[str, Path],
) -> None:
    """No two of these encoders give the same vectors, and no two share a fingerprint."""
    found = {key: fingerprint(folders["llama"], **c) for key, c in OTHER_VECTORS.items()}
    assert len(set(found.values())) == len(OTHER_VECTORS)
    assert all(len(value) == 64 for value in found.values())


def test_every_field_of_the_settings_is_covered_above() -> None:
    """A new field must join the list, or it might be left out of the fingerprint unseen."""
    changed = {field for changes in OTHER_VECTORS.values() for field in changes}
    assert changed == set(EncoderConfig.model_fields)


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
    """Four decoders, four fingerprints."""
    assert len({fingerprint(folder) for folder in folders.values()}) == 4


@pytest.mark.parametrize(
    "same",
    [
        {"template": TEMPLATES["eol"]},
        {"query_template": TEMPLATES["cot"]},
        {"output_layer": 4},
        {
            "contrastive_prompting": {
                "layer": 1,
                "mode": "scaled",
                "auxiliary": AUXILIARY_TEMPLATE.replace("WORDING", "irrelevant information"),
            }
        },
    ],
    ids=["template text", "query template text", "output layer from the front", "auxiliary text"],
)
def test_another_name_for_the_same_setting_is_the_same_encoder(
    folders: Mapping[str, Path], same: dict[str, Any]
) -> None:
    """Templates enter by their text, layers by their index."""
    assert fingerprint(folders["llama"], **same) == fingerprint(folders["llama"])


def test_a_strength_that_the_mode_does_not_read_is_left_out(folders: Mapping[str, Path]) -> None:
    """Norm recovering has no strength: two settings of it are one encoder."""
    one, two = (
        fingerprint(
            folders["llama"],
            contrastive_prompting={"layer": 1, "mode": "norm", "strength": strength},
        )
        for strength in (1.0, 2.0)
    )
    assert one == two


def test_no_query_template_is_the_documents_template(folders: Mapping[str, Path]) -> None:
    """None and the documents' template mean the same."""
    folder = folders["llama"]
    assert fingerprint(folder, query_template=None) == fingerprint(folder, query_template="eol")


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


# -- settings of a folder -----------------------------------------------------------------------


def test_a_folder_without_settings_gets_uncalibrated_ones(folders: Mapping[str, Path]) -> None:
    """By depth: prepending in the first fifth, the last layer of a shallow model, no CP."""
    config = specify(str(folders["llama"])).config
    assert config.token_prepending is not None
    assert (config.token_prepending.start, config.token_prepending.exit) == (1, 2)
    assert (config.output_layer, config.contrastive_prompting) == (-1, None)


def test_a_folder_brings_its_settings_along(copy: Path) -> None:
    """`sextant.json` is read unless settings are given."""
    (copy / "sextant.json").write_text(json.dumps({"template": "cot", "pooling": "mean"}))
    assert specify(str(copy)).config == EncoderConfig(template="cot", pooling="mean")
    assert specify(str(copy), EncoderConfig()).config == EncoderConfig()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "valid dictionary"),
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
        (rewrite(model_type="bert"), UnsupportedArchitecture, "is of type 'bert', which the layer"),
        (rewrite(model_type="gpt2"), UnsupportedArchitecture, "use a decoder of type llama, mistr"),
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


def test_an_empty_folder(tmp_path: Path) -> None:
    """Any folder is taken for a model's, and told what it lacks."""
    with pytest.raises(ModelUnavailable, match=r"has no config\.json"):
        specify(str(tmp_path))


def test_layers_are_checked_before_loading(folders: Mapping[str, Path]) -> None:
    """A setting that does not fit the model's depth fails at the specification."""
    with pytest.raises(InvalidConfig, match="acts at layer 7"):
        specify(str(folders["llama"]), {"contrastive_prompting": {"layer": 7}})


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
