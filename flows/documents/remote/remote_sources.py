"""Which SOURCE strings lie elsewhere, and who lists them."""

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from flows.documents.globs import Selection
from flows.documents.listing import RootListing
from flows.documents.remote.access import RemoteAccess
from flows.documents.remote.redaction import redacted_text
from flows.errors import InvalidInput

_REMOTE: Final = re.compile(r"urls:|[A-Za-z][A-Za-z0-9+.-]*(?:://|::)")
_LOCAL: Final = re.compile(r"(?:file|local)://", re.IGNORECASE)
_WEB: Final = re.compile(r"https?:", re.IGNORECASE)


def is_remote(source: str) -> bool:
    """Whether a source is an address, or a file of addresses; `file://` is a path."""
    return _REMOTE.match(source) is not None and _LOCAL.match(source) is None


def local_path(source: str) -> str:
    """The path of a `file://` address; any other source as it is.

    >>> local_path("file:///notes/a%20b"), local_path("notes")
    ('/notes/a b', 'notes')

    Raises:
        InvalidInput: It names another machine, or no whole path.
    """
    if not _LOCAL.match(source):
        return source
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise InvalidInput(
            f"source {redacted_text(source)!r}: expected a whole path on this machine, "
            "such as file:///home/me/notes"
        )
    rest = re.sub(r"^[^:]*://[^/]*", "", source)  # a `?` or `#` belongs to the name
    return unquote(rest, errors="surrogateescape")


def list_remote(source: str, selection: Selection, access: RemoteAccess) -> RootListing:
    """All documents of a source that lies elsewhere.

    Raises:
        InvalidInput, SourceUnavailable: See `list_web`, `list_url_file`, `list_objects`.
    """
    from flows.documents.remote.object_listing import list_objects
    from flows.documents.remote.web_listing import URL_FILE, list_url_file, list_web

    if source.startswith(URL_FILE):
        return list_url_file(source, selection, access)
    if _WEB.match(source):
        return list_web(source, selection, access)
    return list_objects(source, selection, access)


def shown_source(source: str) -> str:
    """A source as it may be stored and shown: of an address, without its secrets."""
    if not is_remote(source) or source.startswith("urls:"):
        return source
    if _WEB.match(source):
        from flows.documents.remote.web_address import web_address

        try:
            return web_address(source).shown
        except InvalidInput:
            return redacted_text(source)
    return redacted_text(source)
