"""Documents from the spool into the new version: their texts embedded, everything else as it was.

The order of writes is that of an ingest: heads marked `writing` with the chunks, what an earlier
attempt left deleted, heads marked `stored` last. Killed at any moment, a document is whole or will
be done again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from embedder.errors import NonFiniteActivation, TextTooLong
from flows.clustering.members import CLUSTER
from flows.documents.context import embedded_text
from flows.embedded import GROUP_CHUNKS, GROUP_DOCUMENTS
from flows.encoders import encode_chunks
from flows.heads import WRITING
from flows.migration_index import HeadDigest, digest_of
from flows.migration_spool import SpooledDocument, expected_chunks
from flows.migration_unfit import Unfit
from flows.vectors import CONTEXT, KnownVectors
from search.filters import Filter, of_kind, where
from search.records import KIND_CHUNK, METADATA, PAGE_CONTENT, Payload, Point, head_id
from search.stores.contract import Collection

if TYPE_CHECKING:
    from embedder.encoder import Encoder

TEXTS_COUNTED: Final = 1024
"""Texts whose tokens are counted at once."""


@dataclass(kw_only=True)
class NewVersion:
    """The version being written, with what is known of it."""

    collection: Collection
    heads: dict[str, HeadDigest]
    """Its heads; kept up to date."""
    left_out: dict[str, bytes]
    """Documents in its quarantine because they are unfit: id -> digest of the old head."""
    known: KnownVectors = field(default_factory=KnownVectors)

    def holds(self, document: SpooledDocument) -> bool:
        """Whether nothing is to be done of a document: it is stored, or known to be unfit."""
        digest = digest_of(document.head[METADATA])
        head = self.heads.get(document.doc_id)
        stored = head is not None and head.whole and head.digest == digest
        return stored or self.left_out.get(document.doc_id) == digest

    def remove(self, doc_id: str) -> int:
        """Delete a document, its head last; returns its chunks."""
        chunks = self.collection.count(chunks_of(doc_id))
        self.collection.delete_where(chunks_of(doc_id))
        self.collection.delete([head_id(doc_id)])
        self.heads.pop(doc_id, None)
        return chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of some documents."""

    documents: int = 0
    chunks: int = 0
    unfit: tuple[Unfit, ...] = ()

    def __add__(self, other: "Stored") -> "Stored":
        return Stored(
            documents=self.documents + other.documents,
            chunks=self.chunks + other.chunks,
            unfit=self.unfit + other.unfit,
        )


def chunks_of(doc_id: str) -> Filter:
    """The chunks of one document."""
    return of_kind(KIND_CHUNK) & where("doc_id", doc_id)


def text_of(payload: Payload) -> str:
    """What is embedded for a stored chunk: its text, after the context it was ingested with."""
    return embedded_text(payload[METADATA].get(CONTEXT, ""), payload[PAGE_CONTENT])


def too_long(
    documents: Sequence[SpooledDocument], encoder: "Encoder", advance: Callable[[int], None]
) -> list[Unfit]:
    """The documents with chunks that the encoder would cut.

    Args:
        documents: Whose texts are counted.
        encoder: Whose tokens count.
        advance: Called with a number of documents, as they are counted.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(encoder.tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    room = encoder.max_text_tokens
    found = []
    for document in documents:
        texts = [text_of(payload) for _, payload in document.chunks]
        beyond = longest = 0
        for start in range(0, len(texts), TEXTS_COUNTED):
            batch = texts[start : start + TEXTS_COUNTED]
            for encoding in tokenizer.encode_batch(batch, add_special_tokens=False):
                beyond += len(encoding) > room
                longest = max(longest, len(encoding))
        if beyond:
            reason = (
                f"{beyond} of its {len(texts)} chunks are too long for the new encoder: up to "
                f"{longest} tokens, it takes {room}"
            )
            found.append(Unfit(document=document, reason=reason, chunks=beyond))
        advance(1)
    return found


def store_spooled(
    documents: Sequence[SpooledDocument],
    version: NewVersion,
    encoder: "Encoder",
    *,
    advance: Callable[[int, int], None],
) -> Stored:
    """Embed and store documents; those that are there already cost nothing, unfit ones stop none.

    Args:
        documents: From the spool.
        version: Where they go.
        encoder: The new one.
        advance: Called with documents and chunks, as they are done.

    Raises:
        SearchError: the store failed; every document is then whole, or will be done again.
    """
    result = Stored()
    for group in _groups([one for one in documents if not version.holds(one)]):
        stored = _store_group(group, version, encoder)
        advance(len(group), stored.chunks)
        result += stored
    return result


def _groups(documents: Sequence[SpooledDocument]) -> Iterator[list[SpooledDocument]]:
    group: list[SpooledDocument] = []
    chunks = 0
    for document in documents:
        group.append(document)
        chunks += len(document.chunks)
        if chunks >= GROUP_CHUNKS or len(group) >= GROUP_DOCUMENTS:
            yield group
            group, chunks = [], 0
    if group:
        yield group


def _store_group(group: list[SpooledDocument], version: NewVersion, encoder: "Encoder") -> Stored:
    unfit = [Unfit.damaged(document) for document in group if document.missing]
    group = [document for document in group if not document.missing]
    version.known.add_stored(
        version.collection, [one.doc_id for one in group if one.doc_id in version.heads]
    )
    vectors_ND: npt.NDArray[np.float32] | None = None
    while group and vectors_ND is None:
        texts = [text_of(payload) for one in group for _, payload in one.chunks]
        try:
            vectors_ND = _vectors(texts, version.known, encoder)
        except _UnfitError as error:
            bad = group.pop(_document_at(group, texts.index(error.text)))
            unfit.append(Unfit(document=bad, reason=error.reason))
    if vectors_ND is None:
        return Stored(unfit=tuple(unfit))

    may_have_chunks = {one.doc_id for one in group} & version.heads.keys()
    chunks = [chunk for one in group for chunk in one.chunks]
    points = [_head(one, whole=False) for one in group]
    for one in group:
        digest = digest_of(one.head[METADATA])
        version.heads[one.doc_id] = HeadDigest(digest, False, len(one.chunks))
    for start in range(0, max(1, len(chunks)), GROUP_CHUNKS):
        points += [
            Point(id=identifier, vector=vectors_ND[start + i], payload=_carried(payload))
            for i, (identifier, payload) in enumerate(chunks[start : start + GROUP_CHUNKS])
        ]
        version.collection.upsert(points)
        points = []
    for one in group:
        if one.doc_id in may_have_chunks:
            kept = {identifier for identifier, _ in one.chunks}
            there = version.collection.scroll(where=chunks_of(one.doc_id))
            version.collection.delete([r.id for r in there if r.id not in kept])
    version.collection.upsert([_head(one, whole=True) for one in group])
    for one in group:
        digest = digest_of(one.head[METADATA])
        version.heads[one.doc_id] = HeadDigest(digest, True, expected_chunks(one.head[METADATA]))
    return Stored(documents=len(group), chunks=len(chunks), unfit=tuple(unfit))


class _UnfitError(Exception):
    """A text that has no vector, or only one of its beginning, and why."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(reason)
        self.text = text
        self.reason = reason


def _vectors(
    texts: Sequence[str], known: KnownVectors, encoder: "Encoder"
) -> npt.NDArray[np.float32]:
    """Vectors of all texts, (N, D); equal ones are embedded once.

    Raises:
        _UnfitError: a text has no finite vector, or was cut.
    """
    found = {text: known.get(text) for text in dict.fromkeys(texts)}
    new = [text for text, vector in found.items() if vector is None]
    if new:
        try:
            encoding = encode_chunks(encoder, new)
        except NonFiniteActivation as error:
            reason = f"the new encoder gave no finite vector for it ({error})"
            raise _UnfitError(new[error.index], reason) from None
        except TextTooLong as error:
            reason = f"a chunk of it is too long for the new encoder ({error})"
            raise _UnfitError(new[error.index], reason) from None
        cut = np.flatnonzero(encoding.truncated)
        if len(cut):
            reason = "a chunk of it is too long for the new encoder once in its prompt"
            raise _UnfitError(new[int(cut[0])], reason)
        for text, vector in zip(new, encoding.vectors, strict=True):
            known.add(text, vector)
            found[text] = vector
    rows = [vector for text in texts if (vector := found[text]) is not None]
    return np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)


def _document_at(group: Sequence[SpooledDocument], chunk: int) -> int:
    """Which document of the group the chunk with this running number belongs to."""
    ends = np.cumsum([len(one.chunks) for one in group])
    return int(np.searchsorted(ends, chunk, side="right"))


def _carried(payload: Payload) -> Payload:
    """A chunk's payload for the new version; clusters are of the old vectors, and stay behind."""
    metadata: dict[str, Any] = payload[METADATA]
    kept = {key: value for key, value in metadata.items() if not key.startswith(CLUSTER)}
    return {**payload, METADATA: kept}


def _head(document: SpooledDocument, *, whole: bool) -> Point:
    """The document's head as it was, or marked as half-written."""
    payload = document.head
    if not whole:
        payload = {**payload, METADATA: {**payload[METADATA], "state": WRITING}}
    return Point(id=head_id(document.doc_id), vector=None, payload=payload)
