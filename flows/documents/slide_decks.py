"""Slide decks (PPTX): slide by slide, the title as a heading, then text, tables and notes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from flows.documents.draft import Draft
from flows.documents.office_package import OfficePackage, attribute, child, descend, local_name
from flows.documents.parsed_document import Drawn

if TYPE_CHECKING:
    from lxml.etree import _Element  # type: ignore[import-untyped]

_SHAPES: Final = frozenset({"sp", "tbl"})
_SKIPPED: Final = frozenset({"Fallback", "extLst"})
_TITLES: Final = frozenset({"title", "ctrTitle"})
_FURNITURE: Final = frozenset({"sldNum", "dt", "ftr", "hdr", "sldImg"})
"""Placeholders that say the same on every slide."""


def slide_deck(data: bytes) -> Drawn:
    """The text of a PPTX file, slides in their order, each followed by its speaker's notes.

    Raises:
        DocumentRejected: No PPTX, encrypted, or XML that may not be read.
    """
    package = OfficePackage(data, kind="PPTX")
    main = package.main_part
    related = package.related(main)
    draft = Draft()
    for entry in package.part(main).iter():
        if local_name(entry) != "sldId":
            continue
        # `id` is the slide's number, and `r:id` leads to it: the one with a namespace
        kind, name = related.get(_relation(entry), ("", ""))
        if kind == "slide":
            _add_slide(draft, package.part(name))
            for notes_kind, notes in package.related(name).values():
                if notes_kind == "notesSlide":
                    _add_slide(draft, package.part(notes))
    return Drawn(text=draft.text, title=package.title, headings=draft.headings)


def _relation(entry: "_Element") -> str:
    return next((str(value) for key, value in entry.items() if key.endswith("}id")), "")


def _add_slide(draft: Draft, slide: "_Element") -> None:
    shapes = list(descend(slide, wanted=_SHAPES, skipped=_SKIPPED))
    shapes.sort(key=lambda shape: _placeholder(shape) not in _TITLES)  # stable: titles first
    for shape in shapes:
        placeholder = _placeholder(shape)
        if placeholder in _FURNITURE:
            continue
        if local_name(shape) == "tbl":
            draft.add("\n".join(_rows(shape)))
        elif placeholder in _TITLES:
            draft.add_heading(" ".join(_paragraphs(shape)), level=1)
        else:
            draft.add("\n".join(_paragraphs(shape)))


def _placeholder(shape: "_Element") -> str:
    """What a shape stands for: `title`, `body`...; empty for a shape of its own."""
    found = child(shape, "nvSpPr", "nvPr", "ph")
    return attribute(found, "type") if found is not None else ""


def _paragraphs(container: "_Element") -> Iterator[str]:
    for paragraph in descend(container, wanted=frozenset({"p"}), skipped=_SKIPPED):
        runs = descend(paragraph, wanted=frozenset({"t", "br"}), skipped=_SKIPPED)
        words = "".join("\n" if local_name(run) == "br" else run.text or "" for run in runs)
        if words.strip():
            yield words


def _rows(table: "_Element") -> Iterator[str]:
    for row in descend(table, wanted=frozenset({"tr"}), skipped=_SKIPPED):
        cells = descend(row, wanted=frozenset({"tc"}), skipped=_SKIPPED)
        yield " | ".join(" ".join(" ".join(_paragraphs(cell)).split()) for cell in cells)
