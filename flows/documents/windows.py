"""Where a text is cut before it is split: at headings, and so that no window grows too long.

The splitter's time grows with the square of a window's length where there is nothing to split at,
so that windows are bounded, and long runs without white space are set apart.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_RUN: Final = re.compile(r"\S{500,}")
MIN_WINDOW_CHARACTERS: Final = 16_000
_BREAKS: Final = (  # from the best place to cut to the worst; a cut comes after the match
    re.compile(r"\n[ \t\r]*\n"),
    re.compile(r"\n|\r"),
    re.compile("[.!?]\\s|[\u3002\uff01\uff1f]"),  # sentences, Chinese and Japanese ones too
    re.compile(r"\s"),
)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch `text[start:end]` to be split on its own.

    `section` is the index of the heading that it lies under (-1 before the first); `solid` says
    that it is part of a long run without white space.
    """

    start: int
    end: int
    section: int
    solid: bool = False


def windows(text: str, *, sections: Sequence[int], max_characters: int) -> Iterator[Window]:
    """Windows of at most `max_characters` that cover all of `text`, in order.

    Args:
        text: The whole text.
        sections: Ascending offsets at which a section begins.
        max_characters: At least 1.
    """
    bounds = [0, *sections, len(text)]
    for section, (start, end) in enumerate(pairwise(bounds), start=-1):
        position = start
        for run in _RUN.finditer(text, start, end):
            yield from _cut(text, position, run.start(), section, max_characters)
            for solid in range(run.start(), run.end(), max_characters):
                stop = min(solid + max_characters, run.end())
                yield Window(start=solid, end=stop, section=section, solid=True)
            position = run.end()
        yield from _cut(text, position, end, section, max_characters)


def _cut(text: str, start: int, end: int, section: int, max_characters: int) -> Iterator[Window]:
    while end - start > max_characters:
        stop = last_break(text, start + max_characters // 2, start + max_characters)
        yield Window(start=start, end=stop, section=section)
        start = stop
    if start < end:
        yield Window(start=start, end=end, section=section)


def last_break(text: str, start: int, end: int) -> int:
    """The best place to cut in `(start, end]`: after the last break of the best kind, or `end`."""
    for pattern in _BREAKS:
        last = None
        for last in pattern.finditer(text, start, end):  # noqa: B007
            pass
        if last is not None:
            return last.end()
    return end
