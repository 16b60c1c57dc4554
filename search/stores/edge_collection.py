"""An open collection of the embedded store: requests checked, and sent to its worker process."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from search.errors import StoreFull, StoreUnavailable
from search.filters import (
    AnyOf,
    Condition,
    Exists,
    Filter,
    IndexKind,
    Match,
    NumberRange,
    Text,
    TimeRange,
    of_kind,
)
from search.findings import Finding
from search.records import KIND_CHUNK, METADATA, Payload, Point, Record
from search.stores import edge_wire, filter_checks, validation
from search.stores.contract import Manifest, Status
from search.stores.edge_files import allocated_bytes
from search.stores.edge_process import EngineProcess
from search.stores.edge_wire import (
    Conditions,
    Count,
    CountIndexed,
    CountWorded,
    Delete,
    DeleteWhere,
    Facet,
    Index,
    Merge,
    Optimize,
    Rank,
    Retrieve,
    Row,
    Scroll,
    Search,
    SearchWords,
    Upsert,
)

POINTS_PER_UPSERT: Final = 1024
IDS_PER_REQUEST: Final = 10_000
INDEX_FROM_POINTS: Final = 50_000
"""Below this an exact scan takes a few milliseconds, and an index would not pay."""
UNINDEXED_SHARE: Final = 0.2
"""From there on an index is brought up to date once it lacks so many of the points: those it lacks
are scanned, and bringing it up to date costs by the whole."""

READ_SECONDS: Final = 60.0
WRITE_SECONDS: Final = 300.0
OPTIMIZE_SECONDS: Final = 600.0
OPTIMIZE_SECONDS_PER_VALUE: Final = 5e-5
"""Thirty times what indexing takes two cores, per component of every vector."""

Item = TypeVar("Item")


class EdgeCollection:
    """One open collection of an `EdgeStore`; see `contract.Collection`. Threads may share it."""

    def __init__(self, manifest: Manifest, engine: EngineProcess, folder: Path) -> None:
        """Join what was opened; `folder` holds the collection's files."""
        self._manifest = manifest
        self._engine = engine
        self._folder = folder
        self._indexed: set[str] = set()

    @property
    def manifest(self) -> Manifest:
        """What the collection says of itself."""
        return self._manifest

    @property
    def worker_pid(self) -> int:
        """The process id of the engine, for diagnosis."""
        return self._engine.pid

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._engine.is_closed

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert or replace points; on the disk when this returns."""
        checked = validation.check_points(points, dimension=self._manifest.dimension)
        for batch in _batches(checked, POINTS_PER_UPSERT):
            is_last = batch[-1] is checked[-1]
            vectors = [point.vector for point in batch]
            request = Upsert(
                ids=[point.id for point in batch],
                has_vector=[vector is not None for vector in vectors],
                vectors=b"".join(vector.tobytes() for vector in vectors if vector is not None),
                payloads=[point.payload for point in batch],
                flush=is_last,
            )
            self._engine.write(request, timeout_seconds=WRITE_SECONDS)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points by id."""
        checked = [validation.check_id(identifier) for identifier in ids]
        for batch in _batches(checked, IDS_PER_REQUEST):
            self._engine.write(Delete(ids=batch), timeout_seconds=WRITE_SECONDS)

    def delete_where(self, where: Filter) -> None:
        """Delete every point that matches."""
        conditions = _conditions(filter_checks.check_delete_filter(where))
        self._engine.write(DeleteWhere(conditions=conditions), timeout_seconds=WRITE_SECONDS)

    def set_metadata(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Merge metadata into points, those with equal changes together."""
        groups: dict[str, tuple[Payload, list[str]]] = {}
        for identifier, changes in validation.check_updates(values).items():
            same = json.dumps(changes, sort_keys=True)
            groups.setdefault(same, (changes, []))[1].append(identifier)
        parts = [
            (changes, part)
            for changes, ids in groups.values()
            for part in _batches(ids, IDS_PER_REQUEST)
        ]
        for some in _batches(parts, IDS_PER_REQUEST):
            self._engine.write(Merge(key=METADATA, groups=some), timeout_seconds=WRITE_SECONDS)

    def search(
        self,
        vector: npt.NDArray[np.float32],
        *,
        limit: int,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[Record]:
        """The `limit` nearest chunks, ordered by (score descending, id)."""
        query = validation.check_query(vector, dimension=self._manifest.dimension, limit=limit)
        conditions = _conditions(filter_checks.check_filter(where))
        request = Search(vector=query.tobytes(), limit=limit, conditions=conditions, exact=exact)
        return [_record(row) for row in self._engine.read(request, timeout_seconds=READ_SECONDS)]

    def search_words(self, query: str, *, limit: int, where: Filter | None = None) -> list[Record]:
        """The `limit` chunks whose words answer best, ordered by (score descending, id)."""
        checked = filter_checks.check_words(query, limit=limit)
        conditions = _conditions(filter_checks.check_filter(where))
        request = SearchWords(query=checked, limit=limit, conditions=conditions)
        return [_record(row) for row in self._engine.read(request, timeout_seconds=READ_SECONDS)]

    def rank(
        self,
        queries: Sequence[npt.NDArray[np.float32] | str],
        *,
        limit: int,
        where: Filter | None = None,
    ) -> list[list[Finding]]:
        """What `search` and `search_words` find for each query, without payloads."""
        checked = tuple(
            filter_checks.check_words(query, limit=limit)
            if isinstance(query, str)
            else validation.check_query(
                query, dimension=self._manifest.dimension, limit=limit
            ).tobytes()
            for query in queries
        )
        conditions = _conditions(filter_checks.check_filter(where))
        request = Rank(queries=checked, limit=limit, conditions=conditions)
        found = self._engine.read(request, timeout_seconds=READ_SECONDS)
        return [[Finding(*row) for row in rows] for rows in found]

    def facet(
        self, key: str, *, limit: int, where: Filter | None = None
    ) -> list[tuple[str | int, int]]:
        """Values at a path with the exact number of matching points, most frequent first."""
        path = filter_checks.check_facet(key, limit)
        conditions = _conditions(filter_checks.check_filter(where))
        if path in filter_checks.INDEXED:
            self.require_index(
                path, filter_checks.INDEXED[path]
            )  # older collections lack the newer
        request = Facet(path=path, limit=limit, conditions=conditions)
        return self._engine.read(request, timeout_seconds=READ_SECONDS)

    def require_index(self, key: str, kind: IndexKind) -> None:
        """Index a path, unless it is indexed already; filters work without, more slowly."""
        path = filter_checks.check_index(key, kind)
        if path not in self._indexed:
            self._engine.write(Index(path=path, kind=kind), timeout_seconds=OPTIMIZE_SECONDS)
            self._indexed.add(path)

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        """The points with these ids that exist, in the order asked for."""
        found: dict[str, Record] = {}
        checked = [validation.check_id(identifier) for identifier in ids]
        for batch in _batches(list(dict.fromkeys(checked)), POINTS_PER_UPSERT):
            request = Retrieve(ids=batch, with_vectors=with_vectors)
            for row in self._engine.read(request, timeout_seconds=READ_SECONDS):
                found[row[0]] = _record(row)
        return [found[identifier] for identifier in checked if identifier in found]

    def scroll(
        self,
        *,
        where: Filter | None = None,
        with_vectors: bool = False,
        batch_size: int = 1024,
    ) -> Iterator[Record]:
        """Every matching point once, ordered by id."""
        conditions = _conditions(filter_checks.check_filter(where))
        limit = validation.check_batch_size(batch_size)
        return self._scroll(conditions, limit=limit, with_vectors=with_vectors)

    def _scroll(
        self, conditions: Conditions, *, limit: int, with_vectors: bool
    ) -> Iterator[Record]:
        offset: str | None = None
        while True:
            request = Scroll(
                conditions=conditions, offset=offset, limit=limit, with_vectors=with_vectors
            )
            rows, offset = self._engine.read(request, timeout_seconds=READ_SECONDS)
            yield from map(_record, rows)
            if offset is None:
                return

    def count(self, where: Filter | None = None) -> int:
        """The exact number of matching points."""
        conditions = _conditions(filter_checks.check_filter(where))
        return self._engine.read(Count(conditions=conditions), timeout_seconds=READ_SECONDS)

    def optimize(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Build the vector index where it pays, and clear away what was deleted.

        Below `INDEX_FROM_POINTS` points there is no index. From there on vectors are indexed once
        `UNINDEXED_SHARE` of them lacks in it; until then a call takes some 50 ms. Indexing is one
        step of the engine, in which it neither answers nor tells how far it is: `progress` is
        called before it, every second with the same numbers, and after it. It must not use the
        collection, which waits; what it raises kills the engine, and loses no point. For shorter
        steps, call this between writes.

        Raises:
            StoreFull: there is no room for a second copy of the shard, which indexing makes.
            StoreUnavailable: the engine died; or took far longer than it could, and was killed.
        """
        points, vectors = self.count(), self._count_vectors()
        indexed = self._count_indexed(vectors)
        try:
            self._engine.room.require(allocated_bytes(self._folder), factor=1)
        except StoreFull:
            if points >= INDEX_FROM_POINTS:
                raise
            return  # only tidying up, for which there is no need
        waiting = None
        if progress is not None:
            progress(indexed, vectors)

            def waiting() -> None:
                progress(indexed, vectors)

        seconds = OPTIMIZE_SECONDS_PER_VALUE * vectors * self._manifest.dimension
        self._engine.write(
            Optimize(at_least=INDEX_FROM_POINTS, share=UNINDEXED_SHARE),
            timeout_seconds=OPTIMIZE_SECONDS + seconds,
            waiting=waiting,
        )
        if progress is not None:
            progress(self._count_indexed(vectors), vectors)

    @contextmanager
    def bulk_load(self) -> Iterator[None]:
        """Nothing to put off: this engine indexes in `optimize` only, never by itself."""
        if self.is_closed:
            raise StoreUnavailable(f"collection {self._manifest.name!r} is closed; open it again")
        yield

    def status(self) -> Status:
        """Points and vectors, exactly; of the index, as much as the engine tells.

        It counts a vector that was deleted as indexed until `optimize` clears it away, so that
        `indexed` may be too large by those. `bytes` are those allocated: files are sparse.
        """
        vectors = self._count_vectors()
        return Status(
            points=self.count(),
            indexed=self._count_indexed(vectors),
            vectors=vectors,
            bytes=allocated_bytes(self._folder),
            worded=self._engine.read(CountWorded(), timeout_seconds=READ_SECONDS),
        )

    def _count_vectors(self) -> int:
        return self.count(of_kind(KIND_CHUNK))

    def _count_indexed(self, vectors: int) -> int:
        return min(vectors, self._engine.read(CountIndexed(), timeout_seconds=READ_SECONDS))

    def close(self) -> None:
        """End the engine's process, which releases the collection to others."""
        self._engine.close()


def _batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _conditions(where: Filter) -> Conditions:
    return Conditions(
        must=tuple(_condition(one) for one in where.must),
        must_not=tuple(_condition(one) for one in where.must_not),
    )


def _condition(condition: Condition) -> edge_wire.Condition:
    match condition:
        case Match(key=key, values=values):
            return key, values
        case NumberRange(key=key) | TimeRange(key=key):
            bounds = condition.model_dump(exclude={"key"}, exclude_none=True)
            is_time = isinstance(condition, TimeRange)
            return edge_wire.Between(path=key, bounds=bounds, is_time=is_time)
        case Text(key=key, words=words):
            return edge_wire.Words(path=key, words=words)
        case Exists(key=key):
            return edge_wire.Present(path=key)
        case AnyOf(filters=filters):
            return edge_wire.AnyOf(filters=tuple(_conditions(one) for one in filters))


def _record(row: Row) -> Record:
    identifier, payload, vector, score = row
    return Record(
        id=identifier,
        payload=payload,
        vector=None if vector is None else np.frombuffer(vector, dtype=np.float32),
        score=score,
    )
