"""Attention read off the layer loop: against transformers' own, and shared out by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from embedder.encoder import Encoder
from embedder.errors import InvalidText, UnsupportedArchitecture
from embedder.evaluation.attention import (
    SHARED,
    RowAttention,
    attention_shares,
    read_attention,
    require_attention,
)
from embedder.tokens import PLACEHOLDER_ID

TEXTS = ["A cat.", "The dog looked at the cat on the mat, and the bank kept its rate.", "Où ?"]
TP = {"start": 1, "exit": 3}


def _transformers(folder: Path, ids: tuple[int, ...]) -> Any:
    """The last token's attention in every layer, mean over heads, by eager attention: (L, N)."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        found = model(torch.tensor([ids]), output_attentions=True).attentions
    return np.stack([layer[0, :, -1].mean(0).float().numpy() for layer in found])


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3", "gemma2", "gemma3_text", "phi3"])
def test_as_transformers_gives_it(
    kind: str, encoder_of: Callable[..., Encoder], folders: Mapping[str, Path]
) -> None:
    """Every layer, token for token, without TP and CP: windows, soft caps and shared heads too."""
    read = read_attention(encoder_of(kind), TEXTS)
    for (row,) in read:
        expected = _transformers(folders[kind], row.ids)
        assert row.weight_LN.shape == expected.shape
        np.testing.assert_allclose(row.weight_LN, expected, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"token_prepending": TP},
        {"token_prepending": TP, "contrastive_prompting": {"layer": 1}},
        {"contrastive_prompting": {"layer": 2, "shared_context": True}},
        {"template": "ck", "token_prepending": TP, "max_tokens": 200},
        {"output_layer": 2, "pooling": "mean"},
    ],
)
def test_every_layer_sums_to_one(
    settings: dict[str, Any], encoder_of: Callable[..., Encoder]
) -> None:
    """Whatever the settings; and what batch a text is in does not matter."""
    encoder = encoder_of("llama", **settings)
    together = read_attention(encoder, TEXTS)
    for text, rows in zip(TEXTS, together, strict=True):
        assert len(rows) == (2 if settings.get("template") == "ck" else 1)
        for row in rows:
            layers = settings.get("output_layer", 4)
            assert row.weight_LN.shape == (layers, len(row.ids))
            np.testing.assert_allclose(row.weight_LN.sum(1), 1, atol=1e-5)
            shares = row.by_role()
            np.testing.assert_allclose(sum(shares[role] for role in SHARED), 1, atol=1e-5)
        (alone,) = read_attention(encoder, [text])
        for row, own in zip(rows, alone, strict=True):
            np.testing.assert_allclose(row.weight_LN, own.weight_LN, atol=1e-5)


def test_interventions_act_from_their_layer_on(encoder_of: Callable[..., Encoder]) -> None:
    """TP changes what layer 1 sees, CP at layer 1 only what comes after it."""
    ((plain,),) = read_attention(encoder_of("llama"), TEXTS[1:2])
    ((contrasted,),) = read_attention(
        encoder_of("llama", contrastive_prompting={"layer": 1, "mode": "scaled"}), TEXTS[1:2]
    )
    change_L = np.abs(plain.weight_LN - contrasted.weight_LN).max(1)
    assert (change_L[:2] < 1e-5).all()
    assert (change_L[2:] > 1e-4).all()
    ((short,),) = read_attention(
        encoder_of("llama", token_prepending={"start": 1, "exit": 2}), TEXTS[1:2]
    )
    ((long,),) = read_attention(
        encoder_of("llama", token_prepending={"start": 1, "exit": 4}), TEXTS[1:2]
    )
    assert short.roles.count("placeholder") == 1
    change_L = np.abs(short.weight_LN - long.weight_LN).max(1)
    assert (change_L[:2] < 1e-5).all()
    assert change_L[2] > 1e-4


def test_tokens_have_roles(encoder_of: Callable[..., Encoder]) -> None:
    """BOS, prompt, placeholder; words by what they are, however many tokens they take."""
    text = "The dog doesn't bark at läuft."
    ((row,),) = read_attention(encoder_of("llama", token_prepending=TP), [text])
    assert (row.roles[0], row.tokens[0]) == ("bos", "<s>")
    place = row.ids.index(PLACEHOLDER_ID)
    assert (row.roles[place], row.tokens[place]) == ("placeholder", "<PST>")
    said: dict[str, str] = {}
    for token, role in zip(row.tokens, row.roles, strict=True):
        said[role] = said.get(role, "") + token
    assert said["content"].split() == ["dog", "bark", "läuft"]
    assert said["function"].replace("The", "The ").split() == ["The", "doesn't", "at"]
    assert said["punctuation"].startswith(".")
    assert said["prompt"].startswith("This sentence :")
    assert 'means in one word:"' in said["prompt"]


def test_shares_by_hand() -> None:
    """Without BOS the rest is scaled up; texts count alike, whatever their number of prompts."""

    def row(*weights: float) -> RowAttention:
        roles = ("bos", "prompt", "content", "function")
        return RowAttention(("",) * 4, (0,) * 4, roles, np.array([weights], dtype=np.float32))

    one = row(0.5, 0.25, 0.25, 0.0)
    np.testing.assert_allclose(one.without_bos, [[0, 0.5, 0.5, 0]])
    assert one.by_role()["bos"][0] == pytest.approx(0.5)
    found = attention_shares([(one, row(0.0, 0.0, 1.0, 0.0)), (row(0.2, 0.0, 0.0, 0.8),)])
    assert found.texts == 2
    assert found.last["content"] == pytest.approx((0.75 + 0) / 2)
    assert found.last["function"] == pytest.approx(0.5)
    assert found.last["bos"] == pytest.approx((0.25 + 0.2) / 2)
    # Nothing but BOS: no share is made of nothing.
    assert row(1.0, 0.0, 0.0, 0.0).without_bos.sum() == 0


def test_nothing_to_share_out(encoder_of: Callable[..., Encoder]) -> None:
    """No texts is said, not a mean of nothing."""
    with pytest.raises(InvalidText, match="no texts"):
        attention_shares([])
    assert read_attention(encoder_of("llama"), []) == []


def test_a_model_outside_the_layer_loop_is_refused() -> None:
    """By its type, before any weight is loaded."""
    files = SimpleNamespace(architecture={"model_type": "gpt_neox"})
    with pytest.raises(UnsupportedArchitecture, match="'gpt_neox' model cannot be read; use one"):
        require_attention(SimpleNamespace(files=files))  # type: ignore[arg-type]
