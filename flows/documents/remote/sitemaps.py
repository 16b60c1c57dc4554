"""Sitemaps (sitemaps.org): lists of a site's pages, and lists of such lists. Hostile until read."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from flows.documents.compression import decompress
from flows.documents.formats import format_of, suffix_of
from flows.documents.hardened_xml import xml_root
from flows.documents.remote.answers import Answer
from flows.documents.remote.web_address import WebAddress

SITEMAP_BYTES: Final = 16 * 1024 * 1024
"""Most bytes of a sitemap, also once decompressed: some hundred thousand addresses."""
MAX_DEPTH: Final = 3
"""Levels: an index of indexes of pages."""
MAX_SITEMAPS: Final = 200
"""Of one source."""

_GZIP: Final = b"\x1f\x8b"
_ROOT: Final = re.compile(rb"<(?:[A-Za-z][\w.-]*:)?(?:urlset|sitemapindex)[\s>/]")
_HEAD_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class SitemapEntry:
    """An address that a sitemap names, not yet looked at, and when that was last changed."""

    location: str
    modified: str
    """ISO 8601, UTC; or empty."""


@dataclass(frozen=True)
class Sitemap:
    """Pages, or further sitemaps."""

    kind: Literal["urlset", "sitemapindex"]
    entries: tuple[SitemapEntry, ...]


def names_sitemap(address: WebAddress) -> bool:
    """Whether an address says that it is no page but XML: `.xml`, `.xml.gz`."""
    return address.name.lower().removesuffix(".gz").endswith(".xml")


def seems_sitemap(address: WebAddress, answer: Answer) -> bool:
    """Whether to read an answer as a sitemap: by its name, or by what it holds.

    A page that merely shows a sitemap is none: its name or its media type says so.
    """
    if names_sitemap(address):
        return answer.media_type not in ("text/html", "application/xhtml+xml")
    if answer.media_type == "text/html" or format_of(address.name) is not None:
        return False
    if answer.data.startswith(_GZIP):
        return suffix_of(address.name) == ".gz"
    return bool(_ROOT.search(answer.data[:_HEAD_BYTES]))


def read_sitemap(answer: Answer, *, name: str) -> Sitemap | None:
    """The addresses of a sitemap; None if it is well-formed XML of another kind.

    Args:
        answer: What was fetched, gzipped or not.
        name: Its address, for messages.

    Raises:
        DocumentRejected: It is not XML, too large once decompressed, or declares entities.
    """
    data = answer.data
    if data.startswith(_GZIP):
        data = decompress(data, "gzip", max_bytes=SITEMAP_BYTES)
    root = xml_root(data, part=name)
    kind = _local(root.tag)
    if kind not in ("urlset", "sitemapindex"):
        return None
    wanted = "url" if kind == "urlset" else "sitemap"
    entries = []
    for element in root:
        if _local(element.tag) == wanted:
            found = {_local(child.tag): (child.text or "").strip() for child in reversed(element)}
            date = iso_date(found.get("lastmod", ""))
            entries.append(SitemapEntry(location=found.get("loc", ""), modified=date))
    return Sitemap(kind="urlset" if kind == "urlset" else "sitemapindex", entries=tuple(entries))


def iso_date(text: str) -> str:
    """A date in W3C's form as ISO 8601 in UTC; one without a zone counts as UTC. Or empty.

    >>> iso_date("2024-05-01"), iso_date("2024-05-01T02:00:00+02:00"), iso_date("in May")
    ('2024-05-01T00:00:00+00:00', '2024-05-01T00:00:00+00:00', '')
    """
    padded = {4: f"{text}-01-01", 7: f"{text}-01"}.get(len(text), text)
    try:
        date = datetime.fromisoformat(padded)
        aware = date if date.tzinfo else date.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        return ""


def _local(tag: object) -> str:
    """A tag without its namespace; sitemaps have several."""
    return str(tag).rpartition("}")[2]
