"""Quarantine: what the store itself says of each document that was refused, and why.

An entry lies in the collection beside the heads, as a point without a vector, so that no file can
disagree with it. A document may have both: its head then tells of an earlier version, which stays
stored and searchable. The entry goes when the document is stored, or vanishes from its source.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

from flows.clustering.snippet import one_line
from search.filters import of_kind
from search.records import KIND, KIND_QUARANTINE, METADATA, Point, quarantine_id
from search.stores.contract import Collection

Stage: TypeAlias = Literal["list", "read", "parse", "chunk", "embed"]
"""Where a document was refused: while its folder was listed, when it was opened, in its parser,
in the chunker, by the encoder."""

WANTED: Final = "wanted"
LONGEST_REASON: Final = 1000
"""Characters; a reason may repeat a part of the document."""
_BATCH: Final = 1000
"""Entries of one write: a flush to the disk each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One document in quarantine."""

    doc_id: str
    """Of a folder that could not be listed: its path."""
    source: str
    root: str
    format: str
    """Empty where nothing was seen that tells."""
    stage: Stage
    reason: str
    """One line, at most `LONGEST_REASON` characters."""
    content_hash: str
    """SHA-256 of the bytes that were refused; empty where they could not be read."""
    size: int
    """Bytes, as far as known."""
    recipe: str
    """Parser, chunker and their settings, see `Head.recipe`."""
    limits: str
    """What else decides, see `limits_word`."""
    first_seen: str
    """When it first came into quarantine: ISO 8601, UTC."""
    last_seen: str
    """When it was last tried: ISO 8601, UTC."""
    attempts: int
    """Runs that have tried it."""
    run_id: str
    """The run that tried it last."""
    retry: Literal["", "wanted"] = ""
    """`wanted`: somebody asked that the next ingest try it, whatever else is the same."""

    def point(self) -> Point:
        """The entry as it is stored: without a vector, so that no search returns it."""
        payload = {KIND: KIND_QUARANTINE, METADATA: asdict(self)}
        return Point(id=quarantine_id(self.doc_id), vector=None, payload=payload)


def limits_word(*, max_document_mb: int, parse_seconds: float, parse_memory_mb: int) -> str:
    """The limits that may refuse a document, as one readable word: raising one tries it again.

    >>> limits_word(max_document_mb=20, parse_seconds=60.0, parse_memory_mb=1024)
    '20 MiB, parsed in 60 s and 1024 MiB'
    """
    return f"{max_document_mb} MiB, parsed in {parse_seconds:g} s and {parse_memory_mb} MiB"


def held(entry: Entry, *, content_hash: str, recipe: str, limits: str) -> bool:
    """Whether a document need not be tried: the same bytes would be refused in the same way.

    Never, where its bytes could not be read, or where somebody asked for another try.
    """
    if not entry.content_hash or entry.retry:
        return False
    return (entry.content_hash, entry.recipe, entry.limits) == (content_hash, recipe, limits)


def updated(
    before: Entry | None,
    *,
    doc_id: str,
    source: str,
    root: str,
    format: str,
    stage: Stage,
    reason: str,
    content_hash: str,
    size: int,
    recipe: str,
    limits: str,
    seen: str,
    run_id: str,
) -> Entry:
    """The entry of a document that was just refused.

    A run counts once, however often a task of it was repeated; a wish for a retry is fulfilled.

    Args:
        before: Its entry so far; None: it was not in quarantine.
        doc_id: As in `Entry`, and so are the others that are not told apart here.
        source: Where it lies.
        root: The source that was given.
        format: Which parser takes it; may be empty.
        stage: Where it was refused.
        reason: Why; it is put on one line, without control characters.
        content_hash: SHA-256 of its bytes; empty where they could not be read.
        size: Bytes.
        recipe: The session's.
        limits: See `limits_word`.
        seen: Now, ISO 8601, UTC.
        run_id: The run that refused it.
    """
    same_run = before is not None and before.run_id == run_id
    return Entry(
        doc_id=doc_id,
        source=source,
        root=root,
        format=format,
        stage=stage,
        reason=one_line(reason, LONGEST_REASON) or "refused without a reason",
        content_hash=content_hash,
        size=size,
        recipe=recipe,
        limits=limits,
        first_seen=seen if before is None else before.first_seen,
        last_seen=seen,
        attempts=1 if before is None else before.attempts + (not same_run),
        run_id=run_id,
    )


def read_quarantine(collection: Collection) -> dict[str, Entry]:
    """All entries of a collection, by document id, in order of the ids."""
    return {entry.doc_id: entry for entry in sorted(_entries(collection), key=lambda e: e.doc_id)}


def write(collection: Collection, entries: Iterable[Entry]) -> None:
    """Put entries into quarantine, each in place of its document's earlier one.

    Of two entries for one document the last counts.
    """
    points = {entry.doc_id: entry.point() for entry in entries}
    for batch in _batches(points.values()):
        collection.upsert(batch)


def remove(collection: Collection, doc_ids: Iterable[str]) -> None:
    """Forget the entries of documents; those that have none are ignored."""
    for batch in _batches({quarantine_id(doc_id): None for doc_id in doc_ids}):
        collection.delete(batch)


def want_retry(collection: Collection, doc_ids: Iterable[str]) -> None:
    """Ask that the next ingest try these documents; those that have no entry are ignored."""
    for batch in _batches({quarantine_id(doc_id): None for doc_id in doc_ids}):
        collection.set_metadata({point: {"retry": WANTED} for point in batch})


def _entries(collection: Collection) -> Iterator[Entry]:
    for record in collection.scroll(where=of_kind(KIND_QUARANTINE)):
        metadata: Mapping[str, Any] = record.payload[METADATA]
        known = Entry.__dataclass_fields__.keys() & metadata.keys()
        yield Entry(**{name: metadata[name] for name in known})


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch
