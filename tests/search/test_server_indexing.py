"""When a server indexes: put off while much is loaded, restored however that ends, waited for."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from search.errors import CollectionNotFound, StoreUnavailable
from search.records import Point
from search.stores import server_failures, server_indexing
from search.stores.contract import Manifest, Status
from search.stores.server import ServerStore
from search.stores.server_collection import ServerCollection
from search.stores.server_indexing import DEFAULT_THRESHOLD, THRESHOLD_KEY
from search.stores.server_schema import MANIFEST_KEY

Make = Callable[..., Point]
GREEN, YELLOW, GREY, RED = (
    models.CollectionStatus.GREEN,
    models.CollectionStatus.YELLOW,
    models.CollectionStatus.GREY,
    models.CollectionStatus.RED,
)


class Server:
    """The in-memory client, with the settings of the index, which it has not."""

    def __init__(self, client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threshold: int | None = 20_000
        self.indexed: int | None = 0
        self.statuses: list[models.CollectionStatus] = []
        self.updates: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self._get, self._update = client.get_collection, client.update_collection
        monkeypatch.setattr(client, "get_collection", self.get_collection)
        monkeypatch.setattr(client, "update_collection", self.update_collection)

    def get_collection(self, name: str) -> models.CollectionInfo:
        """With the threshold in force, and the next status."""
        info = self._get(name)
        info.config.optimizer_config.indexing_threshold = self.threshold
        info.indexed_vectors_count = self.indexed
        if self.statuses:
            info.status = self.statuses.pop(0)
        return info

    def update_collection(self, name: str, **changes: Any) -> bool:
        """As Qdrant: what is None stays as it is."""
        if self.failures:
            raise self.failures.pop(0)
        self.updates.append(changes)
        threshold = changes["optimizers_config"].indexing_threshold
        self.threshold = self.threshold if threshold is None else threshold
        return bool(self._update(name, **changes))

    def note(self, name: str) -> Any:
        """What is remembered in the collection."""
        return (self._get(name).config.metadata or {}).get(THRESHOLD_KEY)


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    """Qdrant's own in-memory stand-in."""
    with contextlib.closing(QdrantClient(":memory:")) as client:
        yield client


@pytest.fixture
def server(client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> Server:
    """What the stand-in lacks."""
    return Server(client, monkeypatch)


@pytest.fixture
def store(client: QdrantClient, server: Server) -> ServerStore:
    """A store over both."""
    return ServerStore.over(client, location="here")


@pytest.fixture
def collection(store: ServerStore, manifest: Callable[..., Manifest]) -> ServerCollection:
    """An empty collection."""
    return store.create(manifest("docs"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and retries follow at once."""
    monkeypatch.setattr(server_failures, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(server_indexing, "FIRST_POLL", 0.0)


def state(server: Server) -> tuple[int | None, Any]:
    return server.threshold, server.note("docs")


def gone() -> UnexpectedResponse:
    return UnexpectedResponse(500, "no", b"down", httpx.Headers())


def test_a_load_puts_indexing_off_and_on_again(
    server: Server, store: ServerStore, collection: ServerCollection, chunk: Make
) -> None:
    """One request each way, with the note of what it was; the manifest stays."""
    with collection.bulk_load():
        assert state(server) == (0, 20_000)
        collection.upsert([chunk("a")])
        assert store.open("docs").manifest == collection.manifest
    assert state(server) == (20_000, None)
    assert len(server.updates) == 2
    assert all(MANIFEST_KEY in update["metadata"] for update in server.updates)  # replaced or not
    assert store.open("docs").manifest == collection.manifest
    assert store.list() == [collection.manifest]


def test_an_error_inside_a_load_goes_on_and_indexing_too(
    server: Server, collection: ServerCollection
) -> None:
    """Also an interrupt; and where the server is down, the error says that indexing is off."""
    for error in (ValueError("ours"), KeyboardInterrupt()):
        with pytest.raises(type(error)), collection.bulk_load():
            raise error
        assert state(server) == (20_000, None)
    with pytest.raises(ValueError, match="ours") as raised, collection.bulk_load():
        server.failures = [gone()]
        raise ValueError("ours")
    assert any("indexing stays off" in note for note in raised.value.__notes__)
    assert state(server) == (0, 20_000)
    collection.optimize()
    with pytest.raises(StoreUnavailable, match="500 down"), collection.bulk_load():
        server.failures = [gone()]
    collection.optimize()
    assert state(server) == (20_000, None)


@pytest.mark.parametrize("repair", ["bulk_load", "optimize"])
def test_a_load_that_was_killed_is_put_right(
    server: Server, collection: ServerCollection, repair: str
) -> None:
    """By the next load as by the next `optimize`, with the threshold that there was."""
    killed = collection.bulk_load()
    killed.__enter__()  # and never left
    assert state(server) == (0, 20_000)
    if repair == "optimize":
        collection.optimize()
    else:
        with collection.bulk_load():
            assert state(server) == (0, 20_000)
    assert state(server) == (20_000, None)


def test_two_loads_at_once_end_with_indexing_on(
    server: Server, collection: ServerCollection
) -> None:
    """The first to end turns it on for both, which is harmless; neither remembers the other's 0."""
    first, second = collection.bulk_load(), collection.bulk_load()
    first.__enter__()
    second.__enter__()
    assert state(server) == (0, 20_000)
    first.__exit__(None, None, None)
    assert state(server) == (20_000, None)
    second.__exit__(None, None, None)
    assert state(server) == (20_000, None)


def test_a_threshold_that_someone_chose_is_kept(
    server: Server, collection: ServerCollection
) -> None:
    """Off for good stays off; one set during the load stays; one the server hides is Qdrant's."""
    server.threshold = 0
    with collection.bulk_load():
        pass
    collection.optimize()
    assert state(server) == (0, None)
    assert server.updates == []
    server.threshold = 5_000
    with collection.bulk_load():
        server.threshold = 7_000
    assert state(server) == (7_000, None)
    killed = collection.bulk_load()
    killed.__enter__()
    server.threshold = 8_000
    with collection.bulk_load():
        assert state(server) == (0, 8_000)
    assert state(server) == (8_000, None)
    server.threshold = None
    with collection.bulk_load():
        assert state(server) == (0, DEFAULT_THRESHOLD)
    assert state(server) == (DEFAULT_THRESHOLD, None)


def test_a_change_of_settings_is_repeated(server: Server, collection: ServerCollection) -> None:
    """It sets the same values, however often it arrives."""
    server.failures = [UnexpectedResponse(503, "no", b"", httpx.Headers())]
    with collection.bulk_load():
        assert state(server) == (0, 20_000)


def test_waiting_tells_how_far_it_is(
    server: Server, store: ServerStore, collection: ServerCollection, chunk: Make, head: Any
) -> None:
    """Vectors indexed, and vectors in all: heads have none. Green is believed the second time."""
    store._link.is_local = False
    collection.upsert([*(chunk(f"d{i}") for i in range(9)), head("d0")])
    counts = iter([0, 4, 9, 12, 9])
    seen: list[tuple[int, int]] = []
    server.statuses = [GREEN, YELLOW, GREEN, YELLOW, GREEN, GREEN]  # the first to `restore`
    server.indexed = next(counts)

    def progress(indexed: int, vectors: int) -> None:
        seen.append((indexed, vectors))
        server.indexed = next(counts, 9)

    collection.optimize(progress)
    assert seen == [(0, 9), (4, 9), (9, 9), (9, 9), (9, 9)]
    assert server.statuses == []


def test_pending_indexing_is_set_going_once(
    server: Server, store: ServerStore, collection: ServerCollection
) -> None:
    """Grey: the server would wait for the next write."""
    store._link.is_local = False
    server.statuses = [GREEN, GREY, GREY, YELLOW, GREEN, GREEN]
    collection.optimize()
    assert [update["optimizers_config"] for update in server.updates] == [
        models.OptimizersConfigDiff()
    ]


def test_a_server_in_trouble_is_not_waited_for(
    server: Server,
    store: ServerStore,
    collection: ServerCollection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Red is an error; so is an hour without headway, while headway is waited for."""
    server.statuses = [GREEN, RED]
    with pytest.raises(StoreUnavailable, match="status red"):
        collection.optimize()
    monkeypatch.setattr(server_indexing, "STALLED_SECONDS", -1.0)
    server.statuses = [GREEN, *[YELLOW] * 3]
    with pytest.raises(StoreUnavailable, match="has indexed 0 of 0 vectors and none for"):
        collection.optimize()
    assert len(server.statuses) == 1


def test_closing_ends_the_waiting(
    server: Server, store: ServerStore, collection: ServerCollection
) -> None:
    """At the next look."""
    server.statuses = [YELLOW] * 9
    with pytest.raises(StoreUnavailable, match="closed"):
        collection.optimize(lambda indexed, vectors: store.close())


def test_the_status(
    server: Server, collection: ServerCollection, chunk: Make, head: Any, client: QdrantClient
) -> None:
    """Exact numbers of points and vectors; what is indexed is the server's guess, and no more."""
    assert collection.status() == Status(points=0, indexed=0, vectors=0, bytes=None)
    collection.upsert([chunk("a"), chunk("b"), head("a")])
    server.indexed = 1
    assert collection.status() == Status(points=3, indexed=1, vectors=2, bytes=None, worded=2)
    server.indexed = 40
    assert collection.status().indexed == 2
    server.indexed = None
    assert collection.status().indexed == 0
    client.delete_collection("docs")
    with pytest.raises(CollectionNotFound):
        collection.status()
    collection.close()
    for attempt in (collection.status, lambda: collection.bulk_load().__enter__()):
        with pytest.raises(StoreUnavailable, match="closed"):
            attempt()
