"""The account of one document: its chunks, as they are read, held against its head."""

import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

import numpy as np

from flows.doctor_report import Finding, Kind, finding
from flows.heads import STORED, WRITING, Head
from search.filters import Filter, of_kind, where
from search.records import (
    KIND,
    KIND_CHUNK,
    KIND_HEAD,
    METADATA,
    PAGE_CONTENT,
    Record,
    chunk_id,
    head_id,
)
from search.stores.contract import Collection

UNIT_TOLERANCE: Final = 1e-4
"""How far from 1 the length of a stored vector may be: float32 sums stay well below."""
_MOST: Final = 2**32
"""Ordinals and offsets are kept in four bytes each."""


@dataclass(slots=True)
class Ledger:
    """What was seen of one document's chunks: a few bytes for each, whatever its text's length.

    Args:
        doc_id: The document.
        content_hash: What its head says; chunks with another one are stale.
        dimension: The collection's vector size.
    """

    doc_id: str
    content_hash: str
    dimension: int
    seen: int = 0
    stale: int = 0
    _ordinals: "array[int]" = field(default_factory=lambda: array("I"))
    _starts: "array[int]" = field(default_factory=lambda: array("I"))
    _ends: "array[int]" = field(default_factory=lambda: array("I"))
    flawed: list[str] = field(default_factory=list)
    """Ids of chunks that are stale, or have a flaw."""
    _flaws: dict[Kind, tuple[int, str]] = field(default_factory=dict)
    """How many chunks have one of a kind, and the first of them in words."""

    def add(self, record: Record) -> None:
        """Enter one chunk of the document, read with its vector."""
        self.seen += 1
        metadata = metadata_of(record)
        if metadata.get("content_hash") != self.content_hash:
            self.stale += 1
            self.flawed.append(record.id)
            return
        ordinal = metadata.get("chunk")
        start, end = metadata.get("start"), metadata.get("end")
        if not (_is_offset(ordinal) and _is_offset(start) and _is_offset(end) and start <= end):
            self._flaw(
                record,
                "malformed",
                f"chunk {record.id} has ordinal {ordinal!r} and span {start!r} to {end!r}; "
                "expected whole numbers from 0",
            )
            return
        expected = chunk_id(self.doc_id, ordinal=ordinal, content_hash=self.content_hash)
        if record.id != expected:
            self._flaw(
                record, "malformed", f"chunk {ordinal} has id {record.id}; expected {expected}"
            )
            return
        self._ordinals.append(ordinal)
        self._starts.append(start)
        self._ends.append(end)
        text = record.payload.get(PAGE_CONTENT)
        if not isinstance(text, str) or len(text) != end - start:
            found = f"{len(text)} characters" if isinstance(text, str) else repr(type(text))
            detail = f"chunk {ordinal} has {found} of text; expected {end - start}"
            self._flaw(record, "bad_text", detail)
        if problem := _vector_problem(record, self.dimension):
            self._flaw(record, "bad_vector", f"chunk {ordinal}: {problem}")

    def findings(self, head: Head) -> Iterator[Finding]:
        """What is wrong with the document, now that all its chunks were entered."""
        if head.state != STORED:
            yield self._found(
                "unfinished",
                "its head says 'writing': a run is at it, was killed, or a repair has marked it; "
                "the next ingest of its source stores it again",
            )
            return
        if self.stale:
            yield self._found("stale", f"{self.stale} chunks are of other bytes than its head says")
        for kind, (count, detail) in self._flaws.items():
            more = f" (and {count - 1} more)" if count > 1 else ""
            yield self._found(kind, detail + more)
        expected = head.chunks
        present = set(self._ordinals)
        duplicates = len(self._ordinals) - len(present)
        if duplicates:
            yield self._found("duplicated", f"{duplicates} chunks too many for their places")
        beyond = sum(ordinal >= expected for ordinal in present)
        if beyond:
            yield self._found("duplicated", f"{beyond} chunks beyond the {expected} of its head")
        missing = expected - (len(present) - beyond)
        if missing:
            yield self._found(
                "missing_chunks", f"its head says {expected} chunks, {expected - missing} are there"
            )
        elif head.characters and expected and not beyond and (problem := self._hole(head)):
            yield self._found("uncovered", problem)

    def _hole(self, head: Head) -> str:
        """What is wrong with the spans, taken together; empty if nothing is."""
        covered = reached = 0
        for start, end in sorted(zip(self._starts, self._ends, strict=True)):
            covered += max(0, end - max(start, reached))
            reached = max(reached, end)
        if reached > head.characters:
            return f"a chunk ends at character {reached} of {head.characters}"
        left = head.characters - covered
        if left != head.skipped:
            return (
                f"{left} of its {head.characters} characters lie in no chunk; "
                f"its head says {head.skipped}, all of them white space"
            )
        return ""

    def _flaw(self, record: Record, kind: Kind, detail: str) -> None:
        self.flawed.append(record.id)
        count, first = self._flaws.get(kind, (0, detail))
        self._flaws[kind] = (count + 1, first)

    def _found(self, kind: Kind, detail: str) -> Finding:
        return finding(kind, detail, doc_id=self.doc_id)


def examine_document(doc_id: str, collection: Collection) -> list[Finding]:
    """What is wrong with one document, from a fresh look at its head and all its chunks."""
    head, problem = read_head(doc_id, collection)
    if head is None:
        chunks = collection.count(chunks_of(doc_id))
        if problem:
            return [finding("malformed", problem, doc_id=doc_id, point=head_id(doc_id))]
        if chunks:
            return [finding("orphaned", f"{chunks} chunks and no head", doc_id=doc_id)]
        return []
    ledger = Ledger(doc_id, head.content_hash, collection.manifest.dimension)
    for record in collection.scroll(where=chunks_of(doc_id), with_vectors=True):
        ledger.add(record)
    found = list(ledger.findings(head))
    if head.state == STORED and is_collapsed(head):
        original = read_head(head.duplicate_of, collection)[0]
        if original is None or is_collapsed(original):
            detail = f"it has no chunks, as a near-duplicate of {head.duplicate_of!r}"
            found.append(finding("lost_original", f"{detail}, which is not there", doc_id=doc_id))
    return found


def head_of(record: Record) -> Head | None:
    """The head that a point holds; None where its payload is not one."""
    metadata = metadata_of(record)
    known = Head.__dataclass_fields__.keys() & metadata.keys()
    try:
        head = Head(**{name: metadata[name] for name in known})
    except TypeError:  # a field without default is missing
        return None
    texts = (head.doc_id, head.content_hash, head.source, head.root, head.duplicate_of)
    counts = (head.chunks, head.characters, head.skipped)
    is_whole = (
        record.id == (head_id(head.doc_id) if isinstance(head.doc_id, str) else "")
        and all(isinstance(text, str) for text in texts)
        and all(_is_count(count) for count in counts)
        and head.state in (WRITING, STORED)
    )
    return head if is_whole else None


def read_head(doc_id: str, collection: Collection) -> tuple[Head | None, str]:
    """A document's head as it is now; where there is none, the reason if its point is damaged."""
    records = collection.retrieve([head_id(doc_id)])
    if not records:
        return None, ""
    head = head_of(records[0]) if records[0].payload.get(KIND) == KIND_HEAD else None
    return head, "" if head is not None else "its head's payload is not that of a head"


def is_collapsed(head: Head) -> bool:
    """Whether another document stands for this one, which has no chunks of its own."""
    return bool(head.duplicate_of) and not head.chunks


def chunks_of(doc_id: str) -> Filter:
    """All chunks of one document."""
    return of_kind(KIND_CHUNK) & where("doc_id", doc_id)


def metadata_of(record: Record) -> Mapping[str, Any]:
    """The point's metadata, empty where it has none."""
    metadata = record.payload.get(METADATA)
    return metadata if isinstance(metadata, dict) else {}


def _vector_problem(record: Record, dimension: int) -> str:
    if record.vector is None:
        return "no vector"
    if record.vector.shape != (dimension,):
        return f"a vector of shape {record.vector.shape}; expected ({dimension},)"
    length = math.sqrt(float(np.dot(record.vector, record.vector)))
    if not abs(length - 1) <= UNIT_TOLERANCE:  # also true of NaN
        return f"a vector of length {length:.6g}; expected finite values and length 1"
    return ""


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_offset(value: Any) -> TypeGuard[int]:
    return _is_count(value) and value < _MOST
