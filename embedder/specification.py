"""Which encoder is meant: a name resolved to files and settings, and its fingerprint. No torch.

The fingerprint is known before any weight is loaded, so that a run which finds nothing to do, or
the wrong collection, ends at once.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Any, Final

from embedder.adapter_files import AdapterFiles
from embedder.config import Dtype, EncoderConfig
from embedder.errors import InvalidConfig, ModelUnavailable
from embedder.fingerprint import fingerprint
from embedder.model_files import HUB_ID, ModelFiles
from embedder.precision import kept_dimension
from embedder.presets import (
    PRESETS,
    UNCALIBRATED,
    Preset,
    find_preset,
    read_settings,
    settings_from,
    uncalibrated,
    with_adapter_in,
)

SETTINGS_FILE: Final = "sextant.json"
"""Optional file in a model folder: the `EncoderConfig` to use with it."""


@dataclass(frozen=True)
class EncoderSpecification:
    """A model, an adapter on it, and the settings, checked against each other."""

    name: str
    """What it is called: a preset, an absolute folder, a hub id."""
    files: ModelFiles
    config: EncoderConfig
    source: str = field(default="given", compare=False)
    """Where the settings come from."""

    def __post_init__(self) -> None:
        """Check all that can be checked before any weight is loaded."""
        self.files.check_architecture()
        self.config.resolve_output_layer(self.files.layers)
        kept_dimension(
            self.pooled_dimension,
            dimensions=self.config.dimensions,
            precision=self.config.precision,
        )
        if self.adapter is not None:
            self.adapter.check(self.files)

    @cached_property
    def adapter(self) -> AdapterFiles | None:
        """The files of the LoRA adapter, if there is one."""
        folder = self.config.adapter
        return AdapterFiles.in_folder(Path(folder)) if folder is not None else None

    @property
    def pooled_dimension(self) -> int:
        """Components of a pooled state, before `dimensions` cuts it."""
        return self.files.dimension * (2 if self.config.pooling == "last_mean" else 1)

    @property
    def dimension(self) -> int:
        """Components of a vector."""
        return self.config.dimensions or self.pooled_dimension

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that changes a vector, as 64 hexadecimal digits."""
        return fingerprint(
            self.config,
            model=self.files.digest,
            adapter=self.adapter.digest if self.adapter else None,
            layers=self.files.layers,
            dimension=self.pooled_dimension,
        )

    def describe(self) -> dict[str, Any]:
        """What a collection keeps, enough for `specify(**describe())` to find the same encoder."""
        config = with_adapter_in(self.config, Path.cwd())
        return {"name": self.name, "config": config.model_dump(mode="json")}


def specify(
    name: str, config: EncoderConfig | dict[str, Any] | None = None
) -> EncoderSpecification:
    """Resolve an encoder's name.

    Args:
        name: a preset's name, a preset file (JSON), a model folder, or a hub id (`owner/name`).
        config: settings to use instead of the preset's, the folder's, or the defaults.

    Raises:
        InvalidConfig: the name is none of these, or the settings do not fit the model.
        ModelUnavailable: the files are missing, unsafe, or cannot be fetched.
        UnsupportedArchitecture: the model is no decoder of text.
    """
    preset = find_preset(name)
    model = preset.model if preset else name
    builtin = next((key for key in (name, model) if key in PRESETS), None)
    if builtin is not None:
        model = PRESETS[builtin].model
    if Path(model).is_dir():
        files = ModelFiles.in_folder(Path(model).resolve())
        called = str(files.folder)
    elif HUB_ID.fullmatch(model) and not model.startswith("."):
        files, called = ModelFiles.from_hub(model), model
    elif builtin is not None:
        raise ModelUnavailable(f"preset {builtin!r} has lost its model folder; reinstall Sextant")
    elif preset:
        raise InvalidConfig(
            f"preset file {name!r} has model {model!r}; expected a preset, a folder (relative to "
            "the file), or a hub id OWNER/NAME"
        )
    else:
        raise InvalidConfig(
            f"unknown encoder {name!r}; expected a preset ({', '.join(PRESETS)}), a preset file, "
            "a model folder, or a hub id OWNER/NAME"
        )
    files.check_architecture()
    if config is None:
        found = preset or folder_settings(files)
        settings, source = found.config, found.source
    else:
        settings, source = with_adapter_in(check_config(config), Path.cwd()), "given"
    return EncoderSpecification(builtin or called, files, settings, source)


def check_config(config: object) -> EncoderConfig:
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


def folder_settings(files: ModelFiles) -> Preset:
    """The settings that a model folder brings along, or uncalibrated ones by its depth.

    Raises:
        InvalidConfig: the folder's settings are wrong.
    """
    path = files.folder / SETTINGS_FILE
    if path.is_file():
        config, source = settings_from(read_settings(path), path), f"{SETTINGS_FILE} of the model"
    else:
        config = uncalibrated(files.layers, dtype=_computing_dtype(files))
        source = UNCALIBRATED
    return Preset(model=str(files.folder), config=config, source=source, layers=files.layers)


def dtype_reason(files: ModelFiles, config: EncoderConfig) -> str:
    """Why the encoder computes in the number format that it does, in one line."""
    stored, used = files.stored_dtype, config.dtype
    weights = f"the weights are {stored}" if stored else "config.json names no dtype"
    if used != _computing_dtype(files):
        loss = ", and ends at 65504" if used == "float16" else ""
        return f"{used}: set so, while {weights}{loss}"
    if stored == "float16":
        return f"{used}: {weights}, which overflows and is slow on CPUs"
    return f"{used}: {weights}"


def _computing_dtype(files: ModelFiles) -> Dtype:
    """The number format that suits a model's weights."""
    return "bfloat16" if files.stored_dtype in ("bfloat16", "float16") else "float32"
