"""Addresses at which a report's reader can open a document: files and pages of the web, no more."""

from pathlib import PurePosixPath, PureWindowsPath
from typing import Final
from urllib.parse import quote, urlsplit

WEB: Final = ("http://", "https://")
LONGEST: Final = 2000


def document_link(source: str) -> str:
    """The address of a source: `file:` of an absolute path, a web page's own; else empty.

    Anything else, `javascript:` and `data:` among it, is no link.

    >>> document_link("/notes/a b.md"), document_link("javascript:alert(1)")
    ('file:///notes/a%20b.md', '')
    """
    if len(source) > LONGEST or any(ord(character) < 32 for character in source):
        return ""
    try:
        if source.lower().startswith(WEB):
            place = urlsplit(source)
            return quote(source, safe="/:?#[]@!$&'()*+,;=%~") if place.hostname else ""
        if source.startswith("/"):
            return "file://" + quote(PurePosixPath(source).as_posix())
        if PureWindowsPath(source).is_absolute() and source[1:2] == ":":
            return "file:///" + quote(PureWindowsPath(source).as_posix(), safe="/:")
    except (ValueError, UnicodeEncodeError):
        return ""
    return ""
