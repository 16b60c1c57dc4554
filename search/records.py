"""What is stored and what is found: points, chunks, document heads, hits, and the payload's keys.

A payload is readable by LangChain's and LlamaIndex's Qdrant integrations: `page_content` holds the
text, `metadata` the rest. Kinds of points in a collection:

- a **chunk** has a `dense` vector, `page_content` and `metadata`;
- a **head** has no vector, so that no kNN query can return it; its `metadata` says which version of
  a document is stored whole. It is written after the document's last chunk;
- a **quarantine** entry has no vector either: its `metadata` says why a document is not stored.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

DENSE: Final = "dense"
"""Name of the dense vector of every chunk."""

KIND: Final = "kind"
KIND_CHUNK: Final = "chunk"
KIND_HEAD: Final = "head"
KIND_QUARANTINE: Final = "quarantine"
PAGE_CONTENT: Final = "page_content"
METADATA: Final = "metadata"

Payload: TypeAlias = dict[str, Any]

NAMESPACE: Final = uuid.UUID("6f1d3c5e-0b61-5d0a-9c1f-5e8f0a7d2b43")
"""Namespace of every id that Sextant makes; changing it re-ingests every collection."""


def chunk_id(doc_id: str, *, ordinal: int, content_hash: str) -> str:
    """The id of one chunk: uuid5 over document id, position and the document's content hash."""
    return str(uuid.uuid5(NAMESPACE, f"chunk\x1f{doc_id}\x1f{ordinal}\x1f{content_hash}"))


def head_id(doc_id: str) -> str:
    """The id of a document's head: one per document, whatever its version."""
    return str(uuid.uuid5(NAMESPACE, f"head\x1f{doc_id}"))


def quarantine_id(doc_id: str) -> str:
    """The id of a document's entry in quarantine: one per document."""
    return str(uuid.uuid5(NAMESPACE, f"quarantine\x1f{doc_id}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What is written: `vector` is float32 of shape (D,), or None for a head."""

    id: str
    vector: npt.NDArray[np.float32] | None
    payload: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is read back: a point, its vector if asked for, its score if it was searched."""

    id: str
    payload: Payload
    vector: npt.NDArray[np.float32] | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Why a hit stands where it does: its place and score on either side, from 1; None: not there.

    Of hits that stand for a document, each side's are those of its own best chunk.
    """

    dense_rank: int | None = None
    dense_score: float | None = None
    """Cosine."""
    lexical_rank: int | None = None
    lexical_score: float | None = None
    """BM25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The sentence of a hit that answers best: characters `hit.text[start:end]`."""

    start: int
    end: int
    score: float
    """Cosine to the query; of hits by words, the share of the query's words that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One answer to a query: a chunk, its score, and the exact span of the parsed source.

    The score is a cosine, a BM25 score, or made of the ranks of both, as the search's mode says.
    """

    rank: int
    score: float
    id: str
    doc_id: str
    source: str
    title: str
    text: str
    start: int
    end: int
    metadata: dict[str, Any] = field(default_factory=dict)
    ranks: Ranks | None = None
    more: int = 0
    """Further chunks of the same document among those that were looked at."""
    duplicates: tuple[str, ...] = ()
    """Ids of chunks that say the same, and are not shown."""
    percentile: float | None = None
    """Part of meaningless queries, 0 to 1, whose best chunk has a lower cosine than this one."""
    evidence: Evidence | None = None
    marks: tuple[tuple[int, int], ...] = ()
    """Where words of the query stand: starts and ends in `text`."""
