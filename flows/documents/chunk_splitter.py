"""semantic-text-splitter, which finds the best boundaries, fed with cheap counts of tokens.

Given a tokenizer it would run that on every stretch that it tries: ten times the work.
"""

from flows.documents.chunk_tokens import TokenOffsets
from flows.documents.parsed_document import Markup
from flows.errors import DocumentRejected


class Splitter:
    """Splits stretches of text at the best boundaries that fit. Not shared between threads."""

    def __init__(self, markup: Markup, *, max_tokens: int, overlap: int) -> None:
        """Build the library's splitter.

        Args:
            markup: Whose boundaries are looked for.
            max_tokens: Of a span, as `TokenOffsets.count` has it.
            overlap: Most tokens that a span repeats of the one before it.
        """
        from semantic_text_splitter import MarkdownSplitter, TextSplitter

        self._counter = _Counter()
        library = MarkdownSplitter if markup == "markdown" else TextSplitter
        self._splitter = library.from_callback(self._counter.count, max_tokens, overlap)

    def spans(self, text: str, start: int, end: int, tokens: TokenOffsets) -> list[tuple[int, int]]:
        """Spans of `text[start:end]` in order, without those of mere white space.

        Args:
            text: The whole text.
            start: Offset of the stretch to split.
            end: Offset after it.
            tokens: Of the whole text.

        Raises:
            DocumentRejected: the library failed.
        """
        part = text[start:end]
        if not part.strip():
            return []
        self._counter.begin(part, start, tokens)
        try:
            found = self._splitter.chunk_indices(part)
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # a Rust panic, no Exception
                raise
            raise DocumentRejected(f"the splitter failed at {start}:{end}: {error}") from error
        return [(start + at, start + at + len(chunk)) for at, chunk in found if chunk.strip()]


class _Counter:
    """Counts for the library, which asks about strings and does not say where they stand."""

    def begin(self, part: str, start: int, tokens: TokenOffsets) -> None:
        """Take up another stretch, `part`, which stands at `start`."""
        self._part = part
        self._start = start
        self._tokens = tokens
        self._last = 0

    def count(self, piece: str) -> int:
        """Tokens of a piece of the stretch; where it stands twice, either place will do.

        It is looked for from the last one on, since the library goes forward: at once found, even
        in a text that repeats itself nearly, but not quite.
        """
        at = self._part.find(piece, self._last)
        if at < 0:  # it goes back for an overlap
            at = self._part.find(piece)
        self._last = at
        return self._tokens.count(self._start + at, self._start + at + len(piece))
