"""Storing a partition: read, parse, chunk, embed, upsert. Whole documents, or none of them.

A killed run leaves a document either as it was, or marked as half-written, to be done again. Chunk
ids follow from document, position and content, so doing it again changes nothing else.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from embedder.errors import NonFiniteActivation
from flows.documents.chunks import Chunk
from flows.documents.parsed_document import ParsedDocument
from flows.documents.source_document import SourceDocument
from flows.errors import DocumentRejected
from flows.heads import STORED, WRITING, Head
from flows.plan import Rejected
from flows.session import Session
from search.filters import Filter, of_kind, where
from search.records import (
    KIND,
    KIND_CHUNK,
    METADATA,
    PAGE_CONTENT,
    Point,
    chunk_id,
    head_id,
)
from search.stores.contract import Collection

GROUP_CHUNKS: Final = 1024
"""Chunks that are embedded and stored together: each write is flushed to disk, which takes its time
whatever it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a partition: small, because it travels between tasks."""

    stored: int = 0
    chunks_stored: int = 0
    chunks_removed: int = 0
    tokens: int = 0
    rejected: tuple[Rejected, ...] = ()

    def __add__(self, other: "Receipt") -> "Receipt":
        return Receipt(
            stored=self.stored + other.stored,
            chunks_stored=self.chunks_stored + other.chunks_stored,
            chunks_removed=self.chunks_removed + other.chunks_removed,
            tokens=self.tokens + other.tokens,
            rejected=self.rejected + other.rejected,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A document that is ready to be embedded."""

    document: SourceDocument
    content_hash: str
    size: int
    parsed: ParsedDocument
    chunks: tuple[Chunk, ...]


def store_documents(documents: Sequence[SourceDocument], session: Session) -> Receipt:
    """Store documents; a bad one is rejected with its reason and stops no other.

    Raises:
        SearchError: the store failed; every document is then whole, or will be done again.
    """
    parsers = session.parsers()  # they come up while the encoder is loaded
    chunker = session.chunker()
    collection = session.ensure_collection()
    receipt = Receipt()
    group: list[_Prepared] = []
    for document in documents:
        try:
            data = document.read(max_bytes=session.max_document_bytes)
            parsed = parsers.parse(data, format=document.format, name=document.name)
            chunks = chunker.chunk(parsed).chunks
        except DocumentRejected as error:
            receipt += _reject(document, str(error), session)
            continue
        group.append(
            _Prepared(
                document=document,
                content_hash=hashlib.sha256(data).hexdigest(),
                size=len(data),
                parsed=parsed,
                chunks=chunks,
            )
        )
        if sum(len(prepared.chunks) for prepared in group) >= GROUP_CHUNKS:
            receipt += _store_group(group, session, collection)
            group = []
    return receipt + _store_group(group, session, collection)


def _store_group(group: list[_Prepared], session: Session, collection: Collection) -> Receipt:
    """Embed and store a few documents together."""
    receipt = Receipt()
    while group:
        vectors_ND, unfit = _embed(group, session)
        if unfit is None:
            break
        chunk_number, reason = unfit
        bad = group.pop(_document_at(group, chunk_number))
        receipt += _reject(bad.document, reason, session)
    if not group:
        return receipt

    ids = {prepared.document.doc_id for prepared in group}
    # Without a head there never was a chunk, unless this very run failed half-way and tries again.
    may_have_chunks = ids & (session.heads.keys() | session.begun)
    session.begun |= ids
    chunks = [(prepared, chunk) for prepared in group for chunk in prepared.chunks]
    points = [_head(prepared, session, whole=False).point() for prepared in group]
    for start in range(0, len(chunks), GROUP_CHUNKS):
        points += [
            _point(prepared, chunk, vectors_ND[start + i], session)
            for i, (prepared, chunk) in enumerate(chunks[start : start + GROUP_CHUNKS])
        ]
        collection.upsert(points)
        points = []
    for prepared in group:
        removed = 0
        if prepared.document.doc_id in may_have_chunks:
            removed = _remove_old_chunks(prepared, collection)
        tokens = sum(chunk.tokens for chunk in prepared.chunks)
        receipt += Receipt(
            stored=1,
            chunks_stored=len(prepared.chunks),
            chunks_removed=removed,
            tokens=tokens,
        )
    collection.upsert([_head(prepared, session, whole=True).point() for prepared in group])
    session.progress.advance(
        len(group),
        chunks=len(chunks),
        tokens=sum(chunk.tokens for _, chunk in chunks),
    )
    return receipt


def _embed(
    group: Sequence[_Prepared], session: Session
) -> tuple[npt.NDArray[np.float32], tuple[int, str] | None]:
    """Vectors of all chunks of the group, in order, (N, D); or the chunk that has none, and why."""
    texts = [chunk.text for prepared in group for chunk in prepared.chunks]
    try:
        encoding = session.encode_documents(texts)
    except NonFiniteActivation as error:
        nothing = np.empty((0, 0), dtype=np.float32)
        return nothing, (error.index, f"the encoder gave no finite vector for it ({error})")
    cut = np.flatnonzero(encoding.truncated)
    if len(cut):
        reason = (
            "a chunk of it is too long for the encoder once in its prompt; lower --chunk-tokens"
        )
        return encoding.vectors, (int(cut[0]), reason)
    return encoding.vectors, None


def _document_at(group: Sequence[_Prepared], chunk: int) -> int:
    """Which document of the group the chunk with this running number belongs to."""
    ends = np.cumsum([len(prepared.chunks) for prepared in group])
    return int(np.searchsorted(ends, chunk, side="right"))


def _point(
    prepared: _Prepared, chunk: Chunk, vector_D: npt.NDArray[np.float32], session: Session
) -> Point:
    """A chunk as it is stored."""
    document = prepared.document
    return Point(
        id=chunk_id(document.doc_id, ordinal=chunk.ordinal, content_hash=prepared.content_hash),
        vector=vector_D,
        payload={
            KIND: KIND_CHUNK,
            PAGE_CONTENT: chunk.text,
            METADATA: {
                "doc_id": document.doc_id,
                "source": document.source,
                "root": document.root,
                "title": prepared.parsed.title,
                "format": document.format,
                "headings": list(chunk.headings),
                "start": chunk.start,
                "end": chunk.end,
                "chunk": chunk.ordinal,
                "tokens": chunk.tokens,
                "content_hash": prepared.content_hash,
                "ingested_at": session.started_at,
                "run_id": session.run_id,
            },
        },
    )


def _head(prepared: _Prepared, session: Session, *, whole: bool) -> Head:
    document = prepared.document
    return Head(
        doc_id=document.doc_id,
        source=document.source,
        root=document.root,
        title=prepared.parsed.title,
        format=document.format,
        content_hash=prepared.content_hash,
        recipe=session.recipe,
        state=STORED if whole else WRITING,
        chunks=len(prepared.chunks),
        tokens=sum(chunk.tokens for chunk in prepared.chunks),
        size=prepared.size,
        ingested_at=session.started_at,
        run_id=session.run_id,
    )


def _remove_old_chunks(prepared: _Prepared, collection: Collection) -> int:
    """Delete what an earlier version, or an attempt that died, left of the document."""
    doc_id = prepared.document.doc_id
    new = {
        chunk_id(doc_id, ordinal=chunk.ordinal, content_hash=prepared.content_hash)
        for chunk in prepared.chunks
    }
    old = [r.id for r in collection.scroll(where=_chunks_of(doc_id)) if r.id not in new]
    collection.delete(old)
    return len(old)


def remove_document(head: Head, collection: Collection) -> int:
    """Delete a document that vanished from its source; its head goes last. Returns its chunks."""
    chunks = collection.count(_chunks_of(head.doc_id))
    collection.delete_where(_chunks_of(head.doc_id))
    collection.delete([head_id(head.doc_id)])
    return chunks


def _chunks_of(doc_id: str) -> Filter:
    return of_kind(KIND_CHUNK) & where("doc_id", doc_id)


def _reject(document: SourceDocument, reason: str, session: Session) -> Receipt:
    session.progress.advance(1)
    return Receipt(rejected=(Rejected(source=document.source, reason=reason),))
