"""The embedded store on a disk that is nearly full, and on one that is."""

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from search.errors import StoreFull, StoreUnavailable
from search.filters import where
from search.records import Point
from search.stores import edge_collection, edge_worker
from search.stores.contract import Manifest
from search.stores.edge import EdgeStore
from search.stores.edge_child import Worker
from search.stores.edge_collection import EdgeCollection
from search.stores.edge_engine import Engine
from search.stores.edge_files import allocated_bytes
from search.stores.edge_room import FLOOR_BYTES, RESERVE, RESERVE_BYTES, Room
from search.stores.edge_wire import Conditions, Count, Failed

Make = Callable[..., Point]
MakeManifest = Callable[..., Manifest]
Free = Callable[[int], None]
MIB = 2**20


@pytest.fixture
def store(folder: Path) -> Iterator[EdgeStore]:
    """An empty store."""
    with contextlib.closing(EdgeStore(folder)) as store:
        yield store


@pytest.fixture
def collection(store: EdgeStore, manifest: MakeManifest) -> EdgeCollection:
    """An empty collection called `docs`."""
    return store.create(manifest("docs"))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Free:
    """Has the disk say that so many bytes are free."""

    def say(size: int) -> None:
        monkeypatch.setattr(Room, "free_bytes", property(lambda self: size))

    return say


def test_what_is_free_is_asked_of_the_disk(folder: Path) -> None:
    """In bytes: about what the system's own count says."""
    folder.mkdir()
    disk = os.statvfs(folder)
    assert Room(folder, "docs").free_bytes == pytest.approx(
        disk.f_bavail * disk.f_frsize, abs=256 * MIB
    )


def test_nothing_is_sent_to_a_disk_without_room(
    collection: EdgeCollection, chunk: Make, free: Free, folder: Path
) -> None:
    """Points and metadata are refused with figures and remedy; all that is there is there."""
    collection.upsert([chunk("a")])
    before = collection.worker_pid
    free(10 * MIB)
    for attempt in (
        lambda: collection.upsert([chunk("b")]),
        lambda: collection.set_metadata({chunk("a").id: {"cluster": 1}}),
    ):
        with pytest.raises(StoreFull, match=r"^collection 'docs': 10\.0 MiB free in .*") as error:
            attempt()
        assert "64.0 MiB wanted; nothing was sent: free some space" in str(error.value)
        assert str(folder) in str(error.value)
    assert collection.count() == 1
    assert collection.count(where("cluster", 1)) == 0
    assert collection.worker_pid == before
    free(10**12)
    collection.upsert([chunk("b")])
    assert collection.count() == 2


def test_a_large_batch_wants_more_room(collection: EdgeCollection, chunk: Make, free: Free) -> None:
    """Several times its own size, above what is kept free in any case."""
    large = [chunk(f"d{i}", note="x" * 10_000) for i in range(100)]
    free(FLOOR_BYTES + 4 * MIB // 2)
    collection.upsert([chunk("a")])
    with pytest.raises(StoreFull, match=r"66\.0 MiB free .* (6[789]|70)\.\d MiB wanted"):
        collection.upsert(large)
    assert collection.count() == 1
    free(FLOOR_BYTES + 8 * MIB)
    collection.upsert(large)
    assert collection.count() == 101


def test_points_are_deleted_on_a_full_disk(
    collection: EdgeCollection, chunk: Make, free: Free, folder: Path
) -> None:
    """The store gives up what it holds in reserve for that, and makes it anew when it can."""
    reserve = folder / RESERVE
    collection.upsert([chunk("a"), chunk("b"), chunk("c")])
    assert allocated_bytes(folder) >= reserve.stat().st_size == RESERVE_BYTES
    free(RESERVE_BYTES)
    collection.delete([chunk("a").id])
    assert reserve.exists()
    free(0)
    collection.delete([chunk("b").id])
    assert not reserve.exists()
    collection.delete_where(where("doc_id", "c"))
    assert collection.count() == 0
    with pytest.raises(StoreFull):
        collection.upsert([chunk("a")])
    assert not reserve.exists()
    free(10**12)
    collection.upsert([chunk("a")])
    assert reserve.stat().st_size == RESERVE_BYTES


def test_a_collection_is_opened_and_deleted_on_a_full_disk(
    store: EdgeStore, collection: EdgeCollection, free: Free, folder: Path, manifest: MakeManifest
) -> None:
    """To read it, and to be rid of it; made it is not."""
    collection.close()
    free(0)
    assert store.open("docs").count() == 0
    assert not (folder / RESERVE).exists()
    with pytest.raises(StoreFull, match="'other'"):
        store.create(manifest("other"))
    store.delete("docs")
    assert store.list() == []
    assert not (folder / "other").exists()


@pytest.mark.parametrize("size", [0, 10**12], ids=["full", "room"])
def test_a_bus_error_is_a_full_disk_where_it_is_full(
    collection: EdgeCollection, chunk: Make, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Another program took the room between the look and the write."""
    collection.upsert([chunk("a")])
    worker = collection.worker_pid
    ask = Worker.ask

    def go_on() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)

    def struck(self: Worker, request: Any, timeout_seconds: Any, waiting: Any = None) -> Any:
        if self.pid == worker:
            os.kill(worker, signal.SIGBUS)  # while it is stopped, so that the request goes out
            threading.Timer(0.1, go_on).start()
        return ask(self, request, timeout_seconds, waiting)

    os.kill(worker, signal.SIGSTOP)
    monkeypatch.setattr(Worker, "ask", struck)
    monkeypatch.setattr(Room, "is_short", property(lambda self: size == 0))
    with pytest.raises(StoreUnavailable, match=r"SIGBUS .* repeat it") as error:
        collection.upsert([chunk("b")])
    assert isinstance(error.value, StoreFull) == (size == 0)
    assert ("has no room left" in str(error.value)) == (size == 0)
    assert collection.count() == 1


class FullEngine:
    """An engine whose disk is full: it says so in one way or another."""

    is_open = True

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def answer(self, request: Any) -> Any:
        """Never answers."""
        raise self.error

    def close(self) -> None:
        """Nothing to release."""


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OSError(errno.ENOSPC, "no room"), "full"),
        (OSError(errno.EDQUOT, "no room"), "full"),
        (OSError(errno.EIO, "broken"), "unavailable"),
        (Exception("Service runtime error: No space left on device (os error 28) at x"), "full"),
        (Exception("Disk quota exceeded (os error 122)"), "full"),
        (Exception("Wrong input: vector"), "unavailable"),
    ],
)
def test_the_worker_tells_a_full_disk_from_other_failures(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, failure: str
) -> None:
    """The engine's errors are text."""
    engine: Any = FullEngine(error)
    monkeypatch.setattr(edge_worker, "start", lambda request: engine)
    ours, theirs = Pipe()
    request = Count(conditions=Conditions())
    ours.send(request)
    ours.send(request)
    serving = threading.Thread(target=edge_worker.serve, args=(theirs, os.getppid()))
    serving.start()
    replies = [ours.recv(), ours.recv()]
    ours.close()
    serving.join()
    theirs.close()
    assert isinstance(replies[1], Failed)
    assert replies[1].failure == failure
    assert not replies[1].fatal


def test_the_engine_s_word_for_a_full_disk_is_passed_on(
    collection: EdgeCollection, chunk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it said and the remedy."""
    reply = Failed(failure="full", message="No space left on device (os error 28)")
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "ask", lambda *_: reply)
        with pytest.raises(StoreFull, match=r"no room left in .*os error 28.*free some space"):
            collection.upsert([chunk("a")])
    assert collection.count() == 0


def test_a_full_disk_puts_off_what_indexing_would_do(
    collection: EdgeCollection, chunk: Make, free: Free, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silently where nothing is owed; where an index is, the error says what is wanted."""
    collection.upsert([chunk(f"d{i}") for i in range(20)])
    free(FLOOR_BYTES)
    told: list[tuple[int, int]] = []
    collection.optimize(lambda *counts: told.append(counts))
    assert told == []
    monkeypatch.setattr(edge_collection, "INDEX_FROM_POINTS", 20)
    with pytest.raises(StoreFull, match=r"64\.0 MiB free"):
        collection.optimize()
    free(FLOOR_BYTES + 400 * MIB)
    collection.optimize()
    assert collection.count() == 20


def test_an_engine_that_lost_its_shard_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that fails after the shard was closed is fatal: the next request starts another."""

    class Shard:
        closed = 0

        def info(self) -> Any:
            return type("Info", (), {"points_count": 10})

        def flush(self) -> None:
            assert not self.closed

        def close(self) -> None:
            self.closed += 1

    from search.stores import edge_shard
    from search.stores.edge_wire import Layout, Optimize

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(edge_shard, "load", fail)
    shard: Any = Shard()
    engine = Engine(shard, Path("nowhere"), Layout(dimension=4, quantisation="none"))
    monkeypatch.setattr(edge_worker, "start", lambda request: engine)
    ours, theirs = Pipe()
    request = Optimize(at_least=1, share=0.2)
    ours.send(request)
    ours.send(request)
    edge_worker.serve(theirs, os.getppid())  # returns: the failure was fatal
    first, second = ours.recv(), ours.recv()
    assert not isinstance(first, Failed)
    assert second.fatal
    assert second.failure == "full"
    assert shard.closed == 1
    assert not engine.is_open
    engine.close()
    ours.close()
    theirs.close()


def test_a_store_that_vanished_is_not_called_full(
    collection: EdgeCollection, chunk: Make, folder: Path
) -> None:
    """Its disk cannot be asked any more: what then happens is the engine's to say."""
    collection.upsert([chunk("a")])
    moved = folder.with_name("moved")
    folder.rename(moved)
    assert Room(folder, "docs").free_bytes > 2**60
    with contextlib.suppress(StoreUnavailable):
        collection.upsert([chunk("b")])
    moved.rename(folder)
    assert collection.count() in (1, 2)
