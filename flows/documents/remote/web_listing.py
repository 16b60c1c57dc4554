"""Pages of the web as a source: one page, the pages of a sitemap, or a file of addresses."""

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flows.documents.compression import compression_of, full_suffix
from flows.documents.formats import supported_suffixes
from flows.documents.globs import EXCLUDED, Selection
from flows.documents.listing import RootListing, Unreadable
from flows.documents.remote.access import RemoteAccess
from flows.documents.remote.answers import Answer, FetchFailed
from flows.documents.remote.media_types import listed_format, settled_format
from flows.documents.remote.remote_document import RemoteDocument
from flows.documents.remote.sitemaps import (
    MAX_DEPTH,
    MAX_SITEMAPS,
    SITEMAP_BYTES,
    Sitemap,
    names_sitemap,
    read_sitemap,
    seems_sitemap,
)
from flows.documents.remote.web_address import WebAddress, identity, web_address
from flows.documents.source_document import SourceDocument, printable
from flows.documents.titles import one_line
from flows.errors import DocumentRejected, InvalidInput, SourceUnavailable

if TYPE_CHECKING:
    from flows.documents.remote.web_client import WebClient

URL_FILE: Final = "urls:"
"""What a source begins with that is a local file of addresses."""
OTHER_HOST: Final = "other host"
NO_ADDRESS: Final = "no web address"
DUPLICATE: Final = "duplicate"

_URL_FILE_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True)
class WebPlace:
    """One page."""

    address: WebAddress
    client: "WebClient"

    @property
    def key(self) -> str:
        """Its whole address."""
        return self.address.url

    @property
    def knows_versions(self) -> bool:
        """A server may answer 304."""
        return True

    def fetch(self, *, max_bytes: int, version: str = "") -> Answer | None:
        """See `Place.fetch`."""
        return self.client.get(self.address, max_bytes=max_bytes, version=version)


class _Pages:
    """Collects the pages of one source; each address once, no more than are allowed."""

    def __init__(self, root: str, selection: Selection, access: RemoteAccess) -> None:
        self.listing = RootListing(root=root)
        self._selection = selection
        self._access = access
        self._by_id: dict[str, str] = {}

    def add(self, address: WebAddress, *, modified: str = "") -> None:
        """Take a page in, or count why not.

        Raises:
            InvalidInput: There are more pages than a source may have.
        """
        listing = self.listing
        page = page_of(address, root=listing.root, access=self._access, modified=modified)
        if page is None:
            listing.ignored[one_line(full_suffix(address.name))] += 1
            return
        if not self._selection.takes(address.path):
            listing.ignored[EXCLUDED] += 1
            return
        known = self._by_id.setdefault(page.doc_id, address.url)
        if known != address.url:
            reason = (
                "two addresses differ only in parameters that look like secrets, which are not "
                "stored, so that the two cannot be told apart; keep one of them"
            )
            listing.unreadable.append(Unreadable(path=address.shown, reason=reason))
            return
        if len(self._by_id) == len(listing.documents):
            listing.ignored[DUPLICATE] += 1
            return
        listing.documents.append(page)
        most = self._access.limits.max_urls
        if len(listing.documents) > most:
            raise InvalidInput(
                f"source {listing.root!r}: more than {most} pages, the most a source may have "
                "(max_urls); raise it, or name fewer with --include; nothing was changed"
            )


def page_of(
    address: WebAddress, *, root: str, access: RemoteAccess, modified: str = ""
) -> RemoteDocument | None:
    """A page as a document; None where no parser takes what its name says it is."""
    name = address.name
    page_format = listed_format(name)
    if page_format is None:
        return None
    return RemoteDocument(
        doc_id=identity(address.shown),
        source=address.shown,
        root=root,
        format=page_format,
        size=0,
        path="",
        compression=compression_of(name),
        modified=modified,
        place=WebPlace(address, access.client),
        spool=access.spool,
        filename=name or address.path.rstrip("/").rpartition("/")[2] or address.host,
    )


def list_web(source: str, selection: Selection, access: RemoteAccess) -> RootListing:
    """A page, or the pages of a sitemap: an address is a sitemap if it answers with one.

    Raises:
        InvalidInput: It is no address, too many pages, the network may not be used, or no parser
            takes what it answers.
        SourceUnavailable: It does not answer with a document or sitemap.
    """
    address = web_address(source)
    access.limits.refuse_network(address.shown)
    access.claim(address.shown, address.url)
    page = page_of(address, root=address.shown, access=access)
    if page is None and not names_sitemap(address):
        raise InvalidInput(
            f"source {address.shown!r}: no parser for {one_line(full_suffix(address.name))!r} "
            f"files; expected a page, a sitemap, or one of {supported_suffixes()}"
        )
    try:
        answer = access.client.get(address, max_bytes=SITEMAP_BYTES)
    except FetchFailed as error:
        if not error.too_large or page is None:
            raise SourceUnavailable(f"source {address.shown!r}: {error}") from None
        return RootListing(root=address.shown, documents=[page])  # too large for a sitemap only
    if answer is None:
        raise SourceUnavailable(f"source {address.shown!r}: answers 304, unasked; run again later")
    if page is None or seems_sitemap(address, answer):
        return _list_sitemap(address, answer, selection, access)
    access.spool.keep(address.url, answer)
    try:
        settled_format(page.format, answer.media_type, is_compressed=page.compression is not None)
    except FetchFailed as error:
        raise InvalidInput(f"source {address.shown!r}: {error}") from None
    listing = RootListing(root=address.shown)
    if selection.takes(address.path):
        listing.documents.append(page.settled())
    else:
        listing.ignored[EXCLUDED] += 1
    return listing


def list_url_file(source: str, selection: Selection, access: RemoteAccess) -> RootListing:
    """The addresses of a local file, one a line; a line that begins with `#` is a comment.

    Raises:
        InvalidInput: The file cannot be read, or a line is no address; too many addresses; the
            network may not be used.
    """
    given = source.removeprefix(URL_FILE)
    if not given or "\0" in given:
        raise InvalidInput(f"source {printable(source)!r}: names no file; expected {URL_FILE}FILE")
    path = os.path.abspath(given)  # noqa: PTH100 - Path.absolute keeps `..`
    shown = printable(path)
    root = f"{URL_FILE}{shown}"
    access.limits.refuse_network(root)
    if not Path(path).exists():
        raise InvalidInput(f"source {root!r}: no such file; check the path")
    file = SourceDocument(doc_id=shown, source=shown, root=shown, format="text", size=0, path=path)
    try:
        text = file.read(max_bytes=_URL_FILE_BYTES).decode("utf-8-sig")
    except DocumentRejected as error:
        raise InvalidInput(f"source {root!r}: {error}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"source {root!r}: not UTF-8; save it as UTF-8") from None
    pages = _Pages(root, selection, access)
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 1 and not words[1].startswith("#"):
            raise InvalidInput(f"source {root!r}, line {number}: expected one address a line")
        try:
            address = web_address(words[0])
        except InvalidInput as error:
            raise InvalidInput(f"source {root!r}, line {number}: {error}") from None
        pages.add(address)
    return pages.listing


def _list_sitemap(
    address: WebAddress, answer: Answer, selection: Selection, access: RemoteAccess
) -> RootListing:
    """The pages of a sitemap and of those that it names; only on its own host.

    Of one that lies behind a redirect to another host, that host's pages count, too.
    """
    pages = _Pages(address.shown, selection, access)
    listing = pages.listing
    sites = {address.site, web_address(answer.shown).site}
    first = _readable(address, answer)
    if isinstance(first, str):
        raise SourceUnavailable(f"source {address.shown!r}: {first}")
    seen = {address.url}
    pending = deque([(first, 1)])
    while pending:
        sitemap, depth = pending.popleft()
        for entry in sitemap.entries:
            try:
                there = web_address(entry.location)
            except InvalidInput:
                listing.ignored[NO_ADDRESS] += 1
                continue
            if there.site not in sites:
                listing.ignored[OTHER_HOST] += 1
            elif sitemap.kind == "urlset":
                pages.add(there, modified=entry.modified)
            elif there.url not in seen:
                seen.add(there.url)
                if len(seen) > MAX_SITEMAPS:
                    raise InvalidInput(
                        f"source {address.shown!r}: more than {MAX_SITEMAPS} sitemaps; "
                        "give some of them as sources of their own"
                    )
                below = _nested(there, depth + 1, access)
                if isinstance(below, str):
                    listing.unreadable.append(Unreadable(path=there.shown, reason=below))
                else:
                    pending.append((below, depth + 1))
    return listing


def _nested(address: WebAddress, depth: int, access: RemoteAccess) -> Sitemap | str:
    """A sitemap that another one names, or why it cannot be read."""
    if depth > MAX_DEPTH:
        return f"a sitemap more than {MAX_DEPTH} levels deep; give it as a source of its own"
    try:
        answer = access.client.get(address, max_bytes=SITEMAP_BYTES)
    except FetchFailed as error:
        return str(error)
    return "answers 304, unasked; run again later" if answer is None else _readable(address, answer)


def _readable(address: WebAddress, answer: Answer) -> Sitemap | str:
    """The sitemap in an answer, or why it is none."""
    try:
        sitemap = read_sitemap(answer, name=address.name)
    except DocumentRejected as error:
        return str(error)
    return sitemap or "XML, but no sitemap; expected urlset or sitemapindex"
