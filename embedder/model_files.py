"""Where a model's files lie, whether they are safe and whole, and their digests. No torch.

Weights are read from safetensors only; pickled weights can run code when they are loaded and are
refused, as is code that a model repository brings along.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from embedder.architectures import objection
from embedder.errors import ModelUnavailable, UnsupportedArchitecture

ARCHITECTURES: Final = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "smollm3",
    "olmo2",
)
"""`model_type` of the decoders whose layers the fast layer loop knows; others take a detour."""

HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
"""`owner/name`, as model hubs write it."""

NEEDED: Final = ("*.safetensors", "*.json")
"""What is fetched from a hub: no pickles, no code."""


@dataclass(frozen=True)
class ModelFiles:
    """A model folder that was found complete: config, safetensors, fast tokenizer."""

    folder: Path

    @classmethod
    def in_folder(cls, folder: Path) -> "ModelFiles":
        """Check a folder.

        Raises:
            ModelUnavailable: something that is needed is not there, or only in an unsafe form.
        """
        if not folder.is_dir():
            raise ModelUnavailable(f"encoder folder {str(folder)!r} does not exist")
        if not (folder / "config.json").is_file():
            raise ModelUnavailable(
                f"encoder folder {str(folder)!r} has no config.json; expected a transformers model"
            )
        if not list(folder.glob("*.safetensors")):
            pickled = sorted(p.name for pattern in ("*.bin", "*.pt") for p in folder.glob(pattern))
            found = f"only pickled weights ({', '.join(pickled[:3])})" if pickled else "no weights"
            raise ModelUnavailable(
                f"encoder folder {str(folder)!r} has {found}; expected *.safetensors: "
                "save the model with save_pretrained()"
            )
        _check_shards(folder)
        if not (folder / "tokenizer.json").is_file():
            raise ModelUnavailable(
                f"encoder folder {str(folder)!r} has no tokenizer.json; expected a fast tokenizer: "
                "save it with AutoTokenizer(...).save_pretrained()"
            )
        return cls(folder)

    @classmethod
    def from_hub(cls, hub_id: str) -> "ModelFiles":
        """Find a model in the hub's local cache, or fetch it, since the user named it.

        Raises:
            ModelUnavailable: it is neither cached nor reachable, or not complete.
        """
        from huggingface_hub import errors, snapshot_download

        hub: Any = errors  # whichever HTTP library this release of the hub's client is built on

        wanted = list(NEEDED)
        try:
            cached = snapshot_download(hub_id, allow_patterns=wanted, local_files_only=True)
            return cls.in_folder(Path(cached))
        except (OSError, ValueError, ModelUnavailable):
            pass  # not in the cache, or only in part: fetch it
        try:
            folder = snapshot_download(hub_id, allow_patterns=wanted)
        except (hub.HTTPError, OSError, ValueError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelUnavailable(
                f"model {hub_id!r} is not cached and cannot be fetched ({lines[0]}); give a "
                "local folder, or fetch it where there is a network"
            ) from error
        return cls.in_folder(Path(folder))

    @cached_property
    def architecture(self) -> dict[str, Any]:
        """The parsed `config.json`.

        Raises:
            ModelUnavailable: it is not a JSON object, or names no `model_type`.
        """
        path = self.folder / "config.json"
        try:
            parsed = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{str(path)!r} cannot be read as JSON: {error}") from error
        if not isinstance(parsed, dict) or "model_type" not in parsed:
            raise ModelUnavailable(
                f"{str(path)!r} names no model_type; expected a decoder's config"
            )
        return parsed

    @property
    def layers(self) -> int:
        """How many decoder layers the model has."""
        return self._size("num_hidden_layers", "n_layer", "num_layers", "n_layers")

    @property
    def dimension(self) -> int:
        """The hidden size: components of one token's state."""
        return self._size("hidden_size", "n_embd", "d_model", "n_embed")

    @property
    def stored_dtype(self) -> str | None:
        """Number format that the config names for the weights; None if it names none."""
        named = self.architecture.get("dtype") or self.architecture.get("torch_dtype")
        return named.removeprefix("torch.") if isinstance(named, str) else None

    def check_architecture(self) -> None:
        """Check that the model is a decoder of text, as far as its config tells.

        Raises:
            UnsupportedArchitecture: it reads in both directions, or is multimodal.
        """
        if reason := objection(self.architecture):
            raise UnsupportedArchitecture(f"the model in {str(self.folder)!r} {reason}")

    def _size(self, *keys: str) -> int:
        """A whole number from the config, under the first of its names that is there."""
        config = self.architecture
        key = next((key for key in keys if key in config), keys[0])
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelUnavailable(
                f"{str(self.folder / 'config.json')!r} has {key} {value!r}; expected a whole "
                "number from 1: save the model again with save_pretrained()"
            )
        return value

    @cached_property
    def digest(self) -> str:
        """SHA-256 over config, weights and tokenizer: their names, sizes and bytes."""
        hasher = hashlib.sha256()
        names = ["config.json", "tokenizer.json"]
        names += sorted(p.name for p in self.folder.glob("*.safetensors"))
        for name in names:
            path = self.folder / name
            hasher.update(f"{name}\x1f{path.stat().st_size}\x1f".encode())
            with path.open("rb") as file:
                hasher.update(hashlib.file_digest(file, "sha256").digest())
        return hasher.hexdigest()


def _check_shards(folder: Path) -> None:
    """Check that every weights file which the index names is there."""
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        return
    try:
        named = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable(f"{str(path)!r} is not an index of weights: {error!r}") from error
    if missing := sorted(name for name in named if not (folder / name).is_file()):
        raise ModelUnavailable(
            f"encoder folder {str(folder)!r} lacks {len(missing)} of {len(named)} weights files "
            f"({', '.join(missing[:3])}); fetch or copy the model again"
        )
