"""Settings are checked when built: one line with the setting, its value and what is allowed."""

from typing import Any

import pytest
from pydantic import ValidationError

from embedder.config import ContrastivePrompting, EncoderConfig, TokenPrepending
from embedder.errors import InvalidConfig
from embedder.presets import PRESETS
from embedder.prompts import MULTI_PROMPTS, TEMPLATES
from embedder.specification import check_config

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"templte": "eol"}, r"unknown setting 'templte'; choose from template, query_template"),
    ({"template": "eoll"}, r"unknown template 'eoll'; choose one of eol"),
    ({"template": 5}, r"encoder.template: 5 is not allowed, input should be a valid string"),
    ({"query_template": "{}{}"}, r"'\{\}\{\}' has 2 slots; write \{\} exactly once"),
    ({"template": []}, r"list of templates is empty; name at least one"),
    ({"template": ["eol", 5]}, r"encoder.template: \['eol', 5\] is not allowed, .*valid string"),
    ({"template": ["eol", "ko"]}, r"unknown template 'ko'; choose one of eol, .*, ck, meta, or"),
    ({"template": "{} <PST>"}, r"'\{\} <PST>' has <PST> at its end; put words after it"),
    (
        {"template": "none", "token_prepending": {"exit": 3}},
        r"template '\{\}' has no <PST>.*add <PST>, set token_prepending.position",
    ),
    (
        {"query_template": "none", "token_prepending": {"exit": 3}},
        r"template '\{\}' has no <PST>.*or switch it off",
    ),
    (
        {"template": ["eol", "none"], "token_prepending": {"exit": 3}},
        r"template '\{\}' has no <PST>",
    ),
    (
        {"token_prepending": {"start": 3, "exit": 3}},
        r"encoder.token_prepending: exit 3 is not above start 3; raise exit",
    ),
    ({"token_prepending": {"start": 0, "exit": 3}}, r"start: 0 is not allowed.*equal to 1"),
    ({"token_prepending": {"start": 1}}, r"encoder.token_prepending.exit: not given; set it"),
    ({"token_prepending": {"exit": 3, "stop": 4}}, r"'stop'; choose from start, exit, placeh"),
    ({"token_prepending": 7}, r"encoder.token_prepending: 7 is not allowed, .*valid dictionary"),
    (
        {"token_prepending": {"exit": 3, "placeholders": 9}},
        r"token_prepending.placeholders: 9 is not allowed, .*less than or equal to 8",
    ),
    (
        {"token_prepending": {"exit": 3, "position": "end"}},
        r"position: 'end' is not allowed, .*'template', 'start', 'in_quote' or 'after_text'",
    ),
    (
        {"template": "Of {}", "token_prepending": {"exit": 3, "position": "after_text"}},
        r"'Of \{\}<PST>' has <PST> at its end; put words after it",
    ),
    (
        {"token_prepending": {"exit": 3, "prompts": []}},
        r"encoder.token_prepending: prompts is empty; name at least one, or switch",
    ),
    ({"token_prepending": {"exit": 3, "prompts": [-1]}}, r"prompts.0: -1 is not allowed"),
    (
        {"template": "ck", "token_prepending": {"exit": 3, "prompts": [0, 2]}},
        r"prompts names prompt 2, there are 2 document templates; use 0 to 1",
    ),
    (
        {
            "template": "ck",
            "query_template": "eol",
            "token_prepending": {"exit": 3, "prompts": [1]},
        },
        r"prompts names prompt 1, there are 1 query templates; use 0 to 0",
    ),
    ({"contrastive_prompting": {"layer": -1}}, r"layer: -1 is not allowed, .*equal to 0"),
    (
        {"contrastive_prompting": {"layer": 1, "mode": "nrom"}},
        r"mode: 'nrom' is not allowed, .*'scaled', 'norm', 'scaled_norm' or 'sub_head_norm'",
    ),
    ({"contrastive_prompting": {"layer": 1, "strength": 0}}, r"strength: 0 .*greater than 0"),
    (
        {"contrastive_prompting": {"layer": 1, "strength": float("inf")}},
        r"strength: inf is not allowed, .*finite",
    ),
    (
        {"contrastive_prompting": {"layer": 1, "auxiliary": "useless"}},
        r"unknown auxiliary prompt 'useless'; choose one of irrelevant",
    ),
    (
        {
            "contrastive_prompting": {"layer": 1, "auxiliary": "About {}"},
            "token_prepending": {"exit": 3, "on_auxiliary": True},
        },
        r"auxiliary prompt 'About \{\}' has no <PST>; add it",
    ),
    (
        {"contrastive_prompting": {"layer": 1, "shared_context": True, "auxiliary": "On {}"}},
        r"auxiliary prompt 'On \{\}' has words before \{\}; .*begin it with \{\}",
    ),
    (
        {
            "contrastive_prompting": {"layer": 1, "shared_context": True},
            "token_prepending": {"exit": 3, "on_auxiliary": True},
        },
        r"on_auxiliary has no meaning with shared_context, .*set it to false",
    ),
    (
        {
            "contrastive_prompting": {"layer": 1, "shared_context": True},
            "token_prepending": {"exit": 3, "position": "after_text"},
        },
        r"position 'after_text' cannot be shared .*choose another position",
    ),
    (
        {"contrastive_prompting": {"layer": 1}, "pooling": "mean"},
        r"changes the last token alone, which pooling 'mean' does not read; use pooling 'last'",
    ),
    (
        {
            "contrastive_prompting": {"layer": 1},
            "token_prepending": {"exit": 2},
            "pooling": "position_weighted_mean",
        },
        r"pooling 'position_weighted_mean' does not read",
    ),
    ({"pooling": "max"}, r"encoder.pooling: 'max' is not allowed, .*'last', 'mean', 'position_w"),
    ({"pool_prompt": "yes"}, r"pool_prompt: 'yes' is not allowed, input should be a valid boolean"),
    ({"adapter": 5}, r"adapter: 5 is not allowed, input should be a valid string"),
    ({"merge_adapter": 1}, r"merge_adapter: 1 is not allowed, .*valid boolean"),
    ({"on_overflow": "cut"}, r"on_overflow: 'cut' is not allowed, .*'truncate' or 'error'"),
    ({"dimensions": 0}, r"dimensions: 0 is not allowed, .*equal to 1"),
    ({"dimensions": "8"}, r"dimensions: '8' is not allowed, .*valid integer"),
    ({"precision": "int4"}, r"precision: 'int4' is not allowed, .*'float16', 'int8' or 'binary'"),
    ({"dtype": "int8"}, r"dtype: 'int8' is not allowed, .*'bfloat16'"),
    ({"max_tokens": 15}, r"max_tokens: 15 is not allowed, .*equal to 16"),
    ({"max_tokens": "many"}, r"max_tokens: 'many' is not allowed, .*valid integer"),
    ({"max_tokens": "a\nb" * 90}, r"max_tokens: .*valid integer"),
    ({"output_layer": 1.5}, r"output_layer: 1.5 is not allowed"),
    ({"normalise_text": True}, r"normalise_text: True is not allowed, .*'none' or 'papers'"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[str(w)[:60] for w, _ in WRONG])
def test_a_wrong_setting_is_one_clear_line(wrong: dict[str, Any], message: str) -> None:
    """Value, what is allowed, remedy; none of pydantic's several lines and links."""
    with pytest.raises(InvalidConfig, match=message) as caught:
        check_config(wrong)
    text = str(caught.value)
    assert "\n" not in text
    assert "pydantic" not in text
    assert len(text) < 300
    with pytest.raises(InvalidConfig) as built:
        EncoderConfig(**wrong)
    assert str(built.value) == text


@pytest.mark.parametrize("wrong", [[], "eol", 3, None])
def test_settings_that_are_no_mapping(wrong: Any) -> None:
    """A JSON list where settings are expected is a wrong setting, not a crash."""
    with pytest.raises(InvalidConfig, match=r"encoder: .* is not allowed, expected a mapping"):
        check_config(wrong)


def test_parts_of_the_settings_are_checked_when_built_alone() -> None:
    """Each in one line, with its own name."""
    with pytest.raises(InvalidConfig, match=r"^encoder\.token_prepending\.exit: 1 is not allowed"):
        TokenPrepending(exit=1)
    with pytest.raises(InvalidConfig, match=r"^encoder\.contrastive_prompting\.layer: 'x' is not"):
        ContrastivePrompting(layer="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "right",
    [
        # The words in front of the text carry what the contrast did, through later prepending.
        {"contrastive_prompting": {"layer": 1}, "token_prepending": {"exit": 4}, "pooling": "mean"},
        {"contrastive_prompting": {"layer": 1}, "pooling": "mean", "pool_prompt": True},
        {"contrastive_prompting": {"layer": 1}, "pooling": "last_mean"},
        {"template": "none", "token_prepending": {"exit": 3, "position": "start"}},
        {"template": ["eol", "none"], "token_prepending": {"exit": 3, "prompts": [0]}},
        {
            "contrastive_prompting": {"layer": 1, "auxiliary": "On {}:"},
            "token_prepending": {"exit": 3, "on_auxiliary": True, "position": "in_quote"},
        },
    ],
)
def test_what_looks_like_a_contradiction_and_is_none(right: dict[str, Any]) -> None:
    """Contrast that a mean reads after all; placeholders where the template names no place."""
    assert check_config(right) == EncoderConfig(**right)


def test_templates_are_texts_in_the_order_they_are_averaged() -> None:
    """Keys, multi-prompts and own templates, in one list; queries fall back to documents."""
    config = EncoderConfig(template=("ck", "On {}"), query_template="eol")
    own = tuple(TEMPLATES[key] for key in MULTI_PROMPTS["ck"])
    assert config.templates("document") == (*own, "On {}")
    assert config.templates("query") == (TEMPLATES["eol"],)
    assert EncoderConfig(template="cot").templates("query") == (TEMPLATES["cot"],)


def test_placeholders_stand_in_the_prompts_that_are_named() -> None:
    """By index; in all of them if none is named; in none without prepending."""
    tp = TokenPrepending(exit=3, placeholders=2, prompts=(1,))
    counts = [EncoderConfig(template="ck", token_prepending=tp).placeholders(i) for i in (0, 1)]
    assert counts == [0, 2]
    everywhere = EncoderConfig(template="ck", token_prepending=TokenPrepending(exit=3))
    assert [everywhere.placeholders(i) for i in (0, 1)] == [1, 1]
    assert EncoderConfig().placeholders(0) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_layer": 5}, "output_layer 5 is beyond this model of 4 layers; use 1 to 4, or -1"),
        ({"output_layer": 0}, "output_layer 0 is beyond"),
        ({"output_layer": -5}, "output_layer -5 is beyond"),
        ({"token_prepending": {"exit": 5}}, "exits at layer 5, this model has 4 layers; exit at 4"),
        (
            {"token_prepending": {"start": 3, "exit": 4}, "output_layer": 3},
            "starts at layer 3, the output layer is 3; start below 3",
        ),
        ({"contrastive_prompting": {"layer": 4}}, "acts at layer 4, .*from 0 to 3"),
        (
            {"contrastive_prompting": {"layer": 3}, "output_layer": -2},
            "acts at layer 3, the output layer is 3; use a layer from 0 to 2",
        ),
    ],
)
def test_layers_must_lie_in_the_model(settings: dict[str, Any], message: str) -> None:
    """A layer beyond a model of 4 layers, or at or after the output layer, has no effect there."""
    with pytest.raises(InvalidConfig, match=message):
        check_config(settings).resolve_output_layer(4)


def test_output_layers_count_from_either_end() -> None:
    """-1 is the final-normed output L, -2 the layer before it."""
    resolved = [EncoderConfig(output_layer=i).resolve_output_layer(4) for i in (-1, -2, -4, 1, 4)]
    assert resolved == [4, 3, 1, 1, 4]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_the_way_through_json(name: str) -> None:
    """A collection keeps settings as JSON and finds the same ones again."""
    config = PRESETS[name].config
    assert check_config(config.model_dump(mode="json")) == config


def test_settings_are_frozen() -> None:
    """A setting that changed after loading would belie the fingerprint."""
    with pytest.raises(ValidationError, match="frozen"):
        TokenPrepending(exit=3).exit = 4  # type: ignore[misc]
