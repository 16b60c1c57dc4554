"""Documents made ready to be embedded: read, parsed, chunked, each by a stage of its own."""

import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flows.documents.chunks import Chunk
from flows.documents.language import language_of
from flows.documents.parsed_document import ParsedDocument
from flows.documents.source_document import SourceDocument
from flows.errors import DocumentRejected
from flows.near_duplicates import signature_of
from flows.rejected import Rejected
from flows.stream import ahead

if TYPE_CHECKING:
    from flows.session import Session

READERS: Final = 2
"""Documents read and parsed at once: as many as there are processes for parsing."""
DOCUMENTS_AHEAD: Final = 4
"""Parsed or chunked documents that wait for the next stage: enough small ones, and few large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A document that is ready to be embedded."""

    document: SourceDocument
    content_hash: str
    size: int
    """Bytes."""
    title: str
    language: str
    signature: str
    """For near-duplicates; empty where they are not looked for."""
    characters: int
    skipped: int
    """Characters of white space that lie in no chunk."""
    chunks: tuple[Chunk, ...]
    contexts: tuple[str, ...]
    """What is said before each chunk when it is embedded; all empty unless asked for."""
    duplicate_of: str = ""
    """A document that it nearly equals, and which stands for it: it has no chunks then."""

    @property
    def tokens(self) -> int:
        """Of all chunks."""
        return sum(chunk.tokens for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class _Parsed:
    document: SourceDocument
    content_hash: str
    size: int
    parsed: ParsedDocument


def prepare(
    documents: Sequence[SourceDocument], session: "Session"
) -> Generator[Prepared | Rejected]:
    """Documents in their order, ready or turned away; stages run ahead of whoever takes them.

    Raises:
        FlowError: no process for parsing can be started.
        InvalidInput: the encoder takes fewer tokens than a chunk is to have.
    """
    parsed = ahead(_parse_all(documents, session), depth=DOCUMENTS_AHEAD)
    return ahead(_chunk_all(parsed, session), depth=DOCUMENTS_AHEAD)


def _parse_all(
    documents: Iterable[SourceDocument], session: "Session"
) -> Generator[_Parsed | Rejected]:
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="sextant-parse")
    begun: deque[Future[_Parsed | Rejected]] = deque()
    try:
        for document in documents:
            begun.append(pool.submit(_parse, document, session))
            if len(begun) > READERS:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _parse(document: SourceDocument, session: "Session") -> _Parsed | Rejected:
    try:
        with session.busy.at("read"):
            data = document.read(max_bytes=session.max_document_bytes)
            document = document.settled()
            content_hash = document.digest or hashlib.sha256(data).hexdigest()
    except DocumentRejected as error:
        return Rejected.of(document, "read", str(error))
    try:
        with session.busy.at("parse"):
            parsed = session.parsers().parse(data, format=document.format, name=document.name)
    except DocumentRejected as error:
        return Rejected.of(document, "parse", str(error), content_hash=content_hash)
    return _Parsed(document, content_hash, len(data), parsed)


def _chunk_all(
    parsed: Generator[_Parsed | Rejected], session: "Session"
) -> Generator[Prepared | Rejected]:
    chunker = session.chunker()
    context = session.heading_context()
    try:
        for one in parsed:
            if isinstance(one, Rejected):
                yield one
                continue
            text, document = one.parsed.text, one.document
            try:
                with session.busy.at("chunk"):
                    chunking = chunker.chunk(one.parsed)
                    title = document.title or one.parsed.title
                    signature = signature_of(text) if session.finds_duplicates else ""
                    language = "" if document.format == "code" else language_of(text)
                    contexts = tuple(
                        context.of(title, chunk.headings) if context else ""
                        for chunk in chunking.chunks
                    )
            except DocumentRejected as error:
                yield Rejected.of(document, "chunk", str(error), content_hash=one.content_hash)
                continue
            twin = session.twin_of(document.doc_id, signature)
            yield Prepared(
                document=document,
                content_hash=one.content_hash,
                size=one.size,
                title=title,
                language=language,
                signature=signature,
                characters=len(text),
                skipped=sum(span.end - span.start for span in chunking.skipped),
                chunks=() if twin else chunking.chunks,
                contexts=() if twin else contexts,
                duplicate_of=twin,
            )
    finally:
        parsed.close()
