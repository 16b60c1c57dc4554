"""The packed loop against transformers' own forward, one padded text at a time, with plain hooks.

The reference knows nothing of packing, shared prefixes, early exit or the last-token shortcut: it
runs every layer with eager attention, copies the last state before each layer of TP's range, and
swaps one vector in front of `o_proj`.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModel

from benchmarks.results_file import finish
from embedder.backbone import Backbone
from embedder.config import EncoderConfig
from embedder.encoder import Encoder
from embedder.model_files import ARCHITECTURES
from embedder.tokens import PLACEHOLDER_ID, Row

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
        "contrastive_prompting": {"layer": 2, "mode": "scaled_norm", "strength": 2.0}
    },
    "cp at the start": {"contrastive_prompting": {"layer": 0}},
    "cp per head": {"contrastive_prompting": {"layer": 1, "mode": "sub_head_norm"}},
    "cp at the end": {"contrastive_prompting": {"layer": 3}},
    "both": {"token_prepending": TP, "contrastive_prompting": {"layer": 1}},
    "both, tp on auxiliary": {
        "token_prepending": {"start": 1, "exit": 4, "on_auxiliary": True},
        "contrastive_prompting": {"layer": 1},
    },
    "shared context": {"contrastive_prompting": {"layer": 2, "shared_context": True}},
    "both, shared context": {
        "token_prepending": {"start": 1, "exit": 4},
        "contrastive_prompting": {"layer": 2, "mode": "scaled", "shared_context": True},
    },
}
POOLINGS = ["mean", "position_weighted_mean", "attention_weighted_mean", "last_mean"]
OPENING = "This sentence :"
AUXILIARY_OPENING = "The irrelevant information of this sentence :"
CLOSING = '" means in one word:"'
SHARED_CLOSING = '" contains what is of no use, in one word:"'


@pytest.fixture(scope="session")
def backbones(folders: Mapping[str, Path]) -> Mapping[str, Backbone]:
    return {
        kind: Backbone(AutoModel.from_pretrained(folder, attn_implementation="eager").eval())
        for kind, folder in folders.items()
    }


@pytest.fixture(scope="module")
def worst() -> Iterator[dict[str, list[float]]]:
    """The relative errors of each architecture; filed as a result where SEXTANT_FILE is set."""
    seen: dict[str, list[float]] = {}
    yield seen
    if os.environ.get("SEXTANT_FILE"):
        rows = [
            {"model_type": kind, "comparisons": len(errors), "worst_relative_error": max(errors)}
            for kind, errors in seen.items()
        ]
        finish("parity", {"tolerance": TOLERANCE, "rows": rows}, file=True)


def test_every_covered_architecture_is_held_against_transformers(
    backbones: Mapping[str, Backbone],
) -> None:
    """None can be added to the loop without being tested here."""
    assert set(ARCHITECTURES) == set(backbones)


def build_rows(
    tokenizer: Tokenizer, texts: list[str], opening: str, placeholders: int, closing: str = CLOSING
) -> list[Row]:
    """Rows put together by hand: BOS, opening, placeholders, quoted text, closing."""

    def ids(piece: str) -> list[int]:
        return list(tokenizer.encode(piece, add_special_tokens=False).ids)

    rows = []
    for text in texts:
        opened = [0, *ids(opening)]
        front = [*opened, *[PLACEHOLDER_ID] * placeholders, *ids(' "')]
        body, end = ids(text), ids(closing)
        prefix = len(opened) if placeholders else len(front)
        rows.append(Row((*front, *body, *end), len(front), len(front) + len(body), prefix=prefix))
    return rows


def both_rows(tokenizer: Tokenizer, config: EncoderConfig) -> tuple[list[Row], list[Row]]:
    """Normal and auxiliary rows of all texts."""
    tp, cp = config.token_prepending, config.contrastive_prompting
    count = tp.placeholders if tp else 0
    normal = build_rows(tokenizer, TEXTS, OPENING, count)
    if cp is None:
        return normal, []
    if cp.shared_context:
        return normal, build_rows(tokenizer, TEXTS, OPENING, count, SHARED_CLOSING)
    on_auxiliary = count if tp and tp.on_auxiliary else 0
    return normal, build_rows(tokenizer, TEXTS, AUXILIARY_OPENING, on_auxiliary)


def reference(
    backbone: Backbone, row: Row, auxiliary: Row | None, config: EncoderConfig, *, padding: str
) -> Tensor:
    """The pooled state of one row, (D,) or (2D,), by transformers' forward over all layers."""
    model, cp = backbone.model, config.contrastive_prompting
    vector_HE = None
    if cp is not None:
        assert auxiliary is not None
        plain = run(model, row, config, padding, backbone.placeholder())
        # A shared placeholder holds the normal prompt's last state, at the auxiliary one too.
        copied = plain if cp.shared_context else None
        seen = run(model, auxiliary, config, padding, backbone.placeholder(), copied=copied)
        aux_HE = seen[f"o_proj {cp.layer}"].reshape(backbone.heads, -1)
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
    output = config.resolve_output_layer(len(backbone.layers))
    hidden_TD, last_D = states[f"hidden {output}"], states[f"hidden {output}"][-1]
    if config.pooling == "last":
        return last_D
    low, high = (0, len(row.ids)) if config.pool_prompt else (row.text_start, row.text_end)
    if low == high:
        mean_D = last_D
    else:
        weight_N = {
            "mean": torch.ones(high - low),
            "last_mean": torch.ones(high - low),
            "position_weighted_mean": torch.arange(1.0, high - low + 1),
            "attention_weighted_mean": states[f"attention {output - 1}"][low:high],
        }[config.pooling]
        mean_D = (hidden_TD[low:high] * weight_N[:, None]).sum(0) / weight_N.sum()
    return torch.cat((last_D, mean_D)) if config.pooling == "last_mean" else mean_D


def run(
    model: Any,
    row: Row,
    config: EncoderConfig,
    padding: str,
    placeholder_D: Tensor,
    *,
    replacement: Tensor | None = None,
    copied: dict[str, Tensor] | None = None,
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

    tp, cp = config.token_prepending, config.contrastive_prompting
    for index, layer in enumerate(model.layers):

        def copy_last(module: Any, args: tuple[Tensor, ...], index: int = index) -> Any:
            hidden = args[0].clone()
            states[f"last {index}"] = hidden[0, last].clone()
            source = states if copied is None else copied
            hidden[0, at] = source[f"last {index}"]
            return (hidden, *args[1:])

        if tp is not None and tp.start <= index < tp.exit:
            hooks.append(layer.register_forward_pre_hook(copy_last))

        def watch(module: Any, args: tuple[Tensor, ...], index: int = index) -> tuple[Tensor, ...]:
            mixed = args[0].clone()
            states[f"o_proj {index}"] = mixed[0, last].clone()
            if replacement is not None and cp is not None and index == cp.layer:
                mixed[0, last] = replacement.flatten()
            return (mixed,)

        def attended(module: Any, args: Any, output: Any, index: int = index) -> None:
            weight_H = output[1][0, :, last, left : left + length]
            states[f"attention {index}"] = weight_H.mean(0)

        def keep(module: Any, args: Any, output: Tensor, index: int = index) -> None:
            states[f"hidden {index + 1}"] = output[0, left : left + length].clone()

        hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(watch))
        hooks.append(layer.self_attn.register_forward_hook(attended))
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


def check(
    backbone: Backbone, tokenizer: Tokenizer, config: EncoderConfig, worst: dict[str, list[float]]
) -> None:
    """Every text of a batch against the reference."""
    kind = backbone.model.config.model_type
    normal, auxiliary = both_rows(tokenizer, config)
    got = backbone.forward(normal, config, auxiliary)
    for index, padding in enumerate(["left", "right", "left", "right"]):
        aux = auxiliary[index] if auxiliary else None
        expected = reference(backbone, normal[index], aux, config, padding=padding)
        error = relative_error(got[index], expected)
        worst.setdefault(kind, []).append(error)
        assert error < TOLERANCE


WINDOW_FIRST = ("mistral", "gemma2", "gemma3_text")
"""Their first layer's window holds the same tokens of both prompts: CP there subtracts equals."""


@pytest.mark.parametrize(
    ("kind", "plan"),
    [
        (kind, plan)
        for kind in ARCHITECTURES
        for plan in PLANS
        if not (plan == "cp at the start" and kind in WINDOW_FIRST)
    ],
)
@torch.inference_mode()
def test_packed_loop_equals_hooked_transformers(
    kind: str,
    plan: str,
    backbones: Mapping[str, Backbone],
    tokenizer: Tokenizer,
    worst: dict[str, list[float]],
) -> None:
    """Each plan at each output layer gives the last-token states that plain hooks give."""
    assert (backbones[kind].blocks[0].rule.window is not None) == (kind in WINDOW_FIRST)
    for output_layer in (-1,) if plan == "cp at the end" else (-1, -2, 3):
        config = EncoderConfig(**PLANS[plan], output_layer=output_layer)
        check(backbones[kind], tokenizer, config, worst)


@pytest.mark.parametrize("plan", ["neither", "tp", "both", "shared context"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", ARCHITECTURES)
@torch.inference_mode()
def test_every_pooling_equals_that_of_transformers_states(
    kind: str,
    pooling: str,
    plan: str,
    backbones: Mapping[str, Backbone],
    tokenizer: Tokenizer,
    worst: dict[str, list[float]],
) -> None:
    """Over the text's own tokens and over the whole row; the last token where there is no text."""
    for pool_prompt in (False, True):
        unread = "contrastive_prompting" in PLANS[plan] and pooling != "attention_weighted_mean"
        if unread and not pool_prompt and pooling != "last_mean" and plan != "both":
            continue  # refused: nothing would read what CP changes
        config = EncoderConfig(
            **PLANS[plan], output_layer=-2, pooling=pooling, pool_prompt=pool_prompt
        )
        check(backbones[kind], tokenizer, config, worst)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_encoder_is_the_loop_behind_a_tokenizer(
    kind: str,
    encoder_of: Callable[..., Encoder],
    backbones: Mapping[str, Backbone],
    tokenizer: Tokenizer,
) -> None:
    """From text to unit vector: prompt, ids, TP, CP and normalisation, against the plain way."""
    encoder = encoder_of(kind, **PLANS["both"])
    normal, auxiliary = both_rows(tokenizer, encoder.config)
    got = encoder.encode_document(TEXTS)
    with torch.inference_mode():
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
    config = EncoderConfig(**PLANS["tp"])
    row = build_rows(tokenizer, ["A cat."], "This sentence :", 1)[0]
    expected = reference(own, row, None, config, padding="left")
    assert relative_error(own.forward([row], config)[0], expected) < TOLERANCE
    default = backbones["llama"].forward([row], config)[0]
    assert relative_error(default, expected) > TOLERANCE
