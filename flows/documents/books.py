"""E-books (EPUB): the chapters in reading order, by the parser for HTML."""

import posixpath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from flows.documents.archive import Archive
from flows.documents.decoding import decode
from flows.documents.draft import Draft
from flows.documents.hardened_xml import xml_root
from flows.documents.html_pages import declared_charset, html_text
from flows.documents.markdown_outline import markdown_outline
from flows.documents.office_package import local_name
from flows.documents.parsed_document import Drawn
from flows.documents.titles import one_line
from flows.errors import DocumentRejected

if TYPE_CHECKING:
    from lxml.etree import _Element  # type: ignore[import-untyped]

_CONTAINER: Final = "META-INF/container.xml"
_ENCRYPTION: Final = "META-INF/encryption.xml"
_PAGES: Final = frozenset({"application/xhtml+xml", "text/html"})


def book(data: bytes) -> Drawn:
    """The text of an EPUB file as Markdown, in the order of its spine, and its title.

    Raises:
        DocumentRejected: No EPUB, encrypted, or a chapter that is missing or cannot be read.
    """
    archive = Archive(data, kind="EPUB")
    container = xml_root(archive.read(_CONTAINER), part=_CONTAINER)
    paths = [e.get("full-path", "") for e in container.iter() if local_name(e) == "rootfile"]
    if not paths:
        raise DocumentRejected("not EPUB: its container names no book; save it again")
    package = xml_root(archive.read(paths[0]), part=paths[0])
    locked = _encrypted(archive)
    draft = Draft()
    for chapter in _chapters(package, folder=posixpath.dirname(paths[0])):
        if chapter in locked:
            raise DocumentRejected("encrypted EPUB (DRM); convert it to one without")
        _add_chapter(draft, archive.read(chapter))
    titles = (e.text or "" for e in package.iter() if local_name(e) == "title")
    return Drawn(
        text=draft.text,
        title=one_line(next(titles, "")),
        headings=draft.headings,
        markup="markdown",
    )


def _chapters(package: "_Element", *, folder: str) -> list[str]:
    """The members that are pages of the book, in reading order; without its table of contents."""
    pages = {}
    for item in package.iter():
        is_page = local_name(item) == "item" and item.get("media-type") in _PAGES
        if is_page and "nav" not in item.get("properties", "").split():
            href = unquote(item.get("href", "").split("#")[0])
            pages[item.get("id")] = posixpath.normpath(posixpath.join(folder, href))
    spine = [item.get("idref") for item in package.iter() if local_name(item) == "itemref"]
    # a page may stand in the spine twice; its text is wanted once
    return list(dict.fromkeys(pages[name] for name in spine if name in pages))


def _encrypted(archive: Archive) -> frozenset[str]:
    """Members that are encrypted: often fonts only, which are no obstacle."""
    if _ENCRYPTION not in archive.names:
        return frozenset()
    root = xml_root(archive.read(_ENCRYPTION), part=_ENCRYPTION)
    references = (e for e in root.iter() if local_name(e) == "CipherReference")
    return frozenset(unquote(reference.get("URI", "")) for reference in references)


def _add_chapter(draft: Draft, data: bytes) -> None:
    if not data.strip():
        return
    page = html_text(decode(data, declared=declared_charset(data)).text, whole=True)
    draft.add_marked_up(page.text, markdown_outline(page.text).headings)
