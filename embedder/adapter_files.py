"""A LoRA adapter's files: are they safe, plain, made for the model; their digest. No torch.

Format: peft's, `adapter_config.json` and `adapter_model.safetensors`.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from embedder.errors import InvalidConfig, ModelUnavailable
from embedder.model_files import ModelFiles

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"

SHAPING: Final = ("lora_alpha", "r", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
"""Settings of an adapter that change what its weights do."""
PLACING: Final = (
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "fan_in_fan_out",
    "lora_bias",
)
"""Settings that say where its weights belong, which their names say as well."""
_TELLING: Final = (
    *("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path"),
    *("revision", "inference_mode", "lora_dropout", "init_lora_weights", "megatron_core"),
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config"),
    *("qalora_group_size", "ensure_weight_tying"),
)
"""Settings that tell how it was trained, and change nothing when it is used."""
_PLAIN_STARTS: Final = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` that leave the base model's weights as they are."""

LORA_NAME: Final = re.compile(
    r"base_model\.model\.(?P<module>(?:\w+\.)*(?P<last>\w+))"
    r"\.(?P<part>lora_(?:[AB]\.(?:weight|bias)|magnitude_vector))"
)
"""Name of a tensor that belongs to a linear layer: the layer's path, its last part, its part."""
_LAYER: Final = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")
_READS_HIDDEN: Final = frozenset(
    [
        "q_proj",
        "k_proj",
        "v_proj",
        "qkv_proj",
        "gate_proj",
        "up_proj",
        "gate_up_proj",
        "c_attn",
        "c_fc",
    ]
)
"""Modules whose input is a hidden state."""
_WRITES_HIDDEN: Final = frozenset({"o_proj", "down_proj"})


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter folder that was found complete and safe."""

    folder: Path
    """Absolute."""

    @classmethod
    def in_folder(cls, folder: Path) -> "AdapterFiles":
        """Check a folder.

        Raises:
            ModelUnavailable: it is not there, is no adapter of peft's, or has pickled weights only.
        """
        name = repr(str(folder))
        if not folder.is_dir():
            raise ModelUnavailable(
                f"adapter folder {name} does not exist; give a folder with {CONFIG_FILE}"
            )
        if not (folder / CONFIG_FILE).is_file():
            raise ModelUnavailable(
                f"adapter folder {name} has no {CONFIG_FILE}; expected a LoRA adapter that was "
                "saved by peft"
            )
        if not (folder / WEIGHTS_FILE).is_file():
            pickled = (folder / "adapter_model.bin").is_file()
            found = "only pickled weights (adapter_model.bin)" if pickled else "no weights"
            raise ModelUnavailable(
                f"adapter folder {name} has {found}; expected {WEIGHTS_FILE}: save the adapter "
                "with save_pretrained()"
            )
        return cls(folder.resolve())

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The parsed `adapter_config.json`.

        Raises:
            ModelUnavailable: it is not a JSON object.
        """
        path = self.folder / CONFIG_FILE
        try:
            parsed = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{str(path)!r} cannot be read as JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise ModelUnavailable(f"{str(path)!r} is no JSON object; save the adapter again")
        return parsed

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor, from the file's header.

        Raises:
            ModelUnavailable: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = self.folder / WEIGHTS_FILE
        try:
            with safe_open(path, framework="numpy") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError) as error:
            raise ModelUnavailable(
                f"{str(path)!r} cannot be read ({error}); fetch or save the adapter again"
            ) from error

    @property
    def names(self) -> list[str]:
        """The tensors that are put on the model: all but the language-model head's."""
        return sorted(name for name in self.shapes if not _is_head(name))

    @property
    def base_model(self) -> str:
        """The model it was trained on, as its config has it."""
        return str(self.settings.get("base_model_name_or_path") or "not named")

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the weights and the settings that change what they do.

        Where the weights belong follows from their names, so that the order in which a config
        lists its modules, or the base model's path, do not matter.
        """
        settings = {key: self.settings[key] for key in SHAPING if self.settings.get(key)}
        hasher = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        with (self.folder / WEIGHTS_FILE).open("rb") as file:
            hasher.update(hashlib.file_digest(file, "sha256").digest())
        return hasher.hexdigest()

    def check(self, model: ModelFiles) -> None:
        """Check that it is a plain LoRA adapter, and of the model's size.

        Raises:
            InvalidConfig: it is of another method, holds more than LoRA weights of linear layers,
                or was made for another hidden size or depth.
            ModelUnavailable: its files are damaged.
        """
        self._check_method()
        for name in self.names:
            if not LORA_NAME.fullmatch(name):
                raise self._refusal(
                    f"holds {name!r}, which is no LoRA weight of a linear layer; train it without "
                    "modules_to_save and without embeddings"
                )
        if not self.names:
            raise self._refusal("changes no layer of the decoder; leave it out")
        self._check_size(model)

    def _check_method(self) -> None:
        method = self.settings.get("peft_type")
        if method != "LORA":
            raise self._refusal(f"is of peft_type {method!r}; use a LoRA adapter")
        start = self.settings.get("init_lora_weights", True)
        if start not in _PLAIN_STARTS:
            raise self._refusal(
                f"began with init_lora_weights {start!r}, which changes the model's own weights; "
                "convert it to plain LoRA with peft's path_initial_model_for_weight_conversion"
            )
        for field, value in self.settings.items():
            neutral = {"bias": "none", "modules_to_save": ["lm_head"]}.get(field)
            if field in (*SHAPING, *PLACING, *_TELLING) or not value or value == neutral:
                continue
            raise self._refusal(
                f"has {field} {json.dumps(value)[:80]}, which is more than plain LoRA; "
                "train it without"
            )

    def _check_size(self, model: ModelFiles) -> None:
        remedy = f"use the model it was trained on ({self.base_model})"
        for name in self.names:
            found, shape, size = LORA_NAME.fullmatch(name), self.shapes[name], model.dimension
            if found and found["last"] in _READS_HIDDEN and found["part"] == "lora_A.weight":
                size = shape[-1]
            elif found and found["last"] in _WRITES_HIDDEN and found["part"] == "lora_B.weight":
                size = shape[0]
            if size != model.dimension:
                raise self._refusal(
                    f"was made for hidden size {size}, this model has {model.dimension}; {remedy}"
                )
            layer = _LAYER.search(name)
            if layer and int(layer[1]) >= model.layers:
                raise self._refusal(
                    f"has weights for layer {layer[1]}, this model has {model.layers} layers, "
                    f"counted from 0; {remedy}"
                )

    def _refusal(self, reason: str) -> InvalidConfig:
        return InvalidConfig(f"encoder.adapter: {str(self.folder)!r} {reason}")


def _is_head(name: str) -> bool:
    """Whether a tensor belongs to the language-model head, which no embedding goes through."""
    return name.startswith("base_model.model.lm_head.")
