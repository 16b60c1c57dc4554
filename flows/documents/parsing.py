"""From a document's bytes to its text, title and headings: one parser for each format."""

from typing import Final

from flows.documents.decoding import decode, storable
from flows.documents.formats import Format
from flows.documents.html_pages import declared_charset, html_text
from flows.documents.markdown_outline import markdown_outline
from flows.documents.outline import Outline
from flows.documents.parsed_document import Heading, Markup, ParsedDocument
from flows.documents.python_docs import module_docs, package_description
from flows.documents.rst_outline import rst_outline
from flows.documents.titles import one_line, stem_title
from flows.errors import DocumentRejected

PARSER_VERSION: Final = "1"
"""Changes whenever the same bytes may give another text, title or heading."""

__all__ = ["PARSER_VERSION", "Heading", "ParsedDocument", "parse"]


def parse(data: bytes, *, format: Format, name: str) -> ParsedDocument:
    """The text of a document and what stands where in it. Pure: it opens and executes nothing.

    Args:
        data: The whole file.
        format: Which parser to use.
        name: The file's name or the document's id, for a title of last resort; of a
            `python-module`, the dotted name of the module after the last `/`.

    Raises:
        DocumentRejected: Binary, no text, or not what its format says.
    """
    try:
        parsed = _parse(data, format, name)
    except RecursionError as error:
        raise DocumentRejected(f"nested too deeply for the {format} parser; skip it") from error
    except MemoryError as error:
        raise DocumentRejected(f"too large for the {format} parser; split it") from error
    if not parsed.text.strip():
        raise DocumentRejected("no text")
    return parsed


def _parse(data: bytes, format_: Format, name: str) -> ParsedDocument:
    if format_ == "html":
        return _html(data, name)
    if format_ == "python-metadata":
        return _metadata(data)
    if format_ == "python-module":
        return _module(data, name)
    decoded = decode(data)
    outline, markup = _outline(decoded.text, format_)
    return ParsedDocument(
        text=decoded.text,
        title=outline.front_title or _top_heading(outline.headings) or stem_title(name),
        headings=outline.headings,
        encoding=decoded.encoding,
        markup=markup,
    )


def _outline(text: str, format_: Format) -> tuple[Outline, Markup]:
    if format_ == "markdown":
        return markdown_outline(text), "markdown"
    if format_ == "restructuredtext":
        return rst_outline(text), "plain"
    if format_ == "text":
        return Outline(headings=()), "plain"
    raise DocumentRejected(f"format {format_!r}: no parser; this is a defect, please report it")


def _top_heading(headings: tuple[Heading, ...]) -> str:
    """The first heading of level 1, or the first of any level."""
    first = next((heading for heading in headings if heading.level == 1), None)
    return (first or headings[0]).title if headings else ""


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
