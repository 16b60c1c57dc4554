"""Our packed loop gives the vectors of the official TP and CP code.

Each folder holds `case.json` (token rows and settings), `model/` (a tiny random decoder) and
`expected.npz` (the official code's raw embeddings, float32). Further folders of the same form come
from SEXTANT_GOLDEN, separated by colons.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from embedder.backbone import Backbone
from embedder.config import ContrastivePrompting, EncoderConfig, TokenPrepending
from embedder.tokens import PLACEHOLDER_ID, Row

HERE = Path(__file__).parent.parent / "golden"
FOLDERS = sorted(p for p in HERE.iterdir() if p.is_dir()) + [
    Path(p) for p in os.environ.get("SEXTANT_GOLDEN", "").split(":") if p
]
TOLERANCE = 1e-5


def cases() -> list[Any]:
    found = []
    for folder in FOLDERS:
        described = json.loads((folder / "case.json").read_text())
        for index, case in enumerate(described["cases"]):
            found.append(pytest.param(folder, index, id=f"{folder.name}-{index}-{case}"))
    return found


def settings(case: dict[str, Any]) -> EncoderConfig:
    plain = case.get("plan") == "vanilla"
    tp = None
    if "start" in case and not plain:
        tp = TokenPrepending(start=case["start"], exit=case["exit"])
    cp = None
    if "layer" in case and not plain:
        cp = ContrastivePrompting(
            layer=case["layer"], strength=case.get("coeff", 1.0), mode=case["norm"]
        )
    return EncoderConfig(
        token_prepending=tp, contrastive_prompting=cp, output_layer=case["output_layer"]
    )


def rows_of(described: dict[str, Any], config: EncoderConfig) -> tuple[list[Row], list[Row]]:
    bos = described["special"]["bos"]
    placeholder = [PLACEHOLDER_ID] if config.token_prepending else []
    normal, auxiliary = [], []
    for row in described["rows"]:
        tail = [*row["text"], *row["suffix"]]
        normal.append(Row(ids=(bos, *row["prefix"], *placeholder, *tail)))
        auxiliary.append(Row(ids=(bos, *described["aux_prefix"], *tail)))
    return normal, auxiliary if config.contrastive_prompting else []


def load(folder: Path, described: dict[str, Any]) -> Backbone:
    model = AutoModel.from_pretrained(folder / "model", use_safetensors=True).float().eval()
    placeholder = described["special"].get("placeholder")
    vector = None if placeholder is None else model.embed_tokens.weight[placeholder].detach()
    return Backbone(model, placeholder_D=vector)


@pytest.mark.parametrize(("folder", "index"), cases())
@pytest.mark.parametrize("batching", ["one batch", "one by one", "reversed"])
@torch.inference_mode()
def test_official_vectors_are_met(folder: Path, index: int, batching: str) -> None:
    """Every row of every case agrees with the official code to 1e-5, whatever the batching."""
    described = json.loads((folder / "case.json").read_text())
    config = settings(described["cases"][index])
    normal, auxiliary = rows_of(described, config)
    backbone = load(folder, described)
    expected = np.load(folder / "expected.npz")[f"case{index}"]

    if batching == "one batch":
        got = backbone.forward(normal, config, auxiliary)
    elif batching == "reversed":
        got = backbone.forward(normal[::-1], config, auxiliary[::-1]).flip(0)
    else:
        got = torch.cat(
            [backbone.forward([n], config, auxiliary[i : i + 1]) for i, n in enumerate(normal)]
        )
    error = np.abs(got.numpy() - expected).max() / np.abs(expected).max()
    assert error < TOLERANCE
