"""Which format a page has: by its address when it is listed, by its answer once there is one."""

import mimetypes
from functools import cache
from typing import Final

from flows.documents.compression import compression_of, inner_name
from flows.documents.formats import NO_SUFFIX, Format, format_of, suffix_of
from flows.documents.remote.answers import FetchFailed

PAGE_SUFFIXES: Final = frozenset(
    (".php", ".php5", ".phtml", ".asp", ".aspx", ".jsp", ".jspx", ".cgi", ".shtml", ".cfm", ".do")
)
"""Suffixes of programs that answer with pages; `.php` is code in a folder only."""

_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
_FORMAT_OF_MEDIA_TYPE: Final[dict[str, Format]] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/x-rst": "restructuredtext",
    "text/prs.fallenstein.rst": "restructuredtext",
    "application/pdf": "pdf",
    f"{_OFFICE}.wordprocessingml.document": "docx",
    f"{_OFFICE}.presentationml.presentation": "pptx",
    f"{_OFFICE}.spreadsheetml.sheet": "xlsx",
    "application/epub+zip": "epub",
    "message/rfc822": "email",
}
_SAYS_NOTHING: Final = frozenset(
    (
        "",
        "application/octet-stream",
        "application/binary",
        "binary/octet-stream",
        "application/force-download",
        "application/x-download",
    )
)
_TEXTUAL: Final[frozenset[Format]] = frozenset(
    ("text", "markdown", "html", "restructuredtext", "code")
)


def listed_format(name: str) -> Format | None:
    """The format of a page by the last part of its path; None where no parser takes it.

    A suffix that nobody knows belongs to the page's name: `/wiki/St._Petersburg`, `/docs/v1.2`.

    >>> [listed_format(name) for name in ("", "guide.md", "index.php", "v1.2", "photo.png")]
    ['html', 'markdown', 'html', 'html', None]
    """
    inner = inner_name(name)
    suffix = suffix_of(inner)
    if compression_of(name) is not None:
        return format_of(inner)
    if suffix == NO_SUFFIX:
        return format_of(inner) or "html"
    if suffix in PAGE_SUFFIXES:
        return "html"
    known = format_of(inner)
    if known is None and suffix not in _known_suffixes():
        return "html"
    return known


def settled_format(listed: Format, media_type: str, *, is_compressed: bool = False) -> Format:
    """The format of a page by what it answered with.

    What says more wins: `text/plain` or `text/x-python` says less than the suffixes `.md`, `.py`.

    Args:
        listed: The format by its address.
        media_type: Such as `text/html`; empty where the answer said nothing.
        is_compressed: Whether it is a compressed file, whose media type is the compression's.

    Raises:
        FetchFailed: No parser takes it; or it is a page where a file should be.
    """
    if media_type in _SAYS_NOTHING or is_compressed:
        return listed
    told = _FORMAT_OF_MEDIA_TYPE.get(media_type)
    if told == "html" and listed not in _TEXTUAL:
        raise FetchFailed(
            f"answers with a page ({media_type}) where its name says {listed}; it may need a login"
        )
    if told == "text" and listed in _TEXTUAL - {"html"}:
        return listed
    if told is not None:
        return told
    if listed in _TEXTUAL - {"html"} and not media_type.startswith(
        ("image/", "audio/", "video/", "font/")
    ):
        return listed  # text/x-python, application/toml...
    if media_type.startswith("text/") and media_type not in ("text/xml", "text/css", "text/csv"):
        return "text"
    raise FetchFailed(f"answers with {media_type!r}, which no parser takes; leave it")


@cache
def _known_suffixes() -> frozenset[str]:
    """Suffixes of all kinds of files, from Python's own table, not from this machine's."""
    types = mimetypes.MimeTypes()
    more = ".gz .zst .xz .bz2 .tgz .7z .rar .webp .woff .woff2 .jsonl .ndjson .parquet .arrow"
    return frozenset(more.split()).union(*types.types_map)
