"""`sextant encoders`: what can be used, and what it is, known without torch and without network."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedder.presets import PRESETS, STARTER_FOLDER, UNCALIBRATED
from embedder.prompts import MULTI_PROMPTS, TEMPLATES
from embedder.specification import specify
from flows.cli_encoders import encoder_fields, encoder_lines, in_short

CommandLine = Any
TELL_TORCH = (
    "import atexit, sys; "
    "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr, flush=True))"
)


@pytest.fixture
def folder(encoder_folder: Path, tmp_path: Path) -> Path:
    """The tiny encoder, with an adapter in it, to be changed."""
    made = Path(shutil.copytree(encoder_folder, tmp_path / "tiny"))
    (made / "adapter").mkdir()
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    ones = {"A.weight": np.ones((2, 32)), "B.weight": np.ones((32, 2))}
    tensors = {f"{name}{part}": value.astype(np.float32) for part, value in ones.items()}
    save_file(tensors, made / "adapter" / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
    settings |= {"base_model_name_or_path": "some/model"}
    (made / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    return made


# -- list ---------------------------------------------------------------------------------------


def test_the_list_has_a_line_for_each_encoder(sextant: CommandLine) -> None:
    """Name, model, depth, settings in short, and where they come from; no torch."""
    run = sextant("encoders", "list", program=TELL_TORCH)
    assert (run.code, run.err) == (0, "False\n")
    header, *lines = run.out.splitlines()
    assert header.split("  ")[0] == "name"
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert lines[0].split()[1:4] == ["bundled", "4", "eol,"]
    seven = next(line for line in lines if line.startswith("llama-2-7b "))
    assert "meta-llama/Llama-2-7b-hf" in seven
    assert "eol, TP 1-6, last at 27" in seven
    assert seven.endswith("official settings of TP (arXiv 2412.11556), without CP")
    assert sum(UNCALIBRATED in line for line in lines) == 7
    assert "…" not in run.out


def test_the_list_as_json(sextant: CommandLine) -> None:
    """The same, with every setting."""
    found = sextant("encoders", "list", "--json").json["encoders"]
    assert {entry["name"]: entry["config"] for entry in found} == {
        name: preset.config.model_dump(mode="json") for name, preset in PRESETS.items()
    }
    assert set(found[0]) == {"name", "model", "layers", "settings", "config", "source"}
    assert found[0]["model"] == str(STARTER_FOLDER)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "eol, last at -1"),
        ({"token_prepending": {"exit": 2}}, "eol, TP 1, last at -1"),
        ({"template": ["ck", "eol"], "pooling": "mean"}, "ck + eol, mean at -1"),
        ({"contrastive_prompting": {"layer": 1}, "adapter": "adapter"}, None),
    ],
)
def test_settings_in_short(folder: Path, settings: dict[str, Any], expected: str | None) -> None:
    """What sets one encoder apart from another."""
    if "adapter" in settings:
        settings = {**settings, "adapter": str(folder / "adapter")}
    found = in_short(specify(str(folder), settings).config)
    assert found == (expected or "eol, CP 1 norm, last at -1, adapter")


# -- show ---------------------------------------------------------------------------------------


def test_show_says_what_an_encoder_is(sextant: CommandLine, encoder_folder: Path) -> None:
    """One line a fact; no weight is loaded."""
    run = sextant("encoders", "show", encoder_folder, program=TELL_TORCH)
    assert (run.code, run.err) == (0, "False\n")
    lines = {line[:19].strip(): line[19:].strip() for line in run.out.splitlines()}
    specification = specify(str(encoder_folder))
    assert lines["fingerprint"] == specification.fingerprint
    assert lines["name"] == lines["model"] == str(encoder_folder)
    assert (lines["architecture"], lines["layers"], lines["dimension"]) == ("llama", "2", "32")
    assert lines["dtype"] == "float32: config.json names no dtype"
    assert lines["template"] == TEMPLATES["eol"]
    assert lines["token prepending"] == "before layer 1, 1 placeholder, position template"
    assert lines["pooling"] == "last, at layer 2 of 2"
    assert lines["adapter"] == "none"
    assert lines["settings from"] == UNCALIBRATED


def test_show_as_json(sextant: CommandLine) -> None:
    """Everything, for programs: enough to build the same encoder again."""
    found = sextant("encoders", "show", "starter", "--json").json
    starter = specify("starter")
    assert found == json.loads(json.dumps(encoder_fields(starter)))
    assert found["fingerprint"] == starter.fingerprint
    assert specify(found["name"], found["config"]).fingerprint == starter.fingerprint
    assert found["templates"]["query"] == [TEMPLATES["eol"]]
    assert found["auxiliary"].startswith("The irrelevant information of this sentence")
    assert (found["layers"], found["output_layer"], found["dimension"]) == (4, 4, 384)
    assert found["adapter"] is None


def test_show_reads_a_preset_file(sextant: CommandLine, encoder_folder: Path) -> None:
    """What `sextant calibrate` wrote, from where it lies."""
    shutil.copytree(encoder_folder, sextant.folder / "model")
    content = {"model": "model", "config": {"template": "cot"}, "source": "calibrated"}
    (sextant.folder / "mine.json").write_text(json.dumps(content))
    found = sextant("encoders", "show", "mine.json", "--json").json
    assert (found["source"], found["config"]["template"]) == ("calibrated", "cot")
    assert found["name"] == found["model"] == str(sextant.folder / "model")


def test_lines_of_an_encoder_with_everything(folder: Path) -> None:
    """Several prompts, both methods, an adapter, and numbers in fewer bits."""
    settings = {
        "template": "ck",
        "query_template": "On {}:\n<PST>that",
        "token_prepending": {"exit": 2, "placeholders": 2, "prompts": [0], "position": "in_quote"},
        "contrastive_prompting": {
            "layer": 0,
            "mode": "scaled",
            "strength": 0.5,
            "shared_context": True,
        },
        "pooling": "last_mean",
        "pool_prompt": True,
        "adapter": str(folder / "adapter"),
        "merge_adapter": True,
        "dtype": "bfloat16",
        "on_overflow": "error",
        "normalise_text": "papers",
        "dimensions": 48,
        "precision": "int8",
    }
    specification = specify(str(folder), settings)
    lines = encoder_lines(specification)
    assert [lines["template 0"], lines["template 1"]] == [
        TEMPLATES[key] for key in MULTI_PROMPTS["ck"]
    ]
    assert lines["query template"] == repr("On {}:\n<PST>that")
    assert lines["token prepending"] == (
        "before layer 1, 2 placeholders, position in_quote, templates 0"
    )
    assert lines["contrastive prompting"] == "at layer 0, scaled, strength 0.5, in a shared context"
    assert lines["auxiliary prompt"].startswith('{}" contains irrelevant information')
    assert lines["pooling"] == "last_mean of text and prompt, at layer 2 of 2"
    assert lines["adapter"] == f"{folder / 'adapter'}, merged into the weights"
    assert lines["dtype"] == "bfloat16: set so, while config.json names no dtype"
    assert lines["max tokens"] == "512, longer ones are refused"
    assert lines["text"] == "normalised as by papers"
    assert (lines["dimension"], lines["precision"]) == (48, "int8")
    assert lines["settings from"] == "given"
    fields = encoder_fields(specification)
    assert fields["adapter"] == {
        "folder": str(folder / "adapter"),
        "digest": specification.adapter and specification.adapter.digest,
        "base": "some/model",
    }


# -- what cannot be shown -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ("", 2, "missing argument 'PRESET|FILE|DIR|HUB-ID'; see `sextant encoders show --help`"),
        ("nope", 2, "unknown encoder 'nope'; expected a preset (starter, "),
        ("gone.json", 2, "preset file 'gone.json' does not exist; check the path"),
        ("some/model", 1, "model 'some/model' is not cached and cannot be fetched ("),
        ("empty", 1, "encoder folder '"),
        ("bert", 1, "the model in '"),
    ],
)
def test_what_cannot_be_shown(
    sextant: CommandLine, encoder_folder: Path, arguments: str, code: int, line: str
) -> None:
    """One line, and the exit codes of every other command."""
    (sextant.folder / "empty").mkdir()
    bert = Path(shutil.copytree(encoder_folder, sextant.folder / "bert"))
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    run = sextant("encoders", "show", *arguments.split())
    assert (run.code, run.complaint[: len(line)]) == (code, line)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("encoders", ["list", "show"]),
        ("encoders list", ["--json", "--debug"]),
        ("encoders show", ["--json", "--debug", "PRESET|FILE|DIR|HUB-ID"]),
    ],
)
def test_help(sextant: CommandLine, command: str, words: list[str]) -> None:
    """Every option is named, and no line of it is cut off."""
    run = sextant(*command.split(), "--help")
    assert (run.code, run.err) == (0, "")
    assert [word for word in words if word not in run.out] == []
    assert "..." not in run.out.replace("[ARGS]...", "")
