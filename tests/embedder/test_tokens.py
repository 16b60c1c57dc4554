"""A text is data: it never becomes a special token, and only the text is ever cut."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from embedder.errors import InvalidConfig, InvalidText
from embedder.prompts import TEMPLATES, find_template
from embedder.tokens import PLACEHOLDER_ID, PromptTokenizer, Tokenized

SPECIAL = {0, 1, 2}
NASTY = [
    "",
    "a",
    "{}",
    "<PST>",
    "<s>",
    "</s></s>",
    "<pad> <s> in the middle </s>",
    'This sentence : <PST> "{}" means in one word:"',
    '" means in one word:"',
    "\x00\x00 NUL",
    "🦊🧿👩‍👩‍👧‍👦",
    "مرحبا بالعالم ‏",  # right to left, with its mark
    "שלום",
    "e\u0301\u0301\u0301",
    "\n\t \u00a0\u2028",
    "   ",
    "\ufffd\ufeff\u200b",
    "word " * 200,
    "🧿" * 200,
    "=" * 500,
]
unicode_texts = st.one_of(
    st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=150)
)
relaxed = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def build(
    tokenizer: Tokenizer, template: str = "eol", *, placeholders: int = 1, max_tokens: int = 48
) -> PromptTokenizer:
    return PromptTokenizer(
        tokenizer,
        bos=[0],
        template=find_template(template),
        placeholders=placeholders,
        max_tokens=max_tokens,
    )


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def test_worked_example(tokenizer: Tokenizer) -> None:
    """BOS, opening, placeholder, then quote, text and closing; the span holds the text."""
    row = build(tokenizer).tokenize(["A cat."])[0].row
    head = ids_of(tokenizer, "This sentence :")
    assert row.ids[: len(head) + 2] == (0, *head, PLACEHOLDER_ID)
    assert list(row.ids[len(head) + 2 :]) == ids_of(tokenizer, ' "A cat." means in one word:"')
    assert tokenizer.decode(row.ids[row.text_start : row.text_end]).startswith("A cat.")


def test_without_placeholders_it_is_the_plain_prompt(tokenizer: Tokenizer) -> None:
    """Token Prepending switched off leaves exactly what plain prompt encoding sees."""
    row = build(tokenizer, placeholders=0).tokenize(["A cat."])[0].row
    assert list(row.ids) == [0, *ids_of(tokenizer, 'This sentence : "A cat." means in one word:"')]


def check_row(
    tokenizer: Tokenizer, prompt: PromptTokenizer, template: str, text: str, got: Tokenized
) -> None:
    """Everything that holds for every row, whatever the text."""
    parsed, ids = find_template(template), got.row.ids
    assert len(ids) <= prompt.max_tokens
    assert ids[0] == 0
    assert ids.count(PLACEHOLDER_ID) == parsed.has_placeholder
    assert SPECIAL.isdisjoint(ids[1:]), "a text was read as a special token"

    start = ids.index(PLACEHOLDER_ID) + 1 if parsed.has_placeholder else 1
    whole = tokenizer.decode(ids[start:], skip_special_tokens=False)
    low, high = len(parsed.before), len(whole) - len(parsed.after)
    assert whole[:low] == parsed.before
    assert whole[high:] == parsed.after, "the template was cut"
    kept = whole[low:high]
    assert text.startswith(kept)
    assert got.truncated == (kept != text)

    assert got.text_tokens == got.row.text_end - got.row.text_start
    if kept == "":
        assert got.text_tokens == 0
        return
    in_front = tokenizer.decode(ids[start : got.row.text_start])
    behind = tokenizer.decode(ids[got.row.text_end :])
    assert parsed.before.startswith(in_front)
    assert parsed.after.endswith(behind)
    inside = tokenizer.decode(ids[got.row.text_start : got.row.text_end])
    assert in_front + inside + behind == whole
    assert kept in inside


@given(text=unicode_texts, template=st.sampled_from(["eol", "cluster", "none", "question"]))
@example(text="🦊🧿", template="none")
@example(text="🧿" * 200, template="eol")
@relaxed
def test_any_text_keeps_the_template_whole(text: str, template: str, tokenizer: Tokenizer) -> None:
    """Bound kept, template whole, span exact, cut reported: for any Unicode text.

    Story: a character of several tokens (an emoji) at the text's end left all but its first
    token out of the span, and out of the mean.
    """
    prompt = build(tokenizer, template, placeholders=template != "none", max_tokens=40)
    got = prompt.tokenize([text])[0]
    check_row(tokenizer, prompt, template, text, got)


@given(texts=st.lists(unicode_texts, max_size=5))
@relaxed
def test_texts_of_a_batch_are_tokenised_each_alone(texts: list[str], tokenizer: Tokenizer) -> None:
    """Order is kept, and no text changes another's row."""
    prompt = build(tokenizer)
    assert prompt.tokenize(texts) == [prompt.tokenize([text])[0] for text in texts]


def test_a_text_at_exactly_the_limit_is_whole(tokenizer: Tokenizer) -> None:
    """The last character that fits is kept; one more is cut off, and reported."""
    prompt = build(tokenizer)
    room = 48 - prompt.template_tokens
    # Digits make no merges in this vocabulary, so each is a token.
    assert prompt.count(["7" * room]) == [room]
    whole, cut = prompt.tokenize(["7" * room, "7" * (room + 1)])
    assert (whole.text_tokens, whole.truncated) == (room, False)
    assert (cut.text_tokens, cut.truncated) == (room, True)
    assert whole.row == cut.row
    assert len(whole.row.ids) == 48


@pytest.mark.parametrize("text", ["🧿" * 100, "a b " * 100, "The cat sat on the mat. " * 20])
def test_a_cut_wastes_little_room(text: str, tokenizer: Tokenizer) -> None:
    """What is cut is about the surplus: a row of a long text is full but for a character."""
    got = build(tokenizer).tokenize([text])[0]
    assert got.truncated
    assert 48 - 4 < len(got.row.ids) <= 48


def test_closing_ids_always_stand_at_the_end(tokenizer: Tokenizer) -> None:
    """The model reads its answer off the template's last token: the closing is never cut."""
    closing = ids_of(tokenizer, ' means in one word:"')
    for tokenized in build(tokenizer).tokenize(NASTY):
        assert list(tokenized.row.ids[-len(closing) :]) == closing


def test_count_is_of_the_text_alone(tokenizer: Tokenizer) -> None:
    """No template, no BOS; special tokens' names count as the plain characters that they are."""
    prompt = build(tokenizer)
    assert prompt.count([]) == []
    assert prompt.count(["", "A cat."]) == [0, len(ids_of(tokenizer, "A cat."))]
    assert prompt.count(["<s>"])[0] > 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["fine", 5], "text 1 is int; expected str"),
        ([b"bytes"], "text 0 is bytes"),
        ([None], "text 0 is NoneType"),
        (["fine", "fine", "ab\ud800"], r"text 2 holds a lone surrogate at character 2"),
    ],
)
def test_what_is_no_text_is_named_by_its_index(
    wrong: list[str], message: str, tokenizer: Tokenizer
) -> None:
    """Both entrances refuse it in one line; the Rust tokenizer's own error would name no text."""
    prompt = build(tokenizer)
    for entrance in (prompt.tokenize, prompt.count):
        with pytest.raises(InvalidText, match=message):
            entrance(wrong)


def test_a_template_must_leave_room(tokenizer: Tokenizer) -> None:
    """A bound that the template fills alone is a wrong setting, and says by how much."""
    needed = build(tokenizer).template_tokens
    with pytest.raises(InvalidConfig, match=f"max_tokens {needed} .* alone takes {needed}; raise"):
        build(tokenizer, max_tokens=needed)
    assert build(tokenizer, max_tokens=needed + 1).tokenize(["aaaa"])[0].text_tokens <= 1


def test_a_row_without_any_token_is_refused(tokenizer: Tokenizer) -> None:
    """Bare template, no BOS, empty text: there is no token whose state could be read."""
    prompt = PromptTokenizer(
        tokenizer, bos=[], template=find_template("none"), placeholders=0, max_tokens=16
    )
    with pytest.raises(InvalidText, match=r"text 1 \(''\) gives no token .* no BOS; leave it out"):
        prompt.tokenize(["a", ""])


def test_the_callers_tokenizer_is_left_alone(tokenizer: Tokenizer) -> None:
    """Reading specials as text is a setting of the copy only."""
    build(tokenizer)
    assert not tokenizer.encode_special_tokens
    assert ids_of(tokenizer, "<s>") == [0]


# -- tokenizers that put a blank in front of what they are given -----------------------------


def blank_prepending(how: str) -> Tokenizer:
    """A BPE over `▁`-marked words, as SentencePiece's, with every byte as a fallback."""
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))  # noqa: S106
    if how == "normalizer":
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        tokenizer.decoder = decoders.Sequence(
            [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never")]
        )
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<s>", "</s>", "<unk>", *fallback], show_progress=False
    )
    corpus = [*TEMPLATES.values(), "The cat sat on the mat."] * 4
    words = [word for line in corpus for word in line.replace("{}", "cat").split()]
    tokenizer.train_from_iterator(words, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def prepending_tokenizers() -> dict[str, Tokenizer]:
    return {how: blank_prepending(how) for how in ("normalizer", "metaspace")}


@pytest.mark.parametrize("template", [key for key in TEMPLATES if key != "none"])
@pytest.mark.parametrize("how", ["normalizer", "metaspace"])
def test_the_split_at_the_placeholder_adds_no_blank(
    how: str, template: str, prepending_tokenizers: dict[str, Tokenizer]
) -> None:
    """With the placeholder taken out, the row is the whole prompt, tokenised in one piece."""
    tokenizer = prepending_tokenizers[how]
    assert tokenizer.encode("cat").tokens[0].startswith("▁")
    for text in ("The cat sat.", "x", '"quoted"'):
        row = build(tokenizer, template, max_tokens=256).tokenize([text])[0].row
        plain = build(tokenizer, template, placeholders=0, max_tokens=256).tokenize([text])[0].row
        assert [i for i in row.ids if i != PLACEHOLDER_ID] == list(plain.ids)
        assert row.text_end - row.text_start == plain.text_end - plain.text_start


@given(text=unicode_texts, how=st.sampled_from(["normalizer", "metaspace"]))
@relaxed
def test_a_cut_with_prepended_blanks_spares_the_template(
    text: str, how: str, prepending_tokenizers: dict[str, Tokenizer]
) -> None:
    """Bytes as a fallback, blanks as marks: bound, closing and placeholder hold all the same."""
    tokenizer = prepending_tokenizers[how]
    prompt = build(tokenizer, max_tokens=60)
    got = prompt.tokenize([text])[0]
    assert len(got.row.ids) <= 60
    assert got.row.ids.count(PLACEHOLDER_ID) == 1
    assert {0, 1}.isdisjoint(got.row.ids[1:])
    assert tokenizer.decode(got.row.ids[got.row.text_end :]).endswith('means in one word:"')
    assert got.truncated or got.text_tokens >= len(text.split())
    front = [i for i in got.row.ids[: got.row.text_start] if i >= 0]
    assert tokenizer.decode(front, skip_special_tokens=True).strip().startswith("This sentence :")


@given(text=unicode_texts)
@relaxed
def test_marks_that_a_normaliser_drops_or_joins(
    text: str, tokenizer_builder: Callable[..., Tokenizer]
) -> None:
    """Under NFC and lower-casing offsets still point into the text as given."""
    tokenizer = tokenizer_builder()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    got = build(tokenizer).tokenize([text])[0]
    closing = ids_of(tokenizer, ' means in one word:"')
    assert len(got.row.ids) <= 48
    assert list(got.row.ids[-len(closing) :]) == closing
    assert got.row.text_start <= got.row.text_end <= len(got.row.ids) - len(closing)
