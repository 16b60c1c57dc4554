"""Encoding through hooks against the slow way: one text at a time, no padding, every layer run.

The reference knows where each architecture keeps its parts, does not stop early, and reads plain
recordings; so what is tested is the search for those parts, the padding, the order of the passes,
the early exit and every setting.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    BloomConfig,
    BloomModel,
    FalconConfig,
    FalconModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    GPTNeoConfig,
    GPTNeoModel,
    GPTNeoXConfig,
    GPTNeoXModel,
    OPTConfig,
    OPTModel,
    PhiConfig,
    PhiModel,
    StableLmConfig,
    StableLmModel,
    T5Config,
    T5Model,
)

from embedder import decoder_parts
from embedder.backbone import Backbone, seeded_placeholder
from embedder.config import EncoderConfig
from embedder.decoder_parts import check_causal
from embedder.errors import UnsupportedArchitecture
from embedder.hooked import HookedBackbone
from embedder.tokens import PLACEHOLDER_ID, Row

LAYERS, HEADS, HIDDEN, VOCABULARY = 4, 4, 32, 60
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Architecture:
    """A tiny decoder, and where it keeps its parts."""

    config: Any
    model: Any
    layers: str
    attention: str
    projection: str
    settings: dict[str, Any] = field(default_factory=dict)


def _rope(factor: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": factor}


ARCHITECTURES = {
    # Parallel residuals on and off, a part of each head rotated; Conv1D and learned positions;
    # positions counted from the mask; biases by distance; local layers; two projections' names.
    "gpt_neox": Architecture(
        GPTNeoXConfig, GPTNeoXModel, "layers", "attention", "dense", {"rope_parameters": _rope(0.5)}
    ),
    "gpt_neox in sequence": Architecture(
        GPTNeoXConfig,
        GPTNeoXModel,
        "layers",
        "attention",
        "dense",
        {"rope_parameters": _rope(0.25), "use_parallel_residual": False},
    ),
    "gpt2": Architecture(GPT2Config, GPT2Model, "h", "attn", "c_proj"),
    "opt": Architecture(
        OPTConfig,
        OPTModel,
        "decoder.layers",
        "self_attn",
        "out_proj",
        {"word_embed_proj_dim": HIDDEN, "ffn_dim": 48},
    ),
    "stablelm": Architecture(
        StableLmConfig,
        StableLmModel,
        "layers",
        "self_attn",
        "o_proj",
        {"num_key_value_heads": 2, "use_parallel_residual": True, "intermediate_size": 48},
    ),
    "falcon": Architecture(
        FalconConfig,
        FalconModel,
        "h",
        "self_attention",
        "dense",
        {"attn_implementation": "eager", "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "bloom": Architecture(
        BloomConfig, BloomModel, "h", "self_attention", "dense", {"attn_implementation": "eager"}
    ),
    "gpt_neo": Architecture(
        GPTNeoConfig,
        GPTNeoModel,
        "h",
        "attn.attention",
        "out_proj",
        {
            "attention_types": [[["global", "local"], 2]],
            "window_size": 5,
            "num_layers": LAYERS,
            "num_heads": HEADS,
        },
    ),
    "phi": Architecture(
        PhiConfig, PhiModel, "layers", "self_attn", "dense", {"intermediate_size": 48}
    ),
}
KINDS = list(ARCHITECTURES)

TP = {"start": 1, "exit": 3}
PLANS: dict[str, dict[str, Any]] = {
    "neither": {},
    "tp": {"token_prepending": TP},
    "tp to the end": {"token_prepending": {"start": 1, "exit": 4, "placeholders": 2}},
    "cp scaled": {"contrastive_prompting": {"layer": 1, "mode": "scaled", "strength": 0.5}},
    "cp norm": {"contrastive_prompting": {"layer": 0, "mode": "norm"}},
    "cp scaled norm": {
        "contrastive_prompting": {"layer": 1, "mode": "scaled_norm", "strength": 2.0}
    },
    "cp per head": {"contrastive_prompting": {"layer": 1, "mode": "sub_head_norm"}},
    "both": {"token_prepending": TP, "contrastive_prompting": {"layer": 1}},
    "both, tp on auxiliary": {
        "token_prepending": {**TP, "on_auxiliary": True},
        "contrastive_prompting": {"layer": 1},
    },
    "cp in shared context": {"contrastive_prompting": {"layer": 1, "shared_context": True}},
    "both in shared context": {
        "token_prepending": {"start": 1, "exit": 4},
        "contrastive_prompting": {"layer": 1, "shared_context": True},
    },
}


def build(kind: str, **changes: Any) -> Any:
    """A decoder with every parameter random, norms and biases too."""
    architecture = ARCHITECTURES[kind]
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 64,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
        **architecture.settings,
        **changes,
    }
    model = architecture.model(architecture.config(**settings))
    return randomise(model)


def randomise(model: Any) -> Any:
    generator = torch.Generator().manual_seed(7)
    model.eval().requires_grad_(requires_grad=False)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        norm = "norm" in name or ".ln_" in name
        parameter.copy_(1 + 0.2 * noise if norm else 0.25 * noise)
    return model


@pytest.fixture(scope="module")
def backbones() -> Mapping[str, HookedBackbone]:
    return {kind: HookedBackbone(build(kind)) for kind in KINDS}


def settings(**values: Any) -> EncoderConfig:
    return EncoderConfig.model_validate(values)


def rows_for(config: EncoderConfig, *, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Normal and auxiliary rows of three texts, of different lengths; the last text is empty.

    BOS, three tokens of the template, placeholders, the text, two tokens of the template; the
    auxiliary prompt has another beginning, or with shared context another ending.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCABULARY, (count,), generator=generator).tolist())

    tp, cp = config.token_prepending, config.contrastive_prompting
    count = tp.placeholders if tp else 0
    opening, closing, other_opening, other_closing = draw(3), draw(2), draw(5), draw(4)
    normal, auxiliary = [], []
    for length in (4, 9, 0):
        text, places = draw(length), (PLACEHOLDER_ID,) * count
        normal.append(Row((0, *opening, *places, *text, *closing), 4 + count, 4 + count + length))
        if cp is not None and cp.shared_context:
            auxiliary.append(Row((0, *opening, *places, *text, *other_closing)))
        elif cp is not None:
            own = places if tp and tp.on_auxiliary else ()
            auxiliary.append(Row((0, *other_opening, *own, *text, *closing)))
    return normal, auxiliary


@dataclass
class Recording:
    """What one text's forward showed: states by output layer, and by layer what attention gave."""

    hidden: dict[int, Tensor] = field(default_factory=dict)
    last_before: dict[int, Tensor] = field(default_factory=dict)
    projected: dict[int, Tensor] = field(default_factory=dict)
    attentions: Any = None


def run(
    kind: str,
    backbone: HookedBackbone,
    row: Row,
    config: EncoderConfig,
    *,
    replacement: Tensor | None = None,
    states_to_copy: Mapping[int, Tensor] | None = None,
) -> Recording:
    """One text through all layers of the plain model, without padding."""
    architecture, model = ARCHITECTURES[kind], backbone.model
    tp, cp = config.token_prepending, config.contrastive_prompting
    embedding = model.get_input_embeddings()
    embedded_1TD = torch.stack(
        [backbone.placeholder() if i == PLACEHOLDER_ID else embedding.weight[i] for i in row.ids]
    )[None]
    places = [i for i, token in enumerate(row.ids) if token == PLACEHOLDER_ID]
    seen = Recording()
    handles = []
    for index, layer in enumerate(model.get_submodule(architecture.layers)):

        def copy(module: Any, args: Any, index: int = index) -> Any:
            hidden_1TD = args[0].clone()
            seen.last_before[index] = hidden_1TD[0, -1].clone()
            if tp is not None and tp.start <= index < tp.exit:
                source = seen.last_before if states_to_copy is None else states_to_copy
                for place in places:
                    hidden_1TD[0, place] = source[index]
            return (hidden_1TD, *args[1:])

        def steer(module: Any, args: Any, index: int = index) -> Any:
            mixed_1TX = args[0].clone()
            seen.projected[index] = mixed_1TX[0, -1].clone()
            if replacement is not None and cp is not None and index == cp.layer:
                mixed_1TX[0, -1] = replacement
            return (mixed_1TX,)

        def keep(module: Any, args: Any, output: Any, index: int = index) -> None:
            states_1TD = output[0] if isinstance(output, tuple) else output
            seen.hidden[index + 1] = states_1TD[0].clone()

        projection = layer.get_submodule(f"{architecture.attention}.{architecture.projection}")
        handles.append(layer.register_forward_pre_hook(copy))
        handles.append(projection.register_forward_pre_hook(steer))
        handles.append(layer.register_forward_hook(keep))
    before = model.config._attn_implementation
    watched = config.pooling == "attention_weighted_mean"
    if watched:
        model.set_attn_implementation("eager")
    try:
        final = model(inputs_embeds=embedded_1TD, use_cache=False, output_attentions=watched)
    finally:
        model.set_attn_implementation(before)
        for handle in handles:
            handle.remove()
    seen.hidden[LAYERS] = final.last_hidden_state[0]
    seen.attentions = final.attentions
    return seen


def contrasted(normal_X: Tensor, auxiliary_X: Tensor, config: EncoderConfig) -> Tensor:
    """CP's formulas, spelled out."""
    cp = config.contrastive_prompting
    assert cp is not None
    difference_X = normal_X - auxiliary_X
    recovered_X = difference_X * normal_X.norm() / difference_X.norm()
    heads = zip(normal_X.chunk(HEADS), difference_X.chunk(HEADS), strict=True)
    return {
        "scaled": cp.strength * difference_X,
        "norm": recovered_X,
        "scaled_norm": cp.strength * recovered_X,
        "sub_head_norm": torch.cat([d * n.norm() / d.norm() for n, d in heads]),
    }[cp.mode]


def reference(
    kind: str, backbone: HookedBackbone, row: Row, auxiliary: Row | None, config: EncoderConfig
) -> Tensor:
    """The pooled state of one text, (D,) or (2D,)."""
    cp, output = config.contrastive_prompting, config.resolve_output_layer(LAYERS)
    replacement = None
    if cp is not None:
        assert auxiliary is not None
        plain = run(kind, backbone, row, config)
        states = plain.last_before if cp.shared_context else None
        other = run(kind, backbone, auxiliary, config, states_to_copy=states)
        replacement = contrasted(plain.projected[cp.layer], other.projected[cp.layer], config)
    seen = run(kind, backbone, row, config, replacement=replacement)
    hidden_TD = seen.hidden[output]
    start, end = (0, len(row.ids)) if config.pool_prompt else (row.text_start, row.text_end)
    if start == end:
        start, end = len(row.ids) - 1, len(row.ids)
    text_TD = hidden_TD[start:end]
    if config.pooling == "last":
        return hidden_TD[-1]
    if config.pooling == "last_mean":
        return torch.cat((hidden_TD[-1], text_TD.mean(0)))
    weights_T = torch.ones(end - start)
    if config.pooling == "position_weighted_mean":
        weights_T = torch.arange(1.0, end - start + 1)
    if config.pooling == "attention_weighted_mean":
        weights_T = seen.attentions[output - 1][0, :, -1, start:end].mean(0)
    return (weights_T[:, None] * text_TD).sum(0) / weights_T.sum()


def error(got: Tensor, expected: Tensor) -> float:
    """The largest deviation, relative to the largest component."""
    return float((got - expected).abs().max() / expected.abs().max())


def deviation(kind: str, backbone: HookedBackbone, config: EncoderConfig) -> float:
    """The worst error over the rows of one batch."""
    normal, auxiliary = rows_for(config)
    got = backbone.forward(normal, config, auxiliary)
    assert got.dtype == torch.float32
    others = auxiliary or [None] * len(normal)
    expected = [
        reference(kind, backbone, row, other, config)
        for row, other in zip(normal, others, strict=True)
    ]
    return max(error(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_padded_batch_through_hooks_equals_one_text_at_a_time(
    kind: str, plan: str, backbones: Mapping[str, HookedBackbone]
) -> None:
    """Each plan at each output layer gives the states of the plain model and plain hooks."""
    for output_layer in (-1, -2, 2):
        config = settings(**PLANS[plan], output_layer=output_layer)
        assert deviation(kind, backbones[kind], config) < TOLERANCE


@pytest.mark.parametrize("whole", [False, True], ids=["text", "whole row"])
@pytest.mark.parametrize(
    "pooling", ["mean", "position_weighted_mean", "attention_weighted_mean", "last_mean"]
)
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_poolings_read_the_states_and_eager_attentions_of_the_plain_model(
    kind: str, pooling: str, whole: bool, backbones: Mapping[str, HookedBackbone]
) -> None:
    """Means are over the text (the last token, if it is empty) or the row; without padding."""
    for output_layer in (-1, -2):
        config = settings(
            **PLANS["tp to the end"],
            contrastive_prompting={"layer": 2},
            pooling=pooling,
            pool_prompt=whole,
            output_layer=output_layer,
        )
        assert deviation(kind, backbones[kind], config) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_neighbours_and_their_padding_do_not_change_a_vector(
    kind: str, backbones: Mapping[str, HookedBackbone]
) -> None:
    """A row alone, in a batch, and in the batch reversed gives the same state."""
    config = settings(**PLANS["both in shared context"], pooling="last_mean")
    backbone = backbones[kind]
    normal, auxiliary = rows_for(config)
    together = backbone.forward(normal, config, auxiliary)
    reversed_ = backbone.forward(normal[::-1], config, auxiliary[::-1]).flip(0)
    assert error(reversed_, together) < TOLERANCE
    for row, other, vector in zip(normal, auxiliary, together, strict=True):
        assert error(backbone.forward([row], config, [other])[0], vector) < TOLERANCE


@pytest.mark.parametrize("plan", PLANS)
@torch.inference_mode()
def test_on_a_decoder_that_the_layer_loop_covers_the_two_agree(
    plan: str, decoder_builder: Callable[..., Any]
) -> None:
    """The hooks and the packed loop are two ways to the same vector, in every pooling."""
    model = decoder_builder("llama", VOCABULARY)
    looped, through_hooks = Backbone(model), HookedBackbone(model)
    assert torch.equal(looped.placeholder(), through_hooks.placeholder())
    assert looped.max_positions == through_hooks.max_positions
    assert (looped.dimension, looped.heads) == (through_hooks.dimension, through_hooks.heads)
    for pooling in ("last", "last_mean", "attention_weighted_mean"):
        for output_layer in (-1, -2):
            config = settings(**PLANS[plan], pooling=pooling, output_layer=output_layer)
            normal, auxiliary = rows_for(config)
            expected = looped.forward(normal, config, auxiliary)
            assert error(through_hooks.forward(normal, config, auxiliary), expected) < TOLERANCE


@torch.inference_mode()
def test_several_prompts_of_a_text_share_its_auxiliary_row(
    backbones: Mapping[str, HookedBackbone],
) -> None:
    """Two prompts in one call equal two calls; with shared context each has its own ending."""
    for plan in ("both", "both in shared context"):
        config = settings(**PLANS[plan])
        (first, auxiliary), (second, others) = rows_for(config), rows_for(config, seed=1)
        shared = plan == "both in shared context"
        others = others if shared else auxiliary
        backbone = backbones["gpt2"]
        expected = torch.cat(
            [backbone.forward(first, config, auxiliary), backbone.forward(second, config, others)]
        )
        both = [*auxiliary, *others] if shared else auxiliary
        got = backbone.forward([*first, *second], config, both, prompts=2)
        assert error(got, expected) < TOLERANCE
        with pytest.raises(ValueError, match="are needed"):
            backbone.forward(first, config)


@torch.inference_mode()
def test_nothing_is_left_behind_in_the_model(caplog: pytest.LogCaptureFixture) -> None:
    """After encoding the model is as it was: no hook, its attention kernel, its own output."""
    model = build("gpt_neox")
    ids = torch.arange(3, 12)[None]
    before = model(ids).last_hidden_state
    backbone = HookedBackbone(model)
    assert "'gpt_neox' is not covered by the layer loop" in caplog.text
    for pooling in ("last", "attention_weighted_mean"):
        config = settings(**PLANS["both"], pooling=pooling, output_layer=2)
        normal, auxiliary = rows_for(config)
        backbone.forward(normal, config, auxiliary)
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(model(ids).last_hidden_state, before)
    hooks = [h for m in model.modules() for h in (*m._forward_pre_hooks, *m._forward_hooks)]
    assert not hooks


def test_threads_do_not_steer_each_other(backbones: Mapping[str, HookedBackbone]) -> None:
    """Encodings with different settings, at once on one model, equal those in turn."""
    backbone = backbones["gpt2"]
    plans = [*PLANS.values(), {"pooling": "attention_weighted_mean"}] * 3

    def encode(plan: dict[str, Any]) -> Tensor:
        config = settings(**plan)
        normal, auxiliary = rows_for(config)
        with torch.inference_mode():
            return backbone.forward(normal, config, auxiliary)

    in_turn = [encode(plan) for plan in plans]
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(encode, plans))
    assert all(torch.equal(a, b) for a, b in zip(in_turn, at_once, strict=True))


@torch.inference_mode()
def test_a_head_is_left_out_and_a_placeholder_of_ones_own_is_used() -> None:
    """A model with its language head gives what its base gives."""
    base = build("gpt2")
    headed = GPT2LMHeadModel(base.config).eval()
    headed.transformer.load_state_dict(base.state_dict())
    config = settings(**PLANS["both"])
    normal, auxiliary = rows_for(config)
    expected = HookedBackbone(base).forward(normal, config, auxiliary)
    assert torch.equal(HookedBackbone(headed).forward(normal, config, auxiliary), expected)
    own = HookedBackbone(base, placeholder_D=torch.ones(HIDDEN))
    assert torch.equal(own.placeholder(), torch.ones(HIDDEN))
    assert error(own.forward(normal, config, auxiliary), expected) > TOLERANCE
    assert torch.equal(HookedBackbone(base).placeholder(), seeded_placeholder(base.wte))


@torch.inference_mode()
def test_half_precision_is_pooled_in_float32() -> None:
    """A bfloat16 model gives float32 states near the float32 model's."""
    exact, rounded = (HookedBackbone(build("opt").to(t)) for t in (torch.float32, torch.bfloat16))
    config = settings(**PLANS["both"], pooling="attention_weighted_mean")
    normal, auxiliary = rows_for(config)
    got = rounded.forward(normal, config, auxiliary)
    assert got.dtype == torch.float32
    assert error(got, exact.forward(normal, config, auxiliary)) < 0.2


def test_what_is_no_decoder_is_refused() -> None:
    """Encoders, pairs of encoder and decoder, and projected embeddings get a line that says so."""
    sizes = {"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": 2}
    bert = BertConfig(**sizes, num_attention_heads=4, intermediate_size=48)
    for model in (BertModel(bert), randomise(BertModel(bert))):
        with pytest.raises(UnsupportedArchitecture, match=r"'bert' model reads both ways.*decoder"):
            HookedBackbone(model)
        with pytest.raises(UnsupportedArchitecture, match="reads both ways"):
            check_causal(model)
    t5 = T5Config(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    with pytest.raises(UnsupportedArchitecture, match=r"'t5' model is an encoder with a decoder"):
        HookedBackbone(T5Model(t5))
    with pytest.raises(UnsupportedArchitecture, match="embeddings and layers of different sizes"):
        HookedBackbone(build("opt", word_embed_proj_dim=16))


@torch.inference_mode()
def test_a_part_that_cannot_be_found_is_missed_only_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TP needs no projection; CP does, and says under which names it was looked for."""
    backbone = HookedBackbone(build("gpt2"))
    monkeypatch.setattr(decoder_parts, "PROJECTIONS", ("o_proj", "wo"))
    assert deviation("gpt2", backbone, settings(**PLANS["tp"])) < TOLERANCE
    config = settings(**PLANS["both"])
    with pytest.raises(UnsupportedArchitecture, match=r"layer 1 no output .* o_proj, wo; switch"):
        backbone.forward(*_arguments(config))
    monkeypatch.setattr(decoder_parts, "ATTENTIONS", ("mixer",))
    with pytest.raises(UnsupportedArchitecture, match=r"layer 3 no attention .* mixer; use"):
        backbone.forward(*_arguments(settings(pooling="attention_weighted_mean")))
    assert backbone.model.config._attn_implementation == "sdpa"


@torch.inference_mode()
def test_attention_that_is_not_returned_is_said_so() -> None:
    """Falcon's class is chosen when it is built, so fused attention cannot be switched off."""
    backbone = HookedBackbone(build("falcon", attn_implementation="sdpa"))
    assert deviation("falcon", backbone, settings(**PLANS["both"])) < TOLERANCE
    with pytest.raises(UnsupportedArchitecture, match="does not give its attention weights; use"):
        backbone.forward(*_arguments(settings(pooling="attention_weighted_mean")))


@torch.inference_mode()
def test_a_projection_that_is_not_called_is_said_so() -> None:
    """Bloom can multiply by its projection's weights past the module: CP would not happen."""
    backbone = HookedBackbone(build("bloom", pretraining_tp=2, slow_but_exact=True))
    with pytest.raises(UnsupportedArchitecture, match="does not call its Linear as a module"):
        backbone.forward(*_arguments(settings(**PLANS["both"])))


def _arguments(config: EncoderConfig) -> tuple[list[Row], EncoderConfig, list[Row]]:
    normal, auxiliary = rows_for(config)
    return normal, config, auxiliary
