"""A text in the making: paragraphs and headings with their offsets, and a bound on the whole."""

from typing import Final

from flows.documents.parsed_document import Heading
from flows.documents.titles import one_line
from flows.errors import DocumentRejected

MAX_TEXT_CHARACTERS: Final = 32 * 1024 * 1024
"""Of the text drawn from one document: more is no text to search, or a bomb."""

MAX_LEVEL: Final = 9


class Draft:
    """Paragraphs, parted by blank lines, and the headings among them."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._headings: list[Heading] = []

    def add(self, paragraph: str) -> None:
        r"""Add a paragraph, its line breaks as `\n`; one without words is left out.

        Raises:
            DocumentRejected: the text grows beyond all measure.
        """
        paragraph = unix_lines(paragraph).strip("\n")
        if not paragraph.strip():
            return
        start = self._length + 2 if self._parts else 0
        self._length = start + len(paragraph)
        if self._length > MAX_TEXT_CHARACTERS:
            raise too_much_text(self._length)
        self._parts.append(paragraph)

    def add_heading(self, words: str, *, level: int) -> None:
        """Add a heading, of level 1 or deeper, as a paragraph of one line."""
        title = one_line(words)
        if not title:
            return
        self.add(" ".join(words.split()))
        start = self._length - len(self._parts[-1])
        self._headings.append(
            Heading(level=min(max(1, level), MAX_LEVEL), title=title, start=start)
        )

    def add_marked_up(self, text: str, headings: tuple[Heading, ...]) -> None:
        """Add a text that has headings of its own; its line breaks are Unix ones already."""
        shift = len(text) - len(text.lstrip("\n"))
        before = len(self._parts)
        self.add(text)
        if len(self._parts) > before:
            start = self._length - len(self._parts[-1]) - shift
            self._headings += [
                Heading(level=heading.level, title=heading.title, start=start + heading.start)
                for heading in headings
            ]

    @property
    def text(self) -> str:
        """All that was added."""
        return "\n\n".join(self._parts)

    @property
    def headings(self) -> tuple[Heading, ...]:
        """The headings, by their offsets in `text`."""
        return tuple(self._headings)


def unix_lines(text: str) -> str:
    r"""The text with `\r\n` and `\r` as `\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def too_much_text(characters: int) -> DocumentRejected:
    """The refusal of a text beyond `MAX_TEXT_CHARACTERS`."""
    return DocumentRejected(
        f"its text has more than {characters - 1} characters; "
        f"the limit is {MAX_TEXT_CHARACTERS}; split it"
    )
