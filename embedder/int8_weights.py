"""Weights kept as a byte each, and what they stand for: exactly the same numbers at every load.

A safetensors file whose metadata says `{"weights": "int8 rows"}` holds, beside ordinary tensors,
matrices `NAME` as int8 (R, C) with `NAME_scale`, bfloat16 (R,): row r stands for
`NAME[r] * NAME_scale[r]`. Scales are powers of two, so that every product is a number of bfloat16,
float16 (from 2^-24 on) and float32 alike: nothing is rounded when the model is loaded, and in no
dtype does it differ.

Such a file takes half of float16's room. transformers alone cannot read it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

KEY: Final = "weights"
INT8_ROWS: Final = "int8 rows"
SUFFIX: Final = "_scale"
LARGEST: Final = 127
"""Codes are symmetric: -127 to 127."""


def quantise_rows(matrix_RC: Tensor) -> tuple[Tensor, Tensor]:
    """Codes, int8 (R, C), and scales, bfloat16 (R,): the smallest powers of two that fit each row.

    An element is off by half of its row's scale at most, and a scale is less than 2/127 of its
    row's largest element. A row of zeros has scale 1.

    Raises:
        ValueError: an element is NaN or infinite.
    """
    matrix_RC = matrix_RC.detach().float()
    if not matrix_RC.isfinite().all():
        raise ValueError("a matrix with NaN or infinity cannot be kept in int8")
    peak_R = matrix_RC.abs().amax(1)
    exponent_R = torch.where(peak_R > 0, torch.log2(peak_R / LARGEST).ceil(), 0.0)
    scale_R = torch.exp2(exponent_R.clamp(-120, 120))
    # The logarithm is rounded: a row just above a power of two may still overflow.
    scale_R = torch.where(peak_R > LARGEST * scale_R, 2 * scale_R, scale_R)
    codes_RC = (matrix_RC / scale_R[:, None]).round().to(torch.int8)
    return codes_RC, scale_R.bfloat16()


def save_int8(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write matrices as int8 rows, and everything else in float32.

    Raises:
        ValueError: a tensor has NaN or infinity.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            kept[name], kept[name + SUFFIX] = quantise_rows(tensor)
        else:
            kept[name] = tensor.detach().float().contiguous()
    path.write_bytes(save(kept, metadata={"format": "pt", KEY: INT8_ROWS}))


def int8_state(folder: Path) -> dict[str, Tensor] | None:
    """What the int8 files of a model folder stand for, in float32; None if it has none of them.

    Raises:
        ValueError: a matrix lacks its scales, scales lack their matrix, or they do not fit.
        SafetensorError, OSError: a file cannot be read.
    """
    state: dict[str, Tensor] = {}
    found = False
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get(KEY) == INT8_ROWS:
                found = True
            elif not found:
                return None
            state.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return _expanded(state) if found else None


def _expanded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each matrix times its scales."""
    full: dict[str, Tensor] = {}
    for name, tensor in state.items():
        owner = name.removesuffix(SUFFIX)
        if owner != name:
            if owner not in state or state[owner].dtype != torch.int8:
                raise ValueError(f"{name} belongs to no int8 matrix")
            continue
        if tensor.dtype != torch.int8:
            full[name] = tensor
            continue
        scale_R = state.get(name + SUFFIX)
        if scale_R is None or scale_R.shape != tensor.shape[:1]:
            raise ValueError(f"{name} has no {SUFFIX[1:]} for each of its rows")
        full[name] = tensor.float() * scale_R.float()[:, None]
    return full
