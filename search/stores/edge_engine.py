"""An open shard that answers the requests of `edge_wire`."""

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import qdrant_edge as qdrant

from search import findings, lexical
from search.stores import edge_shard, ties
from search.stores.edge_conditions import to_filter
from search.stores.edge_known import KnownChunks
from search.stores.edge_wire import (
    Count,
    CountIndexed,
    CountWorded,
    Delete,
    DeleteWhere,
    Facet,
    Index,
    Layout,
    Merge,
    Optimize,
    Payload,
    Rank,
    RankedRow,
    RefusedError,
    Request,
    Retrieve,
    Row,
    Scroll,
    Search,
    SearchWords,
    Upsert,
)

HNSW_EF: Final = 256
"""Candidates that a search of the index keeps: on hard data .995 recall, where 100 gives .969."""
OVERSAMPLING: Final = 2.0
"""Of int8 vectors so many times as many are scored again by the whole ones."""

_RESCORED: Final = qdrant.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
_EXACT: Final = qdrant.QuantizationSearchParams(ignore=True)
_FINDING: Final = qdrant.PayloadSelector.Include(list(findings.PATHS))


class Engine:
    """An open shard. A write is on the disk when it is answered, well or badly."""

    def __init__(self, shard: qdrant.EdgeShard, folder: Path, layout: Layout) -> None:
        """Take over a shard; `folder` is its collection's."""
        self._shard = shard
        self._folder = folder
        self._layout = layout
        self._index_from: int | None = None
        self._is_open = True
        self._known = KnownChunks(self._payloads)

    @property
    def is_open(self) -> bool:
        """Whether the shard is there: not after a load that failed."""
        return self._is_open

    def answer(self, request: Request[Any]) -> Any:
        """Do what the request asks and return its answer."""
        match request:
            case Upsert():
                points = qdrant.UpdateOperation.upsert_points(_points(request))
                self._write([points], flush=request.flush)
            case Delete(ids=ids):
                self._write([qdrant.UpdateOperation.delete_points(list(ids))])
            case DeleteWhere(conditions=conditions):
                selected = to_filter(conditions)
                if selected is None:
                    raise RefusedError("unavailable", "empty filter in a delete; name a condition")
                self._write([qdrant.UpdateOperation.delete_points_by_filter(selected)])
            case Merge():
                self._write(self._merges(request))
            case Search():
                return self._search(request)
            case SearchWords():
                return self._search_words(request)
            case Rank():
                return self._rank(request)
            case Facet():
                return self._facet(request)
            case Index(path=path, kind=kind):
                if path not in self._shard.info().payload_schema:
                    self._write([edge_shard.indexing(path, kind)])
            case CountWorded():
                return self._count_worded()
            case Retrieve(ids=ids, with_vectors=with_vectors):
                return self._retrieve(ids, with_vectors=with_vectors)
            case Scroll():
                return self._scroll(request)
            case Count(conditions=conditions):
                return self._shard.count(
                    qdrant.CountRequest(exact=True, filter=to_filter(conditions))
                )
            case CountIndexed():
                # the engine counts vectors of words in, which are always indexed
                return max(0, self._shard.info().indexed_vectors_count - self._count_worded())
            case Optimize():
                return self._optimize(request)
            case _:
                raise RefusedError("unavailable", f"unknown request {type(request).__name__}")
        return None

    def close(self) -> None:
        """Flush and release the shard."""
        if self._is_open:
            self._is_open = False
            self._shard.flush()
            self._shard.close()

    def _optimize(self, request: Optimize) -> bool:
        # The engine's own count of what each segment lacks is the only true one: `info` counts
        # deleted vectors as indexed. So it is told from how many on to index, and decides; up to
        # `at_least` points that is never, and deleted points are cleared away all the same.
        points = self._shard.info().points_count
        small = points < request.at_least
        index_from = request.at_least if small else max(1, int(points * request.share))
        if index_from != self._index_from:
            self.close()
            self._shard = edge_shard.load(self._folder, self._layout, index_from=index_from)
            self._is_open = True
            self._index_from = index_from
        changed = self._shard.optimize()
        self._shard.flush()
        return changed

    def _write(self, operations: Iterable[qdrant.UpdateOperation], *, flush: bool = True) -> None:
        # `update` does not reach the disk by itself; one that raises may stay half in the log
        # and be replayed at the next load, unless it is flushed as well.
        self._known.forget()
        try:
            for operation in operations:
                self._shard.update(operation)
        except BaseException:
            self._shard.flush()
            raise
        if flush:
            self._shard.flush()

    def _merges(self, request: Merge) -> Iterable[qdrant.UpdateOperation]:
        # the engine stops at the first id that it does not hold
        wanted: list[Any] = [identifier for _, ids in request.groups for identifier in ids]
        held = {str(record.id) for record in self._shard.retrieve(wanted, False, False)}
        for payload, ids in request.groups:
            present: list[Any] = [identifier for identifier in ids if identifier in held]
            if present:
                yield qdrant.UpdateOperation.set_payload(present, payload, key=request.key)

    def _search(self, request: Search) -> list[Row]:
        selected = to_filter(request.conditions)
        return self._rows(
            self._nearest(request.vector, request.limit, selected, exact=request.exact)
        )

    def _search_words(self, request: SearchWords) -> list[Row]:
        selected = to_filter(request.conditions)
        return self._rows(self._nearest(request.query, request.limit, selected))

    def _rank(self, request: Rank) -> list[list[RankedRow]]:
        selected = to_filter(request.conditions)
        points: dict[UUID, None] = {}
        found = [
            self._nearest(query, request.limit, selected, points=points)
            for query in request.queries
        ]
        known = self._known.look_up(points)
        return [
            [(one, score, *known[one][1:]) for one, score in best if one in known] for best in found
        ]

    def _payloads(self, ids: list[UUID]) -> Iterator[tuple[UUID, Payload]]:
        wanted: list[Any] = list(ids)
        for record in self._shard.retrieve(wanted, _FINDING, False):
            yield _uuid(record.id), record.payload or {}

    def _nearest(
        self,
        query: bytes | str,
        limit: int,
        selected: qdrant.Filter | None,
        *,
        exact: bool = False,
        points: dict[UUID, None] | None = None,
    ) -> list[ties.Scored]:
        """The best points for a vector or words, ordered by (score descending, id).

        All that were looked at are put into `points`.
        """
        parameters = None
        if isinstance(query, str):
            terms, counts = lexical.query_vector(query)
            if not terms:
                return []
            words = qdrant.SparseVector(terms, counts)
            nearest = qdrant.Query.Nearest(words, using=lexical.BM25)
        else:
            vector = array("f", query).tolist()
            nearest = qdrant.Query.Nearest(vector, using=edge_shard.DENSE)
            parameters = qdrant.SearchParams(
                exact=exact, hnsw_ef=HNSW_EF, quantization=_EXACT if exact else _RESCORED
            )

        def fetch(count: int) -> list[ties.Scored]:
            found = self._shard.query(
                qdrant.QueryRequest(limit=count, query=nearest, filter=selected, params=parameters)
            )
            scored = [(_uuid(point.id), point.score) for point in found]
            if points is not None:
                points.update(dict.fromkeys(identifier for identifier, _ in scored))
            return [(self._known.name(identifier), score) for identifier, score in scored]

        return ties.nearest(fetch, limit)

    def _rows(self, best: list[ties.Scored]) -> list[Row]:
        rows = self._retrieve([identifier for identifier, _ in best], with_vectors=False)
        payloads = {identifier: payload for identifier, payload, _, _ in rows}
        return [(identifier, payloads[identifier], None, score) for identifier, score in best]

    def _count_worded(self) -> int:
        worded: Any = qdrant.HasVectorCondition(lexical.BM25)
        return self._shard.count(
            qdrant.CountRequest(exact=True, filter=qdrant.Filter(must=[worded]))
        )

    def _facet(self, request: Facet) -> list[tuple[str | int, int]]:
        found = self._shard.facet(
            qdrant.FacetRequest(
                request.path, limit=request.limit, exact=True, filter=to_filter(request.conditions)
            )
        )
        counted = [(hit.value, hit.count) for hit in found.hits]
        return sorted(counted, key=lambda pair: (-pair[1], str(pair[0])))

    def _retrieve(self, ids: list[str], *, with_vectors: bool) -> list[Row]:
        return [
            _row(record) for record in self._shard.retrieve(list(ids), True, _names(with_vectors))
        ]

    def _scroll(self, request: Scroll) -> tuple[list[Row], str | None]:
        records, offset = self._shard.scroll(
            qdrant.ScrollRequest(
                offset=request.offset,
                limit=request.limit,
                filter=to_filter(request.conditions),
                with_payload=True,
                with_vector=_names(request.with_vectors),
            )
        )
        return [_row(record) for record in records], None if offset is None else str(offset)


def _points(request: Upsert) -> list[qdrant.Point]:
    values = memoryview(request.vectors).cast("f")
    dimension = len(values) // max(1, sum(request.has_vector))
    points, position = [], 0
    for identifier, has_vector, payload in zip(
        request.ids, request.has_vector, request.payloads, strict=True
    ):
        vector: dict[str, Any] = {}
        if has_vector:
            vector[edge_shard.DENSE] = values[position : position + dimension]
            position += dimension
            # here, and not where the points come from: every path that writes passes here, and
            # the words need not travel
            terms = lexical.document_terms(payload.get(edge_shard.PAGE_CONTENT, ""))
            vector[lexical.BM25] = qdrant.SparseVector(*terms)
        points.append(qdrant.Point(identifier, vector, payload))
    return points


def _names(with_vectors: bool) -> bool | list[str]:
    """Which vectors are to come along: never those of words."""
    return [edge_shard.DENSE] if with_vectors else False


def _uuid(identifier: Any) -> UUID:
    """A point's id, which the engine may have as a number or a text as well."""
    if isinstance(identifier, UUID):
        return identifier
    return UUID(int=identifier) if isinstance(identifier, int) else UUID(identifier)


def _row(record: qdrant.Record) -> Row:
    vector: Any = record.vector.get(edge_shard.DENSE) if isinstance(record.vector, dict) else None
    return (
        str(_uuid(record.id)),
        record.payload or {},
        None if vector is None else array("f", vector).tobytes(),
        None,
    )
