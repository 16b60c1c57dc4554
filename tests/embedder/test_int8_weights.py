"""Weights of a byte each: what they stand for is the same number in every dtype, at every load."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaModel

from embedder.errors import ModelUnavailable
from embedder.int8_weights import INT8_ROWS, KEY, int8_state, quantise_rows, save_int8
from embedder.loading import load_model

MARK = {"format": "pt", KEY: INT8_ROWS}


@pytest.fixture
def model() -> Any:
    """A small Llama."""
    torch.manual_seed(1)
    return LlamaModel(
        LlamaConfig(
            vocab_size=50,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
        )
    )


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    """The small Llama in int8."""
    model.config.save_pretrained(tmp_path)
    save_int8(model.state_dict(), tmp_path / "model.safetensors")
    return tmp_path


def test_every_element_is_within_half_a_scale() -> None:
    """Scales are powers of two, the smallest at which the row's largest element fits."""
    torch.manual_seed(0)
    matrix = torch.randn(40, 64) * torch.logspace(-6, 3, 40)[:, None]
    matrix[3] = 0
    matrix[4, 0] = 127.0
    codes, scale = quantise_rows(matrix)
    assert torch.equal(torch.exp2(torch.log2(scale.float()).round()), scale.float())
    error = (codes.float() * scale.float()[:, None] - matrix).abs()
    assert bool((error <= scale.float()[:, None] / 2).all())
    peak = matrix.abs().amax(1)
    rest = torch.arange(40) != 3
    assert bool((scale.float()[rest] < 2.01 * peak[rest] / 127).all())
    assert (float(scale[3]), int(codes[3].abs().max())) == (1.0, 0)
    assert int(codes.min()) >= -127


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_codes_for_numbers_that_are_none(bad: float) -> None:
    """NaN and infinity are refused."""
    with pytest.raises(ValueError, match="NaN or infinity"):
        quantise_rows(torch.tensor([[1.0, bad]]))


def test_loaded_weights_are_the_same_numbers_in_every_dtype(folder: Path, model: Any) -> None:
    """Exactly code times scale: float32, bfloat16 and float16 do not differ."""
    stored = load_file(folder / "model.safetensors")
    whole = dict(load_model(folder, dtype=torch.float32).named_parameters())
    assert set(whole) == set(dict(model.named_parameters()))
    for name, value in whole.items():
        if value.ndim == 2:
            scale = stored[f"{name}_scale"].float()[:, None]
            assert stored[name].dtype == torch.int8
            assert torch.equal(value, stored[name].float() * scale)
    for dtype in (torch.bfloat16, torch.float16):
        for name, value in load_model(folder, dtype=dtype).named_parameters():
            assert value.dtype == dtype
            assert torch.equal(value.float(), whole[name])


def test_ordinary_files_are_left_to_transformers(model: Any, tmp_path: Path) -> None:
    """Only the mark in the metadata makes int8 rows of a file."""
    model.save_pretrained(tmp_path)
    assert int8_state(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"norm.weight_scale": torch.ones(32)}, "norm.weight_scale belongs to no int8 matrix"),
        ({"embed_tokens.weight_scale": torch.ones(3)}, "has no scale for each of its rows"),
        ({"embed_tokens.weight_scale": None}, "has no scale for each of its rows"),
        ({"norm.weight": None}, "lack 1 tensors"),
        ({"norm.weight": torch.ones(5)}, "cannot be loaded"),
    ],
)
def test_a_damaged_file_is_one_clear_line(
    folder: Path, change: dict[str, torch.Tensor | None], problem: str
) -> None:
    """What is missing or does not fit is named; nothing is filled in."""
    path = folder / "model.safetensors"
    tensors: dict[str, torch.Tensor | None] = {**load_file(path), **change}
    save_file({name: t for name, t in tensors.items() if t is not None}, path, metadata=MARK)
    with pytest.raises(ModelUnavailable, match=problem) as caught:
        load_model(folder, dtype=torch.float32)
    assert "\n" not in str(caught.value)
