"""What a clustering reads of a collection: every chunk's vector and document, a few chunks' texts.

Legend: `N` chunks, `D` dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from flows.clustering.snippet import valid_text
from flows.clustering.spherical import Floats
from flows.errors import FlowError
from search.collections import base_name
from search.filters import of_kind
from search.records import KIND_CHUNK, METADATA, PAGE_CONTENT, Record
from search.stores.contract import Collection

CLUSTER: Final = "cluster"
"""Key of a chunk's metadata that holds the number of its cluster."""

UNCLUSTERED: Final = -1
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Every chunk of a collection, without its text; rows of the arrays follow `ids`.

    Attributes:
        ids: N chunk ids.
        vectors: float32 (N, D).
        documents: each document once, in the order of first appearance.
        document_of: int32 (N,), place of each chunk's document in `documents`.
        clusters: int32 (N,), the cluster that the store holds for each chunk; -1 where none.
    """

    ids: list[str]
    vectors: Floats
    documents: list[Document]
    document_of: npt.NDArray[np.int32]
    clusters: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One chunk's text, and the characters of its document that it is."""

    text: str
    start: int
    end: int


def read_members(collection: Collection, *, progress: Progress) -> Members:
    """Read all chunks in one pass; memory holds the vectors once, and no texts.

    Raises:
        FlowError: the collection holds no chunk, or a chunk lacks its vector or its document.
    """
    chunks = of_kind(KIND_CHUNK)
    name, dimension = base_name(collection.manifest.name), collection.manifest.dimension
    expected = collection.count(chunks)
    ids: list[str] = []
    documents: list[Document] = []
    places: dict[str, int] = {}
    vectors_ND = np.empty((expected, dimension), dtype=np.float32)
    document_of_N = np.empty(expected, dtype=np.int32)
    clusters_N = np.empty(expected, dtype=np.int32)
    for record in collection.scroll(where=chunks, with_vectors=True, batch_size=READ_BATCH):
        row = len(ids)
        if row == len(vectors_ND):  # an ingest goes on meanwhile
            room = row // 4 + READ_BATCH
            vectors_ND = np.concatenate([vectors_ND, np.empty((room, dimension), np.float32)])
            document_of_N = np.concatenate([document_of_N, np.empty(room, np.int32)])
            clusters_N = np.concatenate([clusters_N, np.empty(room, np.int32)])
        if record.vector is None or record.vector.shape != (dimension,):
            shape = None if record.vector is None else record.vector.shape
            raise FlowError(
                f"chunk {record.id} of collection {name!r} has a vector of shape {shape}, expected "
                f"({dimension},): ingest its document again"
            )
        doc_id = _text(record, "doc_id")
        if doc_id not in places:
            places[doc_id] = len(documents)
            documents.append(
                Document(
                    doc_id=doc_id, title=_text(record, "title"), source=_text(record, "source")
                )
            )
        ids.append(record.id)
        vectors_ND[row] = record.vector
        document_of_N[row] = places[doc_id]
        clusters_N[row] = _metadata(record).get(CLUSTER, UNCLUSTERED)
        if len(ids) % READ_BATCH == 0:
            progress("read", len(ids), max(expected, len(ids)))
    count = len(ids)
    if not count:
        raise FlowError(f"collection {name!r} holds no chunks to cluster; ingest documents first")
    progress("read", count, count)
    return Members(
        ids=ids,
        vectors=vectors_ND[:count],
        documents=documents,
        document_of=document_of_N[:count],
        clusters=clusters_N[:count],
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
