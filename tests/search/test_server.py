"""What only the server store does: addresses, retries, secrets and foreign collections."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import SecretStr
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from search.errors import CollectionNotFound, InvalidRequest, StoreUnavailable
from search.records import Point
from search.stores import server_collection, server_link
from search.stores.contract import Manifest, Store
from search.stores.edge import EdgeStore
from search.stores.locate import open_store
from search.stores.server import ServerStore

Make = Callable[..., Point]


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    """Qdrant's own in-memory stand-in."""
    with contextlib.closing(QdrantClient(":memory:")) as client:
        yield client


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(server_link, "RETRY_AFTER_SECONDS", (0.0, 0.0))


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("http://localhost:6333", "http://localhost:6333"),
        ("https://db.example.org/qdrant/", "https://db.example.org/qdrant"),
        ("HTTP://Host", "http://host"),
        ("http://[::1]:6333", "http://[::1]:6333"),
    ],
)
def test_an_address_is_cleaned(url: str, clean: str) -> None:
    """Scheme, host, port and path remain."""
    assert server_link.check_url(url) == clean


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hush@host:6333",
        "http://hush@host",
        "https://host/?api_key=hush",
        "https://host/#hush",
        "ftp://host",
        "host:6333",
        "http://",
        "http://host:port",
        "",
    ],
)
def test_an_address_that_may_hold_a_secret_is_refused(url: str) -> None:
    """And the message does not repeat it."""
    with pytest.raises(InvalidRequest, match=r"expected|leave it out") as error:
        ServerStore(url)
    assert "hush" not in str(error.value)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("prefer_grpc", [True, False])
@pytest.mark.filterwarnings("ignore:Failed to obtain server version", "ignore:Api key is used")
def test_a_server_that_is_not_there_is_reported(
    prefer_grpc: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """A clear error, without the key, by either protocol."""
    store = ServerStore(
        f"http://127.0.0.1:{unused_port()}",
        SecretStr("hush"),
        prefer_grpc=prefer_grpc,
        grpc_port=unused_port(),
        timeout_seconds=2,
    )
    _join_version_check()
    with contextlib.closing(store):
        assert "hush" not in repr(vars(store))
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1.*check that the server") as error:
            store.list()
        assert "hush" not in str(error.value)
    assert "hush" not in "".join(capfd.readouterr())


def _join_version_check() -> None:
    """The client asks for the server's version in a thread of its own, which may warn."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(5)


def _unavailable(status: int = 503) -> UnexpectedResponse:
    return UnexpectedResponse(status, "no", b"try later", httpx.Headers())


@pytest.mark.parametrize(
    "error", [_unavailable(), ResponseHandlingException(httpx.ConnectError("refused"))]
)
def test_a_transient_failure_is_tried_again(
    client: QdrantClient,
    manifest: Callable[..., Manifest],
    chunk: Make,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """An upsert is the same whether it arrives once or twice; it is sent three times at most."""
    collection = ServerStore.over(client, location="here").create(manifest("docs"))
    send, failures = client.upsert, [error, error]

    def flaky(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return send(*args, **kwargs)

    monkeypatch.setattr(client, "upsert", flaky)
    collection.upsert([chunk("a")])
    assert collection.count() == 1
    failures += [error] * 3
    with pytest.raises(StoreUnavailable, match=r"attempt 3"):
        collection.upsert([chunk("b")])
    assert failures == []


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_refusal_is_not_tried_again(
    client: QdrantClient,
    manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """The server said no: once is enough."""
    collection = ServerStore.over(client, location="here").create(manifest("docs"))
    calls: list[int] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        raise _unavailable(status)

    monkeypatch.setattr(client, "count", refuse)
    with pytest.raises(StoreUnavailable, match=f"{status} try later"):
        collection.count()
    assert len(calls) == 1


def test_a_collection_deleted_by_someone_else_is_reported(
    client: QdrantClient, manifest: Callable[..., Manifest]
) -> None:
    """`CollectionNotFound`, not a failure of the server."""
    store = ServerStore.over(client, location="here")
    collection = store.create(manifest("docs"))
    client.delete_collection("docs")
    with pytest.raises(CollectionNotFound, match="docs"):
        collection.count()


def test_foreign_collections_are_left_alone(
    client: QdrantClient, manifest: Callable[..., Manifest]
) -> None:
    """Neither listed, nor opened, nor deleted."""
    client.create_collection(
        "foreign", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT)
    )
    store = ServerStore.over(client, location="here")
    made = store.create(manifest("docs")).manifest
    assert store.list() == [made]
    for attempt in (store.open, store.delete):
        with pytest.raises(CollectionNotFound, match="not made by Sextant"):
            attempt("foreign")
    assert client.collection_exists("foreign")


def test_a_server_that_drops_metadata_is_too_old(
    client: QdrantClient, manifest: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Qdrant 1.16 the manifest would be lost in silence; nothing is left behind."""
    create = client.create_collection

    def forgetful(*args: Any, metadata: Any, **kwargs: Any) -> Any:
        return create(*args, **kwargs)

    monkeypatch.setattr(client, "create_collection", forgetful)
    with pytest.raises(StoreUnavailable, match=r"1\.16"):
        ServerStore.over(client, location="here").create(manifest("docs"))
    assert not client.collection_exists("docs")


def test_indexes_are_there_before_the_first_point(
    client: QdrantClient, manifest: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at creation; at opening those that an interrupted creation left out."""
    made: list[str] = []

    def record(name: str, path: str, schema: Any, *, wait: bool) -> None:
        assert wait
        made.append(path)

    monkeypatch.setattr(client, "create_payload_index", record)
    store = ServerStore.over(client, location="here")
    store._link.is_local = False
    store.create(manifest("docs"))
    assert {"kind", "metadata.doc_id", "metadata.cluster"} <= set(made)
    assert len(made) == len(set(made)) == 10


def test_requests_are_bounded_in_number_and_size(chunk: Make) -> None:
    """Up to 256 points or 5 MB, in order; a point larger than that goes alone."""
    points = [chunk(f"d{i}") for i in range(600)]
    sizes = [len(batch) for batch in server_collection._requests(points, 4)]
    assert sizes == [256, 256, 88]
    large = [chunk(f"d{i}", text="x" * 2_000_000) for i in range(5)]
    large.insert(2, chunk("huge", text="x" * 6_000_000))
    batches = list(server_collection._requests(large, 4))
    assert [len(batch) for batch in batches] == [2, 1, 2, 1]
    assert [point for batch in batches for point in batch] == large
    assert list(server_collection._requests([], 4)) == []


def test_a_location_is_a_folder_or_an_address(tmp_path: Path) -> None:
    """Anything else is refused rather than made into a folder of that name."""
    for folder in (tmp_path / "a", str(tmp_path / "a"), "relative/b"):
        assert isinstance(open_store(folder), EdgeStore)
    for wrong in ("ftp://host", "qdrant://user:hush@host", "localhost:6333", "", "  "):
        with pytest.raises(InvalidRequest, match="expected a folder") as error:
            open_store(wrong)
        assert "hush" not in str(error.value)
    with pytest.raises(InvalidRequest, match="key was given for the folder"):
        open_store(tmp_path, api_key=SecretStr("k"))


@pytest.mark.filterwarnings("ignore:Failed to obtain server version")
def test_an_address_opens_a_server_store() -> None:
    """Nothing is asked of it yet."""
    address = f"http://127.0.0.1:{unused_port()}"
    store = open_store(address)
    _join_version_check()
    with contextlib.closing(store):
        assert isinstance(store, ServerStore)
        assert store.location == address


def test_scores_agree_with_the_embedded_engine(
    client: QdrantClient, folder: Path, manifest: Callable[..., Manifest], chunk: Make
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
