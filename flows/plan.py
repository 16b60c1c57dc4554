"""What an ingest would do: each document of the sources held against what the store holds."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from flows.documents.listing import Listing, Unreadable
from flows.documents.records.record_document import RecordDocument
from flows.documents.source_document import SourceDocument, too_large
from flows.errors import DocumentRejected, InvalidInput, SourceUnavailable
from flows.heads import STORED, Head
from flows.quarantine import Entry, held
from flows.rejected import Rejected
from flows.removals import vanished

PARTITION_BYTES: Final = 1024 * 1024
"""Bytes of documents per partition: some ten seconds of work on two cores."""
PARTITION_DOCUMENTS: Final = 256


Fate = Literal["added", "changed", "moved", "renewed"]
"""Why a document is stored: its id is new; its bytes are; a document with its very bytes vanished
elsewhere; or its bytes are stored, but by another recipe, or by a run that died half-way, or only
as those of another document that is no longer the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A document whose bytes are stored already, under another id or from another place."""

    before: Head
    document: SourceDocument


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every document of the listing is in exactly one of `store`, `unchanged`, `rejected`."""

    store: tuple[SourceDocument, ...]
    """New or changed, or left half-written by a run that died; `size` is what was read."""
    unchanged: int
    rejected: tuple[Rejected, ...]
    """Cannot be read, or cannot even be listed; what the store holds of them stays."""
    remove: tuple[Head, ...]
    """Stored from one of the sources, and no longer there."""
    warnings: tuple[str, ...] = field(default=())
    ignored: Mapping[str, int] = field(default_factory=dict)
    fates: Mapping[str, Fate] = field(default_factory=dict)
    """Why each document of `store` is stored, by its id."""
    moves: tuple[Move, ...] = field(default=())
    """Of `store`, those that are moved; each is stored again, and its old version removed."""
    known: int = 0
    """Documents that the store holds of these sources, without those not listed wholly."""
    released: tuple[str, ...] = ()
    """Ids of documents in quarantine that are unchanged in the store, or gone from the sources."""

    @property
    def lost(self) -> tuple[Head, ...]:
        """Of `remove`, those that have not moved: their content is no longer in the sources."""
        moved = {move.before.doc_id for move in self.moves}
        return tuple(head for head in self.remove if head.doc_id not in moved)

    @property
    def seen(self) -> int:
        """Documents looked at."""
        return len(self.store) + self.unchanged + len(self.rejected)

    @property
    def is_done(self) -> bool:
        """Whether the store already holds what the sources hold."""
        return not self.store and not self.remove

    def partitions(self) -> Iterator[tuple[SourceDocument, ...]]:
        """The documents to store, in parts of about `PARTITION_BYTES`, in order."""
        part: list[SourceDocument] = []
        size = 0
        for document in self.store:
            full = size + document.size > PARTITION_BYTES or len(part) >= PARTITION_DOCUMENTS
            if part and full:
                yield tuple(part)
                part, size = [], 0
            part.append(document)
            size += document.size
        if part:
            yield tuple(part)


def make_plan(
    listing: Listing,
    heads: Mapping[str, Head],
    *,
    recipe: str,
    max_bytes: int,
    quarantine: Mapping[str, Entry] | None = None,
    limits: str = "",
    advance: Callable[[int], None] = lambda documents: None,
) -> Plan:
    """Compare a listing with the store's heads; reads and hashes every document, parses none.

    Args:
        listing: What the sources hold.
        heads: What the store holds, by document id.
        recipe: Parser, chunker and settings in force.
        max_bytes: Larger documents are rejected.
        quarantine: What was turned away before, by document id: while nothing about it has changed
            it is not tried again.
        limits: What else decided that, see `quarantine.held`.
        advance: Called with 1 for each document looked at.

    Raises:
        SourceUnavailable: the sources hold no document at all.
        InvalidInput: a document's id belongs to another source that is still there.
    """
    _refuse_empty(listing)
    store: list[SourceDocument] = []
    digests: dict[str, str] = {}
    rejected = [Rejected.unlisted(entry, listing.roots) for entry in _unlisted(listing)]
    settled: dict[str, SourceDocument] = {}
    quarantine = quarantine or {}
    for document in listing.documents:
        head = heads.get(document.doc_id)
        if head is not None and head.source != document.source:
            _refuse_conflict(document, head)
        try:
            digest, size = _digest(document, head, max_bytes=max_bytes)
        except DocumentRejected as error:
            rejected.append(Rejected.of(document, "read", str(error)))
        else:
            entry = quarantine.get(document.doc_id)
            if head and head.source == document.source and head.is_current(digest, recipe):
                settled[document.doc_id] = document
            elif entry and held(entry, content_hash=digest, recipe=recipe, limits=limits):
                rejected.append(_still_rejected(document, entry))
            else:
                store.append(replace(document, size=size))
                digests[document.doc_id] = digest
        advance(1)
    remove, warnings = vanished(listing, heads)
    for document in _without_stand_in(
        settled, heads, {*digests, *(gone.doc_id for gone in remove)}
    ):
        store.append(document)
        digests[document.doc_id] = heads[document.doc_id].content_hash
        del settled[document.doc_id]
    moves = _moves(store, digests, heads, remove)
    fates = {d.doc_id: _fate(heads.get(d.doc_id), digests[d.doc_id]) for d in store}
    roots = {root for root, complete in listing.complete.items() if complete}
    return Plan(
        store=tuple(store),
        unchanged=len(settled),
        rejected=tuple(rejected),
        remove=tuple(remove),
        warnings=tuple(warnings),
        ignored=listing.ignored,
        fates=fates | {move.document.doc_id: "moved" for move in moves},
        moves=moves,
        known=sum(head.root in roots for head in heads.values()),
        released=_released(quarantine, listing, roots, settled),
    )


def _digest(document: SourceDocument, head: Head | None, *, max_bytes: int) -> tuple[str, int]:
    """The hash of the document's content, and its bytes; read only where that is not known.

    Raises:
        DocumentRejected: it cannot be read.
    """
    if document.digest:
        if document.size > max_bytes:
            raise too_large(document.size, max_bytes)
        return document.digest, document.size
    if head and document.is_still(head.version, max_bytes=max_bytes):
        return head.content_hash, head.size
    data = document.read(max_bytes=max_bytes)
    return hashlib.sha256(data).hexdigest(), len(data)


def _still_rejected(document: SourceDocument, entry: Entry) -> Rejected:
    rejected = Rejected.of(document, entry.stage, entry.reason, content_hash=entry.content_hash)
    return replace(rejected, held=True)


def _without_stand_in(
    settled: Mapping[str, SourceDocument], heads: Mapping[str, Head], unsettled: Set[str]
) -> list[SourceDocument]:
    """Documents without chunks, because another stood for them that is no longer as it was."""
    return [
        document
        for doc_id, document in settled.items()
        if (stand_in := heads[doc_id].duplicate_of)
        and (stand_in not in heads or stand_in in unsettled or heads[stand_in].state != STORED)
    ]


def _released(
    quarantine: Mapping[str, Entry],
    listing: Listing,
    roots: Set[str],
    settled: Mapping[str, SourceDocument],
) -> tuple[str, ...]:
    listed = {document.doc_id for document in listing.documents}
    listed |= {entry.path for entry in _unlisted(listing)}
    return tuple(
        doc_id
        for doc_id, entry in quarantine.items()
        if doc_id in settled
        or (entry.root in roots and doc_id not in listed and not listing.keeps(doc_id))
    )


def _fate(head: Head | None, digest: str) -> Fate:
    if head is None:
        return "added"
    return "renewed" if head.content_hash == digest else "changed"


def _moves(
    store: Sequence[SourceDocument],
    digests: Mapping[str, str],
    heads: Mapping[str, Head],
    remove: Sequence[Head],
) -> tuple[Move, ...]:
    """Pairs of a document to store and a stored one with its bytes that is no longer in place.

    Each vanished document is the origin of one at most: of two copies, the second is added.
    """
    origins: dict[str, list[Head]] = {}
    for gone in sorted(remove, key=lambda gone: gone.doc_id, reverse=True):
        if gone.state == STORED:
            origins.setdefault(gone.content_hash, []).append(gone)
    moves: list[Move] = []
    for document in store:
        head = heads.get(document.doc_id)
        digest = digests[document.doc_id]
        if head is not None:
            if head.source != document.source and head.content_hash == digest:
                moves.append(Move(before=head, document=document))
        elif candidates := origins.get(digest):
            moves.append(Move(before=candidates.pop(), document=document))
    return tuple(moves)


def _refuse_empty(listing: Listing) -> None:
    if listing.documents or _unlisted(listing):
        return
    roots = ", ".join(repr(root) for root in listing.roots)
    ignored = ", ".join(f"{count} {why}" for why, count in listing.ignored.items())
    raise SourceUnavailable(
        f"{roots}: no document found{f' (left out: {ignored})' if ignored else ''}; "
        "expected at least one; nothing was changed"
    )


def _unlisted(listing: Listing) -> tuple[Unreadable, ...]:
    """What is known to be there, and is no document that could be named."""
    return (*listing.unreadable, *listing.rejected)


def _refuse_conflict(document: SourceDocument, head: Head) -> None:
    """Two folders of one name would overwrite each other's documents, run by run."""
    before = head.source
    if isinstance(document, RecordDocument):
        before = before.removesuffix(f"#{document.key}")
    if Path(before).exists() and not _same_file(before, document.path):
        raise InvalidInput(
            f"{document.source!r} would replace {document.doc_id!r}, which was ingested from "
            f"{head.source!r}; use another --collection, or rename the source folder"
        )


def _same_file(first: str, second: str) -> bool:
    try:
        return Path(first).samefile(second)
    except OSError:
        return False
