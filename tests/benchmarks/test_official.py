"""The re-implemented official procedure gives the vectors that the published code gave."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from benchmarks.official import OfficialModel, OfficialSettings

GOLDEN = Path(__file__).parent.parent / "golden"
TOLERANCE = 1e-5


def cases() -> list[Any]:
    found = []
    for folder in sorted(GOLDEN.iterdir()):
        described = json.loads((folder / "case.json").read_text())
        for index, case in enumerate(described["cases"]):
            found.append(pytest.param(folder, index, id=f"{folder.name}-{index}-{case}"))
    return found


def causal_model(folder: Path) -> Any:
    """The golden decoder with a language-model head, whose weights no embedding depends on."""
    torch.manual_seed(0)
    decoder = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    model.model = decoder
    return model.float().eval()


def padded(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(row) for row in rows)
    ids = [[pad] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)


@pytest.mark.parametrize(("folder", "index"), cases())
def test_published_vectors_are_met(folder: Path, index: int) -> None:
    """Every case of both papers' code, in one left-padded batch, to 1e-5."""
    described = json.loads((folder / "case.json").read_text())
    case, special = described["cases"][index], described["special"]
    tp = (case["start"], case["exit"]) if "start" in case else None
    settings = OfficialSettings(
        output_layer=case["output_layer"],
        tp=tp,
        cp_layer=case.get("layer"),
        mode=case.get("norm", "norm"),
        coefficient=case.get("coeff", 1.0),
    )
    placeholder = [special["placeholder"]] if tp else []
    bos, opening = special["bos"], described["aux_prefix"]
    tails = [[*row["text"], *row["suffix"]] for row in described["rows"]]
    normal = [
        [bos, *row["prefix"], *placeholder, *tail]
        for row, tail in zip(described["rows"], tails, strict=True)
    ]
    auxiliary = [[bos, *opening, *tail] for tail in tails]

    model = OfficialModel(
        causal_model(folder / "model"), settings, placeholder=special.get("placeholder", -1)
    )
    got = model.embed(*padded(normal, special["pad"]), padded(auxiliary, special["pad"]))

    expected = np.load(folder / "expected.npz")[f"case{index}"]
    assert np.abs(got.numpy() - expected).max() / np.abs(expected).max() < TOLERANCE


def test_cp_needs_auxiliary_prompts(tmp_path: Path) -> None:
    """Without them there is nothing to subtract, and that is said."""
    model = OfficialModel(
        causal_model(GOLDEN / "contrastive_prompting" / "model"),
        OfficialSettings(output_layer=-1, cp_layer=2),
    )
    with pytest.raises(ValueError, match="auxiliary"):
        model.embed(*padded([[1, 5, 6]], 0))
