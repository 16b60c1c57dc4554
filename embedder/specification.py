"""Which encoder is meant: a name resolved to files and settings, and its fingerprint. No torch.

The fingerprint is known before any weight is loaded, so that a run which finds nothing to do, or
the wrong collection, ends at once.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from embedder.config import ContrastivePrompting, EncoderConfig, TokenPrepending
from embedder.errors import InvalidConfig, ModelUnavailable
from embedder.model_files import HUB_ID, ModelFiles
from embedder.presets import PRESETS
from embedder.prompts import AUXILIARY_TEMPLATE, AUXILIARY_WORDINGS, TEMPLATES

METHOD_REVISION: Final = 1
"""Raised whenever the same settings would give other vectors than before."""

SETTINGS_FILE: Final = "sextant.json"
"""Optional file in a model folder: the `EncoderConfig` to use with it."""


@dataclass(frozen=True)
class EncoderSpecification:
    """A model and its settings, checked against each other."""

    name: str
    """What the user called it: a preset, a folder, a hub id."""
    files: ModelFiles
    config: EncoderConfig

    def __post_init__(self) -> None:
        """Check the type and the layers of the model, before any weight is loaded."""
        self.files.check_architecture()
        self.config.resolve_output_layer(self.files.layers)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that changes a vector, as 64 hexadecimal digits.

        Templates enter by their text, not by their key; the output layer counted from the front;
        the model by the digest of its files.
        """
        config = self.config.model_dump(mode="json")
        config["output_layer"] = self.config.resolve_output_layer(self.files.layers)
        for field in ("template", "query_template"):
            config[field] = TEMPLATES.get(config[field], config[field])
        config["query_template"] = config["query_template"] or config["template"]
        if contrast := config["contrastive_prompting"]:
            wording = AUXILIARY_WORDINGS.get(contrast["auxiliary"])
            if contrast["mode"] in ("norm", "sub_head_norm"):
                del contrast["strength"]  # these modes do not read it
            if wording is not None:
                contrast["auxiliary"] = AUXILIARY_TEMPLATE.replace("WORDING", wording)
        content = {
            "method": METHOD_REVISION,
            "model": self.files.digest,
            "config": config,
            "normalised": True,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """What a collection keeps, enough for `specify(**describe())` to find the same encoder."""
        return {"name": self.name, "config": self.config.model_dump(mode="json")}


def specify(
    name: str, config: EncoderConfig | dict[str, Any] | None = None
) -> EncoderSpecification:
    """Resolve an encoder's name.

    Args:
        name: a preset's name, a model folder, or a hub id (`owner/name`).
        config: settings to use instead of the preset's, the folder's, or the defaults.

    Raises:
        InvalidConfig: the name is none of the three, or the settings do not fit the model.
        ModelUnavailable: the files are missing, unsafe, or cannot be fetched.
        UnsupportedArchitecture: the layer loop does not cover the model.
    """
    preset = PRESETS.get(name)
    model = preset.model if preset else name
    if Path(model).is_dir():
        files = ModelFiles.in_folder(Path(model).resolve())
        name = name if preset else str(files.folder)
    elif HUB_ID.fullmatch(model) and not model.startswith("."):
        files = ModelFiles.from_hub(model)
    elif preset:
        raise ModelUnavailable(f"preset {name!r} has lost its model folder; reinstall Sextant")
    else:
        raise InvalidConfig(
            f"unknown encoder {name!r}; expected a preset ({', '.join(PRESETS)}), "
            "a model folder, or a hub id OWNER/NAME"
        )
    files.check_architecture()
    if config is None:
        config = preset.config if preset else folder_settings(files)
    return EncoderSpecification(name, files, check_config(config))


def check_config(config: EncoderConfig | dict[str, Any]) -> EncoderConfig:
    """Validate settings, with one clear line for what is wrong.

    Raises:
        InvalidConfig: a value is of the wrong type, out of range, or unknown.
    """
    if isinstance(config, EncoderConfig):
        return config
    if not isinstance(config, dict):
        value = shorten(repr(config), 80, placeholder=" ...")
        raise InvalidConfig(f"encoder: {value} is not allowed, expected a mapping of settings")
    return EncoderConfig(**config)


def folder_settings(files: ModelFiles) -> EncoderConfig | dict[str, Any]:
    """The settings that a model folder brings along, or uncalibrated ones by its depth.

    The papers stop prepending after about a fifth of the layers and, on deep models, read the last
    layer but one. CP stays off: its layer and strength want calibration.
    """
    path = files.folder / SETTINGS_FILE
    if path.is_file():
        try:
            parsed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InvalidConfig(f"{str(path)!r} is not JSON: {error}") from error
        return parsed
    layers = files.layers
    return EncoderConfig(
        token_prepending=TokenPrepending(start=1, exit=max(2, round(0.2 * layers))),
        output_layer=-2 if layers >= 12 else -1,
    )
