"""Looking a collection over: all of it in one pass, or counts and a sample of its documents."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from flows.doctor_ledger import Ledger, examine_document, head_of, is_collapsed, metadata_of
from flows.doctor_report import Counts, Finding, UnusedVersion, finding
from flows.heads import STORED, Head
from flows.progress import Progress
from search.collections import versions
from search.errors import CollectionNotFound, SearchError
from search.filters import of_kind
from search.records import KIND_CHUNK, KIND_HEAD, KIND_QUARANTINE
from search.stores.contract import Collection, Store


@dataclass(kw_only=True)
class Look:
    """What one look at a collection showed."""

    findings: list[Finding]
    counts: Counts
    checked: int
    """Documents whose chunks were all looked at."""
    full: bool
    """Whether these were all documents."""
    unfinished: tuple[str, ...]
    """Documents whose head says `writing`: the next ingest of their source stores them again."""


@dataclass(kw_only=True)
class _Heads:
    """The heads of a collection, and those points that should be heads and are none."""

    by_id: dict[str, Head] = field(default_factory=dict)
    damaged: list[Finding] = field(default_factory=list)


def look_over(
    collection: Collection, *, full: bool, sample: int, seed: int, progress: Progress
) -> Look:
    """Hold the heads of a collection against its chunks.

    A full look reads every point once, in one pass: memory grows by the heads, and a dozen bytes
    for each chunk. A sampled look counts the chunks, and reads those of a few documents.

    Args:
        collection: Whose.
        full: Whether all of it.
        sample: How many documents a sampled look takes.
        seed: Of the sample: the same one takes the same documents.
        progress: Told of the documents, or the chunks, looked at.
    """
    progress.stage("reading heads")
    heads = _read_heads(collection)
    counts = _count(collection)
    findings = list(heads.damaged)
    if full:
        findings += _all(collection, heads.by_id, counts.chunks, progress)
        checked = len(heads.by_id)
    else:
        findings += _wrong_count(heads.by_id, counts)
        ids = sorted(heads.by_id)
        chosen = sorted(random.Random(seed).sample(ids, min(sample, len(ids))))
        progress.stage("looking at documents", len(chosen))
        # what needs no reading is looked at everywhere
        doubtful = {i for i, head in heads.by_id.items() if _is_doubtful(head, heads.by_id)}
        for doc_id in sorted(doubtful.union(chosen)):
            findings += examine_document(doc_id, collection)
            progress.advance(1)
        checked = len(chosen)
    if unindexed := _unindexed(collection):
        findings.append(unindexed)
    return Look(
        findings=findings,
        counts=counts,
        checked=checked,
        full=full,
        unfinished=tuple(sorted(i for i, h in heads.by_id.items() if h.state != STORED)),
    )


def _read_heads(collection: Collection) -> _Heads:
    heads = _Heads()
    for record in collection.scroll(where=of_kind(KIND_HEAD)):
        head = head_of(record)
        if head is None:
            doc_id = metadata_of(record).get("doc_id")
            heads.damaged.append(
                finding(
                    "malformed",
                    "its head's payload is not that of a head",
                    doc_id=doc_id if isinstance(doc_id, str) else "",
                    point=record.id,
                )
            )
        else:
            heads.by_id[head.doc_id] = head
    return heads


def _count(collection: Collection) -> Counts:
    documents = collection.count(of_kind(KIND_HEAD))
    chunks = collection.count(of_kind(KIND_CHUNK))
    quarantined = collection.count(of_kind(KIND_QUARANTINE))
    return Counts(
        documents=documents,
        chunks=chunks,
        quarantined=quarantined,
        others=max(0, collection.count() - documents - chunks - quarantined),
    )


def _all(
    collection: Collection, heads: dict[str, Head], chunks: int, progress: Progress
) -> Iterator[Finding]:
    """One pass over the chunks; whatever looks wrong is then looked at once more, by itself.

    The second look tells apart what is wrong from what a run has changed since the first.
    """
    dimension = collection.manifest.dimension
    ledgers: dict[str, Ledger] = {}
    suspects = {i for i, head in heads.items() if _is_doubtful(head, heads)}
    nameless: list[str] = []
    progress.stage("looking at chunks", chunks)
    for record in collection.scroll(where=of_kind(KIND_CHUNK), with_vectors=True):
        progress.advance(1)
        doc_id = metadata_of(record).get("doc_id")
        if not isinstance(doc_id, str):
            nameless.append(record.id)
            continue
        head = heads.get(doc_id)
        if head is None:
            suspects.add(doc_id)
            continue
        ledger = ledgers.get(doc_id)
        if ledger is None:
            ledger = ledgers[doc_id] = Ledger(doc_id, head.content_hash, dimension)
        ledger.add(record)
    for point in nameless:
        yield finding("malformed", f"chunk {point} names no document", point=point)
    for doc_id, head in heads.items():
        ledger = ledgers.get(doc_id) or Ledger(doc_id, head.content_hash, dimension)
        if any(ledger.findings(head)):
            suspects.add(doc_id)
    progress.stage("looking again at what seems wrong", len(suspects))
    for doc_id in sorted(suspects):
        yield from examine_document(doc_id, collection)
        progress.advance(1)


def _is_doubtful(head: Head, heads: dict[str, Head]) -> bool:
    """Whether the heads alone show that something is wrong with a document."""
    if head.state != STORED:
        return True
    if not is_collapsed(head):
        return False
    original = heads.get(head.duplicate_of)
    return original is None or is_collapsed(original)


def _wrong_count(heads: dict[str, Head], counts: Counts) -> Iterator[Finding]:
    """Whether the chunks are as many as the heads say; a half-written document has no number."""
    unfinished = [doc_id for doc_id, head in heads.items() if head.state != STORED]
    expected = sum(head.chunks for head in heads.values() if head.state == STORED)
    wrong = counts.chunks < expected if unfinished else counts.chunks != expected
    if wrong:
        detail = f"the heads say {expected} chunks, {counts.chunks} are there; --full finds which"
        yield finding("wrong_count", detail)


def _unindexed(collection: Collection) -> Finding | None:
    from search.stores.edge_collection import INDEX_FROM_POINTS

    status = collection.status()
    scanned = status.vectors - status.indexed
    if scanned < INDEX_FROM_POINTS:
        return None
    return finding(
        "unindexed",
        f"{scanned} of {status.vectors} vectors are in no index; every search scans them",
    )


def check_alias(store: Store, name: str) -> list[Finding]:
    """Whether a collection's name leads somewhere; empty if it does.

    Raises:
        CollectionNotFound: there is neither a collection, nor an alias, nor a version of it.
    """
    target = store.aliases().get(name)
    names = [manifest.name for manifest in store.list()]
    if name in names or target in names:
        return []
    found = [manifest.name for manifest in versions(store, name)]
    if target is None and not found:
        raise CollectionNotFound(
            f"no collection {name!r} in {store.location}; "
            "ingest first, or check the name (`sextant collections list`)"
        )
    what = f"{name!r} leads to {target!r}, which is not there" if target else f"no alias {name!r}"
    there = f"there are {', '.join(found)}" if found else "there is no version of it"
    return [finding("alias", f"{what}; {there}")]


def unused_versions(store: Store, alias: str, current: str) -> tuple[UnusedVersion, ...]:
    """The versions of an alias beside the current one, with what each of them takes."""
    unused = []
    for manifest in versions(store, alias):
        if manifest.name == current:
            continue
        points = size = None
        try:
            collection = store.open(manifest.name)
            try:
                status = collection.status()
                points, size = status.points, status.bytes
            finally:
                collection.close()
        except SearchError:  # in use by a run that is filling it, or damaged: not this visit's
            pass
        unused.append(
            UnusedVersion(
                name=manifest.name, created_at=manifest.created_at, points=points, bytes=size
            )
        )
    return tuple(unused)
