"""A small real collection in memory, to cluster without a store engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from search.filters import Filter
from search.records import (
    KIND,
    KIND_CHUNK,
    KIND_HEAD,
    METADATA,
    PAGE_CONTENT,
    Point,
    Record,
    chunk_id,
    head_id,
)
from search.stores.contract import Collection, Manifest


class MemoryCollection:
    """A dict of points that keeps the part of the store contract that a clustering uses."""

    def __init__(self, dimension: int) -> None:
        self.manifest = Manifest(
            name="notes",
            dimension=dimension,
            fingerprint="fp-0123",
            encoder={"name": "letters"},
            created_at="2025-01-01T00:00:00Z",
        )
        self.points: dict[str, Point] = {}
        self.written: list[str] = []

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert or replace points by id."""
        self.points.update({point.id: point for point in points})

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points by id."""
        for point_id in ids:
            self.points.pop(point_id, None)

    def delete_where(self, where: Filter) -> None:
        """Delete every point that matches."""
        self.delete([p.id for p in self.points.values() if _matches(p, where)])

    def set_metadata(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Merge metadata, and note which points were written."""
        for point_id, metadata in values.items():
            kept = self.points[point_id].payload[METADATA]
            kept.update(metadata)
            for key in [key for key, value in metadata.items() if value is None]:
                del kept[key]
            self.written.append(point_id)

    def search(
        self,
        vector: npt.NDArray[np.float32],
        *,
        limit: int,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[Record]:
        """The nearest chunks by dot product."""
        found = [
            Record(id=p.id, payload=p.payload, score=float(p.vector @ vector))
            for p in self.points.values()
            if p.vector is not None and _matches(p, where)
        ]
        return sorted(found, key=lambda r: (-(r.score or 0.0), r.id))[:limit]

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        """The points that exist, in the order asked for."""
        return [_record(self.points[i], with_vectors) for i in ids if i in self.points]

    def scroll(
        self, *, where: Filter | None = None, with_vectors: bool = False, batch_size: int = 1024
    ) -> Iterator[Record]:
        """Every matching point, ordered by id."""
        for point_id in sorted(self.points):
            if _matches(self.points[point_id], where):
                yield _record(self.points[point_id], with_vectors)

    def count(self, where: Filter | None = None) -> int:
        """The number of matching points."""
        return sum(_matches(point, where) for point in self.points.values())

    def optimize(self) -> None:
        """Nothing to build."""

    def close(self) -> None:
        """Nothing to release."""

    def clusters(self) -> dict[str, int]:
        """The cluster of every chunk that has one, by chunk id."""
        return {
            p.id: p.payload[METADATA]["cluster"]
            for p in self.points.values()
            if "cluster" in p.payload[METADATA]
        }


def _record(point: Point, with_vectors: bool) -> Record:
    return Record(id=point.id, payload=point.payload, vector=point.vector if with_vectors else None)


def _matches(point: Point, where: Filter | None) -> bool:
    def value(key: str) -> object:
        found: Any = point.payload
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    wanted = where or Filter()
    return all(value(m.key) in m.values for m in wanted.must) and not any(
        value(m.key) in m.values for m in wanted.must_not
    )


@pytest.fixture
def collection_of() -> Callable[..., MemoryCollection]:
    """Build a collection from (document, text, vector) rows; each document gets a head, too."""

    def build(
        rows: Sequence[tuple[str, str, Sequence[float]]], *, titles: Mapping[str, str] | None = None
    ) -> MemoryCollection:
        collection = MemoryCollection(len(rows[0][2]) if rows else 2)
        ordinals: dict[str, int] = {}
        for document, text, vector in rows:
            ordinal = ordinals[document] = ordinals.get(document, -1) + 1
            metadata = {
                "doc_id": document,
                "source": f"{document}.md",
                "title": (titles or {}).get(document, document),
                "start": 100 * ordinal,
                "end": 100 * ordinal + len(text),
            }
            point_id = chunk_id(document, ordinal=ordinal, content_hash="h")
            payload = {KIND: KIND_CHUNK, PAGE_CONTENT: text, METADATA: metadata}
            collection.upsert(
                [Point(id=point_id, vector=np.array(vector, np.float32), payload=payload)]
            )
            head = {KIND: KIND_HEAD, METADATA: {"doc_id": document}}
            collection.upsert([Point(id=head_id(document), vector=None, payload=head)])
        checked: Collection = collection
        assert checked is collection
        return collection

    return build
