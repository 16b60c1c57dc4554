"""What an ingest would do: each document of the sources held against what the store holds."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flows.documents.listing import Listing
from flows.documents.source_document import SourceDocument
from flows.errors import DocumentRejected, InvalidInput, SourceUnavailable
from flows.heads import Head

PARTITION_BYTES: Final = 1024 * 1024
"""Bytes of documents per partition: some ten seconds of work on two cores."""
PARTITION_DOCUMENTS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A document in quarantine: where it lies, and the reason in one line."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every document of the listing is in exactly one of `store`, `unchanged`, `rejected`."""

    store: tuple[SourceDocument, ...]
    """New or changed, or left half-written by a run that died."""
    unchanged: int
    rejected: tuple[Rejected, ...]
    """Cannot be read, or cannot even be listed; what the store holds of them stays."""
    remove: tuple[Head, ...]
    """Stored from one of the sources, and no longer there."""
    warnings: tuple[str, ...] = field(default=())
    ignored: Mapping[str, int] = field(default_factory=dict)

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
    advance: Callable[[int], None] = lambda documents: None,
) -> Plan:
    """Compare a listing with the store's heads; reads and hashes every document, parses none.

    Args:
        listing: What the sources hold.
        heads: What the store holds, by document id.
        recipe: Parser, chunker and settings in force.
        max_bytes: Larger documents are rejected.
        advance: Called with 1 for each document looked at.

    Raises:
        SourceUnavailable: the sources hold no document at all.
        InvalidInput: a document's id belongs to another source that is still there.
    """
    _refuse_empty(listing)
    store: list[SourceDocument] = []
    rejected = [Rejected(source=u.path, reason=u.reason) for u in listing.unreadable]
    unchanged = 0
    for document in listing.documents:
        head = heads.get(document.doc_id)
        if head is not None and head.source != document.source:
            _refuse_conflict(document, head)
        try:
            digest = hashlib.sha256(document.read(max_bytes=max_bytes)).hexdigest()
        except DocumentRejected as error:
            rejected.append(Rejected(source=document.source, reason=str(error)))
        else:
            if head and head.source == document.source and head.is_current(digest, recipe):
                unchanged += 1
            else:
                store.append(document)
        advance(1)
    remove, warnings = _removals(listing, heads)
    return Plan(
        store=tuple(store),
        unchanged=unchanged,
        rejected=tuple(rejected),
        remove=tuple(remove),
        warnings=tuple(warnings),
        ignored=listing.ignored,
    )


def _removals(listing: Listing, heads: Mapping[str, Head]) -> tuple[list[Head], list[str]]:
    """Documents that vanished from roots that were listed wholly; a warning for the others."""
    listed = {document.doc_id for document in listing.documents}
    gone: list[Head] = []
    warnings: list[str] = []
    for root, complete in listing.complete.items():
        missing = [h for h in heads.values() if h.root == root and h.doc_id not in listed]
        if complete:
            gone += missing
        elif missing:
            warnings.append(
                f"{root!r} is empty or could not be listed wholly: "
                f"{len(missing)} stored documents that were not seen there stay"
            )
    return gone, warnings


def _refuse_empty(listing: Listing) -> None:
    if listing.documents or listing.unreadable:
        return
    roots = ", ".join(repr(root) for root in listing.roots)
    ignored = ", ".join(f"{count} {why}" for why, count in listing.ignored.items())
    raise SourceUnavailable(
        f"{roots}: no document found{f' (left out: {ignored})' if ignored else ''}; "
        "expected at least one; nothing was changed"
    )


def _refuse_conflict(document: SourceDocument, head: Head) -> None:
    """Two folders of one name would overwrite each other's documents, run by run."""
    if Path(head.source).exists() and not _same_file(head.source, document.path):
        raise InvalidInput(
            f"{document.source!r} would replace {document.doc_id!r}, which was ingested from "
            f"{head.source!r}; use another --collection, or rename the source folder"
        )


def _same_file(first: str, second: str) -> bool:
    try:
        return Path(first).samefile(second)
    except OSError:
        return False
