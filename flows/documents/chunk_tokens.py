"""How many tokens any stretch of a text has, told from where its tokens begin.

Tokenizing each stretch that a splitter tries would be most of the work of chunking. So the text is
tokenized once, and a stretch is taken to have as many tokens as begin in it. On its own it may have
a few more, mostly in its first word, which then lacks the blank before it: what has to hold exactly
is counted again, and with most tokenizers no more of it than that word.
"""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SLACK: Final = 4
"""Tokens that a stretch may have beyond what begins in it; one in ten thousand has more."""
TOGETHER: Final = 256
"""Stretches tokenized in one call: all those of a large document would take gigabytes."""

_BLANK: Final = re.compile(r"\s")
_PLAIN_BLANKS: Final = " \t\r\n"


class TokenOffsets:
    """Where the tokens of one text begin. Not shared between threads."""

    def __init__(
        self,
        tokenizer: "Tokenizer",
        text: str,
        *,
        blocks: Iterable[tuple[int, int]],
        limits: Sequence[int],
        is_local: bool = False,
    ) -> None:
        """Tokenize the text.

        Args:
            tokenizer: Without truncation and padding.
            text: The whole text.
            blocks: Spans that cover it in order, each tokenized on its own.
            limits: Numbers of tokens that must not be exceeded: up to there `count` is exact.
            is_local: What `chunk_locality` says of the tokenizer; False does for any.
        """
        self._tokenizer = tokenizer
        self._text = text
        self._near = {limit - less for limit in limits if limit for less in range(SLACK)}
        self._is_local = is_local
        self._starts = array("I")
        self._ends_of_blocks = array("I")
        for start, end in blocks:
            offsets = tokenizer.encode(text[start:end], add_special_tokens=False).offsets
            self._starts.extend([start + offset for offset, _ in offsets])
            self._ends_of_blocks.append(end)

    def count(self, start: int, end: int) -> int:
        """Tokens of `text[start:end]`: exactly if about as many as a limit, else roughly."""
        tokens = self._begun(start, end)
        return self.count_exactly([(start, end)])[0] if tokens in self._near else tokens

    def count_exactly(self, spans: Sequence[tuple[int, int]]) -> list[int]:
        """Tokens of each stretch on its own, as the tokenizer counts them."""
        counts: list[int] = []
        for first in range(0, len(spans), TOGETHER):
            some = spans[first : first + TOGETHER]
            settled = [self._settled(start, end) for start, end in some]
            texts = [self._text[start:at] for (start, _), at in zip(some, settled, strict=True)]
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            counts += [
                len(encoding) + self._begun(at, end)
                for encoding, at, (_, end) in zip(encodings, settled, some, strict=True)
            ]
        return counts

    def after(self, start: int, tokens: int) -> int:
        """The offset by which so many tokens have begun since `start`, or the text's end."""
        index = bisect_left(self._starts, start) + tokens
        return self._starts[index] if index < len(self._starts) else len(self._text)

    def _begun(self, start: int, end: int) -> int:
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def _settled(self, start: int, end: int) -> int:
        """Where in a stretch the tokens that it has on its own begin to be those of the text.

        That is at its first blank, if the tokenizer is local and the stretch lies in one block, is
        followed by a blank there, and neither begins nor ends with one; else nowhere but at `end`.
        """
        text = self._text
        if not self._is_local or end == start:
            return end
        block_end = self._ends_of_blocks[bisect_right(self._ends_of_blocks, start)]
        if end > block_end or (end < block_end and text[end] not in _PLAIN_BLANKS):
            return end
        blank = _BLANK.search(text, start, end)
        if blank is None or blank.start() == start or text[end - 1].isspace():
            return end
        return blank.start() if blank[0] in _PLAIN_BLANKS else end


def blocks(spans: Iterable[tuple[int, int]], *, max_characters: int) -> Iterator[tuple[int, int]]:
    """Neighbouring spans put together as long as they have at most so many characters."""
    begun: tuple[int, int] | None = None
    for start, end in spans:
        if begun is not None and end - begun[0] <= max_characters:
            begun = (begun[0], end)
            continue
        if begun is not None:
            yield begun
        begun = (start, end)
    if begun is not None:
        yield begun
