"""Verifying a collection: every point's checksum made again, and damaged documents named."""

import time
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from flows.doctor_ledger import metadata_of, read_head
from flows.doctor_repair import MARKED, mark_unfinished, mend_document
from flows.doctor_report import Repair
from flows.progress import Progress
from search.checksums import damaged
from search.records import KIND, KIND_CHUNK, KIND_HEAD, Record, chunk_id, head_id
from search.stores.contract import Collection


class DamagedPoint(BaseModel):
    """A point that is not what was written."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    """As its payload says; empty where that does not tell."""
    doc_id: str
    """The document that it belongs to; empty where that cannot be told."""
    what: str
    """The problem, as a phrase."""


class VerifyReport(BaseModel):
    """What verifying found; the object that `--json` prints."""

    model_config = ConfigDict(frozen=True)

    collection: str
    version: str
    """The collection's own name, where `collection` is an alias."""
    store: str
    points: int
    checked: int
    """Points whose checksum was made again."""
    unchecked: int
    """Points that carry none: they were stored before there were checksums."""
    damaged: tuple[DamagedPoint, ...]
    documents: tuple[str, ...]
    """Documents with a damaged point."""
    repairs: tuple[Repair, ...]
    sound: bool
    """No point is damaged, or all of them were mended."""
    seconds: float


def verify_points(
    collection: Collection, *, name: str, store: str, repair: bool, progress: Progress
) -> VerifyReport:
    """Make every point's checksum again.

    Args:
        collection: Whose points.
        name: What it was called: for the report.
        store: Where it is: for the report.
        repair: Whether damaged points go, and their documents are marked to be stored again.
        progress: Told of the points.
    """
    began = time.perf_counter()
    verdicts: Counter[bool | None] = Counter()

    def seen(verdict: bool | None) -> None:
        verdicts[verdict] += 1
        progress.advance(1)

    progress.stage("verifying points", collection.count())
    found = dict(damaged(collection, seen=seen))
    points = _described(found, collection)
    repairs: list[Repair] = []
    left = 0
    if repair and points:
        repairs = _mended(points, collection, progress)
        left = sum(1 for _ in damaged(collection))
    return VerifyReport(
        collection=name,
        version=collection.manifest.name,
        store=store,
        points=verdicts.total(),
        checked=verdicts[True] + verdicts[False],
        unchecked=verdicts[None],
        damaged=points,
        documents=tuple(sorted({point.doc_id for point in points if point.doc_id})),
        repairs=tuple(repairs),
        sound=not points or (repair and not left),
        seconds=round(time.perf_counter() - began, 3),
    )


def _described(found: dict[str, str], collection: Collection) -> tuple[DamagedPoint, ...]:
    there = {record.id: record for record in collection.retrieve(list(found))}
    described = []
    for identifier, what in found.items():
        record = there.get(identifier)
        if record is None:  # a run has deleted it meanwhile
            continue
        kind = record.payload.get(KIND)
        described.append(
            DamagedPoint(
                id=identifier,
                kind=kind if isinstance(kind, str) else "",
                doc_id=_document_of(record),
                what=what,
            )
        )
    return tuple(described)


def _document_of(record: Record) -> str:
    """The document of a damaged point, if its id bears out what its payload says."""
    metadata = metadata_of(record)
    doc_id, ordinal, digest = (metadata.get(key) for key in ("doc_id", "chunk", "content_hash"))
    if not isinstance(doc_id, str):
        return ""
    if record.id == head_id(doc_id):
        return doc_id
    if isinstance(ordinal, int) and isinstance(digest, str):
        expected = chunk_id(doc_id, ordinal=ordinal, content_hash=digest)
        return doc_id if record.id == expected else ""
    return ""


def _mended(
    points: Sequence[DamagedPoint], collection: Collection, progress: Progress
) -> list[Repair]:
    """Damaged chunks go, lest their vectors be used again; their documents are marked.

    A head that cannot even be read goes with its chunks. A chunk whose document cannot be told goes
    alone; it is then missing, which `sextant doctor --full` finds.
    """
    repairs: list[Repair] = []
    documents: dict[str, list[DamagedPoint]] = {}
    nameless: list[str] = []
    for point in points:
        if point.doc_id and point.kind in (KIND_CHUNK, KIND_HEAD):
            documents.setdefault(point.doc_id, []).append(point)
        else:
            nameless.append(point.id)
    progress.stage("mending documents", len(documents))
    for doc_id, its in documents.items():
        head = read_head(doc_id, collection)[0]
        if head is not None:
            mark_unfinished(head, collection)  # written anew, so that it is whole again
        collection.delete([point.id for point in its if point.kind == KIND_CHUNK])
        orphans = mend_document(doc_id, collection) if head is None else ""
        repairs.append(Repair(doc_id=doc_id, action=orphans or MARKED))
        progress.advance(1)
    if nameless:
        collection.delete(nameless)
        action = f"removed {len(nameless)} points whose document cannot be told"
        repairs.append(Repair(action=f"{action}; `sextant doctor --full --repair` finds which"))
    return repairs
