"""Reference texts: the same encoder passes, one that computes otherwise is refused."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer

from embedder.canary import CANARY_TEXTS, LEAST_COSINE, canary_vectors, check_canary
from embedder.config import Dtype, EncoderConfig
from embedder.encoder import Encoder
from embedder.errors import CanaryDrift, InvalidConfig, NonFiniteActivation


class ByteEncoder:
    """A text's vector counts its bytes, modulo 64; turned by an angle, it plays another release."""

    def __init__(self, *, turned: float = 0.0, turns: int | None = None, **settings: Any) -> None:
        self.config = EncoderConfig(**settings)
        self.turned = turned
        self.turns = turns
        """The only text that is turned; None: all."""
        self.fails_at: int | None = None
        self.calls: list[list[str]] = []

    def encode_document(self, texts: Sequence[str], *, precision: str) -> npt.NDArray[np.float32]:
        """Turn each vector towards a direction of its own, at right angles to it."""
        assert precision == "float32"
        self.calls.append(list(texts))
        if self.fails_at is not None:
            raise NonFiniteActivation(f"text {self.fails_at} gave NaN", index=self.fails_at)
        vectors = np.zeros((len(texts), 64))
        for row, text in enumerate(texts):
            for byte in text.encode():
                vectors[row, byte % 64] += 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        aside = np.random.default_rng(1).standard_normal(vectors.shape)
        aside -= (aside * vectors).sum(axis=1, keepdims=True) * vectors
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        angles = np.full((len(texts), 1), self.turned)
        if self.turns is not None:
            angles[np.arange(len(texts)) != self.turns] = 0
        return (np.cos(angles) * vectors + np.sin(angles) * aside).astype(np.float32)


def byte_encoder(**settings: Any) -> Any:
    """Typed as anything: the functions under test ask for an `Encoder`."""
    return ByteEncoder(**settings)


def test_the_texts_are_for_good() -> None:
    """Whoever changes one makes every collection look drifted; one may be added at the end."""
    digest = hashlib.sha256("\0".join(CANARY_TEXTS[:6]).encode()).hexdigest()
    assert digest == "9780a1903f477c41e1c8f6f4722f9281b5462f2895bffde546829c7ec6db7b81"
    assert len(set(CANARY_TEXTS)) == len(CANARY_TEXTS)


def test_vectors_are_of_unit_length_and_short_to_write() -> None:
    """One for each text; seven digits say what float32 holds."""
    canary = canary_vectors(byte_encoder())
    assert np.shape(canary) == (len(CANARY_TEXTS), 64)
    assert np.allclose(np.linalg.norm(canary, axis=1), 1, atol=1e-6)
    values = [value for row in canary for value in row]
    assert {type(value) for value in values} == {float}
    assert all(float(f"{value:.7g}") == value for value in values)


@pytest.mark.parametrize("dtype", LEAST_COSINE)
def test_the_bound_divides(dtype: Dtype) -> None:
    """A little nearer than the dtype's bound: no word. A little farther: refused."""
    stored = canary_vectors(byte_encoder(dtype=dtype))
    angle = math.acos(LEAST_COSINE[dtype])
    check_canary(byte_encoder(dtype=dtype), stored)
    check_canary(byte_encoder(dtype=dtype, turned=0.95 * angle), stored)
    with pytest.raises(CanaryDrift):
        check_canary(byte_encoder(dtype=dtype, turned=1.05 * angle), stored)


def test_a_refusal_says_which_text_how_far_and_what_to_do() -> None:
    """One text is enough; the line names the value, the bound, the dtype and the ways out."""
    stored = canary_vectors(byte_encoder())
    with pytest.raises(CanaryDrift) as refusal:
        check_canary(byte_encoder(turned=math.acos(0.75), turns=3), stored)
    assert str(refusal.value) == (
        "reference text 4 ('Invoice 2024-0317: 3 x 416.50 + 7 % ...') has cosine 0.750000 with its "
        "vector of when the collection was made, expected at least 0.99999 in float32; use the "
        "torch and transformers releases, the device and the settings that it was made with, or "
        "re-embed into a new collection"
    )


def test_a_collection_older_than_canaries_is_not_checked() -> None:
    """Nothing to compare with, so nothing is encoded either."""
    encoder = byte_encoder(turned=1.0)
    check_canary(encoder, ())
    assert encoder.calls == []


def test_programs_with_more_or_fewer_texts_agree_on_those_they_share() -> None:
    """A text may be added at the end: what stands before it is compared."""
    stored = canary_vectors(byte_encoder())
    check_canary(byte_encoder(), stored[:2])
    check_canary(byte_encoder(), (*stored, stored[0]))
    for others in (stored[:2], (*stored, stored[0])):
        with pytest.raises(CanaryDrift, match="reference text 2 "):
            check_canary(byte_encoder(turned=0.1, turns=1), others)


def test_what_is_not_finite_is_no_vector() -> None:
    """At first the dtype is to blame; later, whatever changed since."""
    encoder = byte_encoder(dtype="float16")
    stored = canary_vectors(encoder)
    encoder.fails_at = 2
    with pytest.raises(CanaryDrift, match=r"text 3 \('Поздно .* no finite vector any more in floa"):
        check_canary(encoder, stored)
    with pytest.raises(InvalidConfig, match=r"text 3 \(.* gives no finite vector in float16; use"):
        canary_vectors(encoder)


def test_texts_are_cut_for_an_encoder_that_refuses_long_ones(tokenizer: Tokenizer) -> None:
    """To as many tokens as fit, from their beginning; any other encoder cuts them by itself."""
    encoder = byte_encoder(on_overflow="error")
    encoder.tokenizer_json, encoder.max_text_tokens = tokenizer.to_str(), 12
    check_canary(encoder, canary_vectors(encoder))
    for text, read in zip(CANARY_TEXTS, encoder.calls[0], strict=True):
        assert text.startswith(read)
        assert len(tokenizer.encode(read)) <= 12
        assert read == text or len(tokenizer.encode(read)) >= 6
    plain = byte_encoder()
    canary_vectors(plain)
    assert plain.calls == [list(CANARY_TEXTS)]


@pytest.mark.parametrize("dtype", LEAST_COSINE)
def test_a_real_encoder_knows_itself(encoder_of: Callable[..., Encoder], dtype: Dtype) -> None:
    """Whatever it is asked in between; its vectors in fewer bits have the same canary."""
    encoder = encoder_of(dtype=dtype)
    stored = canary_vectors(encoder)
    encoder.encode_document(["In between, another text."])
    check_canary(encoder, stored)
    for precision in ("float16", "int8", "binary"):
        fewer_bits = canary_vectors(encoder_of(dtype=dtype, precision=precision))
        assert np.allclose(fewer_bits, stored, atol=1e-6)


@pytest.mark.parametrize("normalise_text", ["none", "papers"])
def test_a_real_encoder_that_refuses_long_texts_has_a_canary(
    encoder_of: Callable[..., Encoder], normalise_text: str
) -> None:
    """The longest reference text does not fit into 64 tokens; what is left of it does."""
    encoder = encoder_of(on_overflow="error", normalise_text=normalise_text)
    check_canary(encoder, canary_vectors(encoder))


def test_a_real_encoder_that_computes_otherwise_is_refused(
    encoder_of: Callable[..., Encoder],
) -> None:
    """Another layer read, another pooling: the smallest things that could go wrong."""
    stored = canary_vectors(encoder_of())
    for other in ({"output_layer": -2}, {"pooling": "mean"}, {"template": "cot"}):
        with pytest.raises(CanaryDrift, match="reference text"):
            check_canary(encoder_of(**other), stored)
