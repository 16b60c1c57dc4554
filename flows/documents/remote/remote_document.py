"""A document that lies elsewhere: fetched when it is first read, and spooled for the next time."""

import codecs
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from flows.documents.compression import decompress
from flows.documents.formats import Format
from flows.documents.html_pages import declared_charset
from flows.documents.remote.answers import Answer, FetchFailed, too_large
from flows.documents.remote.media_types import settled_format
from flows.documents.remote.spool import Spool
from flows.documents.source_document import MAX_DOCUMENT_BYTES, SourceDocument
from flows.errors import DocumentRejected

_MAGIC: Final = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_TEXTUAL: Final = frozenset({"text", "markdown", "html", "restructuredtext", "code"})
_UNICODE: Final = frozenset({"utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"})


class Place(Protocol):
    """Where one document lies, and how it is fetched."""

    @property
    def key(self) -> str:
        """What tells the document apart in a spool; may hold secrets."""
        ...

    @property
    def knows_versions(self) -> bool:
        """Whether `fetch` can leave out a version that is still the same."""
        ...

    def fetch(self, *, max_bytes: int, version: str = "") -> Answer | None:
        """The document; None if it is still of that version.

        Raises:
            FetchFailed: It cannot be had.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class RemoteDocument(SourceDocument):
    """A web page or an object of a store, not yet read.

    `doc_id` and `source` are its address without secrets; the id is cut where that is long.
    `format` and `version` are what the listing knew; `settled` knows what reading it told.

    Attributes:
        place: How to fetch it.
        spool: Where its bytes are kept for the rest of the run.
        filename: What a parser may take a title from, where its address has no such name.
    """

    place: Place = field(repr=False, compare=False)
    spool: Spool = field(repr=False, compare=False)
    filename: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """The last part of its path, or its host."""
        return self.filename

    def read(self, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
        """The whole document, decompressed, at most `max_bytes` long; fetched once in a run.

        Raises:
            DocumentRejected: It cannot be fetched, is too large, or nothing that can be parsed.
        """
        if self.refusal:
            raise DocumentRejected(self.refusal)
        try:
            answer = self._answer(max_bytes)
            if len(answer.data) > max_bytes:
                raise too_large(len(answer.data), max_bytes)
            told = self._format(answer)
        except FetchFailed as error:
            raise DocumentRejected(str(error)) from None
        data = answer.data
        if self.compression is not None:
            if answer.was_coded and not data.startswith(_MAGIC[self.compression]):
                return data  # the server took the file's own compression for the journey's
            return decompress(data, self.compression, max_bytes=max_bytes)
        return _as_utf8(data, answer.charset) if told in _TEXTUAL else data

    def settled(self) -> "RemoteDocument":
        """The document with what only reading it told: its format, version and date."""
        facts = self.spool.facts(self.place.key)
        if facts is None:
            return self
        try:
            told = self._format(facts)
        except FetchFailed:
            return self
        return replace(
            self,
            format=told,
            version=self.version or facts.version,
            modified=self.modified or facts.modified,
        )

    def is_still(self, version: str, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> bool:
        """Whether its bytes are those of a version that is known, so that it need not be read.

        A page is asked for "unless it is still of this version": one request in either case, for
        what comes instead is spooled.

        Args:
            version: What `version` was when it was stored; empty: it is not known.
            max_bytes: As for `read`.

        Raises:
            DocumentRejected: It cannot be fetched.
        """
        if not version or self.refusal:
            return False
        if self.version or not self.place.knows_versions:
            return self.version == version
        if facts := self.spool.facts(self.place.key):
            return facts.version == version
        try:
            answer = self.place.fetch(max_bytes=max_bytes, version=version)
        except FetchFailed as error:
            raise DocumentRejected(str(error)) from None
        if answer is None:
            return True
        self.spool.keep(self.place.key, answer)
        return answer.version == version

    def _answer(self, max_bytes: int) -> Answer:
        key = self.place.key
        if kept := self.spool.get(key):
            return kept
        answer = self.place.fetch(max_bytes=max_bytes)
        if answer is None:
            raise FetchFailed("says that it has not changed, which was not asked; run again")
        facts = self.spool.facts(key)
        if facts is not None and facts.version != answer.version:
            raise FetchFailed("changed while the run went on; run again")
        self.spool.keep(key, answer)
        return answer

    def _format(self, answer: Answer) -> Format:
        compressed = self.compression is not None
        return settled_format(self.format, answer.media_type, is_compressed=compressed)


def _as_utf8(data: bytes, charset: str) -> bytes:
    """Text in UTF-8, where only its answer says in which character set it came."""
    try:
        name = codecs.lookup(charset).name if charset else "utf-8"
    except LookupError:
        return data
    if name in _UNICODE or declared_charset(data) or data.startswith(codecs.BOM_UTF8):
        return data
    try:
        return data.decode(name).encode()
    except (UnicodeError, LookupError):
        return data
