"""What a parser makes of a document: its text, and what stands where in it."""

from dataclasses import dataclass
from typing import Literal

Markup = Literal["plain", "markdown"]


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading: its level (1 is the highest), its words, and the offset where its line starts."""

    level: int
    title: str
    start: int


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The text drawn from a format that is not itself text; its line breaks are Unix ones.

    Attributes:
        text: Everything that was found.
        title: One line; empty where the file does not say.
        headings: Their offsets count characters of `text`.
        markup: As in `ParsedDocument`.
    """

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    markup: Markup = "plain"


@dataclass(frozen=True, kw_only=True)
class ParsedDocument:
    """A document's text and structure; all offsets count characters of `text`.

    Attributes:
        text: For text, Markdown, reStructuredText and code the decoded file itself, without a byte
            order mark, and with NULs and lone surrogates replaced one for one by U+FFFD, so that
            an offset points into the file; for the other formats the text drawn from it.
        title: One line, at most 200 characters.
        headings: In the order of their `start`.
        encoding: How the bytes were decoded: `utf-8`, `cp1252`...; `utf-8 with replacements`
            where a few bytes of a UTF-8 file were damaged; empty for files that are no text.
        markup: Which boundaries the chunker may trust in `text`.
    """

    text: str
    title: str
    headings: tuple[Heading, ...] = ()
    encoding: str
    markup: Markup = "plain"
