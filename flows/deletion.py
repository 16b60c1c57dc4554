"""Deleting documents on purpose: whole ones, with a receipt that says what went, when, and by whom.

A filter chooses documents by their chunks: one chunk that matches, and the document goes. Chunks go
first and the head last, so that a deletion that was killed can be seen, and done again.
"""

import difflib
import getpass
import hashlib
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from flows.errors import FlowError, InvalidInput
from flows.heads import WRITING, Head
from flows.partition import remove_document
from flows.progress import Progress
from flows.state import state_folder
from search.collections import base_name, versions
from search.errors import InvalidRequest, SearchError
from search.filters import Filter, of_kind, where
from search.records import KIND_CHUNK, METADATA, head_id, quarantine_id
from search.stores.contract import Collection, Store

RECEIPTS: Final = "receipts"
CLOSE_MATCHES: Final = 3
CLOSE_MATCHES_OF: Final = 20_000
"""Ids that are searched for close matches: beyond, it takes longer than people wait."""


class DeletedDocument(BaseModel):
    """One document that is to go, or is gone."""

    model_config = ConfigDict(frozen=True)

    doc_id: str
    source: str
    content_hash: str
    """SHA-256 of its bytes; empty where there was no head to say."""
    chunks: int


class DeletionReceipt(BaseModel):
    """What a deletion removed; the object that `--json` prints, and the file that is kept."""

    model_config = ConfigDict(frozen=True)

    collection: str
    version: str
    """The collection's own name, where `collection` is an alias."""
    store: str
    deleted_at: str
    """ISO 8601, UTC."""
    who: str
    """user@host."""
    reason: str
    documents: tuple[DeletedDocument, ...]
    chunks: int
    redone: tuple[str, ...] = ()
    """Near-duplicates for which one of the documents stood: the next ingest stores them."""
    elsewhere: tuple[str, ...] = ()
    """Other versions of the collection that still hold one of the documents."""
    receipt: str = ""
    """The file in which this is kept; empty after a dry run."""


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What is to be deleted."""

    documents: tuple[DeletedDocument, ...]
    heads: Mapping[str, Head]
    """All heads of the collection, by document id."""

    @property
    def ids(self) -> frozenset[str]:
        """Of the documents."""
        return frozenset(document.doc_id for document in self.documents)


def choose(
    collection: Collection, heads: Mapping[str, Head], *, doc_ids: Sequence[str], matching: Filter
) -> Deletion:
    """Find the documents that are named, and those that have a chunk that matches.

    Args:
        collection: Whose.
        heads: All its heads, by document id.
        doc_ids: Documents by name; all must be there.
        matching: A filter over chunks; one without conditions chooses nothing.

    Raises:
        InvalidInput: a document is not there; nothing is named; nothing matches.
    """
    if not doc_ids and matching.is_empty():
        raise InvalidInput("nothing to delete is named; give --doc DOC_ID or --filter KEY=VALUE")
    chunks: Counter[str] = Counter()
    for doc_id in dict.fromkeys(doc_ids):
        try:
            chunks[doc_id] = collection.count(of_kind(KIND_CHUNK) & where("doc_id", doc_id))
        except InvalidRequest as error:
            raise InvalidInput(f"--doc {doc_id!r}: {error}") from None
    unknown = [doc_id for doc_id, count in chunks.items() if not count and doc_id not in heads]
    held = {r.id for r in collection.retrieve([quarantine_id(doc_id) for doc_id in unknown])}
    unknown = [doc_id for doc_id in unknown if quarantine_id(doc_id) not in held]
    if unknown:
        raise InvalidInput(_unknown(unknown, heads, collection))
    if not matching.is_empty():
        found = {
            str(record.payload[METADATA]["doc_id"])
            for record in collection.scroll(where=of_kind(KIND_CHUNK) & matching)
        }
        if not found and not doc_ids:
            raise InvalidInput(
                f"no chunk of collection {collection.manifest.name!r} matches the filter; "
                "nothing to delete"
            )
        for doc_id in found - chunks.keys():
            chunks[doc_id] = collection.count(of_kind(KIND_CHUNK) & where("doc_id", doc_id))
    return Deletion(
        documents=tuple(_document(i, heads.get(i), chunks[i]) for i in sorted(chunks)), heads=heads
    )


def carry_out(deletion: Deletion, collection: Collection, progress: Progress) -> tuple[str, ...]:
    """Delete the documents, and their entries in quarantine.

    Returns:
        Documents that had no chunks because one of these stood for them; they are marked, so that
        the next ingest of their source stores them.
    """
    progress.stage("deleting documents", len(deletion.documents))
    gone = deletion.ids
    redone = sorted(
        doc_id
        for doc_id, head in deletion.heads.items()
        if head.duplicate_of in gone and doc_id not in gone
    )
    # marked first: a deletion that dies must not leave documents that nothing stands for
    collection.upsert([replace(deletion.heads[i], state=WRITING).point() for i in redone])
    for document in deletion.documents:
        head = deletion.heads.get(document.doc_id)
        if head is not None:
            remove_document(head, collection)
        else:
            collection.delete_where(of_kind(KIND_CHUNK) & where("doc_id", document.doc_id))
            collection.delete([head_id(document.doc_id)])
        collection.delete([quarantine_id(document.doc_id)])
        progress.advance(1)
    return tuple(redone)


def held_elsewhere(store: Store, deletion: Deletion, collection: Collection) -> tuple[str, ...]:
    """Names of other versions of the collection that hold one of the documents too.

    A version that cannot be opened just now is named, with the reason.
    """
    own = collection.manifest.name
    ids = [head_id(doc_id) for doc_id in deletion.ids]
    found = []
    for manifest in versions(store, base_name(own)):
        if manifest.name == own:
            continue
        try:
            other = store.open(manifest.name)
            try:
                if other.retrieve(ids):
                    found.append(manifest.name)
            finally:
                other.close()
        except SearchError as error:
            found.append(f"{manifest.name} (not looked into: {error})")
    return tuple(found)


def exclusions(deletion: Deletion) -> list[str]:
    """Globs for `--exclude` that keep the documents out of the next ingest of their sources."""
    globs = []
    for document in deletion.documents:
        head = deletion.heads.get(document.doc_id)
        below = document.doc_id.partition("/")[2]
        if head is None or head.source == head.root or head.root.startswith("python:"):
            below = document.doc_id.rpartition("/")[2]
        globs.append("/" + "".join(f"[{c}]" if c in "*?[" else c for c in below))
    return globs


def write_receipt(receipt: DeletionReceipt) -> DeletionReceipt:
    """Keep a receipt in the collection's state folder; returns it with the file's name.

    Raises:
        FlowError: it cannot be written.
    """
    from search.stores.edge_files import write_durably

    folder = state_folder(receipt.store) / base_name(receipt.collection) / RECEIPTS
    digest = hashlib.sha256(receipt.model_dump_json().encode()).hexdigest()[:8]
    moment = "".join(c for c in receipt.deleted_at.partition("+")[0] if c.isalnum())
    path = folder / f"{moment}Z-{digest}.json"
    kept = receipt.model_copy(update={"receipt": str(path)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(path, kept.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise FlowError(
            f"the documents are deleted, but the receipt cannot be kept in {str(folder)!r}: "
            f"{error.strerror}; check rights and space"
        ) from error
    return kept


def require_receipts(store: str, collection: str) -> Path:
    """The folder of receipts, made before anything is deleted.

    Raises:
        FlowError: it cannot be made.
    """
    folder = state_folder(store) / base_name(collection) / RECEIPTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FlowError(
            f"receipts cannot be kept in {str(folder)!r}: {error.strerror}; check rights and "
            "space; nothing was deleted"
        ) from error
    return folder


def receipt_of(
    deletion: Deletion, collection: Collection, *, name: str, store: str, reason: str
) -> DeletionReceipt:
    """The receipt of a deletion that is about to be done, without its outcome."""
    return DeletionReceipt(
        collection=name,
        version=collection.manifest.name,
        store=store,
        deleted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        who=_who(),
        reason=reason,
        documents=deletion.documents,
        chunks=sum(document.chunks for document in deletion.documents),
    )


def _document(doc_id: str, head: Head | None, chunks: int) -> DeletedDocument:
    return DeletedDocument(
        doc_id=doc_id,
        source=head.source if head else "",
        content_hash=head.content_hash if head else "",
        chunks=chunks,
    )


def _unknown(unknown: Sequence[str], heads: Mapping[str, Head], collection: Collection) -> str:
    first = unknown[0]
    more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
    ids = list(heads)[:CLOSE_MATCHES_OF]
    close = difflib.get_close_matches(first, ids, n=CLOSE_MATCHES, cutoff=0.5)
    # people type the end of a path
    close = [i for i in heads if i.endswith(f"/{first}")][:CLOSE_MATCHES] or close
    hint = f"; close to it: {', '.join(map(repr, close))}" if close else ""
    return (
        f"no document {first!r}{more} in collection {collection.manifest.name!r}{hint}; "
        "nothing was deleted"
    )


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        user = "unknown"
    return f"{user}@{platform.node() or 'unknown'}"
