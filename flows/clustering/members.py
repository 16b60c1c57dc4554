"""What a clustering reads of a collection: every chunk's vector and document, a few chunks' texts.

Legend: `N` chunks, `D` dimensions.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from flows.clustering.snippet import valid_text
from flows.clustering.vector_file import VectorFile
from flows.errors import FlowError
from search.collections import base_name
from search.filters import of_kind
from search.records import KIND_CHUNK, METADATA, PAGE_CONTENT, Record
from search.stores.contract import Collection

CLUSTER: Final = "cluster"
"""Key of a chunk's metadata that holds the number of its cluster, -1 for none."""
CLUSTER_NAME: Final = "cluster_name"
"""Key for the name of that cluster; a chunk of no cluster has none."""
CLUSTER_NAMED_BY: Final = "cluster_named_by"
"""Key that is there where a person gave the name, so that it outlives the report's files."""
PERSON: Final = "person"

UNCLUSTERED: Final = -2
"""Of a chunk that no run has seen; -1 is one that a run put into no cluster."""
READ_BATCH: Final = 1024
TEXT_BATCH: Final = 256

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is; done <= total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Where chunks come from."""

    doc_id: str
    title: str
    source: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What a chunk's metadata says of its cluster."""

    cluster: int = UNCLUSTERED
    name: str | None = None
    by_person: bool = False

    def changes(self, before: "Mark") -> dict[str, Any]:
        """The metadata that turns one mark into this one; None removes a key."""
        changed: dict[str, Any] = {}
        if self.cluster != before.cluster:
            changed[CLUSTER] = self.cluster
        if self.name != before.name:
            changed[CLUSTER_NAME] = self.name
        if self.by_person != before.by_person:
            changed[CLUSTER_NAMED_BY] = PERSON if self.by_person else None
        return changed


@dataclass(slots=True, kw_only=True)
class Members:
    """Every chunk of a collection, without text and vector; rows are in the order of the ids.

    Forty bytes a chunk, and each document once.

    Attributes:
        ids: uint8 (N, 16), the ids' bytes.
        documents: each document once, in the order of first appearance.
        document_of: int32 (N,), place of each chunk's document in `documents`.
        starts, ends: int32 (N,), the characters of its document that a chunk is.
        marks: each mark once that the store holds.
        mark_of: int32 (N,), place of each chunk's mark in `marks`.
    """

    ids: npt.NDArray[np.uint8]
    documents: list[Document] = field(default_factory=list)
    document_of: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int32]
    marks: list[Mark] = field(default_factory=list)
    mark_of: npt.NDArray[np.int32]

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    def id(self, row: int) -> str:
        """The id of the chunk in a row."""
        return str(uuid.UUID(bytes=self.ids[row].tobytes()))

    def document(self, row: int) -> Document:
        """The document of the chunk in a row."""
        return self.documents[int(self.document_of[row])]

    @property
    def clusters(self) -> npt.NDArray[np.int32]:
        """int32 (N,), the cluster that the store holds for each chunk; see `UNCLUSTERED`."""
        own = np.array([mark.cluster for mark in self.marks], dtype=np.int32)
        return np.asarray(own[self.mark_of], dtype=np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One chunk's text, and the characters of its document that it is."""

    text: str
    start: int
    end: int


def read_members(collection: Collection, vectors: VectorFile, *, progress: Progress) -> Members:
    """Read all chunks in one pass; vectors go into a file, texts are left.

    Args:
        collection: its chunks come in the order of their ids.
        vectors: empty; gets a row for each chunk.
        progress: is told of stage `read`.

    Raises:
        FlowError: the collection holds no chunk, or a chunk lacks its vector or its document.
        InvalidInput: a vector has no direction.
    """
    chunks = of_kind(KIND_CHUNK)
    name, dimension = base_name(collection.manifest.name), collection.manifest.dimension
    expected = collection.count(chunks)
    members = _room(expected)
    documents: dict[str, int] = {}
    marks: dict[Mark, int] = {}
    waiting: list[npt.NDArray[np.float32]] = []
    names: list[str] = []
    row = 0
    for record in collection.scroll(where=chunks, with_vectors=True, batch_size=READ_BATCH):
        if row == len(members):  # an ingest goes on meanwhile
            members = _with_room(members, row // 4 + READ_BATCH)
        if record.vector is None or record.vector.shape != (dimension,):
            shape = None if record.vector is None else record.vector.shape
            raise FlowError(
                f"chunk {record.id} of collection {name!r} has a vector of shape {shape}, expected "
                f"({dimension},): ingest its document again"
            )
        doc_id = _text(record, "doc_id")
        if doc_id not in documents:
            documents[doc_id] = len(members.documents)
            members.documents.append(
                Document(
                    doc_id=doc_id, title=_text(record, "title"), source=_text(record, "source")
                )
            )
        mark = _mark(record)
        if mark not in marks:
            marks[mark] = len(members.marks)
            members.marks.append(mark)
        members.ids[row] = np.frombuffer(uuid.UUID(record.id).bytes, dtype=np.uint8)
        members.document_of[row] = documents[doc_id]
        members.starts[row] = _offset(record, "start")
        members.ends[row] = _offset(record, "end")
        members.mark_of[row] = marks[mark]
        waiting.append(record.vector)
        names.append(record.id)
        row += 1
        if len(waiting) == READ_BATCH:
            vectors.append(np.stack(waiting), names)
            waiting, names = [], []
            progress("read", row, max(expected, row))
    if not row:
        raise FlowError(f"collection {name!r} holds no chunks to cluster; ingest documents first")
    if waiting:
        vectors.append(np.stack(waiting), names)
    progress("read", row, row)
    return Members(
        ids=members.ids[:row],
        documents=members.documents,
        document_of=members.document_of[:row],
        starts=members.starts[:row],
        ends=members.ends[:row],
        marks=members.marks,
        mark_of=members.mark_of[:row],
    )


def read_passages(
    collection: Collection, ids: Sequence[str], *, progress: Progress
) -> dict[str, Passage]:
    """The texts of these chunks, by id; a chunk that was deleted meanwhile is left out.

    Raises:
        FlowError: a chunk lacks its text or its place in the document.
    """
    passages: dict[str, Passage] = {}
    for start in range(0, len(ids), TEXT_BATCH):
        batch = ids[start : start + TEXT_BATCH]
        for record in collection.retrieve(batch):
            text = record.payload.get(PAGE_CONTENT)
            if not isinstance(text, str):
                raise _incomplete(record, PAGE_CONTENT, text, expected="text")
            passages[record.id] = Passage(
                text=text, start=_offset(record, "start"), end=_offset(record, "end")
            )
        progress("texts", start + len(batch), len(ids))
    return passages


def _room(count: int) -> Members:
    return Members(
        ids=np.empty((count, 16), dtype=np.uint8),
        document_of=np.empty(count, dtype=np.int32),
        starts=np.empty(count, dtype=np.int32),
        ends=np.empty(count, dtype=np.int32),
        mark_of=np.empty(count, dtype=np.int32),
    )


def _with_room(members: Members, more: int) -> Members:
    room = _room(more)
    return Members(
        ids=np.concatenate([members.ids, room.ids]),
        documents=members.documents,
        document_of=np.concatenate([members.document_of, room.document_of]),
        starts=np.concatenate([members.starts, room.starts]),
        ends=np.concatenate([members.ends, room.ends]),
        marks=members.marks,
        mark_of=np.concatenate([members.mark_of, room.mark_of]),
    )


def _mark(record: Record) -> Mark:
    metadata = _metadata(record)
    cluster, name = metadata.get(CLUSTER), metadata.get(CLUSTER_NAME)
    return Mark(
        cluster=cluster if isinstance(cluster, int) else UNCLUSTERED,
        name=name if isinstance(name, str) else None,
        by_person=metadata.get(CLUSTER_NAMED_BY) == PERSON,
    )


def _metadata(record: Record) -> dict[str, Any]:
    metadata = record.payload.get(METADATA)
    if not isinstance(metadata, dict):
        raise _incomplete(record, METADATA, metadata, expected="a mapping")
    return metadata


def _text(record: Record, key: str) -> str:
    value = _metadata(record).get(key)
    if not isinstance(value, str):
        raise _incomplete(record, f"{METADATA}.{key}", value, expected="text")
    return valid_text(value)


def _offset(record: Record, key: str) -> int:
    value = _metadata(record).get(key)
    if not isinstance(value, int):
        raise _incomplete(record, f"{METADATA}.{key}", value, expected="a whole number")
    return value


def _incomplete(record: Record, key: str, value: object, *, expected: str) -> FlowError:
    return FlowError(
        f"chunk {record.id}: payload key {key} is {value!r}, expected {expected}: "
        "ingest its document again"
    )
