"""Putting a LoRA adapter on a base model: every tensor finds its place, or it is an error.

Adapters are mostly trained on a model with a head, whose decoder is one of its parts, while we load
the decoder alone. During the injection the decoder therefore gets the name it had there, so that
everything in the adapter's config that names modules means what it meant in training.
"""

from pathlib import Path
from textwrap import shorten
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from embedder.adapter_files import LORA_NAME, PLACING, SHAPING, WEIGHTS_FILE, AdapterFiles
from embedder.errors import InvalidConfig, ModelUnavailable

_NAME = "default"
"""How peft calls the adapter inside the model."""


def attach_adapter(model: Any, folder: Path, *, merge: bool) -> Any:
    """Put a LoRA adapter on a base model, in place, in the model's dtype; frozen, without dropout.

    Args:
        model: transformers' base model (no head).
        folder: an adapter of peft's, trained on this base model or on it with a head.
        merge: add it into the weights, which leaves plain linear layers; else peft's layers stay.

    Returns:
        The same model.

    Raises:
        InvalidConfig: a tensor has no place in the model, or a place is left without one.
        ModelUnavailable: the adapter's files are missing, unsafe or damaged.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    files = AdapterFiles.in_folder(folder)
    tensors = _read(files)
    prefix = _prefix(model, files)
    settings = {key: files.settings.get(key) for key in (*SHAPING, *PLACING)}
    try:
        # On the meta device: what gets no weights cannot pass for something.
        tuner: Any = LoraModel(
            _Trained(prefix, model) if prefix else model,
            LoraConfig(**{key: value for key, value in settings.items() if value}),
            _NAME,
            low_cpu_mem_usage=True,
        )
        placed = {
            _place(name): tensor.to(device=model.device, dtype=model.dtype)
            for name, tensor in tensors.items()
        }
        loading = tuner.model.load_state_dict(placed, strict=False, assign=True)
        unset = [name for name, parameter in tuner.model.named_parameters() if parameter.is_meta]
        if wrong := [*loading.unexpected_keys, *unset]:
            raise _misfit(files, f"{len(wrong)} weights do not fit ({wrong[0]}, ...)")
        if merge:
            tuner.merge_and_unload(safe_merge=True)
    except (RuntimeError, ValueError, TypeError) as error:
        raise _misfit(files, shorten(str(error), 200, placeholder=" ...")) from error
    return model.eval().requires_grad_(requires_grad=False)


class _Trained(nn.Module):
    """A base model under the name it has in the model with a head."""

    def __init__(self, name: str, model: nn.Module) -> None:
        super().__init__()
        self.add_module(name, model)


def _read(files: AdapterFiles) -> dict[str, Tensor]:
    """The adapter's tensors, without those of a language-model head."""
    try:
        tensors = load_file(files.folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise ModelUnavailable(
            f"{str(files.folder / WEIGHTS_FILE)!r} cannot be read ({error}); "
            "fetch or save the adapter again"
        ) from error
    return {name: tensors[name] for name in files.names}


def _prefix(model: Any, files: AdapterFiles) -> str:
    """The base model's name in what the adapter was trained on; empty if that was itself."""
    modules = {name for name, _ in model.named_modules()}
    targets = {found["module"] for name in files.names if (found := LORA_NAME.fullmatch(name))}
    for prefix in ("", str(model.base_model_prefix)):
        head = f"{prefix}." if prefix else ""
        if all(t.startswith(head) and t.removeprefix(head) in modules for t in targets):
            return prefix
    lost = sorted(t for t in targets if t.partition(".")[2] not in modules and t not in modules)
    raise _misfit(files, f"this model has no {lost[0] if lost else min(targets)!r}")


def _place(name: str) -> str:
    """Where peft's own modules keep the tensor of that name."""
    found = LORA_NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is no LoRA weight of a linear layer")
    kind, _, rest = found["part"].partition(".")
    return f"{found['module']}.{kind}.{_NAME}.{rest or 'weight'}"


def _misfit(files: AdapterFiles, reason: str) -> InvalidConfig:
    return InvalidConfig(
        f"encoder.adapter: {str(files.folder)!r} cannot be put on this model: {reason}; use the "
        f"model it was trained on ({files.base_model})"
    )
