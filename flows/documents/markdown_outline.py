"""Markdown's headings: ATX and setext, outside code, HTML blocks and front matter.

A line scanner after CommonMark 0.31 (sections 4.1 to 4.6) rather than a full parser: linear, and
without millions of tokens in memory for a large file. Headings inside block quotes and lists are
not sections of the document, and are left out.
"""

import re
from typing import Final

from flows.documents.outline import Line, Outline, lines_of
from flows.documents.parsed_document import Heading
from flows.documents.titles import one_line

_ATX: Final = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_SETEXT: Final = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE: Final = re.compile(r" {0,3}(`{3,}(?!.*`)|~{3,})")
_RULE: Final = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_INDENTED: Final = re.compile(r"(?: {4}| {0,3}\t)")
_CONTAINER: Final = re.compile(r" {0,3}(?:>|[-+*](?:[ \t]|$)|\d{1,9}[.)](?:[ \t]|$))")
_HTML_OPEN: Final = re.compile(r" {0,3}<(?:(!--)|(pre|script|style|textarea)\b)", re.IGNORECASE)
_FRONT_TITLE: Final = re.compile(r"title[ \t]*[:=][ \t]*(.+)$", re.IGNORECASE)
_CODE: Final = re.compile(r"(`+)(.+?)\1")
# Markup characters inside code, which are not markup there, stand aside as private-use ones.
_SHIELD: Final = {ord(char): 0xE000 + index for index, char in enumerate("<>*_[]()!{}\\")}
_UNSHIELD: Final = {shield: char for char, shield in _SHIELD.items()}
_MAX_SETEXT_LINES: Final = 5  # a longer paragraph above `---` is no heading, whatever was meant
_MAX_SCANNED: Final = 300  # characters of a line that are looked at: patterns stay cheap


def markdown_outline(text: str) -> Outline:
    r"""Headings of a Markdown text, with offsets into it.

    Example: `"# A\n\ntext\n\nB\n-\n"` has `A` (level 1, start 0) and `B` (level 2, start 11).
    """
    front_title, body = _front_matter(text)
    headings: list[Heading] = []
    paragraph: list[Line] = []  # lines that a setext underline could turn into a heading
    fence = until = ""
    for line in lines_of(text):
        if line.start < body:
            continue
        short = line.text[:_MAX_SCANNED]
        if fence:
            mark = short.strip(" \t")
            if mark and set(mark) == {fence[0]} and len(mark) >= len(fence):
                fence = ""
        elif until:
            if until in line.text.lower():
                until = ""
        elif not short or short.isspace():
            paragraph = []
        elif opened := _FENCE.match(short):
            fence, paragraph = opened.group(1), []
        elif atx := _ATX.match(short):
            paragraph = []
            if words := inline_text(_without_closing_hashes(short[atx.end() :])):
                level = len(atx.group(1))
                headings.append(Heading(level=level, title=words, start=line.start))
        elif paragraph and (setext := _SETEXT.match(short)):
            words = inline_text(" ".join(part.text[:_MAX_SCANNED] for part in paragraph))
            if words and len(paragraph) <= _MAX_SETEXT_LINES:
                level = 1 if setext.group(1)[0] == "=" else 2
                headings.append(Heading(level=level, title=words, start=paragraph[0].start))
            paragraph = []
        elif until := _html_end(line.text):
            paragraph = []
        elif _continues(paragraph, short):
            paragraph.append(line)
        else:
            paragraph = []
    return Outline(headings=tuple(headings), front_title=front_title)


def _continues(paragraph: list[Line], line: str) -> bool:
    """Whether a line begins or goes on with a paragraph, which an underline would close."""
    if _RULE.match(line) or _CONTAINER.match(line):
        return False
    # Indented by four it is code, but inside a paragraph a lazy continuation.
    return bool(paragraph) or not _INDENTED.match(line)


def _without_closing_hashes(words: str) -> str:
    stripped = words.strip(" \t")
    opened = stripped.rstrip("#")
    return opened if not opened or opened[-1] in " \t" else stripped


def _html_end(line: str) -> str:
    """What must be seen for the HTML block to end that this line leaves open; empty if none."""
    opened = _HTML_OPEN.match(line)
    if opened is None:
        return ""
    end = "-->" if opened.group(1) else f"</{opened.group(2).lower()}>"
    return "" if end in line[opened.end() :].lower() else end


def _front_matter(text: str) -> tuple[str, int]:
    """The title in a YAML (`---`) or TOML (`+++`) block at the start, and where the body begins."""
    title, mark = "", ""
    for line in lines_of(text):
        words = line.text.rstrip()
        if line.start == 0:
            if words not in ("---", "+++"):
                return "", 0
            mark = words
        elif words == mark or (mark == "---" and words == "..."):
            return title, line.start + len(line.text)
        elif match := _FRONT_TITLE.match(line.text[:_MAX_SCANNED]):
            title = title or one_line(match.group(1).strip().strip("\"'"))
    return "", 0  # never closed: a rule, not front matter


def inline_text(markup: str) -> str:
    """The words of a heading without its markup: links, images, emphasis, code, `{#anchor}`."""
    words = _CODE.sub(lambda code: code.group(2).translate(_SHIELD), markup[:_MAX_SCANNED])
    words = re.sub(r"\{[^{}]*\}\s*$", "", words)
    words = re.sub(r"<!--.*?-->|</?[A-Za-z][^<>]*>", "", words)
    words = re.sub(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])", r"\1", words)
    words = re.sub(r"(?<![\w\\])(\*{1,3}|_{1,3})(\S(?:.*?\S)?)\1(?!\w)", r"\2", words)
    words = re.sub(r"(\w)\*\*(\S.*?)\*\*", r"\1\2", words)
    return one_line(re.sub(r"\\([^\w\s])", r"\1", words).translate(_UNSHIELD))
