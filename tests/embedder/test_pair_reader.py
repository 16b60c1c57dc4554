"""Reading pairs: one pass gives what an encoder gives at every output layer and pooling."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2Model

from embedder.config import EncoderConfig
from embedder.encoder import Encoder
from embedder.errors import InvalidConfig, UnsupportedArchitecture
from embedder.pair_observers import POOLINGS, pair_cosines
from embedder.pair_reader import PairReader
from embedder.scored_pairs import ScoredPairs

SENTENCES = [
    "The cat sat on the mat.",
    "A dog looked at the cat, for a long time, and then went away.",
    "Prices rose by 3.5% in March.",
    "Où est la gare ?",
    "Vectors",
]
PAIRS = ScoredPairs(
    tuple(SENTENCES), tuple(SENTENCES[1:] + SENTENCES[:1]), np.arange(5, dtype=np.float64)
)
TP = {"start": 1, "exit": 3}
CP = {"layer": 1, "mode": "scaled", "strength": 0.5}
SETTINGS: dict[str, dict[str, Any]] = {
    # CP acts where gemma2 sees the whole row: in its window of 16 both prompts end alike, and the
    # norm recovered from a difference of nothing is that of rounding errors.
    "plain": {},
    "bare": {"template": "none"},
    "TP": {"token_prepending": TP},
    "CP": {"contrastive_prompting": CP},
    "both, of the prompt too": {
        "token_prepending": {**TP, "placeholders": 2, "position": "in_quote"},
        "contrastive_prompting": {"layer": 1, "auxiliary": "redundant"},
        "pool_prompt": True,
    },
    "two prompts, cut vectors": {
        "template": ["eol", "cluster"],
        "token_prepending": TP,
        "contrastive_prompting": {**CP, "mode": "sub_head_norm"},
        "dimensions": 20,
    },
}


def allowed(config: EncoderConfig, pooling: str, output_layer: int) -> EncoderConfig | None:
    """The settings read in that way, if they may be."""
    changes = {"pooling": pooling, "output_layer": output_layer}
    try:
        changed = EncoderConfig(**config.model_dump() | changes)
        changed.resolve_output_layer(4)
    except InvalidConfig:
        return None
    return changed


def encoded(encoder: Encoder) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The cosines as any user of the encoder would have them."""
    first, second = encoder.encode(list(PAIRS.first)), encoder.encode(list(PAIRS.second))
    cosine: np.ndarray[Any, np.dtype[np.float32]] = (first * second).sum(1)
    return cosine


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
@pytest.mark.parametrize("name", SETTINGS)
def test_one_pass_equals_an_encoder_for_each_setting(
    name: str, kind: str, encoder_of: Callable[..., Encoder]
) -> None:
    """Every output layer, every pooling, with TP, CP, several prompts: cosines to 1e-5.

    The auxiliary prompt of CP runs in a pass of its own here, and beside the normal one there.
    """
    encoder = encoder_of(kind, max_tokens=128, **SETTINGS[name])
    reader = PairReader(encoder, PAIRS)
    cosine_OPN = reader.read(encoder.config)
    assert cosine_OPN.shape == (4, len(POOLINGS), 5)
    cells = 0
    for row in range(4):
        for column, pooling in enumerate(POOLINGS):
            config = allowed(encoder.config, pooling, row + 1)
            if config is None:
                continue
            own = reader.cosines(config)
            np.testing.assert_allclose(cosine_OPN[row, column], own, atol=1e-5, rtol=0)
            if row in (1, 3):
                other = encoder_of(kind, **config.model_dump())
                np.testing.assert_allclose(own, encoded(other), atol=1e-6, rtol=0)
            cells += 1
    assert cells >= 6


def test_the_auxiliary_prompt_runs_once(encoder_of: Callable[..., Encoder]) -> None:
    """Whatever template, layer, mode and strength follow: its recorded states serve them all."""
    encoder = encoder_of("llama", max_tokens=128, contrastive_prompting=CP)
    reader = PairReader(encoder, PAIRS)
    passes: list[tuple[int, bool]] = []
    forward = reader._backbone.forward

    def counted(rows: Any, config: EncoderConfig, *rest: Any, **named: Any) -> torch.Tensor:
        passes.append((len(rows), config.contrastive_prompting is not None))
        return forward(rows, config, *rest, **named)

    reader._backbone.forward = counted  # type: ignore[method-assign]
    try:
        reader.record(encoder.config, {0, 1, 2})
        assert passes == [(10, False)]
        for layer, mode in ((0, "norm"), (1, "scaled"), (2, "sub_head_norm")):
            for template in ("eol", "cluster"):
                cp = {"layer": layer, "mode": mode}
                reader.read(
                    EncoderConfig(max_tokens=128, template=template, contrastive_prompting=cp)
                )
        assert passes[1:] == [(10, True)] * 6
        # A layer that was not recorded costs one more pass; so does another wording.
        deep = EncoderConfig(max_tokens=128, contrastive_prompting={"layer": 3})
        reader.read(deep)
        reader.read(deep)
        assert passes[7:] == [(10, False), (10, True), (10, True)]
        words = {"layer": 3, "auxiliary": "background"}
        reader.read(EncoderConfig(max_tokens=128, contrastive_prompting=words))
        assert passes[10:] == [(10, False), (10, True)]
    finally:
        del reader._backbone.forward


def test_texts_cut_elsewhere_are_recorded_anew(encoder_of: Callable[..., Encoder]) -> None:
    """A longer template leaves less of a long text, in the auxiliary prompt, too."""
    long = ScoredPairs(("cat " * 200,), ("dog " * 200,), np.zeros(1))
    encoder = encoder_of("llama", max_tokens=128, contrastive_prompting=CP)
    reader = PairReader(encoder, long)
    reader.record(encoder.config, {1})
    other = EncoderConfig(max_tokens=128, template="cot", contrastive_prompting=CP)
    for config in (encoder.config, other, encoder.config):
        got = reader.read(config)[-1, POOLINGS.index("last")]
        np.testing.assert_allclose(got, reader.cosines(config), atol=1e-5, rtol=0)
    assert reader.texts_cut(other) == 2


def test_a_batch_too_large_for_the_device_is_halved(encoder_of: Callable[..., Encoder]) -> None:
    """The cosines do not depend on it; a single pair that is too much is an error."""
    encoder = encoder_of("llama", max_tokens=128, contrastive_prompting=CP)
    expected = PairReader(encoder, PAIRS).read(encoder.config)
    reader = PairReader(encoder, PAIRS)
    forward, most = reader._backbone.forward, 4

    def small(rows: Any, *rest: Any, **named: Any) -> torch.Tensor:
        if len(rows) > most:
            raise RuntimeError("cannot allocate memory")
        return forward(rows, *rest, **named)

    reader._backbone.forward = small  # type: ignore[method-assign]
    try:
        np.testing.assert_allclose(reader.read(encoder.config), expected, atol=1e-5, rtol=0)
        most = 1
        with pytest.raises(RuntimeError, match="allocate memory"):
            reader.read(encoder.config)
    finally:
        del reader._backbone.forward


def test_states_that_depend_on_the_normal_prompt_are_refused(
    encoder_of: Callable[..., Encoder],
) -> None:
    """They cannot be recorded alone: a caller's mistake. `cosines` takes such settings."""
    shared = {"contrastive_prompting": {**CP, "shared_context": True}}
    encoder = encoder_of("llama", max_tokens=128, **shared)
    reader = PairReader(encoder, PAIRS)
    with pytest.raises(ValueError, match="cannot be recorded alone"):
        reader.read(encoder.config)
    np.testing.assert_allclose(reader.cosines(encoder.config), encoded(encoder), atol=1e-6)
    tp = {**TP, "on_auxiliary": True}
    with pytest.raises(ValueError, match="cannot be recorded alone"):
        reader.record(EncoderConfig(token_prepending=tp, contrastive_prompting=CP), {1})


def test_prompts_that_do_not_fit_are_known(encoder_of: Callable[..., Encoder]) -> None:
    """The auxiliary prompt may be too long for the model where the normal one is not."""
    encoder = encoder_of("llama", max_tokens=128)
    reader = PairReader(encoder, PAIRS)
    assert reader.layers == 4
    assert reader.fits(EncoderConfig(max_tokens=256, template="none"))
    assert not reader.fits(
        EncoderConfig(max_tokens=256, template="none", contrastive_prompting={"layer": 0})
    )
    assert not reader.fits(EncoderConfig(max_tokens=16, template="ke"))


def test_other_architectures_are_refused(tokenizer: Any, tmp_path: Any) -> None:
    """A model that only runs through hooks shows none of its layers."""
    model = GPT2Model(GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=2, n_positions=256))
    model.save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = Encoder.load(str(tmp_path), EncoderConfig(max_tokens=64), device="cpu")
    with pytest.raises(UnsupportedArchitecture, match=r"type 'gpt2' do not allow; use one of ll"):
        PairReader(encoder, PAIRS)


def test_a_state_of_zero_has_cosine_zero() -> None:
    """As a vector of zeros has in an encoder."""
    pooled_SD = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(pair_cosines(pooled_SD, 1, None), [0, 0.5**0.5], atol=1e-7)
    assert pair_cosines(pooled_SD, 1, 1).tolist() == [0, 1]
