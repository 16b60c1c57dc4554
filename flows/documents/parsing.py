"""From a document's bytes to its text, title and headings: one parser for each format."""

from collections.abc import Callable, Mapping
from typing import Final

from flows.documents.books import book
from flows.documents.decoding import decode, storable
from flows.documents.draft import MAX_TEXT_CHARACTERS, too_much_text
from flows.documents.email_messages import email_message
from flows.documents.formats import Format
from flows.documents.html_pages import declared_charset, html_text
from flows.documents.markdown_outline import markdown_outline
from flows.documents.outline import Outline
from flows.documents.parsed_document import Drawn, Heading, Markup, ParsedDocument
from flows.documents.pdf_pages import pdf_pages
from flows.documents.python_docs import module_docs, package_description
from flows.documents.rst_outline import rst_outline
from flows.documents.slide_decks import slide_deck
from flows.documents.spreadsheets import spreadsheet
from flows.documents.titles import file_title, one_line, stem_title
from flows.documents.word_documents import word_document
from flows.errors import DocumentRejected

PARSER_VERSION: Final = "2"
"""Changes whenever the same bytes may give another text, title or heading."""

_DRAWING: Final[Mapping[str, Callable[[bytes], Drawn]]] = {
    "pdf": pdf_pages,
    "docx": word_document,
    "pptx": slide_deck,
    "xlsx": spreadsheet,
    "epub": book,
    "email": email_message,
}
"""Formats that are not text, and what draws their text."""

__all__ = ["PARSER_VERSION", "Heading", "ParsedDocument", "parse"]


def parse(data: bytes, *, format: Format, name: str) -> ParsedDocument:
    """The text of a document and what stands where in it. Pure: it opens and executes nothing.

    It may take long and much memory, and libraries in C may crash: `parsing_process` calls it
    where that does no harm.

    Args:
        data: The whole file.
        format: Which parser to use.
        name: The file's name or the document's id, for a title of last resort; of a
            `python-module`, the dotted name of the module after the last `/`.

    Raises:
        DocumentRejected: Binary, no text, or not what its format says.
        MemoryError: The process has a memory limit, and met it.
    """
    try:
        parsed = _parse(data, format, name)
    except RecursionError as error:
        raise DocumentRejected(f"nested too deeply for the {format} parser; skip it") from error
    if not parsed.text.strip():
        raise DocumentRejected("no text")
    if len(parsed.text) > max(MAX_TEXT_CHARACTERS, len(data)):
        raise too_much_text(len(parsed.text))
    return parsed


def _parse(data: bytes, format_: Format, name: str) -> ParsedDocument:
    if format_ == "html":
        return _html(data, name)
    if format_ == "python-metadata":
        return _metadata(data)
    if format_ == "python-module":
        return _module(data, name)
    if format_ in _DRAWING:
        return _drawn(data, format_, name)
    decoded = decode(data)
    outline, markup = _outline(decoded.text, format_)
    last_resort = file_title(name) if format_ == "code" else stem_title(name)
    return ParsedDocument(
        text=decoded.text,
        title=outline.front_title or _top_heading(outline.headings) or last_resort,
        headings=outline.headings,
        encoding=decoded.encoding,
        markup=markup,
    )


def _outline(text: str, format_: Format) -> tuple[Outline, Markup]:
    if format_ == "markdown":
        return markdown_outline(text), "markdown"
    if format_ == "restructuredtext":
        return rst_outline(text), "plain"
    if format_ in ("text", "code"):
        return Outline(headings=()), "plain"
    raise DocumentRejected(f"format {format_!r}: no parser; this is a defect, please report it")


def _top_heading(headings: tuple[Heading, ...]) -> str:
    """The first heading of level 1, or the first of any level."""
    first = next((heading for heading in headings if heading.level == 1), None)
    return (first or headings[0]).title if headings else ""


def _drawn(data: bytes, format_: Format, name: str) -> ParsedDocument:
    try:
        drawn = _DRAWING[format_](data)
    except (DocumentRejected, MemoryError, RecursionError):
        raise
    except Exception as error:
        # Other people's parsers, on damaged files, raise whatever they please.
        reason = one_line(f"{type(error).__name__}: {error}")
        raise DocumentRejected(
            f"its {format_} parser failed: {reason}; save the file again, or convert it"
        ) from error
    return ParsedDocument(
        text=storable(drawn.text),
        title=one_line(storable(drawn.title)) or _top_heading(drawn.headings) or stem_title(name),
        headings=drawn.headings,
        encoding="",
        markup=drawn.markup,
    )


def _html(data: bytes, name: str) -> ParsedDocument:
    decoded = decode(data, declared=declared_charset(data))
    page = html_text(decoded.text)
    text = storable(page.text)
    outline = markdown_outline(text)
    return ParsedDocument(
        text=text,
        title=one_line(storable(page.title)) or _top_heading(outline.headings) or stem_title(name),
        headings=outline.headings,
        encoding=decoded.encoding,
        markup="markdown",
    )


def _metadata(data: bytes) -> ParsedDocument:
    decoded = decode(data)
    package = package_description(decoded.text)
    formats: dict[str, Format] = {"text/markdown": "markdown", "text/x-rst": "restructuredtext"}
    text = storable(package.text)
    outline, markup = _outline(text, formats.get(package.content_type, "text"))
    return ParsedDocument(
        text=text,
        title=storable(package.title),
        headings=outline.headings,
        encoding=decoded.encoding,
        markup=markup,
    )


def _module(data: bytes, name: str) -> ParsedDocument:
    module = name.rsplit("/", 1)[-1].removesuffix(".py")
    docs = module_docs(data, module=module)
    return ParsedDocument(
        text=storable(docs.text),
        title=one_line(module),
        headings=docs.headings,
        encoding=docs.encoding,
    )
