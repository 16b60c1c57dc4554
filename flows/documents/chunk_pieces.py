"""Pieces of a text on their way to chunks: measured, cut where too long, joined where small."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from flows.documents.chunk_tokens import SLACK, TokenOffsets
from flows.documents.windows import last_break
from flows.errors import DocumentRejected

CHARACTERS_PER_TOKEN: Final = 16
"""Bound on a piece's characters per token of `max_tokens`: WordPiece counts any long run of
letters as one unknown token, and a megabyte of it would make one chunk."""
_SMALL: Final = 0.25  # of max_tokens: a piece below it is joined to a neighbour where one fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A chunk in the making, `text[start:end]`.

    `tokens` may be a few too low until the piece is checked; `section` counts headings, -1 before
    the first.
    """

    start: int
    end: int
    tokens: int
    section: int


class Pieces:
    """Makes the pieces of one text. Not shared between threads."""

    def __init__(self, text: str, tokens: TokenOffsets, *, max_tokens: int) -> None:
        """Begin.

        Args:
            text: The whole text.
            tokens: Of that text, with `max_tokens` among its limits.
            max_tokens: Hard bound on a piece.
        """
        self._text = text
        self._tokens = tokens
        self._max_tokens = max_tokens
        self._max_characters = CHARACTERS_PER_TOKEN * max_tokens
        self._small = max(1, int(_SMALL * max_tokens))

    def of(self, start: int, end: int, section: int) -> list[Piece]:
        """One piece, or more where that is too long, each within the bounds as far as is known."""
        piece = self._piece(start, end, section)
        return [piece] if self._fits(piece) else self._cut(piece)

    def is_small(self, piece: Piece) -> bool:
        """Whether it should not stand alone."""
        return piece.tokens < self._small

    def joined(self, first: Piece, second: Piece, *, evened: bool) -> list[Piece]:
        """One piece if both fit; else, if `evened`, two that are not small; else the same two."""
        both = self._piece(first.start, second.end, first.section)
        if self._fits(both):
            return [both]
        if evened and both.end - both.start <= self._max_characters:
            return self._halves(both) or [first, second]
        return [first, second]

    def checked(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces with their exact counts; one above the bounds after all is cut further.

        Raises:
            DocumentRejected: One character alone exceeds `max_tokens`.
        """
        counts = self._tokens.count_exactly([(piece.start, piece.end) for piece in pieces])
        checked: list[Piece] = []
        for piece, count in zip(pieces, counts, strict=True):
            exact = piece if count == piece.tokens else replace(piece, tokens=count)
            if self._fits(exact):
                checked.append(exact)
            elif piece.end - piece.start == 1:
                raise DocumentRejected(
                    f"character {self._text[piece.start]!r} at {piece.start} is {count} tokens; "
                    f"the limit is {self._max_tokens}; raise the chunk size"
                )
            else:
                checked += self.checked(self._cut(piece))
        return checked

    def _piece(self, start: int, end: int, section: int) -> Piece:
        return Piece(start=start, end=end, tokens=self._tokens.count(start, end), section=section)

    def _fits(self, piece: Piece) -> bool:
        few = piece.tokens <= self._max_tokens
        return few and piece.end - piece.start <= self._max_characters

    def _cut(self, piece: Piece) -> list[Piece]:
        """Pieces of `max_tokens` tokens or somewhat less, each shorter than this one; linear.

        A cut within a word may change how its ends are tokenized: they are counted again.
        """
        text, end = self._text, piece.end
        spans: list[tuple[int, int]] = []
        at = piece.start
        while at < end:
            most = self._tokens.after(at, self._max_tokens - SLACK)
            stop = min(end, at + self._max_characters, most)
            if (at, stop) == (piece.start, end):
                stop = at + (end - at) // 2
            if stop < end:
                stop = last_break(text, at + (stop - at) // 2, stop)
            stop = max(stop, at + 1)
            spans.append((at, stop))
            at = stop
        return [
            self._piece(*_trimmed(text, start, stop), piece.section)
            for start, stop in spans
            if text[start:stop].strip()
        ]

    def _halves(self, piece: Piece) -> list[Piece]:
        """Two pieces, cut at the best break that leaves both within the bound and neither small.

        The splitter cannot do this: it never cuts a paragraph to keep its heading with it.
        """
        start, end = piece.start, piece.end
        fewest = max(piece.tokens - self._max_tokens + SLACK, self._small)
        most = min(self._max_tokens - SLACK, piece.tokens - self._small)
        if fewest >= most:
            return []
        cut = last_break(
            self._text, self._tokens.after(start, fewest), self._tokens.after(start, most)
        )
        spans = [_trimmed(self._text, start, cut), _trimmed(self._text, cut, end)]
        return [self._piece(*span, piece.section) for span in spans]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its end and blank lines at its beginning."""
    end = start + len(text[start:end].rstrip())
    lead = text[start:end]
    blank = lead[: len(lead) - len(lead.lstrip())]
    return start + blank.rfind("\n") + 1, end
