"""Filling a collection with the points of another place: a store, or files.

Both sides come in the order of their ids, so that one pass tells what is there already, what is
missing and what is too much, in flat memory; and so that a transfer that was killed goes on.
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict

from flows.errors import FlowError
from flows.progress import Progress
from search.checksums import CHECKSUM, verify_record
from search.collections import versions
from search.filters import of_kind
from search.records import KIND, Payload, Point, Record
from search.stores.contract import Collection, Manifest, Store

BATCH_POINTS: Final = 1024
SAMPLE: Final = 200
"""Points that are read back and compared when all are written."""
VECTOR_TOLERANCE: Final = 1e-6
"""How far a value of a vector may be off: a store may normalise a unit vector once more."""
_SEED: Final = 20_250_131


class TransferFailed(FlowError):
    """A transfer ended with something else in its target than in its source."""


class TransferReport(BaseModel):
    """What a copy or an import did; the object that `--json` prints."""

    model_config = ConfigDict(frozen=True)

    source: str
    """The store and collection, or the folder."""
    store: str
    """The target's."""
    collection: str
    version: str
    """The collection's own name; `collection` is an alias that leads to it."""
    replaced: str = ""
    """What the alias led to before; it is still there."""
    points: int
    kinds: dict[str, int]
    """Points of each kind."""
    written: int
    present: int
    """Points that were there already, from a transfer that was cut short."""
    removed: int
    """Points that were there already, and are not in the source."""
    sampled: int
    """Points that were read back and compared."""
    max_difference: float
    """The largest absolute difference between the values of their vectors."""
    seconds: float


@dataclass(kw_only=True)
class Filled:
    """What a pass over the source did to the target."""

    kinds: Counter[str] = field(default_factory=Counter)
    written: int = 0
    present: int = 0
    removed: int = 0
    sample: list[Record] = field(default_factory=list)
    """Some of the source's points, with vectors; each has the same chance to be among them."""

    @property
    def points(self) -> int:
        """Points of the source."""
        return self.kinds.total()


def fill(target: Collection, source: Iterable[Record], progress: Progress) -> Filled:
    """Make a collection hold exactly the points of a source.

    Args:
        target: The collection; what it holds already and is the same stays.
        source: Every point once, with its vector, in the order of the ids.
        progress: Told of the points.

    Raises:
        InvalidPoint: a point cannot be stored.
        TransferFailed: the source is not in order, or a point of it is damaged.
    """
    filled = Filled()
    chance = random.Random(_SEED)
    there = _Cursor(target.scroll(with_vectors=True, batch_size=BATCH_POINTS))
    missing: list[Point] = []
    extra: list[str] = []
    last = ""
    with target.bulk_load():
        for record in source:
            if record.id <= last:
                raise TransferFailed(
                    f"point {record.id} follows {last}; expected ascending ids, each once; "
                    "the source is damaged, or changed while it was read"
                )
            last = record.id
            if verify_record(record) is False:
                raise TransferFailed(
                    f"point {record.id} is not as it was written (its checksum differs); "
                    "`sextant verify --repair` on its collection, and an ingest, mend it"
                )
            extra += there.skip_to(record.id)
            if there.takes(record):
                filled.present += 1
            else:
                missing.append(Point(id=record.id, vector=record.vector, payload=record.payload))
            _keep(filled, record, chance)
            filled.kinds[str(record.payload.get(KIND))] += 1
            if len(missing) == BATCH_POINTS:
                target.upsert(missing)
                filled.written += len(missing)
                missing = []
            progress.advance(1)
        target.upsert(missing)
        filled.written += len(missing)
        extra += there.rest()
        target.delete(extra)
        filled.removed = len(extra)
    return filled


def verify(target: Collection, filled: Filled) -> float:
    """Hold a filled collection against its source: counts of each kind, and a sample's contents.

    Returns:
        The largest absolute difference between the values of the sample's vectors.

    Raises:
        TransferFailed: something differs.
    """
    name = target.manifest.name
    counts = {kind: target.count(of_kind(kind)) for kind in filled.kinds}
    total = target.count()
    if counts != dict(filled.kinds) or total != filled.points:
        raise TransferFailed(
            f"collection {name!r} holds {total} points ({_counted(counts)}), the source "
            f"{filled.points} ({_counted(filled.kinds)}); one of them changed meanwhile; run again"
        )
    there = {r.id: r for r in target.retrieve([r.id for r in filled.sample], with_vectors=True)}
    worst = 0.0
    for record in filled.sample:
        copy = there.get(record.id)
        if copy is None or not _is_same(_content(copy), _content(record)):
            raise TransferFailed(
                f"point {record.id} of collection {name!r} has not the payload of its source; "
                "one of them changed meanwhile; run again"
            )
        worst = max(worst, _difference(record, copy))
    if not worst <= VECTOR_TOLERANCE:
        raise TransferFailed(
            f"vectors of collection {name!r} differ from their source by up to {worst:g}; "
            f"expected at most {VECTOR_TOLERANCE:g}; delete it and run again"
        )
    return worst


def leftover(store: Store, alias: str, manifest: Manifest) -> Manifest | None:
    """A version that an earlier transfer of the same collection began and did not finish."""
    taken = set(store.aliases().values())
    same = {"name": manifest.name, "storage": manifest.storage}
    for version in reversed(versions(store, alias)):
        if version.name not in taken and version.model_copy(update=same) == manifest:
            return version
    return None


def _keep(filled: Filled, record: Record, chance: random.Random) -> None:
    """Reservoir sampling: after n points each is in the sample with chance SAMPLE / n."""
    if len(filled.sample) < SAMPLE:
        filled.sample.append(record)
        return
    place = chance.randrange(filled.points + 1)
    if place < SAMPLE:
        filled.sample[place] = record


class _Cursor:
    """A scroll that is read along with another one."""

    def __init__(self, records: Iterator[Record]) -> None:
        self._records = records
        self._next = next(records, None)

    def skip_to(self, identifier: str) -> list[str]:
        """Ids of the records before this id."""
        skipped = []
        while self._next is not None and self._next.id < identifier:
            skipped.append(self._next.id)
            self._next = next(self._records, None)
        return skipped

    def takes(self, record: Record) -> bool:
        """Read past a record with the same id; whether it is the very same point."""
        found = self._next
        if found is None or found.id != record.id:
            return False
        self._next = next(self._records, None)
        return (
            verify_record(found) is not False
            and _is_same(_content(found), _content(record))
            and _difference(found, record) <= VECTOR_TOLERANCE
        )

    def rest(self) -> list[str]:
        """Ids of all records after the last one that was asked for."""
        ids = [] if self._next is None else [self._next.id]
        return ids + [record.id for record in self._records]


def _difference(first: Record, second: Record) -> float:
    """The largest absolute difference between two vectors; infinite where only one is there."""
    if first.vector is None or second.vector is None:
        return 0.0 if first.vector is None and second.vector is None else float("inf")
    if first.vector.shape != second.vector.shape:
        return float("inf")
    return float(np.abs(first.vector - second.vector).max(initial=0.0))


def _content(record: Record) -> Payload:
    """The payload without its checksum: a store that normalises vectors anew makes another."""
    return {key: value for key, value in record.payload.items() if key != CHECKSUM}


def _is_same(first: Any, second: Any) -> bool:
    """Whether two JSON values are equal, but for last digits of floats, which engines lose."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(
            _is_same(value, second[key]) for key, value in first.items()
        )
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_is_same, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=1e-6)
    return type(first) is type(second) and bool(first == second)


def _counted(kinds: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
