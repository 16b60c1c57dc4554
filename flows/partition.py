"""Storing a partition: read, parse, chunk, embed, upsert. Whole documents, or none of them.

A killed run leaves a document either as it was, or marked as half-written, to be done again. Chunk
ids follow from document, position and content, so doing it again changes nothing else.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.documents.chunks import Chunk
from flows.documents.source_document import SourceDocument
from flows.embedded import GROUP_CHUNKS, Embedded, embed
from flows.heads import STORED, WRITING, Head
from flows.prepared import Prepared, prepare
from flows.rejected import Rejected
from flows.session import Session
from flows.stream import ahead
from flows.vectors import CONTEXT
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

GROUPS_AHEAD = 1
"""Embedded groups that wait to be written: while one is written, the next is embedded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a partition: small, because it travels between tasks."""

    stored: tuple[str, ...] = ()
    """Ids of the documents that are whole in the store."""
    collapsed: int = 0
    """Of these, near-duplicates for which another document stands."""
    chunks_stored: int = 0
    chunks_reused: int = 0
    """Of these, chunks whose vector was known, and not embedded again."""
    chunks_removed: int = 0
    tokens: int = 0
    rejected: tuple[Rejected, ...] = ()

    def __add__(self, other: "Receipt") -> "Receipt":
        return Receipt(
            stored=self.stored + other.stored,
            collapsed=self.collapsed + other.collapsed,
            chunks_stored=self.chunks_stored + other.chunks_stored,
            chunks_reused=self.chunks_reused + other.chunks_reused,
            chunks_removed=self.chunks_removed + other.chunks_removed,
            tokens=self.tokens + other.tokens,
            rejected=self.rejected + other.rejected,
        )


def store_documents(documents: Sequence[SourceDocument], session: Session) -> Receipt:
    """Store documents; a bad one is rejected with its reason and stops no other.

    Stages overlap: while a group of documents is written, the next is embedded, and those after it
    are read, parsed and chunked.

    Raises:
        SearchError: the store failed; every document is then whole, or will be done again.
    """
    session.parsers()  # they come up while the encoder is loaded
    collection = session.ensure_collection()
    receipt = Receipt()
    groups = ahead(embed(prepare(documents, session), session), depth=GROUPS_AHEAD)
    with closing(groups):
        for group in groups:
            with session.busy.at("write"):
                receipt += _store_group(group, session, collection)
            session.progress.advance(len(group.documents) + len(group.rejected))
    return receipt


def _store_group(group: Embedded, session: Session, collection: Collection) -> Receipt:
    """Write a few documents together."""
    receipt = Receipt(rejected=group.rejected, chunks_reused=group.reused)
    if not group.documents:
        return receipt
    ids = {prepared.document.doc_id for prepared in group.documents}
    # Without a head there never was a chunk, unless this very run failed half-way and tries again.
    may_have_chunks = ids & (session.heads.keys() | session.begun)
    session.begun |= ids
    chunks = [
        (prepared, chunk, context)
        for prepared in group.documents
        for chunk, context in zip(prepared.chunks, prepared.contexts, strict=True)
    ]
    points = [_head(prepared, session, whole=False).point() for prepared in group.documents]
    for start in range(0, max(1, len(chunks)), GROUP_CHUNKS):
        points += [
            _point(prepared, chunk, context, group.vectors_ND[start + i], session)
            for i, (prepared, chunk, context) in enumerate(chunks[start : start + GROUP_CHUNKS])
        ]
        collection.upsert(points)
        points = []
    for prepared in group.documents:
        removed = 0
        if prepared.document.doc_id in may_have_chunks:
            removed = _remove_old_chunks(prepared, collection)
        receipt += Receipt(
            stored=(prepared.document.doc_id,),
            collapsed=bool(prepared.duplicate_of),
            chunks_stored=len(prepared.chunks),
            chunks_removed=removed,
            tokens=prepared.tokens,
        )
    collection.upsert([_head(one, session, whole=True).point() for one in group.documents])
    return receipt


def _point(
    prepared: Prepared,
    chunk: Chunk,
    context: str,
    vector_D: npt.NDArray[np.float32],
    session: Session,
) -> Point:
    """A chunk as it is stored."""
    document = prepared.document
    metadata: dict[str, Any] = {
        "doc_id": document.doc_id,
        "source": document.source,
        "root": document.root,
        "title": prepared.title,
        "format": document.format,
        "headings": list(chunk.headings),
        "start": chunk.start,
        "end": chunk.end,
        "chunk": chunk.ordinal,
        "tokens": chunk.tokens,
        "content_hash": prepared.content_hash,
        "ingested_at": session.started_at,
        "run_id": session.run_id,
    }
    told = {
        "language": prepared.language,
        "modified": document.modified,
        "fields": dict(document.fields),
        CONTEXT: context,
    }
    metadata |= {key: value for key, value in told.items() if value}
    return Point(
        id=chunk_id(document.doc_id, ordinal=chunk.ordinal, content_hash=prepared.content_hash),
        vector=vector_D,
        payload={KIND: KIND_CHUNK, PAGE_CONTENT: chunk.text, METADATA: metadata},
    )


def _head(prepared: Prepared, session: Session, *, whole: bool) -> Head:
    document = prepared.document
    return Head(
        doc_id=document.doc_id,
        source=document.source,
        root=document.root,
        title=prepared.title,
        format=document.format,
        content_hash=prepared.content_hash,
        recipe=session.recipe,
        state=STORED if whole else WRITING,
        chunks=len(prepared.chunks),
        tokens=prepared.tokens,
        size=prepared.size,
        ingested_at=session.started_at,
        run_id=session.run_id,
        characters=prepared.characters,
        skipped=prepared.skipped,
        language=prepared.language,
        modified=document.modified,
        version=document.version,
        signature=prepared.signature,
        duplicate_of=prepared.duplicate_of,
    )


def _remove_old_chunks(prepared: Prepared, collection: Collection) -> int:
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
    """Delete a document that vanished from its source; its head goes last. Returns its chunks.

    The head says `writing` from the first step on: should the document be back before a removal
    that was killed is done again, it is stored again rather than taken for whole.
    """
    chunks = collection.count(_chunks_of(head.doc_id))
    collection.upsert([replace(head, state=WRITING).point()])
    collection.delete_where(_chunks_of(head.doc_id))
    collection.delete([head_id(head.doc_id)])
    return chunks


def _chunks_of(doc_id: str) -> Filter:
    return of_kind(KIND_CHUNK) & where("doc_id", doc_id)
