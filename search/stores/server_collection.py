"""One collection on a Qdrant server: requests checked, cut to size, and sent."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from qdrant_client import models

from search.errors import StoreUnavailable
from search.filters import Filter
from search.records import DENSE, METADATA, Payload, Point, Record
from search.stores import ties, validation
from search.stores.contract import Manifest
from search.stores.server_link import ServerLink

POINTS_PER_REQUEST: Final = 256
BYTES_PER_REQUEST: Final = 5_000_000
IDS_PER_REQUEST: Final = 1024
HNSW_EF: Final = 256
OPTIMIZE_SECONDS: Final = 3600.0


class ServerCollection:
    """One collection on a server; see `contract.Collection`. Safe to share between threads."""

    def __init__(self, manifest: Manifest, link: ServerLink) -> None:
        self._manifest = manifest
        self._link = link
        self._client = link.client
        self._name = manifest.name
        self._subject = f"collection {manifest.name!r}"
        self._closed = False

    @property
    def manifest(self) -> Manifest:
        """What the collection says of itself."""
        return self._manifest

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert or replace points, in requests of bounded size, one after the other."""
        checked = validation.check_points(points, dimension=self._manifest.dimension)
        self._require_open()
        for batch in _requests(checked, self._manifest.dimension):
            structs = [
                models.PointStruct(
                    id=point.id,
                    vector={} if point.vector is None else {DENSE: point.vector.tolist()},
                    payload=point.payload,
                )
                for point in batch
            ]
            self._link.call(
                self._subject,
                lambda structs=structs: self._client.upsert(self._name, structs, wait=True),  # type: ignore[misc]
            )

    def delete(self, ids: Sequence[str]) -> None:
        """Delete points by id."""
        checked = [validation.check_id(identifier) for identifier in ids]
        self._require_open()
        for start in range(0, len(checked), IDS_PER_REQUEST):
            points: list[Any] = checked[start : start + IDS_PER_REQUEST]
            self._delete(models.PointIdsList(points=points))

    def delete_where(self, where: Filter) -> None:
        """Delete every point that matches."""
        selected = _filter(validation.check_delete_filter(where))
        self._require_open()
        if selected is not None:
            self._delete(models.FilterSelector(filter=selected))

    def _delete(self, selector: models.PointIdsList | models.FilterSelector) -> None:
        self._link.call(self._subject, lambda: self._client.delete(self._name, selector, wait=True))

    def set_metadata(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Merge metadata into points, those with equal changes together."""
        groups: dict[str, tuple[Payload, list[str]]] = {}
        for identifier, changes in validation.check_updates(values).items():
            same = json.dumps(changes, sort_keys=True)
            groups.setdefault(same, (changes, []))[1].append(identifier)
        self._require_open()
        operations: list[Any] = []
        for changes, ids in groups.values():
            for start in range(0, len(ids), IDS_PER_REQUEST):
                some: list[Any] = ids[start : start + IDS_PER_REQUEST]
                # by filter: an id in a list that is not there fails the request half-way
                held = models.Filter(must=[models.HasIdCondition(has_id=some)])
                merge = models.SetPayload(payload=changes, filter=held, key=METADATA)
                operations.append(models.SetPayloadOperation(set_payload=merge))
        for start in range(0, len(operations), POINTS_PER_REQUEST):
            part = operations[start : start + POINTS_PER_REQUEST]
            self._link.call(
                self._subject,
                lambda part=part: self._client.batch_update_points(self._name, part, wait=True),  # type: ignore[misc]
            )

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
        selected = _filter(validation.check_filter(where))
        parameters = models.SearchParams(exact=exact, hnsw_ef=HNSW_EF)
        self._require_open()
        payloads: dict[str, Payload] = {}

        def fetch(count: int) -> list[ties.Scored]:
            first = not payloads
            response = self._link.call(
                self._subject,
                lambda: self._client.query_points(
                    self._name,
                    query=query.tolist(),
                    using=DENSE,
                    query_filter=selected,
                    # the client's local mode is always exact, and warns
                    search_params=None if self._link.is_local else parameters,
                    limit=count,
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

    def retrieve(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Record]:
        """The points with these ids that exist, in the order asked for."""
        checked = [validation.check_id(identifier) for identifier in ids]
        self._require_open()
        wanted = list(dict.fromkeys(checked))
        found: dict[str, Record] = {}
        for start in range(0, len(wanted), IDS_PER_REQUEST):
            part: list[Any] = wanted[start : start + IDS_PER_REQUEST]
            records = self._link.call(
                self._subject,
                lambda part=part: self._client.retrieve(  # type: ignore[misc]
                    self._name, part, with_payload=True, with_vectors=_vectors(with_vectors)
                ),
            )
            found.update({str(record.id): _record(record) for record in records})
        return [found[identifier] for identifier in checked if identifier in found]

    def scroll(
        self,
        *,
        where: Filter | None = None,
        with_vectors: bool = False,
        batch_size: int = 1024,
    ) -> Iterator[Record]:
        """Every matching point once, ordered by id."""
        selected = _filter(validation.check_filter(where))
        limit = validation.check_batch_size(batch_size)
        self._require_open()
        return self._scroll(selected, limit=limit, with_vectors=with_vectors)

    def _scroll(
        self, selected: models.Filter | None, *, limit: int, with_vectors: bool
    ) -> Iterator[Record]:
        offset: Any = None
        while True:
            self._require_open()
            records, offset = self._link.call(
                self._subject,
                lambda offset=offset: self._client.scroll(  # type: ignore[misc]
                    self._name,
                    scroll_filter=selected,
                    limit=limit,
                    offset=offset,
                    with_payload=True,
                    with_vectors=_vectors(with_vectors),
                ),
            )
            yield from map(_record, records)
            if offset is None:
                return

    def count(self, where: Filter | None = None) -> int:
        """The exact number of matching points."""
        selected = _filter(validation.check_filter(where))
        self._require_open()
        return self._link.call(
            self._subject,
            lambda: self._client.count(self._name, count_filter=selected, exact=True).count,
        )

    def optimize(self) -> None:
        """Wait until the server has built what it is building: it indexes by itself."""
        self._require_open()
        deadline = time.monotonic() + OPTIMIZE_SECONDS
        while True:
            info = self._link.call(self._subject, lambda: self._client.get_collection(self._name))
            if info.status == models.CollectionStatus.RED:
                raise StoreUnavailable(
                    f"{self._subject} on {self._link.location} has status red "
                    f"({info.optimizer_status}); look into the server's log"
                )
            if info.status != models.CollectionStatus.YELLOW:
                return
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{self._subject} on {self._link.location} was not indexed within "
                    f"{OPTIMIZE_SECONDS:g} s; searches work meanwhile, wait again later"
                )
            time.sleep(1.0)

    def close(self) -> None:
        """Further calls raise; the connection stays with the store."""
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._subject} is closed; open it again")


def _requests(points: list[Point], dimension: int) -> Iterator[list[Point]]:
    """Points in their order, in parts of bounded number and size; a larger point goes alone."""
    batch: list[Point] = []
    size = 0
    for point in points:
        # a float is 4 bytes by gRPC, and at most 12 or so as JSON
        length = 12 * dimension + len(json.dumps(point.payload)) + 100
        if batch and (len(batch) == POINTS_PER_REQUEST or size + length > BYTES_PER_REQUEST):
            yield batch
            batch, size = [], 0
        batch.append(point)
        size += length
    if batch:
        yield batch


def _filter(where: Filter) -> models.Filter | None:
    if where.is_empty():
        return None
    return models.Filter(
        must=[_condition(match.key, match.values) for match in where.must],
        must_not=[_condition(match.key, match.values) for match in where.must_not],
    )


def _condition(path: str, values: Sequence[str | int]) -> models.FieldCondition:
    any_of: Any = list(values)
    return models.FieldCondition(key=path, match=models.MatchAny(any=any_of))


def _vectors(wanted: bool) -> bool | list[str]:
    return [DENSE] if wanted else False


def _record(record: models.Record) -> Record:
    vector: Any = record.vector.get(DENSE) if isinstance(record.vector, dict) else None
    return Record(
        id=str(record.id),
        payload=record.payload or {},
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
    )
