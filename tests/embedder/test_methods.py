"""Every method through the public encoder: prompts, placeholders, contrast, formats, streams."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from embedder import batching
from embedder.config import EncoderConfig
from embedder.encoder import Encoder
from embedder.errors import InvalidConfig, InvalidText, TextTooLong
from embedder.precision import as_float32
from embedder.prompts import MULTI_PROMPTS, TEMPLATES
from embedder.tokens import PLACEHOLDER_ID

TP: dict[str, Any] = {"start": 1, "exit": 3}
CP: dict[str, Any] = {"layer": 1}
BOTH: dict[str, Any] = {"token_prepending": TP, "contrastive_prompting": CP}
LONG: dict[str, Any] = {"max_tokens": 200}
TEXTS = ["A cat.", "The dog looked at the cat on the mat.", "", "Où est la gare ?"]


def raw(encoder: Encoder, texts: list[str] = TEXTS) -> Any:
    """Pooled states, not normalised."""
    return encoder.encode(texts, normalize_embeddings=False)


# -- several prompts ------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [{}, {"token_prepending": TP}, BOTH], ids=["plain", "tp", "both"])
@pytest.mark.parametrize("template", ["ck", "meta", ("eol", "cluster", "none")])
def test_several_prompts_are_the_mean_of_each(
    template: Any, plan: dict[str, Any], encoder_of: Callable[..., Encoder]
) -> None:
    """CK and MetaEOL are means of states, before they are normalised; the shared work is exact."""
    if isinstance(template, tuple) and plan:
        template = template[:2]
    keys = MULTI_PROMPTS.get(template, template) if isinstance(template, str) else template
    together = raw(encoder_of("qwen3", template=template, **plan, **LONG))
    apart = [raw(encoder_of("qwen3", template=key, **plan, **LONG)) for key in keys]
    expected = np.mean(apart, axis=0)
    assert np.abs(together - expected).max() / np.abs(expected).max() < 1e-5


def test_an_auxiliary_row_serves_every_prompt_of_its_text(
    encoder_of: Callable[..., Encoder],
) -> None:
    """CK with CP has two normal rows a text and one auxiliary row, not two."""
    encoder = encoder_of("llama", template="ck", **BOTH, **LONG)
    prompted = encoder.prompting().tokenize(TEXTS)
    assert (len(prompted.normal), len(prompted.auxiliary)) == (2, 1)


def test_placeholders_on_some_prompts_alone(encoder_of: Callable[..., Encoder]) -> None:
    """`prompts` says which of several prompts Token Prepending acts on."""
    some = raw(encoder_of("llama", template="ck", token_prepending={**TP, "prompts": [1]}, **LONG))
    plain = raw(encoder_of("llama", template="cot", **LONG))
    prepended = raw(encoder_of("llama", template="ke", token_prepending=TP, **LONG))
    assert np.abs(some - (plain + prepended) / 2).max() < 1e-4


def test_a_text_is_cut_at_the_same_place_in_every_prompt(
    encoder_of: Callable[..., Encoder],
) -> None:
    """All prompts leave the room that the longest template leaves."""
    encoder = encoder_of("llama", template="ck", **BOTH, **LONG)
    prompted = encoder.prompting().tokenize(["7" * 400])
    rows = [t.row for own in (*prompted.normal, *prompted.auxiliary) for t in own]
    assert len({row.ids[row.text_start : row.text_end] for row in rows}) == 1
    assert prompted.truncated == [True]
    assert max(len(row.ids) for row in rows[:2]) == 200


# -- the placeholder ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("template", 'This sentence :@ "A cat." means in one word:"'),
        ("start", '@This sentence : "A cat." means in one word:"'),
        ("in_quote", 'This sentence : "@A cat." means in one word:"'),
        ("after_text", 'This sentence : "A cat.@" means in one word:"'),
    ],
)
def test_where_placeholders_stand(
    position: str,
    expected: str,
    count: int,
    encoder_of: Callable[..., Encoder],
    tokenizer: Tokenizer,
) -> None:
    """Number and position; with the placeholders taken out, the words are the same."""
    tp = {**TP, "position": position, "placeholders": count}
    encoder = encoder_of("llama", token_prepending=tp)
    row = encoder.prompting().tokenize(["A cat."]).normal[0][0].row
    parts: list[list[int]] = [[]]
    for token in row.ids[1:]:
        if token == PLACEHOLDER_ID:
            parts.append([])
        else:
            parts[-1].append(token)
    assert row.ids[0] == 0
    assert len(parts) == count + 1
    assert "@".join(p for p in map(tokenizer.decode, (parts[0], parts[-1]))) == expected
    assert PLACEHOLDER_ID not in row.ids[: row.prefix]


@pytest.mark.parametrize("position", ["start", "in_quote", "after_text"])
def test_positions_change_the_vector_and_not_each_others_batch(
    position: str, encoder_of: Callable[..., Encoder]
) -> None:
    """Each position is a method of its own, and independent of the batch."""
    there = encoder_of("llama", token_prepending={**TP, "position": position}, **LONG)
    usual = encoder_of("llama", token_prepending=TP, **LONG)
    together = there.encode(TEXTS)
    apart = np.stack([there.encode(text) for text in TEXTS])
    assert np.abs(together - apart).max() < 1e-5
    assert np.abs(together - usual.encode(TEXTS)).max() > 1e-3


# -- contrast over a shared context ---------------------------------------------------------------


def test_a_shared_context_computes_the_text_once(encoder_of: Callable[..., Encoder]) -> None:
    """Without TP it is the paper's form with that auxiliary prompt written out, for less work."""
    template = 'This sentence : <PST> "{}" means in one word:"'
    ending = '{}" contains irrelevant information that means in one word:"'
    written_out = template.split("{}")[0].replace("<PST> ", "") + ending
    shared = encoder_of("llama", contrastive_prompting={**CP, "shared_context": True}, **LONG)
    plain = encoder_of("llama", contrastive_prompting={**CP, "auxiliary": written_out}, **LONG)
    assert np.abs(shared.encode(TEXTS) - plain.encode(TEXTS)).max() < 1e-5


def test_a_shared_context_with_the_users_own_ending(encoder_of: Callable[..., Encoder]) -> None:
    """It begins with the text's slot; words before it are refused, before any weight is loaded."""
    cp = {**CP, "shared_context": True, "auxiliary": '{}" is noise, in one word:"'}
    own = encoder_of("llama", token_prepending=TP, contrastive_prompting=cp, **LONG)
    usual = encoder_of(
        "llama", token_prepending=TP, contrastive_prompting={**CP, "shared_context": True}, **LONG
    )
    assert np.abs(own.encode(TEXTS) - usual.encode(TEXTS)).max() > 1e-4
    with pytest.raises(InvalidConfig, match=r"has words before \{\}"):
        EncoderConfig(contrastive_prompting={**cp, "auxiliary": "Noise of {} :"})  # type: ignore[arg-type]


# -- formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "dtype", "shape"),
    [
        ("float32", np.float32, (4, 32)),
        ("float16", np.float16, (4, 32)),
        ("int8", np.int8, (4, 32)),
        ("binary", np.uint8, (4, 4)),
    ],
)
def test_number_formats(
    precision: Any, dtype: Any, shape: tuple[int, int], encoder_of: Callable[..., Encoder]
) -> None:
    """By settings or by call the same; scored in float32."""
    encoder, plain = encoder_of("llama", precision=precision, **BOTH), encoder_of("llama", **BOTH)
    stored = encoder.encode(TEXTS)
    assert (stored.dtype, stored.shape) == (dtype, shape)
    assert np.array_equal(stored, plain.encode(TEXTS, precision=precision))
    own = encoder.similarity(stored, stored)
    assert own.dtype == np.float32
    assert np.allclose(np.diag(own), 1, atol=1e-5)
    if precision != "binary":
        cosines = plain.similarity(plain.encode(TEXTS), plain.encode(TEXTS))
        assert np.abs(own - cosines).max() < 0.02


def test_fewer_dimensions(encoder_of: Callable[..., Encoder]) -> None:
    """The first components, at unit length again; by settings or by call."""
    plain = encoder_of("llama", **BOTH)
    whole, short = plain.encode(TEXTS), plain.encode(TEXTS, dimensions=8)
    expected = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    assert np.abs(short - expected).max() < 1e-6
    encoder = encoder_of("llama", dimensions=8, **BOTH)
    assert encoder.dimension == 8
    assert np.array_equal(encoder.encode(TEXTS), short)
    bits = plain.encode(TEXTS, dimensions=8, precision="binary")
    assert np.array_equal(as_float32(bits, "binary") > 0, short > 0)
    for wrong in (0, 33, -1):
        with pytest.raises(InvalidConfig, match=f"dimensions {wrong} .*use 1 to 32"):
            plain.encode(TEXTS, dimensions=wrong)


def test_last_and_mean_are_twice_as_wide(encoder_of: Callable[..., Encoder]) -> None:
    """Both, one after the other."""
    encoder = encoder_of("llama", pooling="last_mean", **BOTH)
    assert encoder.dimension == 64
    both = raw(encoder)
    assert np.abs(both[:, :32] - raw(encoder_of("llama", **BOTH))).max() < 1e-5
    mean = raw(encoder_of("llama", pooling="mean", token_prepending=TP), TEXTS[:2])
    no_cp = raw(encoder_of("llama", pooling="last_mean", token_prepending=TP), TEXTS[:2])
    assert np.abs(no_cp[:, 32:] - mean).max() < 1e-5


def test_arguments_that_sentence_transformers_has(encoder_of: Callable[..., Encoder]) -> None:
    """Where they have its names they mean the same."""
    encoder = encoder_of("llama", **BOTH)
    expected = encoder.encode(TEXTS)
    for size in (1, 2, 100):
        assert np.abs(encoder.encode(TEXTS, batch_size=size) - expected).max() < 1e-5
    tensor = encoder.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor.numpy(), expected)
    states = encoder.encode(TEXTS, normalize_embeddings=False)
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    assert np.abs(unit - expected).max() < 1e-6
    with pytest.raises(InvalidConfig, match="batch_size 0 is not allowed"):
        encoder.encode(TEXTS, batch_size=0)
    with pytest.raises(InvalidConfig, match="precision 'int8' is for unit vectors"):
        encoder.encode(TEXTS, precision="int8", normalize_embeddings=False)


# -- streams --------------------------------------------------------------------------------------


def test_a_stream_is_in_order_and_read_as_needed(
    encoder_of: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of texts, one ahead of the one that is encoded; the vectors are those of a list."""
    monkeypatch.setattr(batching, "WINDOW", 5)
    encoder = encoder_of("llama", **BOTH)
    texts = [f"text {'long ' * (i % 4)}{i}" for i in range(23)]
    taken = 0

    def stream() -> Iterator[str]:
        nonlocal taken
        for text in texts:
            taken += 1
            yield text

    vectors = encoder.encode_iter(stream())
    first = next(vectors)
    assert taken <= 3 * 5
    got = np.stack([first, *vectors])
    assert taken == 23
    assert np.abs(got - np.stack([encoder.encode(text) for text in texts])).max() < 1e-5
    assert np.abs(encoder.encode(texts) - got).max() < 1e-5
    assert list(encoder.encode_iter([])) == []


def test_errors_in_a_stream_count_from_its_beginning(
    encoder_of: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is the stream's, in whatever window the text stands."""
    monkeypatch.setattr(batching, "WINDOW", 4)
    encoder = encoder_of("llama", **BOTH)
    with pytest.raises(InvalidText, match="text 9 is int"):
        list(encoder.encode_iter([*["a"] * 9, 5, "b"]))  # type: ignore[list-item]
    with pytest.raises(InvalidText, match="a single string came where a stream"):
        next(encoder.encode_iter("abc"))
    strict = encoder_of("llama", on_overflow="error", **BOTH)
    with pytest.raises(TextTooLong, match=r"text 6 has 600 tokens, there is room for \d+") as got:
        strict.encode([*["a"] * 6, "7" * 600])
    assert got.value.index == 6


def test_texts_that_fit_are_not_refused(encoder_of: Callable[..., Encoder]) -> None:
    """`on_overflow="error"` changes no vector of those that do."""
    strict, usual = encoder_of("llama", on_overflow="error", **BOTH), encoder_of("llama", **BOTH)
    assert np.array_equal(strict.encode(TEXTS), usual.encode(TEXTS))


# -- hostile and odd texts ------------------------------------------------------------------------

ODD = [
    "",
    "a",
    "\x00",
    "a\x00b",
    "🦊🧿👩‍👩‍👧",
    "שלום עולם",
    "مرحبا بالعالم",
    "<PST>",
    "{}",
    "<s></s><pad>",
    TEMPLATES["eol"],
    'x" means in one word:"',
    "\n\t ",
    "a\u0301",
    "7" * 39,
    "7" * 500,
]


@pytest.mark.parametrize(
    "plan",
    [
        BOTH,
        {"token_prepending": TP, "pooling": "last_mean"},
        {"pooling": "attention_weighted_mean", "contrastive_prompting": CP},
        {"contrastive_prompting": {**CP, "shared_context": True}, "token_prepending": TP},
        {"template": "none", "pooling": "position_weighted_mean"},
    ],
    ids=["both", "last_mean", "attention", "shared", "none"],
)
@pytest.mark.parametrize("kind", ["llama", "gemma2", "olmo2"])
def test_odd_texts_have_vectors_of_their_own(
    kind: str, plan: dict[str, Any], encoder_of: Callable[..., Encoder]
) -> None:
    """Each is finite, of unit length, the same alone as among the others; no two are mixed up."""
    encoder = encoder_of(kind, **plan)
    together = encoder.encode(ODD)
    assert np.isfinite(together).all()
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    apart = np.stack([encoder.encode(text) for text in ODD])
    assert np.abs(together - apart).max() < 1e-5
    cosines = together @ together.T - np.eye(len(ODD))
    assert cosines.max() < 1 - 1e-6
