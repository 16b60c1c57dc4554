"""One collection on a Qdrant server: requests checked, cut to size, and sent."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from qdrant_client import models

from search import lexical
from search.errors import InvalidRequest, StoreUnavailable
from search.filters import Filter, IndexKind
from search.findings import Finding
from search.records import DENSE, METADATA, Payload, Point, Record
from search.stores import (
    filter_checks,
    server_ranking,
    server_schema,
    server_wire,
    ties,
    validation,
)
from search.stores.contract import Manifest, Status
from search.stores.server_failures import require_applied
from search.stores.server_indexing import Indexing
from search.stores.server_link import ServerLink
from search.stores.server_schema import (
    IDS_PER_REQUEST,
    MAX_QUERY_LIMIT,
    PAGE,
    POINTS_PER_REQUEST,
)
from search.stores.server_uploads import upload


class ServerCollection:
    """One collection on a server; see `contract.Collection`. Safe to share between threads."""

    def __init__(self, manifest: Manifest, link: ServerLink) -> None:
        self._manifest = manifest
        self._link = link
        self._client = link.client
        self._name = manifest.name
        self._subject = f"collection {manifest.name!r}"
        self._indexing = Indexing(link, manifest.name)
        self._closed = False
        self._indexed: set[str] = set()

    @property
    def manifest(self) -> Manifest:
        """What the collection says of itself."""
        return self._manifest

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert or replace points, several requests at once; see `server_uploads`."""
        dimension = self._manifest.dimension
        checked = validation.check_points(points, dimension=dimension)
        self._require_open()
        upload(self._link, self._name, checked, dimension=dimension)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points by id."""
        checked = [validation.check_id(identifier) for identifier in ids]
        self._require_open()
        for start in range(0, len(checked), IDS_PER_REQUEST):
            points: list[Any] = checked[start : start + IDS_PER_REQUEST]
            self._delete(models.PointIdsList(points=points))

    def delete_where(self, where: Filter) -> None:
        """Delete every point that matches."""
        selected = server_wire.to_filter(filter_checks.check_delete_filter(where))
        self._require_open()
        if selected is not None:
            self._delete(models.FilterSelector(filter=selected))

    def _delete(self, selector: models.PointIdsList | models.FilterSelector) -> None:
        self._link.call(
            self._subject,
            lambda: require_applied(self._client.delete(self._name, selector, wait=True)),
        )

    def set_metadata(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Merge metadata into points, those with equal changes together."""
        groups: dict[str, tuple[Payload, list[str]]] = {}
        for identifier, changes in validation.check_updates(values).items():
            same = json.dumps(changes, sort_keys=True)
            groups.setdefault(same, (changes, []))[1].append(identifier)
        self._require_open()
        for operations in _merges(groups.values(), most=self._link.options.max_request_mb * 1e6):
            self._link.call(self._subject, partial(self._update, operations))

    def _update(self, operations: list[Any]) -> None:
        for result in self._client.batch_update_points(self._name, operations, wait=True):
            require_applied(result)

    def search(
        self,
        vector: npt.NDArray[np.float32],
        *,
        limit: int,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[Record]:
        """The `limit` nearest chunks, at most 50,000, ordered by (score descending, id)."""
        query = self._checked_vector(vector, limit)
        selected = server_wire.to_filter(filter_checks.check_filter(where))
        return self._best(
            query.tolist(),
            using=DENSE,
            limit=limit,
            selected=selected,
            parameters=self._parameters(exact=exact),
        )

    def search_words(self, query: str, *, limit: int, where: Filter | None = None) -> list[Record]:
        """The `limit` chunks whose words answer best, ordered by (score descending, id)."""
        checked = filter_checks.check_words(query, limit=limit)
        selected = server_wire.to_filter(filter_checks.check_filter(where))
        terms, counts = lexical.query_vector(checked)
        self._require_open()
        if not terms:
            return []
        vector = models.SparseVector(indices=terms, values=counts)
        return self._best(
            vector,
            using=lexical.BM25,
            limit=min(limit, MAX_QUERY_LIMIT),
            selected=selected,
            parameters=None,
        )

    def rank(
        self,
        queries: Sequence[npt.NDArray[np.float32] | str],
        *,
        limit: int,
        where: Filter | None = None,
    ) -> list[list[Finding]]:
        """What `search` and `search_words` find for each query, without payloads."""
        selected = server_wire.to_filter(filter_checks.check_filter(where))
        asked: dict[int, models.QueryRequest] = {}
        for number, query in enumerate(queries):
            if isinstance(query, str):
                checked = filter_checks.check_words(query, limit=limit)
                terms, counts = lexical.query_vector(checked)
                if terms:
                    words = models.SparseVector(indices=terms, values=counts)
                    asked[number] = models.QueryRequest(
                        query=words, using=lexical.BM25, filter=selected
                    )
            else:
                asked[number] = models.QueryRequest(
                    query=self._checked_vector(query, limit).tolist(),
                    using=DENSE,
                    filter=selected,
                    params=self._parameters(exact=False),
                )
        self._require_open()
        found = server_ranking.rank(
            self._link, self._name, list(asked.values()), limit=min(limit, MAX_QUERY_LIMIT)
        )
        by_number = dict(zip(asked, found, strict=True))
        return [by_number.get(number, []) for number in range(len(queries))]

    def _checked_vector(
        self, vector: npt.NDArray[np.float32], limit: int
    ) -> npt.NDArray[np.float32]:
        query = validation.check_query(vector, dimension=self._manifest.dimension, limit=limit)
        if limit > MAX_QUERY_LIMIT:
            raise InvalidRequest(
                f"limit {limit}: expected at most {MAX_QUERY_LIMIT} on a server; "
                "read the whole collection with `scroll`"
            )
        return query

    def _parameters(self, *, exact: bool) -> models.SearchParams | None:
        if self._link.is_local:  # the client's local mode is always exact, and warns
            return None
        return server_schema.search_parameters(self._manifest.storage, exact=exact)

    def _best(
        self,
        query: list[float] | models.SparseVector,
        *,
        using: str,
        limit: int,
        selected: models.Filter | None,
        parameters: models.SearchParams | None,
    ) -> list[Record]:
        self._require_open()
        payloads: dict[str, Payload] = {}

        def fetch(count: int) -> list[ties.Scored]:
            first = not payloads
            response = self._link.call(
                self._subject,
                lambda: self._client.query_points(
                    self._name,
                    query=query,
                    using=using,
                    query_filter=selected,
                    search_params=parameters,
                    limit=min(count, MAX_QUERY_LIMIT),
                    with_payload=first,
                ),
            )
            if first:
                payloads.update({str(point.id): point.payload or {} for point in response.points})
            return [(str(point.id), point.score) for point in response.points]

        best = ties.nearest(fetch, limit)
        late = [identifier for identifier, _ in best if identifier not in payloads]
        payloads.update({record.id: record.payload for record in self.retrieve(late)})
        return [
            Record(id=identifier, payload=payloads[identifier], score=score)
            for identifier, score in best
            if identifier in payloads  # deleted between the two requests
        ]

    def facet(
        self, key: str, *, limit: int, where: Filter | None = None
    ) -> list[tuple[str | int, int]]:
        """Values at a path with the exact number of matching points, most frequent first."""
        path = filter_checks.check_facet(key, limit)
        selected = server_wire.to_filter(filter_checks.check_filter(where))
        self._require_open()
        found = self._link.call(
            self._subject,
            lambda: self._client.facet(
                self._name, path, facet_filter=selected, limit=limit, exact=True
            ),
        )
        counted = [(hit.value, hit.count) for hit in found.hits if not isinstance(hit.value, bool)]
        return sorted(counted, key=lambda pair: (-pair[1], str(pair[0])))

    def require_index(self, key: str, kind: IndexKind) -> None:
        """Index a path, unless it is indexed already: the server answers no filter without."""
        path = filter_checks.check_index(key, kind)
        self._require_open()
        if path in self._indexed or self._link.is_local:
            return
        self._link.call(
            self._subject,
            lambda: self._client.create_payload_index(
                self._name, path, server_schema.SCHEMAS[kind], wait=True
            ),
        )
        self._indexed.add(path)

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        """The points with these ids that exist, in the order asked for."""
        checked = [validation.check_id(identifier) for identifier in ids]
        self._require_open()
        wanted = list(dict.fromkeys(checked))
        found: dict[str, Record] = {}
        for start in range(0, len(wanted), IDS_PER_REQUEST):
            part = wanted[start : start + IDS_PER_REQUEST]
            read = partial(
                self._client.retrieve,
                self._name,
                part,
                with_payload=True,
                with_vectors=server_wire.vector_names(with_vectors),
            )
            records = map(server_wire.to_record, self._link.call(self._subject, read))
            found.update({record.id: record for record in records})
        return [found[identifier] for identifier in checked if identifier in found]

    def scroll(
        self,
        *,
        where: Filter | None = None,
        with_vectors: bool = False,
        batch_size: int = 1024,
    ) -> Iterator[Record]:
        """Every matching point once, ordered by id."""
        selected = server_wire.to_filter(filter_checks.check_filter(where))
        limit = min(validation.check_batch_size(batch_size), PAGE)
        self._require_open()
        return self._scroll(selected, limit=limit, with_vectors=with_vectors)

    def _scroll(
        self, selected: models.Filter | None, *, limit: int, with_vectors: bool
    ) -> Iterator[Record]:
        offset: Any = None
        while True:
            self._require_open()
            read = partial(
                self._client.scroll,
                self._name,
                scroll_filter=selected,
                limit=limit,
                offset=offset,
                with_payload=True,
                with_vectors=server_wire.vector_names(with_vectors),
            )
            records, offset = self._link.call(self._subject, read)
            yield from map(server_wire.to_record, records)
            if offset is None:
                return

    def count(self, where: Filter | None = None) -> int:
        """The exact number of matching points."""
        selected = server_wire.to_filter(filter_checks.check_filter(where))
        self._require_open()
        return self._link.call(
            self._subject,
            lambda: self._client.count(self._name, count_filter=selected, exact=True).count,
        )

    def status(self) -> Status:
        """How many points and vectors there are, exactly, and about how many are indexed."""
        self._require_open()
        return self._indexing.status()

    @contextmanager
    def bulk_load(self) -> Iterator[None]:
        """While open, the server puts indexing off; see `server_indexing`."""
        self._require_open()
        with self._indexing.put_off():
            yield

    def optimize(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Wait until the server has built what it is building: it indexes by itself."""
        self._require_open()
        self._indexing.wait(progress)

    def close(self) -> None:
        """Further calls raise; the connection stays with the store."""
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._subject} is closed; open it again")


def _merges(groups: Iterable[tuple[Payload, list[str]]], *, most: float) -> Iterator[list[Any]]:
    """Operations that merge metadata, in requests of bounded number and bytes."""
    request: list[Any] = []
    size = 0
    for changes, ids in groups:
        length = len(json.dumps(changes))
        for start in range(0, len(ids), IDS_PER_REQUEST):
            some: list[Any] = ids[start : start + IDS_PER_REQUEST]
            bytes_more = length + 40 * len(some)
            if request and (len(request) == POINTS_PER_REQUEST or size + bytes_more > most):
                yield request
                request, size = [], 0
            # by filter: an id in a list that is not there fails the request half-way
            held = models.Filter(must=[models.HasIdCondition(has_id=some)])
            merge = models.SetPayload(payload=changes, filter=held, key=METADATA)
            request.append(models.SetPayloadOperation(set_payload=merge))
            size += bytes_more
    if request:
        yield request
