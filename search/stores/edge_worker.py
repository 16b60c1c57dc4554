"""The process that owns a shard: `python -m search.stores.edge_worker DESCRIPTOR PARENT`.

Qdrant's engine runs in here because it never releases the GIL and can be killed by a full disk
(SIGBUS). It reads requests from the socket, answers each in turn, and ends when the socket closes
or its parent is gone. It imports the engine and the messages, nothing else of Sextant's weight.
"""

import os
import shutil
import signal
import sys
from array import array
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import qdrant_edge as qdrant

from search.stores import edge_lock, ties
from search.stores.edge_files import sync_folder, write_durably
from search.stores.edge_wire import (
    Conditions,
    Count,
    Create,
    Delete,
    DeleteWhere,
    Done,
    Failed,
    Failure,
    Merge,
    Open,
    Optimize,
    Request,
    Retrieve,
    Row,
    Scroll,
    Search,
    Upsert,
)

DENSE: Final = "dense"
BM25: Final = "bm25"
SHARD: Final = "shard"
MANIFEST: Final = "manifest.json"
LEFTOVERS: Final = {SHARD, f"{MANIFEST}.partial"}
"""What a creation that died half-way leaves in its folder."""
PARENT_CHECK_SECONDS: Final = 2.0
HNSW_EF: Final = 256
"""Candidates that a search of the index keeps: on hard data .995 recall, where 100 gives .969."""

_SCHEMAS: Final = {
    "keyword": qdrant.PayloadSchemaType.Keyword,
    "integer": qdrant.PayloadSchemaType.Integer,
}


class RefusedError(Exception):
    """A request that the worker turns down, with the reason to send back."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class Engine:
    """An open shard. A write is on the disk when it is answered, well or badly."""

    def __init__(self, shard: qdrant.EdgeShard) -> None:
        self._shard = shard

    def answer(self, request: Request[Any]) -> Any:
        """Do what the request asks and return its answer."""
        match request:
            case Upsert():
                points = qdrant.UpdateOperation.upsert_points(_points(request))
                self._write([points], flush=request.flush)
            case Delete(ids=ids):
                self._write([qdrant.UpdateOperation.delete_points(list(ids))])
            case DeleteWhere(conditions=conditions):
                selected = _filter(conditions)
                if selected is None:
                    raise RefusedError("unavailable", "empty filter in a delete; name a condition")
                self._write([qdrant.UpdateOperation.delete_points_by_filter(selected)])
            case Merge():
                self._write(self._merges(request))
            case Search():
                return self._search(request)
            case Retrieve(ids=ids, with_vectors=with_vectors):
                return self._retrieve(ids, with_vectors=with_vectors)
            case Scroll():
                return self._scroll(request)
            case Count(conditions=conditions):
                return self._shard.count(
                    qdrant.CountRequest(exact=True, filter=_filter(conditions))
                )
            case Optimize(at_least=at_least):
                return self._shard.info().points_count >= at_least and self._shard.optimize()
            case _:
                raise RefusedError("unavailable", f"unknown request {type(request).__name__}")
        return None

    def close(self) -> None:
        """Flush and release the shard."""
        self._shard.flush()
        self._shard.close()

    def _write(self, operations: Iterable[qdrant.UpdateOperation], *, flush: bool = True) -> None:
        # `update` does not reach the disk by itself; one that raises may stay half in the log
        # and be replayed at the next load, unless it is flushed as well.
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
        query = qdrant.Query.Nearest(array("f", request.vector).tolist(), using=DENSE)
        selected = _filter(request.conditions)
        parameters = qdrant.SearchParams(exact=request.exact, hnsw_ef=HNSW_EF)

        def fetch(limit: int) -> list[ties.Scored]:
            found = self._shard.query(
                qdrant.QueryRequest(limit=limit, query=query, filter=selected, params=parameters)
            )
            return [(str(point.id), point.score) for point in found]

        best = ties.nearest(fetch, request.limit)
        rows = self._retrieve([identifier for identifier, _ in best], with_vectors=False)
        payloads = {identifier: payload for identifier, payload, _, _ in rows}
        return [(identifier, payloads[identifier], None, score) for identifier, score in best]

    def _retrieve(self, ids: list[str], *, with_vectors: bool) -> list[Row]:
        return [_row(record) for record in self._shard.retrieve(list(ids), True, with_vectors)]

    def _scroll(self, request: Scroll) -> tuple[list[Row], str | None]:
        records, offset = self._shard.scroll(
            qdrant.ScrollRequest(
                offset=request.offset,
                limit=request.limit,
                filter=_filter(request.conditions),
                with_payload=True,
                with_vector=request.with_vectors,
            )
        )
        return [_row(record) for record in records], None if offset is None else str(offset)


def start(request: Request[Any]) -> Engine:
    """Take the collection's lock, then make or load its shard.

    Raises:
        RefusedError: the collection is in use, there already, or not there.
    """
    if not isinstance(request, Create | Open):
        raise RefusedError("unavailable", f"{type(request).__name__} before the shard was opened")
    folder = Path(request.folder)
    owner = request.owner
    try:  # held until this process ends: the descriptor is left open on purpose
        edge_lock.acquire(
            Path(request.lock), pid=owner.pid, command=owner.command, since=owner.since
        )
    except edge_lock.LockHeldError as held:
        raise RefusedError("in_use", str(held)) from None
    exists = (folder / MANIFEST).exists()
    if isinstance(request, Open):
        if not exists:
            raise RefusedError("not_found", f"no {MANIFEST} in {folder}")
        return Engine(qdrant.EdgeShard.load(str(folder / SHARD)))
    if exists:
        raise RefusedError("exists", f"{folder} holds a {MANIFEST}")
    return Engine(_create(folder, request))


def _create(folder: Path, request: Create) -> qdrant.EdgeShard:
    if folder.exists():  # left by a creation that died half-way: the manifest comes last
        foreign = sorted({entry.name for entry in folder.iterdir()} - LEFTOVERS)
        if foreign:  # somebody's own folder: `--store .` makes this easy to meet
            raise RefusedError("occupied", f"{str(folder)!r} holds {foreign[0]!r}")
        shutil.rmtree(folder)
    (folder / SHARD).mkdir(parents=True)
    shard = qdrant.EdgeShard.create(
        str(folder / SHARD),
        qdrant.EdgeConfig(
            vectors={
                DENSE: qdrant.EdgeVectorParams(
                    size=request.dimension, distance=qdrant.Distance.Cosine
                )
            },
            sparse_vectors={BM25: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
            wal_enabled=True,
        ),
    )
    for path, schema in request.indexes:
        shard.update(qdrant.UpdateOperation.create_field_index(path, _SCHEMAS[schema]))
    shard.flush()
    write_durably(folder / MANIFEST, request.manifest)
    sync_folder(folder.parent)
    return shard


def _points(request: Upsert) -> list[qdrant.Point]:
    values = memoryview(request.vectors).cast("f")
    dimension = len(values) // max(1, sum(request.has_vector))
    points, position = [], 0
    for identifier, has_vector, payload in zip(
        request.ids, request.has_vector, request.payloads, strict=True
    ):
        vector: dict[str, Any] = {}
        if has_vector:
            vector[DENSE] = values[position : position + dimension]
            position += dimension
        points.append(qdrant.Point(identifier, vector, payload))
    return points


def _filter(conditions: Conditions) -> qdrant.Filter | None:
    if not conditions.must and not conditions.must_not:
        return None
    return qdrant.Filter(
        must=[_condition(path, values) for path, values in conditions.must],
        must_not=[_condition(path, values) for path, values in conditions.must_not],
    )


def _condition(path: str, values: tuple[str | int, ...]) -> qdrant.FieldCondition:
    any_of: Any = list(values)
    return qdrant.FieldCondition(path, match=qdrant.MatchAny(any_of))


def _row(record: qdrant.Record) -> Row:
    vector: Any = record.vector.get(DENSE) if isinstance(record.vector, dict) else None
    identifier = record.id if isinstance(record.id, UUID | str) else UUID(int=record.id)
    return (
        str(identifier),
        record.payload or {},
        None if vector is None else array("f", vector).tobytes(),
        None,
    )


def serve(connection: Connection, parent: int) -> None:
    """Answer requests until the connection closes or the parent process is gone."""
    engine: Engine | None = None
    while os.getppid() == parent:
        try:
            # the parent's end may live on in a process that it forked: look at the parent too
            if not connection.poll(PARENT_CHECK_SECONDS):
                continue
            request = connection.recv()
        except (EOFError, OSError):
            break
        reply: Done | Failed
        try:
            if engine is None:
                engine = start(request)
                reply = Done(value=None)
            else:
                reply = Done(value=engine.answer(request))
        except RefusedError as refusal:
            reply = Failed(failure=refusal.failure, message=str(refusal), fatal=engine is None)
        except BaseException as error:  # noqa: BLE001 - the engine raises bare ones: PanicException
            panicked = not isinstance(error, Exception)
            message = f"{type(error).__name__}: {error}"
            reply = Failed(failure="unavailable", message=message, fatal=panicked or engine is None)
        try:
            connection.send(reply)
        except OSError:
            break
        if isinstance(reply, Failed) and reply.fatal:
            return  # a panicked engine may hold broken locks: leave it to the log to recover
    if engine is not None:
        engine.close()


def main() -> None:
    """Serve the parent process over the socket whose descriptor stands on the command line."""
    # Ctrl-C and a service manager's SIGTERM reach the whole group; this process ends with its
    # parent, whose last writes still need it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Connection(int(sys.argv[1])) as connection:
        serve(connection, int(sys.argv[2]))


if __name__ == "__main__":
    main()
