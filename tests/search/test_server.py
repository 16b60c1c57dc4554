"""What only the server store does: manifests, foreign collections, creation, strict mode."""

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from search import grouping
from search.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidRequest,
    StoreUnavailable,
)
from search.records import Point
from search.stores import server_failures, server_schema, ties
from search.stores.contract import Manifest, StorageOptions, Store
from search.stores.edge import EdgeStore
from search.stores.filter_checks import INDEXED
from search.stores.server import ServerStore
from search.stores.server_failures import Unclear

Make = Callable[..., Point]


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    """Qdrant's own in-memory stand-in."""
    with contextlib.closing(QdrantClient(":memory:")) as client:
        yield client


@pytest.fixture
def store(client: QdrantClient) -> ServerStore:
    """A store over it."""
    return ServerStore.over(client, location="here")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(server_failures, "FIRST_WAIT", 0.0)


def test_foreign_collections_are_left_alone(
    client: QdrantClient, store: ServerStore, manifest: Callable[..., Manifest]
) -> None:
    """Neither listed, nor opened, nor deleted."""
    client.create_collection(
        "foreign", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT)
    )
    made = store.create(manifest("docs")).manifest
    assert store.list() == [made]
    for attempt in (store.open, store.delete):
        with pytest.raises(CollectionNotFound, match="not made by Sextant"):
            attempt("foreign")
    assert client.collection_exists("foreign")


def test_a_server_that_drops_metadata_is_too_old(
    client: QdrantClient,
    store: ServerStore,
    manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before Qdrant 1.16 the manifest would be lost in silence; nothing is left behind."""
    create = client.create_collection

    def forgetful(*args: Any, metadata: Any, **kwargs: Any) -> Any:
        return create(*args, **kwargs)

    monkeypatch.setattr(client, "create_collection", forgetful)
    with pytest.raises(StoreUnavailable, match=r"1\.16"):
        store.create(manifest("docs"))
    assert not client.collection_exists("docs")


def test_indexes_are_there_before_the_first_point(
    client: QdrantClient,
    store: ServerStore,
    manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All at creation; at opening those that an interrupted creation left out."""
    made: list[str] = []

    def record(name: str, path: str, schema: Any, *, wait: bool) -> None:
        assert wait
        made.append(path)

    monkeypatch.setattr(client, "create_payload_index", record)
    store._link.is_local = False
    store.create(manifest("docs"))
    assert {"kind", "metadata.doc_id", "metadata.cluster"} <= set(made)
    assert len(made) == len(set(made)) == len(INDEXED)


def test_storage_options_are_what_is_created(
    client: QdrantClient,
    store: ServerStore,
    manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each where Qdrant has it; what is not chosen is left to the server."""
    asked: list[dict[str, Any]] = []
    create = client.create_collection

    def record(name: str, **kwargs: Any) -> Any:
        asked.append(kwargs)
        return create(name, **kwargs)

    monkeypatch.setattr(client, "create_collection", record)
    store.create(manifest("plain"))
    chosen = StorageOptions(quantisation="int8", on_disk=True, shards=3, replicas=2)
    store.create(manifest("chosen", storage=chosen))
    assert store.open("chosen").manifest.storage == chosen
    plain, special = asked
    dense = plain["vectors_config"]["dense"]
    assert (dense.quantization_config, dense.on_disk, plain["on_disk_payload"]) == (None,) * 3
    assert (plain["shard_number"], plain["replication_factor"]) == (None, None)
    dense = special["vectors_config"]["dense"]
    assert dense.on_disk is special["on_disk_payload"] is True
    assert dense.quantization_config.scalar.type == models.ScalarType.INT8
    assert dense.quantization_config.scalar.always_ram is True
    assert (special["shard_number"], special["replication_factor"]) == (3, 2)
    assert special["strict_mode_config"] == server_schema.STRICT_MODE


@pytest.mark.parametrize("exact", [True, False])
def test_a_quantised_collection_is_searched_with_rescoring(
    client: QdrantClient,
    store: ServerStore,
    manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    exact: bool,
) -> None:
    """Twice as many candidates, scored by the whole vectors; an exact search reads only those."""
    asked: list[models.SearchParams] = []

    def record(*args: Any, search_params: models.SearchParams, **kwargs: Any) -> Any:
        asked.append(search_params)
        return SimpleNamespace(points=[])

    collections = [
        store.create(manifest(kind, storage=StorageOptions(quantisation=kind)))
        for kind in ("none", "int8")
    ]
    monkeypatch.setattr(client, "query_points", record)
    store._link.is_local = False
    for collection in collections:
        collection.search(np.ones(4, np.float32), limit=1, exact=exact)
    plain, quantised = asked
    assert plain.quantization is None
    assert quantised.quantization == models.QuantizationSearchParams(
        ignore=exact, rescore=True, oversampling=2.0
    )
    assert plain.exact is quantised.exact is exact


def test_our_own_requests_stay_within_our_limits() -> None:
    """Whatever strict mode forbids, no request of ours asks for."""
    limits = server_schema.STRICT_MODE
    assert limits.enabled is True
    assert limits.unindexed_filtering_retrieve is limits.unindexed_filtering_update is False
    assert limits.max_query_limit == server_schema.MAX_QUERY_LIMIT
    assert grouping.MAX_FETCH + ties.MAX_SPARE <= server_schema.MAX_QUERY_LIMIT
    assert server_schema.PAGE <= server_schema.MAX_QUERY_LIMIT
    assert limits.search_max_hnsw_ef is not None
    assert limits.search_max_hnsw_ef >= server_schema.HNSW_EF
    assert limits.search_max_oversampling is not None
    assert limits.search_max_oversampling >= server_schema.OVERSAMPLING
    assert limits.upsert_max_batchsize is not None
    assert limits.upsert_max_batchsize >= server_schema.POINTS_PER_REQUEST
    assert limits.max_payload_index_count is not None
    assert len(INDEXED) <= limits.max_payload_index_count
    assert limits.search_allow_exact is True
    # these are the caller's to choose, and not cut to fit
    assert limits.filter_max_conditions is limits.condition_max_size is None


def test_no_query_asks_for_more_than_the_limit(
    client: QdrantClient,
    store: ServerStore,
    manifest: Callable[..., Manifest],
    chunk: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tie is looked at no further than that, a page is cut, and a larger limit is refused."""
    monkeypatch.setattr("search.stores.server_collection.MAX_QUERY_LIMIT", 30)
    monkeypatch.setattr("search.stores.server_collection.PAGE", 7)
    collection = store.create(manifest("docs"))
    collection.upsert([chunk(f"d{i}") for i in range(50)])
    query, scroll, limits = client.query_points, client.scroll, []

    def asked(send: Any) -> Any:
        def record(*args: Any, limit: int, **kwargs: Any) -> Any:
            limits.append(limit)
            return send(*args, limit=limit, **kwargs)

        return record

    monkeypatch.setattr(client, "query_points", asked(query))
    monkeypatch.setattr(client, "scroll", asked(scroll))
    assert len(collection.search(np.ones(4, np.float32), limit=30)) == 30
    assert len(list(collection.scroll(batch_size=1000))) == 50
    assert max(limits) == 30
    with pytest.raises(InvalidRequest, match="limit 31: expected at most 30"):
        collection.search(np.ones(4, np.float32), limit=31)


@pytest.mark.parametrize("arrives", [True, False])
def test_an_unclear_creation_is_looked_up(
    client: QdrantClient,
    store: ServerStore,
    manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    arrives: bool,
) -> None:
    """The answer is lost: made once, whether the request had arrived or not."""
    create, lost = client.create_collection, [Unclear, Unclear]

    def flaky(*args: Any, **kwargs: Any) -> Any:
        if not lost:
            return create(*args, **kwargs)
        lost.pop()
        if arrives:
            create(*args, **kwargs)
        raise RuntimeError("connection lost")

    monkeypatch.setattr(client, "create_collection", flaky)
    made = manifest("docs")
    assert store.create(made).manifest == made
    assert len(lost) == (1 if arrives else 0)


def test_an_unclear_creation_does_not_take_anothers_collection(
    client: QdrantClient,
    store: ServerStore,
    manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Someone else made one of that name, with another manifest, in the meantime."""
    create = client.create_collection

    def overtaken(name: str, **kwargs: Any) -> Any:
        monkeypatch.setattr(client, "create_collection", create)
        store.create(manifest("docs", fingerprint="e" * 64))
        raise RuntimeError("connection lost")

    monkeypatch.setattr(client, "create_collection", overtaken)
    with pytest.raises(CollectionExists, match="docs"):
        store.create(manifest("docs"))
    assert store.open("docs").manifest.fingerprint == "e" * 64


def test_an_unclear_deletion_is_looked_up(
    client: QdrantClient,
    store: ServerStore,
    manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Deleted, although the answer was lost: not sent again, for there may be a new one."""
    delete, sent = client.delete_collection, []

    def lossy(name: str) -> None:
        sent.append(name)
        delete(name)
        raise RuntimeError("connection lost")

    store.create(manifest("docs"))
    monkeypatch.setattr(client, "delete_collection", lossy)
    store.delete("docs")
    assert sent == ["docs"]
    with pytest.raises(CollectionNotFound):
        store.open("docs")


def test_metadata_is_merged_in_requests_of_bounded_size(
    client: QdrantClient,
    store: ServerStore,
    manifest: Callable[..., Manifest],
    chunk: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By number of changes, of ids, and by bytes; each change arrives."""
    collection = store.create(manifest("docs"))
    points = [chunk(f"d{i}") for i in range(600)]
    collection.upsert(points)
    send, sizes = client.batch_update_points, []

    def record(name: str, operations: Any, **kwargs: Any) -> Any:
        sizes.append(len(operations))
        return send(name, operations, **kwargs)

    monkeypatch.setattr(client, "batch_update_points", record)
    collection.set_metadata({point.id: {"cluster": i} for i, point in enumerate(points)})
    assert sizes == [256, 256, 88]
    sizes.clear()
    long = {point.id: {"note": f"{i}" + "x" * 2_000_000} for i, point in enumerate(points[:5])}
    collection.set_metadata(long)
    assert sizes == [2, 2, 1]
    clusters = {r.id: r.payload["metadata"]["cluster"] for r in collection.scroll()}
    assert clusters == {point.id: i for i, point in enumerate(points)}


def test_scores_agree_with_the_embedded_engine(
    client: QdrantClient, folder: Any, manifest: Callable[..., Manifest], chunk: Make
) -> None:
    """The same points and queries give the same ids, and cosines equal to float32's precision."""
    generator = np.random.default_rng(3)
    points = [chunk(f"d{i}", vector=generator.normal(size=4)) for i in range(200)]
    with contextlib.closing(EdgeStore(folder)) as embedded:
        stores: list[Store] = [embedded, ServerStore.over(client, location="here")]
        collections = [store.create(manifest("docs")) for store in stores]
        for collection in collections:
            collection.upsert(points)
        for query in generator.normal(size=(10, 4)).astype(np.float32):
            edge, memory = (found.search(query, limit=20) for found in collections)
            assert [record.id for record in edge] == [record.id for record in memory]
            assert [r.score for r in edge] == pytest.approx([r.score for r in memory], abs=1e-6)
