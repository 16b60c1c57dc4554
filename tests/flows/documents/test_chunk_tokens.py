"""Counts told from offsets are the tokenizer's own, where that is promised."""

from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from flows.documents.chunk_locality import is_local
from flows.documents.chunk_splitter import Splitter
from flows.documents.chunk_tokens import SLACK, TokenOffsets, blocks

EASY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                "words of a sentence. ",
                "it's",
                " ",
                "  \n",
                "\n\n    indented",
                ").\n",
                "\t",
                "\r\n",
                "\u00a0",
                "\u2028 ",
                "\x1c",
                "\x85",
                "漢字かな。",
                "😀👩‍👩‍👧",
                "e\u0301",
                " \u0301",
                "\u00a8",
                "\ufdfa",
                "İΣ",
                "12 345",
                "<s>",
                "<s> ",
                "<mask>",
            ]
        ),
    ),
    min_size=1,
    max_size=20,
).map("".join)


def plain(tokenizer_json: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def split(text: str, cuts: list[int]) -> list[tuple[int, int]]:
    return list(pairwise(sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})))


@pytest.mark.parametrize(
    ("fixture", "local"),
    [
        ("bpe_json", True),
        ("word_piece_json", True),
        ("line_bpe_json", False),
        ("sentence_piece_json", False),
    ],
)
@EASY
@given(text=TEXTS, cuts=st.lists(st.integers(0, 300), max_size=4), data=st.data())
def test_counts_are_those_of_the_tokenizer(
    request: pytest.FixtureRequest,
    fixture: str,
    local: bool,
    text: str,
    cuts: list[int],
    data: st.DataObject,
) -> None:
    """For any stretch of any text, in blocks cut anywhere: also where little is tokenized again."""
    tokenizer = plain(request.getfixturevalue(fixture))
    tokenizer.add_tokens([AddedToken("<mask>", lstrip=True, single_word=True)])
    assert is_local(tokenizer) is local
    offsets = TokenOffsets(
        tokenizer, text, blocks=split(text, cuts), limits=[16], is_local=is_local(tokenizer)
    )
    inside = st.integers(0, len(text))
    spans = [
        (min(pair), max(pair))
        for pair in data.draw(st.lists(st.tuples(inside, inside), min_size=1, max_size=8))
    ]
    assert offsets.count_exactly(spans) == [
        len(tokenizer.encode(text[start:end], add_special_tokens=False)) for start, end in spans
    ]


def test_a_count_is_exact_up_to_a_limit(bpe_json: str) -> None:
    """Far from it a stretch may lack what its first word has without the blank before it."""
    tokenizer = plain(bpe_json)
    text = "The heading stands with its text, and the text with its heading. " * 4
    for limit in (12, 30):
        offsets = TokenOffsets(tokenizer, text, blocks=[(0, len(text))], limits=[limit, 0])
        for start in range(20):
            for end in range(start, len(text)):
                exact = len(tokenizer.encode(text[start:end], add_special_tokens=False))
                told = offsets.count(start, end)
                assert told <= exact
                if limit - SLACK < told <= limit:
                    assert told == exact


def test_where_tokens_have_begun(bpe_json: str) -> None:
    """`after` counts tokens from an offset on, over the borders of blocks."""
    tokenizer = plain(bpe_json)
    text = "Some words, and an emoji 😀 too."
    halves = [(0, 12), (12, len(text))]
    offsets = TokenOffsets(tokenizer, text, blocks=halves, limits=[16])
    starts = [
        start + at
        for start, end in halves
        for at, _ in tokenizer.encode(text[start:end], add_special_tokens=False).offsets
    ]
    for at in range(len(text)):
        first = bisect_left(starts, at)
        assert offsets.after(at, 3) == [*starts, *[len(text)] * 4][first + 3]


@pytest.mark.parametrize(
    ("pre_tokenizer", "local"),
    [
        (pre_tokenizers.ByteLevel(), True),
        (pre_tokenizers.ByteLevel(use_regex=False), False),
        (pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()]), True),
        (pre_tokenizers.Whitespace(), True),
        (pre_tokenizers.WhitespaceSplit(), True),
        (pre_tokenizers.Digits(), False),
        (pre_tokenizers.Metaspace(), False),
        (pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Metaspace()]), False),
        (pre_tokenizers.Sequence([]), False),
        (None, False),
    ],
)
def test_which_pre_tokenizers_are_local(
    bpe_json: str, pre_tokenizer: pre_tokenizers.PreTokenizer | None, local: bool
) -> None:
    """Those that are known to begin anew at a blank; of others nothing is assumed."""
    tokenizer = plain(bpe_json)
    if pre_tokenizer is None:
        tokenizer = Tokenizer(tokenizer.model)
    else:
        tokenizer.pre_tokenizer = pre_tokenizer
    assert is_local(tokenizer) is local


def test_which_normalizers_and_added_tokens_are_local(bpe_json: str) -> None:
    """A normalizer may do anything to blanks, and an added token may hold one or take one in."""
    tokenizer = plain(bpe_json)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    assert is_local(tokenizer)
    for added in (AddedToken("of the"), AddedToken("<mask>", rstrip=True)):
        greedy = Tokenizer.from_str(tokenizer.to_str())
        greedy.add_tokens([added])
        assert not is_local(greedy)
    tokenizer = plain(bpe_json)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", "_")])
    assert not is_local(tokenizer)


def test_blocks_join_neighbours_up_to_a_size() -> None:
    """Small spans go together, a large one stays alone."""
    spans = [(0, 3), (3, 8), (8, 10), (10, 30), (30, 31)]
    assert list(blocks(spans, max_characters=10)) == [(0, 10), (10, 30), (30, 31)]
    assert list(blocks([], max_characters=10)) == []


def test_a_piece_that_stands_several_times_is_counted(bpe_json: str) -> None:
    """The library asks about strings: one that recurs, or goes back for an overlap, is found."""
    text = "Heading " + "one two three " * 40
    whole = [(0, len(text))]
    tokens = TokenOffsets(plain(bpe_json), text, blocks=whole, limits=[24, 8])
    spans = Splitter("plain", max_tokens=24, overlap=8).spans(text, 8, len(text), tokens)
    assert spans[0][0] == 8
    assert spans[-1][1] == len(text) - 1
    assert all(after[0] < before[1] < after[1] for before, after in pairwise(spans))
    assert max(tokens.count_exactly(spans)) <= 24
