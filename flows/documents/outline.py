"""A text's lines with their offsets, and the outline that its headings make."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from flows.documents.parsed_document import Heading

_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")


class Line(NamedTuple):
    """A line's offset and its text without the line break; a tuple, as there are millions."""

    start: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The headings of a document, and the title of its front matter, if it has one."""

    headings: tuple[Heading, ...]
    front_title: str = ""


def lines_of(text: str) -> Iterator[Line]:
    r"""The lines between `\n`, `\r\n` and `\r`: those breaks only, unlike `str.splitlines`."""
    for match in _LINE.finditer(text):
        if match.start() < len(text):
            yield Line(start=match.start(), text=match.group().rstrip("\r\n"))
