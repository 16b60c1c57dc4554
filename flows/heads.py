"""Document heads: what the store itself says of each document, so that no other ledger is needed.

A head is written twice. Before a document's first chunk it says `writing`: from then on the next
run knows that chunks of this document may lie about, even if this one is killed. After the last
chunk, and after the chunks of an earlier version are out, it says `stored`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from search.filters import of_kind
from search.records import KIND, KIND_HEAD, METADATA, Point, Record, head_id
from search.stores.contract import Collection

WRITING: Final = "writing"
STORED: Final = "stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One document as the store knows it."""

    doc_id: str
    source: str
    root: str
    title: str
    format: str
    content_hash: str
    """SHA-256 of the document's bytes."""
    recipe: str
    """Parser, chunker and their settings: another one gives other chunks of the same bytes."""
    state: Literal["writing", "stored"]
    chunks: int
    tokens: int
    size: int
    """Bytes."""
    ingested_at: str
    run_id: str
    characters: int = 0
    """Of the parsed text: each lies in a chunk, or is white space that was skipped."""
    skipped: int = 0
    """Characters of white space that lie in no chunk."""
    language: str = ""
    """ISO 639-1; empty where the text does not tell."""
    modified: str = ""
    """When the source says it was changed: ISO 8601, UTC."""
    version: str = ""
    """What its place said of its version, see `SourceDocument.version`."""
    signature: str = ""
    """MinHash of its words, for near-duplicates; empty where it is too short for one."""
    duplicate_of: str = ""
    """The document that it nearly equals, and for which it has no chunks; mostly empty."""

    def point(self) -> Point:
        """The head as it is stored: without a vector, so that no search returns it."""
        payload = {KIND: KIND_HEAD, METADATA: asdict(self)}
        return Point(id=head_id(self.doc_id), vector=None, payload=payload)

    def is_current(self, content_hash: str, recipe: str) -> bool:
        """Whether the document is stored whole, from these bytes, by this recipe."""
        return (self.state, self.content_hash, self.recipe) == (STORED, content_hash, recipe)


def read_heads(collection: Collection) -> dict[str, Head]:
    """All heads of a collection, by document id."""
    return {head.doc_id: head for head in _heads(collection)}


def find_heads(collection: Collection, doc_ids: Iterable[str]) -> dict[str, Head]:
    """The heads of some documents, by document id; those that have none are left out."""
    records = collection.retrieve([head_id(doc_id) for doc_id in doc_ids])
    return {head.doc_id: head for head in map(_head, records)}


def _heads(collection: Collection) -> Iterator[Head]:
    return map(_head, collection.scroll(where=of_kind(KIND_HEAD)))


def _head(record: Record) -> Head:
    metadata: Mapping[str, Any] = record.payload[METADATA]
    known = Head.__dataclass_fields__.keys() & metadata.keys()
    return Head(**{name: metadata[name] for name in known})
