"""PDF: the text of its pages by PDFium, which runs no scripts and opens no links."""

import re
from typing import Any, Final

from flows.documents.draft import Draft
from flows.documents.extra import require_extra
from flows.documents.parsed_document import Drawn
from flows.documents.titles import one_line
from flows.errors import DocumentRejected

_HYPHEN_AT_LINE_END: Final = re.compile("[\ufffe\x02](?:\r?\n)?")
"""PDFium's mark for a hyphen that only the line break made: the word goes on."""
_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")


def pdf_pages(data: bytes) -> Drawn:
    """The text of a PDF file, page after page, and the title of its metadata, maybe empty.

    Raises:
        DocumentRejected: Encrypted, damaged, pictures of text only, or PDFium is not installed.
    """
    pdfium = require_extra("pypdfium2", kind="PDF")
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise DocumentRejected("encrypted PDF; save it without a password") from error
        raise DocumentRejected(f"not a PDF that can be read: {one_line(str(error))}") from error
    draft = Draft()
    unreadable = 0
    try:
        pages = len(document)
        for number in range(pages):
            try:
                draft.add(_page_text(pdfium, document, number))
            except pdfium.PdfiumError:
                unreadable += 1
        title = _title(document)
    finally:
        document.close()
    if unreadable:
        raise DocumentRejected(f"damaged PDF: {unreadable} of its {pages} pages; save it again")
    if not draft.text:
        raise DocumentRejected(f"no text on its {pages} pages; if they are scanned, run OCR first")
    return Drawn(text=draft.text, title=title)


def _page_text(pdfium: Any, document: Any, number: int) -> str:
    page = document[number]
    try:
        text_page = page.get_textpage()
        try:
            return _readable(text_page.get_text_bounded())
        finally:
            text_page.close()
    finally:
        page.close()


def _title(document: Any) -> str:
    try:
        return one_line(_readable(document.get_metadata_value("Title")))
    except UnicodeDecodeError:  # not worth rejecting the document for
        return ""


def _readable(text: str) -> str:
    """Words that were parted at line ends made whole; without what fonts garble into controls."""
    return _CONTROLS.sub(" ", _HYPHEN_AT_LINE_END.sub("", text))
