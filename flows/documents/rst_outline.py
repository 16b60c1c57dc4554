"""reStructuredText's headings: titles with adornments, and the header block of a PEP.

A scanner after docutils' section rules: an underline (and overline) of one repeated punctuation
character, as long as the title; levels in the order in which the styles appear.
"""

import re
from dataclasses import dataclass
from typing import Final

from flows.documents.outline import Outline, lines_of
from flows.documents.parsed_document import Heading
from flows.documents.titles import one_line

_ADORNMENT: Final = re.compile(r"^([!-/:-@\[-`{-~])\1+(?=[ \t]*\r?$)", re.MULTILINE)
_FIELD: Final = re.compile(r"([A-Za-z][A-Za-z-]*):[ \t]*(.*)$")
_ROLE: Final = re.compile(r":[A-Za-z:]+:`([^`<]*?)\s*(?:<[^`]*>)?`")
_LINK: Final = re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?")
_EMPHASIS: Final = re.compile(r"(`+|\*{1,2})(\S(?:.*?\S)?)\1_{0,2}")
_SHORT_UNDERLINE: Final = 4  # docutils takes a short underline as a title's from this length on
_MAX_TITLE: Final = 300  # characters of a line that are looked at


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A title: how it is adorned (`=` under, `==` over and under), where it starts and ends."""

    style: str
    title: str
    start: int
    end: int


def rst_outline(text: str) -> Outline:
    """Headings of a reStructuredText document; `front_title` is that of a PEP's header.

    A PEP begins with `PEP: 8` and `Title: Style Guide` lines, and its title is
    `PEP 8: Style Guide`.
    """
    headings: list[Heading] = []
    styles: list[str] = []
    done = 0
    for match in _ADORNMENT.finditer(text):
        if match.start() < done:
            continue
        found = _overlined(text, match) or _underlined(text, match, done)
        if found is None:
            continue
        if found.style not in styles:
            styles.append(found.style)
        level = styles.index(found.style) + 1
        headings.append(Heading(level=level, title=_words(found.title), start=found.start))
        done = found.end
    return Outline(headings=tuple(headings), front_title=_pep_title(text))


def _overlined(text: str, over: re.Match[str]) -> _Found | None:
    title_start = _next_line(text, over.end())
    title = _line(text, title_start).strip()
    under = _ADORNMENT.match(text, _next_line(text, title_start))
    if not title or under is None or under.group() != over.group():
        return None
    if len(title) > len(over.group()) or not _blank_before(text, over.start()):
        return None
    if _ADORNMENT.match(text, title_start):
        return None
    return _Found(style=over.group(1) * 2, title=title, start=over.start(), end=under.end())


def _underlined(text: str, under: re.Match[str], done: int) -> _Found | None:
    start = text.rfind("\n", 0, max(under.start() - 1, 0)) + 1
    title = text[start : min(under.start(), start + _MAX_TITLE)].rstrip()
    if start < done or start == under.start() or not title or title[0].isspace():
        return None
    if len(under.group()) < min(len(title), _SHORT_UNDERLINE):
        return None
    if not _blank_before(text, start) or title.startswith((".. ", "|", "+-")):
        return None
    if _ADORNMENT.match(text, start):
        return None
    return _Found(style=under.group(1), title=title, start=start, end=under.end())


def _next_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _line(text: str, start: int) -> str:
    return text[start : min(_next_line(text, start), start + _MAX_TITLE)]


def _blank_before(text: str, start: int) -> bool:
    """Whether the line before the one at `start` is blank, or there is none."""
    end = start - 1
    return end < 0 or not text[text.rfind("\n", 0, max(end, 0)) + 1 : end].strip()


def _words(title: str) -> str:
    title = _ROLE.sub(r"\1", title)
    title = _LINK.sub(r"\1", title)
    return one_line(_EMPHASIS.sub(r"\2", title))


def _pep_title(text: str) -> str:
    fields: dict[str, str] = {}
    name = ""
    for line in lines_of(text):
        if not line.text.strip():
            break
        if match := _FIELD.match(line.text):
            name = match.group(1).lower()
            fields.setdefault(name, match.group(2))
        elif name and line.text[0].isspace():
            fields[name] += " " + line.text.strip()
        else:
            return ""
    if "pep" not in fields or not fields.get("title", "").strip():
        return ""
    return one_line(f"PEP {fields['pep'].strip()}: {fields['title']}")
