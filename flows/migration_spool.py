"""The spool: texts on their way from one version to the next, so that the old one is soon free.

An embedded collection is open in one process at a time. What a migration needs of it, payloads
without vectors, is copied to files in seconds; the hours of embedding read those.

    spool/part-0000.jsonl.zst    a point a line, zstd frames; all points of a document in one part
    spool.json                   written last: a spool without it is not whole
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.errors import FlowError
from search.checksums import CHECKSUM
from search.filters import of_kind, where
from search.records import KIND, KIND_CHUNK, KIND_HEAD, METADATA, Payload, Record
from search.stores.contract import Collection

SPOOL: Final = "spool"
SPOOL_FILE: Final = "spool.json"
PART_CHUNKS: Final = 4096
"""Chunks in a part, about: what is held in memory, and stored by one task."""
MOST_PARTS: Final = 256
FRAME_BYTES: Final = 256 * 1024
"""Of a part that are held back, to be compressed together."""
IDS_PER_FILTER: Final = 256


class SpooledPart(BaseModel):
    """One file of the spool."""

    model_config = ConfigDict(frozen=True)

    name: str
    points: int
    bytes: int
    """As it lies on the disk."""


class SpoolFile(BaseModel):
    """What `spool.json` says."""

    model_config = ConfigDict(frozen=True)

    source: str
    """The version that was copied."""
    parts: tuple[SpooledPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledDocument:
    """One document as the old version held it."""

    doc_id: str
    head: Payload
    chunks: Sequence[tuple[str, Payload]]
    """Id and payload of each chunk of the head's content, by ordinal."""

    @property
    def missing(self) -> int:
        """Chunks that the head tells of and that are not there, or there beyond it (negative)."""
        return expected_chunks(self.head[METADATA]) - len(self.chunks)


class Spool:
    """The spool of one migration; reading and writing it needs no store."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read or made yet.

        Args:
            folder: The migration's; the spool lies in it.
        """
        self._folder = folder / SPOOL
        self._index = folder / SPOOL_FILE
        self.parts: tuple[SpooledPart, ...] = ()

    def find(self, source: str) -> bool:
        """Take up the spool that a run left behind, if it is whole and of this version."""
        try:
            found = SpoolFile.model_validate_json(self._index.read_bytes())
            whole = found.source == source and all(
                (self._folder / part.name).stat().st_size == part.bytes for part in found.parts
            )
        except (OSError, ValidationError):
            whole = False
        self.parts = found.parts if whole else ()
        return whole

    def fill(
        self,
        collection: Collection,
        doc_ids: Set[str],
        *,
        chunks: int,
        advance: Callable[[int], None],
    ) -> None:
        """Copy documents, heads and chunks, out of a collection; what was spooled before goes.

        Args:
            collection: Where they are.
            doc_ids: Which documents.
            chunks: How many chunks that is, about.
            advance: Called with a number of chunks, as they are copied.

        Raises:
            FlowError: the files cannot be written.
            SearchError: the collection cannot be read.
        """
        self.drop()
        count = min(MOST_PARTS, max(1, -(-chunks // PART_CHUNKS)))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            writers = [
                _Writer(self._folder / f"part-{number:04}.jsonl.zst") for number in range(count)
            ]
            for record in _points(collection, doc_ids):
                writers[_part_of(record.payload[METADATA]["doc_id"], count)].add(record)
                advance(record.payload[KIND] == KIND_CHUNK)
            parts = tuple(writer.finish() for writer in writers)
            text = SpoolFile(source=collection.manifest.name, parts=parts).model_dump_json()
            temporary = self._index.with_name(f".{SPOOL_FILE}.tmp")
            temporary.write_text(text + "\n", encoding="utf-8")
            temporary.replace(self._index)
        except OSError as error:
            self.drop()
            raise FlowError(
                f"texts cannot be copied to {str(self._folder)!r}: {error.strerror}; make room or "
                "check rights, then run the same command again: it goes on from there"
            ) from error
        self.parts = parts

    def documents(self, number: int) -> list[SpooledDocument]:
        """The documents of one part, by id.

        Raises:
            FlowError: the part cannot be read; the spool is dropped, to be made again.
        """
        heads: dict[str, Payload] = {}
        chunks: dict[str, list[tuple[str, Payload]]] = {}
        for identifier, payload in self._lines(self.parts[number]):
            doc_id = payload[METADATA]["doc_id"]
            if payload[KIND] == KIND_HEAD:
                heads[doc_id] = payload
            else:
                chunks.setdefault(doc_id, []).append((identifier, payload))
        return [
            SpooledDocument(
                doc_id=doc_id, head=head, chunks=_of_content(head, chunks.get(doc_id, []))
            )
            for doc_id, head in sorted(heads.items())
        ]

    def drop(self) -> None:
        """Remove the spool, its index first; what cannot be removed is left."""
        self._index.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        self.parts = ()

    def _lines(self, part: SpooledPart) -> Iterator[tuple[str, Payload]]:
        import zstandard

        path = self._folder / part.name
        lines = 0
        try:
            with path.open("rb") as file:
                reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
                rest = b""
                while data := reader.read(1 << 20):
                    *whole, rest = (rest + data).split(b"\n")
                    for line in whole:
                        lines += 1
                        identifier, payload = json.loads(line)
                        yield identifier, payload
            if lines != part.points:
                raise ValueError(f"{lines} points, expected {part.points}")
        except (OSError, ValueError, zstandard.ZstdError) as error:
            self.drop()
            raise FlowError(
                f"spooled texts in {str(path)!r} cannot be read ({error}); they were removed: run "
                "the same command again, which copies them anew"
            ) from error


class _Writer:
    """A part in the making; lines are compressed many together, one frame after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[bytes] = []
        self._held = self._points = 0

    def add(self, record: Record) -> None:
        line = json.dumps([record.id, plain(record.payload)], ensure_ascii=False).encode()
        self._lines.append(line + b"\n")
        self._held += len(line)
        self._points += 1
        if self._held >= FRAME_BYTES:
            self._flush()

    def finish(self) -> SpooledPart:
        self._flush()
        size = self._path.stat().st_size
        return SpooledPart(name=self._path.name, points=self._points, bytes=size)

    def _flush(self) -> None:
        import zstandard

        frame = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(
            b"".join(self._lines)
        )
        with self._path.open("ab") as file:
            file.write(frame)
        self._lines, self._held = [], 0


def plain(payload: Payload) -> Payload:
    """A payload as it was before it was stored: without its checksum, which the vector decides."""
    return {key: value for key, value in payload.items() if key != CHECKSUM}


def expected_chunks(head: Mapping[str, Any]) -> int:
    """How many chunks a document has, by its head's metadata; a near-duplicate has none."""
    return 0 if head.get("duplicate_of") else int(head["chunks"])


def _points(collection: Collection, doc_ids: Set[str]) -> Iterator[Record]:
    """Heads, then chunks, of these documents.

    Where most of the collection is wanted it is read through, else asked for by id.
    """
    for kind in (KIND_HEAD, KIND_CHUNK):
        if 2 * len(doc_ids) > collection.count(of_kind(KIND_HEAD)):
            for record in collection.scroll(where=of_kind(kind)):
                if record.payload[METADATA]["doc_id"] in doc_ids:
                    yield record
            continue
        ids = sorted(doc_ids)
        for start in range(0, len(ids), IDS_PER_FILTER):
            these = where("doc_id", *ids[start : start + IDS_PER_FILTER])
            yield from collection.scroll(where=of_kind(kind) & these)


def _of_content(head: Payload, chunks: Sequence[tuple[str, Payload]]) -> list[tuple[str, Payload]]:
    """The chunks that the head speaks of: of a document that is being replaced, not the others."""
    content_hash = head[METADATA]["content_hash"]
    mine = [one for one in chunks if one[1][METADATA]["content_hash"] == content_hash]
    return sorted(mine, key=lambda one: int(one[1][METADATA]["chunk"]))


def _part_of(doc_id: str, count: int) -> int:
    return int.from_bytes(hashlib.sha256(doc_id.encode()).digest()[:8], "big") % count
