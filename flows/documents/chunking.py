"""Chunks of a document: bounded in tokens, exact in offsets, and none of the text left out."""

from collections.abc import Iterator, Sequence
from typing import Final

from flows.documents.chunk_locality import is_local
from flows.documents.chunk_pieces import CHARACTERS_PER_TOKEN, Piece, Pieces
from flows.documents.chunk_splitter import Splitter
from flows.documents.chunk_tokens import TokenOffsets, blocks
from flows.documents.chunks import Chunk, Chunking, Span, gaps, verify_coverage
from flows.documents.parsed_document import Heading, Markup, ParsedDocument
from flows.documents.windows import MIN_WINDOW_CHARACTERS, windows
from flows.errors import InvalidInput

CHUNKER_VERSION: Final = "2"
"""Changes whenever the same text, tokenizer and settings may give other chunks."""

MIN_MAX_TOKENS: Final = 16

__all__ = [
    "CHUNKER_VERSION",
    "MIN_MAX_TOKENS",
    "Chunk",
    "Chunker",
    "Chunking",
    "Span",
    "verify_coverage",
]


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
        self._is_local = is_local(self._tokenizer)
        self._max_tokens = max_tokens
        self._overlap = overlap
        self._window = max(MIN_WINDOW_CHARACTERS, 2 * CHARACTERS_PER_TOKEN * max_tokens)
        self._splitters: dict[Markup, Splitter] = {}

    def chunk(self, parsed: ParsedDocument) -> Chunking:
        """The chunks of one document, checked by `verify_coverage`.

        Raises:
            DocumentRejected: One character alone exceeds `max_tokens`, or the splitter failed.
        """
        text = parsed.text
        sections = sorted({heading.start for heading in parsed.headings} - {0})
        found = list(windows(text, sections=sections, max_characters=self._window))
        tokens = TokenOffsets(
            self._tokenizer,
            text,
            blocks=blocks([(w.start, w.end) for w in found], max_characters=self._window),
            limits=[self._max_tokens, self._overlap],
            is_local=self._is_local,
        )
        making = Pieces(text, tokens, max_tokens=self._max_tokens)
        splitter = self._splitter(parsed.markup)
        pieces: list[Piece] = []
        for window in found:
            spans = [(window.start, window.end)]
            if not window.solid:
                spans = splitter.spans(text, window.start, window.end, tokens)
            for span in spans:
                for piece in making.of(*span, window.section):
                    _append(making, pieces, piece)
        pieces = _join_sections(making, pieces, _levels(parsed.headings, sections))
        pieces = making.checked(pieces)
        chunking = Chunking(
            chunks=tuple(_chunks(text, pieces, parsed.headings)),
            skipped=tuple(gaps(len(text), [(piece.start, piece.end) for piece in pieces])),
        )
        verify_coverage(text, chunking)
        return chunking

    def _splitter(self, markup: Markup) -> Splitter:
        """The splitter for a markup, built when first needed."""
        if markup not in self._splitters:
            self._splitters[markup] = Splitter(
                markup, max_tokens=self._max_tokens, overlap=self._overlap
            )
        return self._splitters[markup]


def _append(making: Pieces, pieces: list[Piece], piece: Piece) -> None:
    """Add a piece; a small one does not stand alone in its section if that can be helped."""
    if pieces and piece.end <= pieces[-1].end:
        return
    # With an overlap, a piece may lie within the one that follows it.
    while pieces and piece.start <= pieces[-1].start:
        pieces.pop()
    last = pieces[-1] if pieces else None
    if last and last.section == piece.section and (making.is_small(last) or making.is_small(piece)):
        pieces[-1:] = making.joined(last, piece, evened=True)
    else:
        pieces.append(piece)


def _join_sections(making: Pieces, pieces: Sequence[Piece], levels: Sequence[int]) -> list[Piece]:
    """Join small sections to the one before, if that is not below them in the outline.

    A small section that leads over to a subsection (a chapter's heading, say) waits for it.
    """
    joined: list[Piece] = []
    for index, piece in enumerate(pieces):
        if not joined or not (making.is_small(joined[-1]) or making.is_small(piece)):
            joined.append(piece)
            continue
        last = joined[-1]
        level, level_before = levels[piece.section + 1], levels[last.section + 1]
        following = pieces[index + 1].section + 1 if index + 1 < len(pieces) else 0
        waits = not making.is_small(last) and levels[following] > level
        if level < level_before or waits:
            joined.append(piece)
        else:
            leads_over = making.is_small(last) and level > level_before
            joined[-1:] = making.joined(last, piece, evened=leads_over)
    return joined


def _levels(headings: Sequence[Heading], sections: Sequence[int]) -> list[int]:
    """Outline level of each section, the one before the first cut first; 0 without a heading."""
    level_at = {heading.start: heading.level for heading in headings}
    return [level_at.get(start, 0) for start in (0, *sections)]


def _chunks(text: str, pieces: Sequence[Piece], headings: Sequence[Heading]) -> Iterator[Chunk]:
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
