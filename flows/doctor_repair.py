"""Mending what the doctor found: what is too much goes, what is amiss is marked to be done again.

A document that lacks something gets a head that says `writing`, as if a run had been killed in the
middle of it: what is left of it can be found until the next ingest of its source stores it whole.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from flows.doctor_ledger import (
    Ledger,
    chunks_of,
    examine_document,
    is_collapsed,
    read_head,
)
from flows.doctor_report import Finding, Repair
from flows.heads import STORED, WRITING, Head
from flows.progress import Progress
from search.collections import versions
from search.records import chunk_id, head_id
from search.stores.contract import Collection, Store

MARKED: Final = "marked to be stored again by the next ingest of its source"


def repair(findings: Sequence[Finding], collection: Collection, progress: Progress) -> list[Repair]:
    """Mend what can be mended; each document is looked at anew before it is touched.

    Killed half-way, it can be called again.
    """
    done: list[Repair] = []
    mendable = [found for found in findings if found.mendable]
    documents = sorted({found.doc_id for found in mendable if found.doc_id})
    points = sorted({f.point for f in mendable if f.point and not f.doc_id})
    progress.stage("mending documents", len(documents))
    if points:
        collection.delete(points)
        done.append(Repair(action=f"removed {len(points)} points that name no document"))
    for doc_id in documents:
        if action := mend_document(doc_id, collection):
            done.append(Repair(doc_id=doc_id, action=action))
        progress.advance(1)
    # a head's payload may name another document than the one that it is the head of
    strays = [f for f in mendable if f.point and f.doc_id and f.point != head_id(f.doc_id)]
    for found in strays:
        collection.delete([found.point])
        done.append(
            Repair(doc_id=found.doc_id, action=f"removed point {found.point}, a stray head")
        )
    if any(found.kind == "unindexed" for found in mendable):
        progress.stage("indexing")
        collection.optimize()
        status = collection.status()
        done.append(Repair(action=f"indexed {status.indexed} of {status.vectors} vectors"))
    return done


def mend_document(doc_id: str, collection: Collection) -> str:
    """Mend one document; returns what was done, empty if nothing was wrong with it."""
    head, problem = read_head(doc_id, collection)
    if head is None:
        chunks = collection.count(chunks_of(doc_id))
        if not chunks and not problem:
            return ""
        collection.delete_where(chunks_of(doc_id))
        collection.delete([head_id(doc_id)])
        return f"removed {chunks} chunks without a {'sound ' if problem else ''}head"
    if head.state != STORED or not examine_document(doc_id, collection):
        return ""
    own = {
        chunk_id(doc_id, ordinal=ordinal, content_hash=head.content_hash)
        for ordinal in range(head.chunks)
    }
    ledger = Ledger(doc_id, head.content_hash, collection.manifest.dimension)
    extra = []
    for record in collection.scroll(where=chunks_of(doc_id), with_vectors=True):
        if record.id in own:
            ledger.add(record)
        else:
            extra.append(record.id)
    lacks = ledger.flawed or is_collapsed(head) or any(ledger.findings(head))
    if lacks:
        mark_unfinished(head, collection)
    # a chunk with a flaw goes, too: a run that finds its text known would use its vector again
    gone = [*extra, *dict.fromkeys(ledger.flawed)]
    collection.delete(gone)
    removed = f"removed {len(gone)} chunks that are damaged or not of it" if gone else ""
    return "; ".join(filter(None, (removed, MARKED if lacks else "")))


def mark_unfinished(head: Head, collection: Collection) -> None:
    """Have the next ingest of its source store a document again."""
    collection.upsert([replace(head, state=WRITING).point()])


def mend_alias(store: Store, name: str) -> list[Repair]:
    """Let a name that leads nowhere lead to the collection's only version, if there is just one."""
    found = versions(store, name)
    if len(found) != 1:
        return []
    store.set_alias(name, found[0].name)
    return [Repair(action=f"{name!r} leads to {found[0].name!r} now")]
