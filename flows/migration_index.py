"""What two versions of a collection hold, document by document, and where they differ.

A head is compared by a digest of all it says, so that an equal digest means: the same document, of
the same ingest, whole.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flows.heads import STORED
from flows.migration_spool import expected_chunks, plain
from search.filters import Filter, Match, of_kind
from search.records import (
    KIND,
    KIND_CHUNK,
    KIND_HEAD,
    KIND_QUARANTINE,
    METADATA,
    Point,
)
from search.stores.contract import Collection

MIGRATED_HEAD: Final = "migrated_head"
"""Key of a quarantine entry's metadata: the digest of the head that could not be migrated."""
WRITE_BATCH: Final = 1000
OTHERS: Final = Filter(must_not=(Match(key=KIND, values=(KIND_CHUNK, KIND_HEAD)),))
"""Points that are neither chunk nor head: without vectors, and copied as they are."""


@dataclass(frozen=True, slots=True)
class HeadDigest:
    """A head, in few bytes."""

    digest: bytes
    whole: bool
    """Whether the document is stored whole; otherwise a run is at it, or died over it."""
    chunks: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What has to be done for the new version to equal the old one."""

    changed: frozenset[str]
    """Whole in the old version, and not so in the new one; ids of documents."""
    gone: frozenset[str]
    """No longer in the old version."""
    unfinished: int
    """Half-written in the old version: left as they are in the new one."""
    documents: int
    """Whole in the old version."""
    chunks: int
    """Of the documents that changed."""

    @property
    def is_empty(self) -> bool:
        """Whether both versions hold the same documents."""
        return not self.changed and not self.gone


def digest_of(content: Mapping[str, Any]) -> bytes:
    """A digest of a head's metadata, or of another point's payload."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def read_digests(collection: Collection) -> dict[str, HeadDigest]:
    """All heads of a collection, by document id."""
    found: dict[str, HeadDigest] = {}
    for record in collection.scroll(where=of_kind(KIND_HEAD)):
        head = record.payload[METADATA]
        found[head["doc_id"]] = HeadDigest(
            digest_of(head), head["state"] == STORED, expected_chunks(head)
        )
    return found


def read_left_out(collection: Collection) -> dict[str, bytes]:
    """Documents that a migration into this version left out: id -> digest of the old head."""
    marks = (r.payload[METADATA] for r in collection.scroll(where=of_kind(KIND_QUARANTINE)))
    return {m["doc_id"]: bytes.fromhex(m[MIGRATED_HEAD]) for m in marks if MIGRATED_HEAD in m}


def difference(
    old: Mapping[str, HeadDigest],
    new: Mapping[str, HeadDigest],
    left_out: Mapping[str, bytes],
) -> Difference:
    """Where the new version is behind the old one."""
    changed = {
        doc_id
        for doc_id, head in old.items()
        if head.whole and new.get(doc_id) != head and left_out.get(doc_id) != head.digest
    }
    return Difference(
        changed=frozenset(changed),
        gone=frozenset(new.keys() - old.keys()),
        unfinished=sum(not head.whole for head in old.values()),
        documents=sum(head.whole for head in old.values()),
        chunks=sum(old[doc_id].chunks for doc_id in changed),
    )


def copy_others(old: Collection, new: Collection, heads: Mapping[str, HeadDigest]) -> bool:
    """Bring in line what is neither chunk nor head: quarantine entries, and whatever comes later.

    Entries of documents that the migration left out stay while the old version holds that document
    as it was.

    Args:
        old: Read from.
        new: Written to.
        heads: The old version's.

    Returns:
        Whether anything was written.
    """
    present: dict[str, bytes] = {}
    own: set[str] = set()
    for record in new.scroll(where=OTHERS):
        mark = record.payload[METADATA].get(MIGRATED_HEAD)
        head = heads.get(record.payload[METADATA].get("doc_id", ""))
        if mark is not None and head is not None and (not head.whole or head.digest.hex() == mark):
            own.add(record.id)
        else:
            present[record.id] = digest_of(plain(record.payload))
    batch: list[Point] = []
    wrote = False
    for record in old.scroll(where=OTHERS):
        payload = plain(record.payload)
        if record.id in own or present.pop(record.id, None) == digest_of(payload):
            continue
        batch.append(Point(id=record.id, vector=None, payload=payload))
        wrote = True
        if len(batch) == WRITE_BATCH:
            new.upsert(batch)
            batch = []
    new.upsert(batch)
    new.delete(list(present))
    return wrote or bool(present)
