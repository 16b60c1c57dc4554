"""LoRA (arXiv 2106.09685) on a decoder: which of its modules, and the folder that comes of it.

arXiv 2507.22729 adapts q, v, o, gate, up and down, and not k. Families name these otherwise, and
some have one module for several; what a model has is found by looking.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from embedder.adapter_files import CONFIG_FILE, LORA_NAME, WEIGHTS_FILE
from embedder.decoder_parts import decoder_layers
from embedder.errors import InvalidConfig

USUAL: Final = frozenset(
    [
        # queries, values, and what holds them together with keys
        *("q_proj", "v_proj", "query", "value", "qkv_proj", "query_key_value", "c_attn", "Wqkv"),
        # output projections of attention
        *("o_proj", "out_proj", "dense", "c_proj", "wo"),
        # the feed-forward part, gated or not
        *("gate_proj", "up_proj", "down_proj", "gate_up_proj", "c_fc", "fc1", "fc2"),
        *("dense_h_to_4h", "dense_4h_to_h", "fc_in", "fc_out"),
    ]
)
"""Last parts of the names that q, v, o, gate, up and down have in transformers' decoders."""

_NAME: Final = "default"
"""How peft calls the adapter inside the model."""


def find_targets(model: Any, layers: int, wanted: Sequence[str] = ()) -> list[str]:
    """Full names of the linear modules to adapt, in the model's order.

    Args:
        model: transformers' base model (no head).
        layers: only the first so many, those below the output layer: others are never run.
        wanted: last parts of names; none: `USUAL`.

    Raises:
        InvalidConfig: none is found, or one of `wanted` is not.
    """
    from transformers.pytorch_utils import Conv1D

    of_layer = {id(layer): index for index, layer in enumerate(decoder_layers(model))}
    inside: dict[str, int] = {}
    for name, module in model.named_modules():
        if id(module) in of_layer:
            inside[f"{name}."] = of_layer[id(module)]
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and any(name.startswith(head) and index < layers for head, index in inside.items())
    ]
    there = sorted({_last(name) for name in linear})
    if lost := [name for name in wanted if name not in there]:
        raise InvalidConfig(
            f"tuning: lora_modules names {lost[0]!r}, which this model does not have; choose from "
            f"{', '.join(there) or 'none'}"
        )
    names = set(wanted) or USUAL
    if found := [name for name in linear if _last(name) in names]:
        return found
    raise InvalidConfig(
        f"tuning: no module of this {model.config.model_type!r} model has one of the usual names; "
        f"name them in lora_modules: {', '.join(there) or 'it has no linear ones, use method full'}"
    )


def put_lora(
    model: Any, targets: Sequence[str], *, rank: int, alpha: int, dropout: float, seed: int
) -> Any:
    """Put a new adapter on a model, in place; it alone is trained, in float32.

    Its first matrices are random by seed, its second ones zero: at first it changes nothing.

    Returns:
        peft's settings of it, for `save_adapter`.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel
    from transformers.pytorch_utils import Conv1D

    settings: Any = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(targets),
        fan_in_fan_out=isinstance(model.get_submodule(targets[0]), Conv1D),
        bias="none",
        task_type="FEATURE_EXTRACTION",
    )
    with torch.random.fork_rng(devices=[]):  # peft makes its matrices on the CPU
        torch.manual_seed(seed)
        LoraModel(model, settings, _NAME)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return settings


def save_adapter(
    settings: Any, weights: dict[str, Tensor], folder: Path, *, base: str, rank: int
) -> None:
    """Write an adapter as peft does: settings and safetensors.

    Args:
        settings: what `put_lora` gave.
        weights: the trained parameters, by their names in the model.
        folder: an empty one, which exists.
        base: what the base model is called.
        rank: peft's `r`.
    """
    tensors = {_saved(name): value.float().contiguous().cpu() for name, value in weights.items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    settings.base_model_name_or_path = base
    settings.inference_mode = True
    settings.r = rank
    settings.save_pretrained(str(folder))
    if not (folder / CONFIG_FILE).is_file():
        raise OSError(f"peft wrote no {CONFIG_FILE}")


def _saved(name: str) -> str:
    """The name in peft's files of a parameter inside the model."""
    saved = f"base_model.model.{name.replace(f'.{_NAME}.', '.')}"
    if not LORA_NAME.fullmatch(saved):
        raise ValueError(f"{name!r} is no weight of a LoRA adapter")
    return saved


def _last(name: str) -> str:
    return name.rpartition(".")[2]
