"""The packed loop against transformers' own forward, one padded text at a time, with plain hooks.

The reference knows nothing of packing, early exit or the last-token shortcut: it runs every layer,
copies the last state before each layer of TP's range, and swaps one vector in front of `o_proj`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModel

from embedder.backbone import Backbone
from embedder.config import EncoderConfig
from embedder.encoder import Encoder
from embedder.tokens import PLACEHOLDER_ID, Row

KINDS = ["llama", "mistral", "qwen2", "qwen3"]
TOLERANCE = 1e-5
TEXTS = ["A cat.", "The dog looked at the cat on the mat, and the bank kept its rate.", "Où ?", ""]
TP = {"start": 1, "exit": 3}
PLANS: dict[str, dict[str, Any]] = {
    "neither": {},
    "tp": {"token_prepending": TP},
    "tp twice": {"token_prepending": {**TP, "placeholders": 2}},
    "cp scaled": {"contrastive_prompting": {"layer": 1, "mode": "scaled", "strength": 0.5}},
    "cp norm": {"contrastive_prompting": {"layer": 1, "mode": "norm"}},
    "cp scaled norm": {
        "contrastive_prompting": {"layer": 0, "mode": "scaled_norm", "strength": 2.0}
    },
    "cp per head": {"contrastive_prompting": {"layer": 1, "mode": "sub_head_norm"}},
    "both": {"token_prepending": TP, "contrastive_prompting": {"layer": 1}},
    "both, tp on auxiliary": {
        "token_prepending": {"start": 1, "exit": 4, "on_auxiliary": True},
        "contrastive_prompting": {"layer": 1},
    },
}


@pytest.fixture(scope="session")
def backbones(folders: Mapping[str, Path]) -> Mapping[str, Backbone]:
    return {kind: Backbone(AutoModel.from_pretrained(folders[kind]).eval()) for kind in KINDS}


def build_rows(
    tokenizer: Tokenizer, texts: list[str], opening: str, placeholders: int
) -> list[Row]:
    """Rows put together by hand: BOS, opening, placeholders, quoted text, closing."""

    def ids(piece: str) -> list[int]:
        return list(tokenizer.encode(piece, add_special_tokens=False).ids)

    rows = []
    for text in texts:
        if placeholders:
            front = [0, *ids(opening), *[PLACEHOLDER_ID] * placeholders, *ids(' "')]
        else:
            front = [0, *ids(f'{opening} "')]
        body, closing = ids(text), ids('" means in one word:"')
        rows.append(Row((*front, *body, *closing), len(front), len(front) + len(body)))
    return rows


def reference(
    backbone: Backbone, row: Row, auxiliary: Row | None, config: EncoderConfig, *, padding: str
) -> Tensor:
    """The pooled state of one row, (D,), by transformers' forward over all layers."""
    model, cp = backbone.model, config.contrastive_prompting
    vector_HE = None
    if cp is not None:
        assert auxiliary is not None
        seen = run(model, auxiliary, config, padding, backbone.placeholder())
        aux_HE = seen[f"o_proj {cp.layer}"].reshape(backbone.heads, -1)
        plain = run(model, row, config, padding, backbone.placeholder())
        normal_HE = plain[f"o_proj {cp.layer}"].reshape(backbone.heads, -1)
        difference_HE = normal_HE - aux_HE
        recovered_HE = difference_HE * (normal_HE.norm() / difference_HE.norm())
        per_head_HE = torch.stack(
            [d * (n.norm() / d.norm()) for n, d in zip(normal_HE, difference_HE, strict=True)]
        )
        vector_HE = {
            "scaled": cp.strength * difference_HE,
            "norm": recovered_HE,
            "scaled_norm": cp.strength * recovered_HE,
            "sub_head_norm": per_head_HE,
        }[cp.mode]
    states = run(model, row, config, padding, backbone.placeholder(), replacement=vector_HE)
    hidden_TD = states[f"hidden {config.resolve_output_layer(len(backbone.layers))}"]
    if config.pooling == "last":
        return hidden_TD[-1]
    empty = row.text_start == row.text_end
    return (hidden_TD if empty else hidden_TD[row.text_start : row.text_end]).mean(0)


def run(
    model: Any,
    row: Row,
    config: EncoderConfig,
    padding: str,
    placeholder_D: Tensor,
    *,
    replacement: Tensor | None = None,
) -> dict[str, Tensor]:
    """One forward of one padded row; the states of its real tokens, by name."""
    pad, length = 5, len(row.ids)
    left = pad if padding == "left" else 0
    ids = torch.full((1, length + pad), 2)
    ids[0, left : left + length] = torch.tensor(row.ids).clamp_min(0)
    embedded = model.embed_tokens(ids)
    at = [left + i for i, token in enumerate(row.ids) if token == PLACEHOLDER_ID]
    embedded[0, at] = placeholder_D
    mask = torch.zeros_like(ids)
    mask[0, left : left + length] = 1
    last = left + length - 1
    states: dict[str, Tensor] = {}
    hooks = []

    def copy_last_state(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = args[0].clone()
        hidden[0, at] = hidden[0, last].clone()
        return (hidden, *args[1:])

    tp, cp = config.token_prepending, config.contrastive_prompting
    for index, layer in enumerate(model.layers):
        if tp is not None and tp.start <= index < tp.exit:
            hooks.append(layer.register_forward_pre_hook(copy_last_state))

        def watch(module: Any, args: tuple[Tensor, ...], index: int = index) -> tuple[Tensor, ...]:
            mixed = args[0].clone()
            states[f"o_proj {index}"] = mixed[0, last].clone()
            if replacement is not None and cp is not None and index == cp.layer:
                mixed[0, last] = replacement.flatten()
            return (mixed,)

        def keep(module: Any, args: Any, output: Tensor, index: int = index) -> None:
            states[f"hidden {index + 1}"] = output[0, left : left + length].clone()

        hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(watch))
        hooks.append(layer.register_forward_hook(keep))
    try:
        final = model(inputs_embeds=embedded, attention_mask=mask, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    states[f"hidden {len(model.layers)}"] = final.last_hidden_state[0, left : left + length]
    return states


def relative_error(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_packed_loop_equals_hooked_transformers(
    kind: str, plan: str, backbones: Mapping[str, Backbone], tokenizer: Tokenizer
) -> None:
    """Each plan at each output layer gives the last-token states that plain hooks give."""
    backbone = backbones[kind]
    for output_layer in (-1, -2, 2):
        config = EncoderConfig.model_validate({**PLANS[plan], "output_layer": output_layer})
        tp, cp = config.token_prepending, config.contrastive_prompting
        count = tp.placeholders if tp else 0
        normal = build_rows(tokenizer, TEXTS, "This sentence :", count)
        opening = "The irrelevant information of this sentence :"
        on_auxiliary = count if tp and tp.on_auxiliary else 0
        auxiliary = build_rows(tokenizer, TEXTS, opening, on_auxiliary) if cp else []
        got = backbone.forward(normal, config, auxiliary)
        for index, padding in enumerate(["left", "right", "left", "right"]):
            aux = auxiliary[index] if auxiliary else None
            expected = reference(backbone, normal[index], aux, config, padding=padding)
            assert relative_error(got[index], expected) < TOLERANCE


@pytest.mark.parametrize("plan", ["neither", "tp"])
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_mean_pooling_equals_the_mean_of_transformers_states(
    kind: str, plan: str, backbones: Mapping[str, Backbone], tokenizer: Tokenizer
) -> None:
    """Mean pooling is over the text's own tokens; over the whole row where the text is empty."""
    backbone = backbones[kind]
    for output_layer in (-1, -2):
        config = EncoderConfig.model_validate(
            {**PLANS[plan], "output_layer": output_layer, "pooling": "mean"}
        )
        count = config.token_prepending.placeholders if config.token_prepending else 0
        rows = build_rows(tokenizer, TEXTS, "This sentence :", count)
        got = backbone.forward(rows, config)
        for row, vector in zip(rows, got, strict=True):
            expected = reference(backbone, row, None, config, padding="left")
            assert relative_error(vector, expected) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_encoder_is_the_loop_behind_a_tokenizer(
    kind: str,
    encoder_of: Callable[..., Encoder],
    backbones: Mapping[str, Backbone],
    tokenizer: Tokenizer,
) -> None:
    """From text to unit vector: prompt, ids, TP, CP and normalisation, against the plain way."""
    plan = PLANS["both"]
    encoder = encoder_of(kind, **plan)
    normal = build_rows(tokenizer, TEXTS, "This sentence :", 1)
    auxiliary = build_rows(tokenizer, TEXTS, "The irrelevant information of this sentence :", 0)
    got = encoder.encode_document(TEXTS)
    for index, vector in enumerate(got):
        state = reference(
            backbones[kind], normal[index], auxiliary[index], encoder.config, padding="left"
        )
        expected = (state / state.norm()).numpy()
        assert np.abs(vector - expected).max() < TOLERANCE


@torch.inference_mode()
def test_a_placeholder_vector_of_ones_own_is_used(
    backbones: Mapping[str, Backbone], tokenizer: Tokenizer
) -> None:
    """TP overwrites the placeholder from layer `start` on, yet layer 0 sees its own vector."""
    model = backbones["llama"].model
    own = Backbone(model, placeholder_D=torch.ones(32))
    config = EncoderConfig.model_validate(PLANS["tp"])
    row = build_rows(tokenizer, ["A cat."], "This sentence :", 1)[0]
    expected = reference(own, row, None, config, padding="left")
    assert relative_error(own.forward([row], config)[0], expected) < TOLERANCE
    default = backbones["llama"].forward([row], config)[0]
    assert relative_error(default, expected) > TOLERANCE
