"""Settings are checked when built: one line with the setting, its value and what is allowed."""

from typing import Any

import pytest
from pydantic import ValidationError

from embedder.config import EncoderConfig, TokenPrepending
from embedder.errors import InvalidConfig
from embedder.presets import PRESETS
from embedder.specification import check_config

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"templte": "eol"}, r"unknown setting 'templte'; choose from template, query_template"),
    ({"template": "eoll"}, r"unknown template 'eoll'; choose one of eol"),
    ({"template": 5}, r"encoder.template: 5 is not allowed, input should be a valid string"),
    ({"query_template": "{}{}"}, r"'\{\}\{\}' has 2 slots; write \{\} exactly once"),
    ({"template": "none", "token_prepending": {"exit": 3}}, r"'none' has no <PST>.*add <PST>"),
    (
        {"query_template": "none", "token_prepending": {"exit": 3}},
        r"template 'none' has no <PST>.*switch token_prepending off",
    ),
    (
        {"token_prepending": {"start": 3, "exit": 3}},
        r"encoder.token_prepending: exit 3 is not above start 3; raise exit",
    ),
    ({"token_prepending": {"start": 0, "exit": 3}}, r"start: 0 is not allowed.*equal to 1"),
    ({"token_prepending": {"start": 1}}, r"encoder.token_prepending.exit: not given; set it"),
    ({"token_prepending": {"exit": 3, "stop": 4}}, r"'stop'; choose from start, exit, placeh"),
    ({"token_prepending": 7}, r"encoder.token_prepending: 7 is not allowed, .*valid dictionary"),
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
        {"contrastive_prompting": {"layer": 1}, "pooling": "mean"},
        r"acts on the last token, pooling is 'mean'; use pooling='last'",
    ),
    ({"pooling": "max"}, r"encoder.pooling: 'max' is not allowed, input should be 'last' or 'me"),
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


@pytest.mark.parametrize("wrong", [[], "eol", 3, None])
def test_settings_that_are_no_mapping(wrong: Any) -> None:
    """A JSON list where settings are expected is a wrong setting, not a crash."""
    with pytest.raises(InvalidConfig, match=r"encoder: .* is not allowed, .*valid dictionary"):
        check_config(wrong)


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
