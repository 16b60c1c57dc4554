"""The contenders do the same work, so that their times may be compared."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from benchmarks.contenders import CONTENDERS, Assignment, Layers, Vectors, peak_mib
from benchmarks.encoder import least_cosine
from benchmarks.shapes import SHAPES, write_model
from benchmarks.texts import TextPlan


def encode(key: str, folder: Path, dtype: str) -> Vectors:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [*TextPlan(count=40, mean_tokens=15).texts(tokenizer), "", "Où ?"]
    task = Assignment(dtype=dtype, device="cpu", threads=1)
    return CONTENDERS[key](folder, task).encode(texts)


@pytest.mark.parametrize("pair", ["ac", "bd"])
def test_each_pair_gives_the_same_vectors(folder: Path, pair: str) -> None:
    """The official procedure and ours with TP and CP; plain pooling and ours with neither."""
    if "b" in pair:
        pytest.importorskip("sentence_transformers", reason="extra `recipe`")
    one, other = (encode(key, folder, "float32") for key in pair)
    assert np.abs(one - other).max() < 1e-4
    assert np.abs(np.linalg.norm(one, axis=1) - 1).max() < 1e-5


def test_the_official_procedure_and_ours_agree_on_qwen3(tmp_path: Path) -> None:
    """Heads wider than hidden size / heads, normed queries and keys."""
    shape = dataclasses.replace(SHAPES["tiny"], family="qwen3", head_dim=32)
    write_model(shape, tmp_path, std=0.15)
    one, other = (encode(key, tmp_path, "float32") for key in "ac")
    assert np.abs(one - other).max() < 1e-4


@pytest.mark.parametrize("pair", ["ac", "bd"])
def test_each_pair_agrees_in_bfloat16(measured_folder: Path, pair: str) -> None:
    """But for rounding: the least cosine of a text's two vectors is above .999."""
    if "b" in pair:
        pytest.importorskip("sentence_transformers", reason="extra `recipe`")
    one, other = (encode(key, measured_folder, "bfloat16") for key in pair)
    assert least_cosine(one, other) > 0.999
    assert least_cosine(one, np.roll(other, 1, axis=0)) < 0.95


def test_interventions_change_the_vectors(folder: Path) -> None:
    """TP and CP are at work: with and without them the vectors are far apart."""
    one, other = (encode(key, folder, "float32") for key in "cd")
    assert least_cosine(one, other) < 0.9


def test_layers_are_those_of_the_papers() -> None:
    """Of 32 layers (Llama-2-7B): TP in 1 to 5, CP at 4."""
    assert Layers.of(32) == Layers(tp=(1, 6), cp=4)
    assert Layers.of(30) == Layers(tp=(1, 6), cp=4)


def test_peak_memory_is_this_process_own() -> None:
    """What was held once counts, after it was given back, too."""
    before = peak_mib("cpu")
    block = np.ones(64 * 2**20, dtype=np.uint8)
    del block
    assert before < peak_mib("cpu") < before + 200
