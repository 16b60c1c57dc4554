"""Presets: each says where its settings come from, fits its model, and may be a user's own file."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from embedder.config import EncoderConfig
from embedder.errors import InvalidConfig
from embedder.model_files import HUB_ID, ModelFiles
from embedder.presets import (
    PRESET_FILE,
    PRESETS,
    STARTER,
    STARTER_FOLDER,
    UNCALIBRATED,
    find_preset,
    uncalibrated,
)
from embedder.specification import check_config, folder_settings, specify

# -- built in -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fits_its_model(name: str) -> None:
    """Its layers lie in the model, its model is the bundled one or a hub's, its source is named."""
    preset = PRESETS[name]
    assert preset.layers is not None
    assert 1 <= preset.config.resolve_output_layer(preset.layers) <= preset.layers
    assert name == STARTER or HUB_ID.fullmatch(preset.model)
    assert 20 < len(preset.source) <= 60  # a cell of `sextant encoders list`
    assert check_config(json.loads(preset.config.model_dump_json())) == preset.config


@pytest.mark.parametrize(
    ("name", "start", "exit_layer", "output", "template"),
    [
        ("llama-2-7b", 1, 7, 27, "eol"),
        ("llama-2-13b", 1, 7, 39, "cot"),
        ("llama-3-8b", 1, 3, 31, "cot"),
        ("qwen2-7b", 1, 6, 27, "cot"),
        ("gemma2-9b", 1, 6, 41, "cot"),
    ],
)
def test_published_settings(
    name: str, start: int, exit_layer: int, output: int, template: str
) -> None:
    """Token Prepending's official ones (arXiv 2412.11556); no CP was published with them."""
    preset = PRESETS[name]
    tp = preset.config.token_prepending
    assert tp is not None
    assert preset.layers is not None
    assert (tp.start, tp.exit, tp.placeholders) == (start, exit_layer, 1)
    assert preset.config.resolve_output_layer(preset.layers) == output
    assert (preset.config.template, preset.config.contrastive_prompting) == (template, None)


def test_the_starter_says_how_deep_its_model_is() -> None:
    """What the list shows without files is what the files say."""
    assert PRESETS[STARTER].layers == ModelFiles.in_folder(STARTER_FOLDER).layers


@pytest.mark.parametrize("layers", range(1, 82))
def test_the_rule_by_depth_fits_every_depth(layers: int) -> None:
    """A fifth of the layers prepended, the last but one read, no CP; less in shallow models."""
    config = uncalibrated(layers)
    output = config.resolve_output_layer(layers)
    assert output == (layers - 1 if layers >= 12 else layers)
    assert config.contrastive_prompting is None
    tp = config.token_prepending
    assert (tp is None) == (layers == 1)
    if tp is not None:
        assert (tp.start, tp.exit) == (1, max(2, round(layers / 5)))


def test_uncalibrated_presets_follow_the_rule_of_folders(
    folders: Mapping[str, Path], tmp_path: Path
) -> None:
    """A downloaded copy of a preset's model gets the same settings, and the same honest source."""
    folder = Path(shutil.copytree(folders["qwen3"], tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": 28, "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    found, preset = folder_settings(ModelFiles.in_folder(folder)), PRESETS["qwen3-0.6b"]
    assert found.config == preset.config
    assert found.source == preset.source == UNCALIBRATED


# -- a user's own files -------------------------------------------------------------------------


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_preset_file_is_an_encoder(folders: Mapping[str, Path], tmp_path: Path) -> None:
    """What `sextant calibrate` writes: model, settings, source."""
    content = {
        "model": str(folders["llama"]),
        "config": {"template": "cot", "token_prepending": {"exit": 2}},
        "source": "calibrated on 500 sentences",
    }
    path = write(tmp_path / "mine.json", content)
    found = specify(str(path))
    assert found.config == EncoderConfig(**content["config"])  # type: ignore[arg-type]
    assert found.source == "calibrated on 500 sentences"
    assert found.files.folder == folders["llama"]
    given = specify(str(path), {"template": "ke"})
    assert (given.config, given.source) == (EncoderConfig(template="ke"), "given")
    path.rename(tmp_path / PRESET_FILE)
    assert specify(str(tmp_path)).fingerprint == found.fingerprint


def test_paths_in_a_preset_file_are_relative_to_it(
    folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with model, adapter and preset can be moved and called from anywhere."""
    shutil.copytree(folders["llama"], tmp_path / "here" / "model")
    content = {"model": "model", "config": {"adapter": "adapter"}}
    path = write(tmp_path / "here" / "mine.json", content)
    monkeypatch.chdir(tmp_path)
    preset = find_preset("here/mine.json")
    assert preset is not None
    assert preset.model == str(tmp_path / "here" / "model")
    assert preset.config.adapter == str(tmp_path / "here" / "adapter")
    assert preset.source == "here/mine.json"
    write(path, {"model": "model", "config": {}})
    assert specify("here/mine.json").files.folder == tmp_path / "here" / "model"


def test_a_description_outlives_the_preset_file(
    folders: Mapping[str, Path], tmp_path: Path
) -> None:
    """A collection keeps the model and the settings, not the file that named them."""
    path = write(
        tmp_path / "mine.json", {"model": str(folders["llama"]), "config": {"template": "cot"}}
    )
    first = specify(str(path))
    path.unlink()
    assert first.describe()["name"] == str(folders["llama"])
    assert specify(**json.loads(json.dumps(first.describe()))).fingerprint == first.fingerprint


def test_a_preset_file_may_name_a_preset(tmp_path: Path) -> None:
    """Its model is taken, its settings are not; and it is called by its name."""
    path = write(tmp_path / "mine.json", {"model": "starter", "config": {"template": "cot"}})
    found = specify(str(path))
    assert found.name == found.describe()["name"] == "starter"
    assert found.config == EncoderConfig(template="cot")
    assert found.files.folder == STARTER_FOLDER.resolve()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "mine.json' is not JSON: "),
        ("[]", "mine.json' holds []; expected a mapping"),
        ({}, "mine.json' has model None; expected a folder or a hub id"),
        ({"model": 3}, "has model 3; expected a folder or a hub id"),
        ({"model": "m"}, "has config None; expected settings"),
        ({"model": "m", "config": [1]}, "has config [1]; expected settings"),
        ({"model": "m", "config": {}, "source": 1}, "has source 1; expected a text"),
        ({"model": "m", "config": {}, "note": 1}, "has 'note'; choose from model, config, source"),
        ({"model": "m", "config": {"pooling": "max"}}, "mine.json': encoder.pooling: 'max' is not"),
        ({"model": "m", "config": {}}, "mine.json' has model 'm'; expected a preset, a folder"),
    ],
)
def test_a_wrong_preset_file(tmp_path: Path, content: Any, message: str) -> None:
    """The file is named, and what is wrong in it, in one line."""
    path = write(tmp_path / "mine.json", content)
    with pytest.raises(InvalidConfig) as caught:
        specify(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_preset_file_that_is_not_there(tmp_path: Path) -> None:
    """A name that ends in .json is meant as a file."""
    with pytest.raises(InvalidConfig, match=r"preset file '.*gone\.json' does not exist"):
        specify(str(tmp_path / "gone.json"))


def test_a_file_that_is_no_preset(folders: Mapping[str, Path]) -> None:
    """The weights instead of their folder: an error, without reading them."""
    with pytest.raises(InvalidConfig, match=r"is a file; expected a model's folder, or a preset"):
        specify(str(folders["llama"] / "model.safetensors"))
