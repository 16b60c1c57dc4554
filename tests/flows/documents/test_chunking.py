"""Chunks are bounded in tokens, exact in offsets, and leave nothing out."""

import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer

from flows.documents.chunking import Chunk, Chunker, Chunking, Span, verify_coverage
from flows.documents.parsed_document import Heading, Markup, ParsedDocument
from flows.documents.parsing import parse
from flows.errors import DocumentRejected, InvalidInput

EASY = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# Prose, markup and nasty characters in turn: long runs, emoji, combining marks, odd white space.
PARTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "# Heading\n\n",
            "## Sub\n",
            "Some plain words in a sentence. ",
            "\n\n",
            "\r\n",
            "\x1c \x85\u2028",
            "    code = 1\n",
            "```\nfenced\n```\n",
            "- item\n",
            "😀👩‍👩‍👧",
            "e\u0301\u200b\ufeff",
            "漢字かな。",
            "| a | b |\n|---|---|\n",
            "x" * 600,
            "ab" * 80,
            "> quote\n",
            "<div>html</div>\n",
        ]
    ),
)
TEXTS = st.lists(PARTS, max_size=25).map("".join)


def document(text: str, markup: Markup = "plain", *headings: Heading) -> ParsedDocument:
    return ParsedDocument(text=text, title="", headings=headings, encoding="utf-8", markup=markup)


def count(tokenizer_json: str, text: str) -> int:
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return len(tokenizer.encode(text, add_special_tokens=False))


def check(chunking: Chunking, text: str, *, tokenizer_json: str, max_tokens: int) -> None:
    """Every promise that holds for any document."""
    verify_coverage(text, chunking)
    covered = bytearray(len(text))
    for chunk in chunking.chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert chunk.tokens == count(tokenizer_json, chunk.text) <= max_tokens
        covered[chunk.start : chunk.end] = b"\1" * len(chunk.text)
    for span in chunking.skipped:
        assert text[span.start : span.end].isspace()
        covered[span.start : span.end] = b"\1" * (span.end - span.start)
    assert all(covered)
    assert [chunk.ordinal for chunk in chunking.chunks] == list(range(len(chunking.chunks)))
    starts = [chunk.start for chunk in chunking.chunks]
    assert starts == sorted(set(starts))


@EASY
@given(text=TEXTS, markup=st.sampled_from(["plain", "markdown"]), overlap=st.sampled_from([0, 8]))
def test_any_text_is_covered_within_the_bound(
    text: str, markup: Markup, overlap: int, bpe_json: str
) -> None:
    """Offsets are exact, the bound holds, and white space alone is skipped, for any text."""
    chunking = Chunker(bpe_json, max_tokens=24, overlap=overlap).chunk(document(text, markup))
    check(chunking, text, tokenizer_json=bpe_json, max_tokens=24)


@EASY
@given(text=TEXTS)
def test_parsed_markdown_is_covered(text: str, word_piece_json: str) -> None:
    """The same holds with the headings that the parser finds, and for a WordPiece tokenizer."""
    try:
        parsed = parse(text.encode("utf-8"), format="markdown", name="a.md")
    except DocumentRejected:
        return
    chunking = Chunker(word_piece_json, max_tokens=16).chunk(parsed)
    check(chunking, parsed.text, tokenizer_json=word_piece_json, max_tokens=16)
    known = {heading.title for heading in parsed.headings}
    assert all(set(chunk.headings) <= known for chunk in chunking.chunks)


def test_chunks_are_deterministic(chunker: Chunker, bpe_json: str) -> None:
    """The same text gives the same chunks, whatever was chunked before and by which object."""
    parsed = document("One sentence here. Another one there. " * 20)
    first = chunker.chunk(parsed)
    chunker.chunk(document("something else " * 50))
    assert chunker.chunk(parsed) == first
    assert Chunker(bpe_json, max_tokens=32).chunk(parsed) == first


def test_offsets_count_characters_and_not_bytes(chunker: Chunker) -> None:
    """Emoji before a chunk do not shift it."""
    text = (
        "😀😀😀 zuerst ein Gruß.\n\n" + "Then some words, and more of them. " * 10 + "\n\n🎉 last"
    )
    chunking = chunker.chunk(document(text))
    assert chunking.chunks[-1].text.endswith("🎉 last")
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunking.chunks)


def test_a_short_text_is_one_chunk_without_its_outer_white_space(chunker: Chunker) -> None:
    """The worked example: one chunk, two skipped spans."""
    chunking = chunker.chunk(document("\n\n  short text \n"))
    assert chunking == Chunking(
        chunks=(
            Chunk(ordinal=0, start=4, end=14, text="short text", tokens=chunking.chunks[0].tokens),
        ),
        skipped=(Span(start=0, end=4), Span(start=14, end=16)),
    )


def test_a_chunk_knows_the_headings_above_it(chunker: Chunker) -> None:
    """The path holds the enclosing headings at the chunk's start, outermost first."""
    filler = "Words that fill the section up to its brim, and then some more of them. " * 3
    text = f"# One\n\n{filler}\n\n## Two\n\n{filler}\n\n### Three\n\n{filler}\n\n# Four\n\n{filler}"
    chunks = chunker.chunk(parse(text.encode(), format="markdown", name="x.md")).chunks
    paths = list(dict.fromkeys(chunk.headings for chunk in chunks))
    assert paths == [("One",), ("One", "Two"), ("One", "Two", "Three"), ("Four",)]


@pytest.mark.parametrize("format_", ["markdown", "restructuredtext"])
def test_a_heading_does_not_stand_alone(bpe_json: str, format_: str) -> None:
    """A heading whose paragraph fills a chunk to the brim takes some of it along."""
    heading = "## Title\n\n" if format_ == "markdown" else "Title\n=====\n\n"
    words = "Some words that follow, and a few more. "
    for repeats in range(1, 20):
        text = heading + words * repeats
        parsed = parse(text.encode(), format=format_, name="x")  # type: ignore[arg-type]
        chunks = Chunker(bpe_json, max_tokens=64).chunk(parsed).chunks
        assert "words" in chunks[0].text
        if len(chunks) > 1:
            assert min(chunk.tokens for chunk in chunks) >= 16


def test_small_sections_share_a_chunk(bpe_json: str) -> None:
    """Where all of them fit together, sections and subsections become one chunk."""
    text = "# A\n\n## B\n\none\n\n## C\n\ntwo\n\n# D\n\nthree\n"
    parsed = parse(text.encode(), format="markdown", name="x.md")
    (chunk,) = Chunker(bpe_json, max_tokens=64).chunk(parsed).chunks
    assert chunk.text == text.rstrip()
    assert chunk.headings == ("A",)


def test_a_chapter_begins_a_chunk(bpe_json: str) -> None:
    """A small chapter goes with its own subsection, not with the end of the chapter before it."""
    filler = "Some words that fill it. " * 5
    text = f"# A\n\n{filler}\n\n## B\n\n{filler}\n\n# D\n\n## E\n\n{filler}"
    parsed = parse(text.encode(), format="markdown", name="x.md")
    chunks = Chunker(bpe_json, max_tokens=64).chunk(parsed).chunks
    assert any(chunk.text.startswith("# D\n\n## E\n\nSome") for chunk in chunks)


def test_overlap_repeats_the_end_of_the_chunk_before(bpe_json: str) -> None:
    """With overlap, neighbours in a section share text, and coverage still holds."""
    text = " ".join(f"word{i}" for i in range(200))
    chunking = Chunker(bpe_json, max_tokens=32, overlap=12).chunk(document(text))
    pairs = list(zip(chunking.chunks, chunking.chunks[1:], strict=False))
    assert sum(second.start < first.end for first, second in pairs) > len(pairs) / 2


def test_a_run_that_counts_as_one_token_is_still_cut(word_piece_json: str) -> None:
    """WordPiece calls any long word one unknown token; a chunk's characters are bounded too."""
    chunks = Chunker(word_piece_json, max_tokens=16).chunk(document("x" * 5000)).chunks
    assert max(len(chunk.text) for chunk in chunks) <= 16 * 16


def test_a_character_above_the_bound_is_rejected(bpe_json: str) -> None:
    """No chunk can hold it: U+FDFA unfolds to 18 letters, 33 bytes."""
    tokenizer = Tokenizer.from_str(bpe_json)
    from tokenizers import normalizers

    tokenizer.normalizer = normalizers.NFKC()
    with pytest.raises(DocumentRejected, match=r"at 4 is \d+ tokens; the limit is 16"):
        Chunker(tokenizer.to_str(), max_tokens=16).chunk(document("abc \ufdfa"))


@pytest.mark.parametrize(
    ("max_tokens", "overlap", "message"),
    [(15, 0, "max_tokens is 15"), (64, 33, "overlap is 33"), (64, -1, "overlap is -1")],
)
def test_bad_settings(bpe_json: str, max_tokens: int, overlap: int, message: str) -> None:
    """Settings are checked when the chunker is built."""
    with pytest.raises(InvalidInput, match=message):
        Chunker(bpe_json, max_tokens=max_tokens, overlap=overlap)


def test_no_tokenizer() -> None:
    """JSON that is no tokenizer is the caller's error."""
    with pytest.raises(InvalidInput, match="is no tokenizer"):
        Chunker("{}", max_tokens=64)


def test_a_lost_character_is_noticed(chunker: Chunker) -> None:
    """`verify_coverage` refuses a ledger with a wrong offset, a gap, or text that was skipped."""
    text = "First part.\n\n" + "More of it follows here. " * 12
    good = chunker.chunk(document(text))
    assert len(good.chunks) > 1
    shifted = replace(good.chunks[0], start=1)
    for bad in (
        replace(good, chunks=good.chunks[1:]),
        replace(good, chunks=(shifted, *good.chunks[1:])),
        replace(good, skipped=(Span(start=0, end=1),)),
        Chunking(chunks=(), skipped=(Span(start=0, end=len(text)),)),
    ):
        with pytest.raises(DocumentRejected, match="defect"):
            verify_coverage(text, bad)


def test_a_panic_of_the_splitter_rejects_the_document(
    bpe_json: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Rust panic is no Exception, and must not stop the run."""

    class PanicException(BaseException):
        pass

    class Panicking:
        @classmethod
        def from_callback(cls, *_: object) -> "Panicking":
            return cls()

        def chunk_indices(self, text: str) -> list[tuple[int, str]]:
            raise PanicException("byte index 1 is not a char boundary")

    monkeypatch.setattr("semantic_text_splitter.TextSplitter", Panicking)
    chunker = Chunker(bpe_json, max_tokens=32)
    with pytest.raises(DocumentRejected, match="splitter failed at 0:4: byte index"):
        chunker.chunk(document("text"))


class _Watched:
    """A tokenizer that notes how many characters it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.characters = 0

    def encode(self, text: str, **options: bool) -> Encoding:
        self.characters += len(text)
        return self._tokenizer.encode(text, **options)

    def encode_batch_fast(self, texts: list[str], **options: bool) -> list[Encoding]:
        self.characters += sum(map(len, texts))
        return self._tokenizer.encode_batch_fast(texts, **options)


@pytest.mark.parametrize("markup", ["plain", "markdown"])
@pytest.mark.parametrize(("tokenizer", "passes"), [("bpe_json", 1.5), ("sentence_piece_json", 3.0)])
def test_a_text_is_not_tokenized_again_and_again(
    request: pytest.FixtureRequest, tokenizer: str, passes: float, markup: Markup
) -> None:
    """Once, and what is near the bound again; where tokens hang together across blanks, all of it.

    Tokenizing is most of the work of a run without an encoder: a splitter that counts by the
    tokenizer gives it a text ten times.
    """
    words = ["alpha", "beta's", "chunk", "12,345", "offsets", "(and)", "more.\n", "end.\n\n- new"]
    text = " ".join(words[(i * i + i // 3) % len(words)] for i in range(5000))
    chunker = Chunker(request.getfixturevalue(tokenizer), max_tokens=64)
    watched = _Watched(chunker._tokenizer)
    chunker._tokenizer = watched  # type: ignore[assignment]
    assert len(chunker.chunk(document(text, markup)).chunks) > 100
    assert watched.characters < passes * len(text)


@pytest.mark.slow
def test_time_is_linear_in_a_line_without_spaces(bpe_json: str) -> None:
    """Eight times the text takes about eight times the work, and by no means sixty-four times."""
    chunker = Chunker(bpe_json, max_tokens=160)
    chunker.chunk(document("warm"))
    seconds = []
    for length in (125_000, 1_000_000):
        text = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(length))
        begun = time.process_time()
        chunking = chunker.chunk(document(text))
        seconds.append(time.process_time() - begun)
        assert not chunking.skipped
    assert seconds[1] < 30 * seconds[0]
