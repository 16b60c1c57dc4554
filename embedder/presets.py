"""Named encoders: a model and the settings that go with it, each saying where they come from.

Names are built in, or paths of JSON files, such as `sextant calibrate` writes:
`{"model": "...", "config": {...}, "source": "..."}`; or of folders with such a file in them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, Final

from embedder.config import ContrastivePrompting, Dtype, EncoderConfig, TokenPrepending
from embedder.errors import InvalidConfig

STARTER: Final = "starter"
STARTER_FOLDER: Final = Path(__file__).parent / "starter" / "model"

PRESET_FILE: Final = "encoder.json"
"""Preset file in a folder that is not a model's own: a tuned adapter's, which names its base."""
UNCALIBRATED: Final = "uncalibrated: by depth; run `sextant calibrate`"
"""Source of settings that nobody has measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A model (folder, hub id, or another preset's name), its settings, and their source."""

    model: str
    config: EncoderConfig
    source: str
    layers: int | None = None
    """How many the model has, where that is known without its files."""


def uncalibrated(layers: int, *, dtype: Dtype = "bfloat16") -> EncoderConfig:
    """Settings for a model that nobody has measured, by its depth.

    The papers stop prepending after about a fifth of the layers, and read the last layer but one of
    deep models. Contrastive Prompting stays off: its layer and strength want calibration.
    """
    return EncoderConfig(
        template="eol",
        # A single layer leaves nothing to prepend before.
        token_prepending=(
            TokenPrepending(start=1, exit=max(2, round(0.2 * layers))) if layers > 1 else None
        ),
        output_layer=-2 if layers >= 12 else -1,
        dtype=dtype,
    )


def _published(
    model: str, layers: int, *, exit_layer: int, output_layer: int, template: str
) -> Preset:
    return Preset(
        model=model,
        config=EncoderConfig(
            template=template,
            token_prepending=TokenPrepending(start=1, exit=exit_layer),
            output_layer=output_layer,
            dtype="bfloat16",
        ),
        source="official settings of TP (arXiv 2412.11556), without CP",
        layers=layers,
    )


def _by_depth(model: str, layers: int) -> Preset:
    return Preset(model=model, config=uncalibrated(layers), source=UNCALIBRATED, layers=layers)


PRESETS: Final[dict[str, Preset]] = {
    STARTER: Preset(
        model=str(STARTER_FOLDER),
        config=EncoderConfig(
            template="eol",
            token_prepending=TokenPrepending(start=1, exit=3),
            contrastive_prompting=ContrastivePrompting(layer=1, mode="norm"),
            # Trained in it; faster than float32 where the processor has it, right elsewhere.
            dtype="bfloat16",
        ),
        source="ours: trained through these settings (its MODEL_CARD.md)",
        layers=4,
    ),
    "llama-2-7b": _published(
        "meta-llama/Llama-2-7b-hf", 32, exit_layer=7, output_layer=27, template="eol"
    ),
    "llama-2-13b": _published(
        "meta-llama/Llama-2-13b-hf", 40, exit_layer=7, output_layer=-2, template="cot"
    ),
    "llama-3-8b": _published(
        "meta-llama/Meta-Llama-3-8B", 32, exit_layer=3, output_layer=-2, template="cot"
    ),
    "qwen2-7b": _published("Qwen/Qwen2-7B", 28, exit_layer=6, output_layer=-2, template="cot"),
    "gemma2-9b": _published("google/gemma-2-9b", 42, exit_layer=6, output_layer=-2, template="cot"),
    "qwen3-0.6b": _by_depth("Qwen/Qwen3-0.6B-Base", 28),
    "qwen3-4b": _by_depth("Qwen/Qwen3-4B-Base", 36),
    "llama-3.2-1b": _by_depth("meta-llama/Llama-3.2-1B", 16),
    "smollm2-135m": _by_depth("HuggingFaceTB/SmolLM2-135M", 30),
    "smollm2-360m": _by_depth("HuggingFaceTB/SmolLM2-360M", 32),
    "gemma3-270m": _by_depth("google/gemma-3-270m", 18),
    "gemma3-1b": _by_depth("google/gemma-3-1b-pt", 26),
}


def find_preset(name: str) -> Preset | None:
    """The preset of that name, in that JSON file or in that folder; None if it is none of these.

    Raises:
        InvalidConfig: a preset file is missing or wrong.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.is_dir():
        inside = path / PRESET_FILE
        return _read(inside) if inside.is_file() else None
    if path.suffix == ".json":
        if not path.is_file():
            raise InvalidConfig(f"preset file {name!r} does not exist; check the path")
        return _read(path)
    if path.is_file():
        raise InvalidConfig(
            f"encoder {name!r} is a file; expected a model's folder, or a preset file *.json"
        )
    return None


def _read(path: Path) -> Preset:
    """A preset file; paths in it are relative to the file."""
    where = f"preset file {str(path)!r}"
    content = read_settings(path)
    fields = ("model", "config", "source")
    if unknown := sorted(set(content) - set(fields)):
        raise InvalidConfig(f"{where} has {unknown[0]!r}; choose from {', '.join(fields)}")
    model, config = content.get("model"), content.get("config")
    source = content.get("source", str(path))
    if not isinstance(model, str) or not model:
        raise InvalidConfig(f"{where} has model {model!r}; expected a folder or a hub id")
    if not isinstance(config, dict):
        raise InvalidConfig(f"{where} has config {shorten(repr(config), 80)}; expected settings")
    if not isinstance(source, str):
        raise InvalidConfig(f"{where} has source {shorten(repr(source), 80)}; expected a text")
    folder = path.resolve().parent
    if model not in PRESETS and (folder / model).is_dir():
        model = str(folder / model)
    return Preset(model=model, config=settings_from(config, path), source=source)


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object.

    Raises:
        InvalidConfig: it cannot be read, or holds something else.
    """
    try:
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        value = shorten(repr(parsed), 80, placeholder=" ...")
        raise InvalidConfig(f"{str(path)!r} holds {value}; expected a mapping of settings")
    return parsed


def settings_from(settings: dict[str, Any], path: Path) -> EncoderConfig:
    """Encoder settings that stand in a file; a relative adapter lies beside the file.

    Raises:
        InvalidConfig: a setting is wrong; the message names the file.
    """
    try:
        config = EncoderConfig(**settings)
    except InvalidConfig as error:
        raise InvalidConfig(f"{str(path)!r}: {error}") from None
    return with_adapter_in(config, path.resolve().parent)


def with_adapter_in(config: EncoderConfig, folder: Path) -> EncoderConfig:
    """The settings with an absolute path of their adapter, if they have one."""
    if config.adapter is None:
        return config
    return config.model_copy(update={"adapter": str((folder / config.adapter).resolve())})
