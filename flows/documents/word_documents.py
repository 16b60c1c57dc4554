"""Word documents (DOCX): paragraphs, tables, text boxes and notes in order; headings by style.

Read from the XML itself: python-docx leaves out content controls, tracked insertions, text boxes
and footnotes, and holds every picture in memory.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from flows.documents.draft import Draft
from flows.documents.office_package import OfficePackage, attribute, child, descend, local_name
from flows.documents.parsed_document import Drawn

if TYPE_CHECKING:
    from lxml.etree import _Element  # type: ignore[import-untyped]

_SKIPPED: Final = frozenset({"del", "moveFrom", "Fallback", "sectPr", "pPr", "rPr", "tblPr"})
"""Deleted text, the old version of what is there in a new one, and settings."""
_BLOCKS: Final = frozenset({"p", "tbl"})
_BREAKS: Final = {"br": "\n", "cr": "\n", "tab": "\t", "noBreakHyphen": "-", "ptab": "\t"}
_RUNS: Final = frozenset({"t", "txbxContent", *_BREAKS})
_MAX_STYLES: Final = 50  # that one is based on: a circle of styles ends


def word_document(data: bytes) -> Drawn:
    """The text of a DOCX file, notes last. Headers, footers and comments are left out.

    Raises:
        DocumentRejected: No DOCX, encrypted, or XML that may not be read.
    """
    package = OfficePackage(data, kind="DOCX")
    main = package.main_part
    related = list(package.related(main).values())
    levels: Mapping[str, int] = {}
    for kind, name in related:
        if kind == "styles":
            levels = _heading_levels(package.part(name))
    draft = Draft()
    _add_blocks(draft, package.part(main), levels)
    for kind, name in related:
        if kind in ("footnotes", "endnotes"):
            _add_blocks(draft, package.part(name), {})
    return Drawn(text=draft.text, title=package.title, headings=draft.headings)


def _add_blocks(draft: Draft, container: "_Element", levels: Mapping[str, int]) -> None:
    for block in descend(container, wanted=_BLOCKS, skipped=_SKIPPED):
        if local_name(block) == "tbl":
            draft.add("\n".join(_rows(block)))
            continue
        boxes: list[_Element] = []
        words = "".join(_words(block, boxes))
        if level := _level(block, levels):
            draft.add_heading(words, level=level)
        else:
            draft.add(words)
        for box in boxes:
            _add_blocks(draft, box, levels)


def _words(paragraph: "_Element", boxes: list["_Element"]) -> Iterator[str]:
    """A paragraph's text piece by piece; the text boxes that hang on it go to `boxes`."""
    for run in descend(paragraph, wanted=_RUNS, skipped=_SKIPPED):
        name = local_name(run)
        if name == "txbxContent":
            boxes.append(run)
        else:
            yield (run.text or "") if name == "t" else _BREAKS[name]


def _rows(table: "_Element") -> Iterator[str]:
    """A table's rows, their cells parted by bars; tables within cells are flattened."""
    for row in descend(table, wanted=frozenset({"tr"}), skipped=_SKIPPED):
        cells = []
        for cell in descend(row, wanted=frozenset({"tc"}), skipped=_SKIPPED):
            boxes: list[_Element] = []
            cells.append(" ".join("".join(_cell_words(cell, boxes)).split()))
        if any(cells):
            yield " | ".join(cells)


def _cell_words(cell: "_Element", boxes: list["_Element"]) -> Iterator[str]:
    for block in descend(cell, wanted=frozenset({"p"}), skipped=_SKIPPED):
        yield from _words(block, boxes)
        yield "\n"
        while boxes:
            yield from _cell_words(boxes.pop(0), boxes)


def _level(paragraph: "_Element", levels: Mapping[str, int]) -> int:
    """The heading level of a paragraph, by itself or by its style; 0 for body text."""
    settings = child(paragraph, "pPr")
    if settings is None:
        return 0
    own = _outline_level(settings)
    style = child(settings, "pStyle")
    by_style = levels.get(attribute(style, "val"), 0) if style is not None else 0
    return by_style if own is None else own


def _outline_level(settings: "_Element") -> int | None:
    """`w:outlineLvl` counts from 0, and 9 is body text; None where it says nothing."""
    outline = child(settings, "outlineLvl")
    value = attribute(outline, "val") if outline is not None else ""
    return (int(value) + 1) % 10 if value in set("0123456789") else None


def _heading_levels(styles: "_Element") -> dict[str, int]:
    """Heading level by style id, for the styles that are headings or based on one."""
    own: dict[str, int] = {}
    based_on: dict[str, str] = {}
    for style in styles:
        if local_name(style) != "style":
            continue
        identifier = attribute(style, "styleId")
        settings = child(style, "pPr")
        level = _outline_level(settings) if settings is not None else None
        named = child(style, "name")
        name = attribute(named, "val").lower() if named is not None else ""
        if level is None and name.startswith("heading ") and name[8:].isdecimal():
            level = int(name[8:10])
        if level is None and name == "title":
            level = 1
        if level is not None:
            own[identifier] = level
        parent = child(style, "basedOn")
        if parent is not None:
            based_on[identifier] = attribute(parent, "val")
    levels = {}
    for identifier in {*own, *based_on}:
        style_id = identifier
        for _ in range(_MAX_STYLES):
            if style_id in own or style_id not in based_on:
                break
            style_id = based_on[style_id]
        levels[identifier] = own.get(style_id, 0)
    return levels
