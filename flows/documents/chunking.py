"""Chunks of a document: bounded in tokens, exact in offsets, and none of the text left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flows.documents.chunks import Chunk, Chunking, Span, gaps, verify_coverage
from flows.documents.parsed_document import Heading, Markup, ParsedDocument
from flows.documents.windows import MIN_WINDOW_CHARACTERS, Window, last_break, windows
from flows.errors import DocumentRejected, InvalidInput

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

CHUNKER_VERSION: Final = "1"
"""Changes whenever the same text, tokenizer and settings may give other chunks."""

MIN_MAX_TOKENS: Final = 16
_SMALL: Final = 0.25  # of max_tokens: a chunk below it is joined to a neighbour where one fits
_EVEN: Final = (
    0.625  # of max_tokens: fill of the first of two chunks made of a full and a small one
)
_CHARACTERS_PER_TOKEN: Final = 16
"""Bound on a chunk's characters per token of `max_tokens`: WordPiece counts any long run of
letters as one unknown token, and a megabyte of it would make one chunk."""

__all__ = [
    "CHUNKER_VERSION",
    "MIN_MAX_TOKENS",
    "Chunk",
    "Chunker",
    "Chunking",
    "Span",
    "verify_coverage",
]


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A chunk in the making; `section` counts headings, -1 before the first."""

    start: int
    end: int
    tokens: int
    section: int


class Chunker:
    """Splits documents into chunks of at most `max_tokens` of one tokenizer's tokens.

    The text is cut at its headings; what is too long is split by semantic-text-splitter at the
    best boundary that fits; small pieces are then joined to a neighbour, so that a heading does
    not stand alone.
    """

    def __init__(self, tokenizer_json: str, *, max_tokens: int, overlap: int = 0) -> None:
        """Check the settings and load the tokenizer.

        Args:
            tokenizer_json: A Hugging Face `tokenizer.json`; its truncation and padding are
                switched off.
            max_tokens: Hard bound on a chunk's own tokens, special tokens not counted.
            overlap: Most tokens that a chunk repeats of the one before it in the same section.

        Raises:
            InvalidInput: `max_tokens` below 16, `overlap` not in [0, max_tokens / 2], or no
                tokenizer in the JSON.
        """
        from tokenizers import Tokenizer

        if max_tokens < MIN_MAX_TOKENS:
            raise InvalidInput(f"max_tokens is {max_tokens}; expected {MIN_MAX_TOKENS} or more")
        if not 0 <= overlap <= max_tokens // 2:
            raise InvalidInput(
                f"overlap is {overlap} tokens; expected 0 to {max_tokens // 2}, half of max_tokens"
            )
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer_json)
        except Exception as error:
            raise InvalidInput(
                f"tokenizer_json is no tokenizer ({error}); expected the text of a tokenizer.json"
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._json = self._tokenizer.to_str()
        self._max_tokens = max_tokens
        self._overlap = overlap
        self._small = max(1, int(_SMALL * max_tokens))
        self._max_characters = _CHARACTERS_PER_TOKEN * max_tokens
        self._splitters: dict[Markup, TextSplitter | MarkdownSplitter] = {}

    def chunk(self, parsed: ParsedDocument) -> Chunking:
        """The chunks of one document, checked by `verify_coverage`.

        Raises:
            DocumentRejected: One character alone exceeds `max_tokens`, or the splitter failed.
        """
        text = parsed.text
        sections = sorted({heading.start for heading in parsed.headings} - {0})
        pieces: list[_Piece] = []
        for window in windows(
            text,
            sections=sections,
            max_characters=max(MIN_WINDOW_CHARACTERS, 2 * self._max_characters),
        ):
            for piece in self._split(text, window, parsed.markup):
                self._append(text, pieces, piece)
        pieces = self._join_sections(text, pieces, _levels(parsed.headings, sections))
        spans = [(piece.start, piece.end) for piece in pieces]
        chunking = Chunking(
            chunks=tuple(_chunks(text, pieces, parsed.headings)),
            skipped=tuple(gaps(len(text), spans)),
        )
        verify_coverage(text, chunking)
        return chunking

    def _split(self, text: str, window: Window, markup: Markup) -> list[_Piece]:
        """Pieces of one window, each within the bound, as counted by the tokenizer itself."""
        if window.solid:
            return self._bounded(text, [(window.start, window.end)], window.section)
        spans = self._spans(text, window.start, window.end, markup)
        return self._bounded(text, spans, window.section)

    def _spans(self, text: str, start: int, end: int, markup: Markup) -> list[tuple[int, int]]:
        """What the splitter makes of `text[start:end]`, without spans of mere white space."""
        part = text[start:end]
        if not part.strip():
            return []
        try:
            found = self._splitter(markup).chunk_indices(part)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # a Rust panic, no Exception
                raise
            raise DocumentRejected(f"the splitter failed at {start}:{end}: {error}") from error
        return [(start + at, start + at + len(chunk)) for at, chunk in found if chunk.strip()]

    def _bounded(self, text: str, spans: list[tuple[int, int]], section: int) -> list[_Piece]:
        """Pieces for the spans in order; a span above the bounds is cut further."""
        counts = self._count([text[start:end] for start, end in spans])
        pieces: list[_Piece] = []
        for (start, end), tokens in zip(spans, counts, strict=True):
            if tokens <= self._max_tokens and end - start <= self._max_characters:
                pieces.append(_Piece(start=start, end=end, tokens=tokens, section=section))
            elif end - start == 1:
                raise DocumentRejected(
                    f"character {text[start]!r} at {start} is {tokens} tokens; "
                    f"the limit is {self._max_tokens}; raise the chunk size"
                )
            else:
                pieces += self._bounded(text, self._cut(text, start, end), section)
        return pieces

    def _cut(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        """At least two spans of `max_tokens` tokens or somewhat less, by the tokenizer's offsets.

        Linear, unlike the splitter. A cut within a word may change how its ends are tokenized:
        the caller counts again.
        """
        encoding = self._tokenizer.encode(text[start:end], add_special_tokens=False)
        token_starts = [start + offset for offset, _ in encoding.offsets]
        spans: list[tuple[int, int]] = []
        at, token = start, 0
        while at < end:
            while token < len(token_starts) and token_starts[token] < at:
                token += 1
            stop = min(end, at + self._max_characters)
            if token + self._max_tokens < len(token_starts):
                stop = min(stop, token_starts[token + self._max_tokens])
            if stop < end:
                stop = last_break(text, at + (stop - at) // 2, stop)
            if (at, stop) == (start, end):
                stop = at + (end - at) // 2
            stop = max(stop, at + 1)
            spans.append((at, stop))
            at = stop
        return [_trimmed(text, *span) for span in spans if text[span[0] : span[1]].strip()]

    def _append(self, text: str, pieces: list[_Piece], piece: _Piece) -> None:
        """Add a piece; a small one does not stand alone in its section if that can be helped."""
        if pieces and piece.end <= pieces[-1].end:
            return
        # With an overlap, a piece may lie within the one that follows it.
        while pieces and piece.start <= pieces[-1].start:
            pieces.pop()
        last = pieces[-1] if pieces else None
        if last and last.section == piece.section and self._has_small(last, piece):
            pieces[-1:] = self._joined(text, last, piece, evened=True)
        else:
            pieces.append(piece)

    def _has_small(self, first: _Piece, second: _Piece) -> bool:
        return min(first.tokens, second.tokens) < self._small

    def _joined(self, text: str, first: _Piece, second: _Piece, *, evened: bool) -> list[_Piece]:
        """One piece if both fit; else, if `evened`, two that are not small; else the same two."""
        start, end = first.start, second.end
        if end - start > self._max_characters:
            return [first, second]
        (tokens,) = self._count([text[start:end]])
        if tokens <= self._max_tokens:
            return [_Piece(start=start, end=end, tokens=tokens, section=first.section)]
        if evened and (spans := self._halves(text, start, end)):
            pieces = self._bounded(text, spans, second.section)
            if len(pieces) == len(spans):
                return pieces
        return [first, second]

    def _halves(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        """Two spans, cut at the best break that leaves both within the bound and neither small.

        The splitter cannot do this: it never cuts a paragraph to keep its heading with it.
        """
        encoding = self._tokenizer.encode(text[start:end], add_special_tokens=False)
        total = len(encoding)
        fewest = max(total - self._max_tokens, self._small)
        most = min(self._max_tokens, total - self._small)
        if fewest >= most:
            return []
        offsets = encoding.offsets
        cut = last_break(text, start + offsets[fewest][0], start + offsets[most][0])
        return [_trimmed(text, start, cut), _trimmed(text, cut, end)]

    def _join_sections(
        self, text: str, pieces: Sequence[_Piece], levels: Sequence[int]
    ) -> list[_Piece]:
        """Join small sections to the one before, if that is not below them in the outline.

        A small section that leads over to a subsection (a chapter's heading, say) waits for it.
        """
        joined: list[_Piece] = []
        for index, piece in enumerate(pieces):
            if not joined or not self._has_small(joined[-1], piece):
                joined.append(piece)
                continue
            last = joined[-1]
            level, level_before = levels[piece.section + 1], levels[last.section + 1]
            following = pieces[index + 1].section + 1 if index + 1 < len(pieces) else 0
            waits = last.tokens >= self._small and levels[following] > level
            if level < level_before or waits:
                joined.append(piece)
            else:
                leads_over = last.tokens < self._small and level > level_before
                joined[-1:] = self._joined(text, last, piece, evened=leads_over)
        return joined

    def _count(self, texts: list[str]) -> list[int]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    def _splitter(self, markup: Markup) -> "TextSplitter | MarkdownSplitter":
        """The splitter for a markup; built when first needed, as each holds a tokenizer."""
        if markup not in self._splitters:
            from semantic_text_splitter import MarkdownSplitter, TextSplitter

            build = MarkdownSplitter if markup == "markdown" else TextSplitter
            self._splitters[markup] = build.from_huggingface_tokenizer_str(
                self._json, self._max_tokens, self._overlap
            )
        return self._splitters[markup]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its end and blank lines at its beginning."""
    end = start + len(text[start:end].rstrip())
    lead = text[start:end]
    blank = lead[: len(lead) - len(lead.lstrip())]
    return start + blank.rfind("\n") + 1, end


def _levels(headings: Sequence[Heading], sections: Sequence[int]) -> list[int]:
    """Outline level of each section, the one before the first cut first; 0 without a heading."""
    level_at = {heading.start: heading.level for heading in headings}
    return [level_at.get(start, 0) for start in (0, *sections)]


def _chunks(text: str, pieces: Sequence[_Piece], headings: Sequence[Heading]) -> Iterator[Chunk]:
    ordered = sorted(headings, key=lambda heading: heading.start)
    path: list[Heading] = []
    following = 0
    for ordinal, piece in enumerate(pieces):
        while following < len(ordered) and ordered[following].start <= piece.start:
            heading = ordered[following]
            path = [outer for outer in path if outer.level < heading.level] + [heading]
            following += 1
        yield Chunk(
            ordinal=ordinal,
            start=piece.start,
            end=piece.end,
            text=text[piece.start : piece.end],
            tokens=piece.tokens,
            headings=tuple(heading.title for heading in path),
        )
