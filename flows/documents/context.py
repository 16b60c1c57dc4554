"""Heading context: where a chunk stands, said before its text when it is embedded.

It is in the embedded text only: the stored text, its offsets and its hash know nothing of it. It
stands in the chunk's payload beside the text, so that the same vector can be made again from there.
"""

from collections.abc import Sequence
from typing import Final

SEPARATOR: Final = " > "
MAX_CONTEXT_TOKENS: Final = 48
"""Of the encoder's tokens; what is beyond is left out, the outermost heading first."""


class HeadingContext:
    """Makes contexts that are bounded in one tokenizer's tokens. Not shared between threads."""

    def __init__(self, tokenizer_json: str) -> None:
        """Load the tokenizer.

        Args:
            tokenizer_json: A Hugging Face `tokenizer.json`.
        """
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_truncation()
        self._known: dict[tuple[str, ...], str] = {}

    def of(self, title: str, headings: Sequence[str]) -> str:
        """Title and headings, outermost first; as many of the innermost as fit, maybe none.

        Args:
            title: The document's.
            headings: The path of headings above the chunk; a first one that repeats the title is
                said once.
        """
        path = tuple(word for word in (title, *headings) if word)
        if len(path) > 1 and path[0] == path[1]:
            path = path[1:]
        if path not in self._known:
            if len(self._known) > 1000:
                self._known.clear()
            self._known[path] = self._fitting(path)
        return self._known[path]

    def _fitting(self, path: tuple[str, ...]) -> str:
        for first in range(len(path)):
            context = SEPARATOR.join(path[first:])
            encoding = self._tokenizer.encode(context, add_special_tokens=False)
            if len(encoding) <= MAX_CONTEXT_TOKENS:
                return context
        return ""


def embedded_text(context: str, text: str) -> str:
    """What is embedded for a chunk: its context, if it has one, a blank line, its text."""
    return f"{context}\n\n{text}" if context else text
