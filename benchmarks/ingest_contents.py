"""What a collection holds, held against what another holds: nothing lost, nothing left behind."""

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flows.heads import STORED
from search.checksums import CHECKSUM, verify_record
from search.collections import open_or_adopt
from search.errors import CollectionNotFound, SearchError
from search.records import KIND, KIND_CHUNK, KIND_HEAD, KIND_QUARANTINE, METADATA
from search.stores.locate import open_store

COLLECTION: Final = "docs"
OWN_MARKS: Final = ("run_id", "ingested_at")
"""Of a point's metadata, what each run writes anew; checksums, which cover it, are verified."""
LEAST_COSINE: Final = 0.999
"""Of a text's two vectors, which bfloat16 rounds otherwise in another batch."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One point."""

    payload: Mapping[str, Any]
    """Without the run's own marks."""
    vector: npt.NDArray[np.float32] | None
    is_sound: bool
    """Whether its checksum holds."""

    @property
    def kind(self) -> str:
        """Chunk, head or quarantine."""
        return str(self.payload[KIND])

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What it says of itself."""
        found: Mapping[str, Any] = self.payload[METADATA]
        return found


Contents = Mapping[str, Stored]
"""Every point of a collection by its id."""


def contents(store: Path) -> Contents:
    """Read a whole collection.

    Raises:
        SearchError: there is none, or it cannot be read.
    """
    place = open_store(store)
    try:
        points = {}
        for record in open_or_adopt(place, COLLECTION).scroll(with_vectors=True):
            payload = json.loads(json.dumps(record.payload))
            payload.pop(CHECKSUM, None)
            for mark in OWN_MARKS:
                payload[METADATA].pop(mark, None)
            points[record.id] = Stored(payload, record.vector, verify_record(record) is not False)
        return points
    finally:
        place.close()


def contents_of_copy(store: Path, scratch: Path) -> Contents | None:
    """What a store holds, read from a copy in `scratch`: the store itself stays as it was left.

    None where the copy cannot be read; empty where there is no collection yet.
    """
    if not store.exists():
        return {}
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        copy = Path(name) / store.name
        copy_store(store, copy)
        try:
            return contents(copy)
        except CollectionNotFound:
            return {}
        except SearchError:
            return None


def copy_store(store: Path, copy: Path) -> None:
    """Copy a store that nobody has open; holes in its files stay holes."""
    subprocess.run(  # noqa: S603
        ["cp", "-a", "--sparse=always", str(store), str(copy)],  # noqa: S607
        check=True,
        capture_output=True,
    )


def compare(calm: Contents, stormy: Contents) -> dict[str, Any]:
    """How a collection differs from that of an undisturbed run; `equal` says whether it does."""
    both = calm.keys() & stormy.keys()
    other = [i for i in both if calm[i].payload != stormy[i].payload]
    cosines = [
        float(one @ two)
        for i in both
        if (one := calm[i].vector) is not None and (two := stormy[i].vector) is not None
    ]
    least = round(min(cosines, default=1.0), 6)
    with_vectors = [sum(p.vector is not None for p in points.values()) for points in (calm, stormy)]
    found: dict[str, Any] = {
        "missing": len(calm.keys() - both),
        "left_behind": len(stormy.keys() - both),
        "other_payloads": len(other),
        "damaged": sum(not point.is_sound for point in stormy.values()),
        "quarantined": sum(point.kind == KIND_QUARANTINE for point in stormy.values()),
        "least_cosine": least,
    }
    counts = ("missing", "left_behind", "other_payloads", "damaged")
    same = not any(found[name] for name in counts) and with_vectors[0] == with_vectors[1]
    return found | {"equal": same and least > LEAST_COSINE}


def broken_promises(points: Contents) -> list[str]:
    """Documents whose head says `stored`, and which lack a chunk: none, whatever happened."""
    chunks = Counter(p.metadata["doc_id"] for p in points.values() if p.kind == KIND_CHUNK)
    return sorted(
        head.metadata["doc_id"]
        for head in points.values()
        if head.kind == KIND_HEAD
        and head.metadata["state"] == STORED
        and not head.metadata["duplicate_of"]
        and chunks[head.metadata["doc_id"]] != head.metadata["chunks"]
    )


def stored_documents(points: Contents) -> int:
    """Documents whose head says `stored`."""
    heads = (p for p in points.values() if p.kind == KIND_HEAD)
    return sum(head.metadata["state"] == STORED for head in heads)
