"""What only the embedded store does: processes, locks, deaths and folders."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidRequest,
    StoreInUse,
    StoreUnavailable,
)
from search.filters import where
from search.records import Point
from search.stores import edge_collection, edge_files, edge_lock
from search.stores.contract import Manifest
from search.stores.edge import EdgeStore
from search.stores.edge_collection import EdgeCollection
from search.stores.edge_process import this_process
from search.stores.edge_wire import Upsert

ROOT = str(Path(edge_collection.__file__).parents[2])
X = np.asarray([1, 0, 0, 0], dtype=np.float32)

Make = Callable[..., Point]


@pytest.fixture
def store(folder: Path) -> Iterator[EdgeStore]:
    """An empty store."""
    with contextlib.closing(EdgeStore(folder)) as store:
        yield store


@pytest.fixture
def collection(store: EdgeStore, manifest: Callable[..., Manifest]) -> EdgeCollection:
    """An empty collection called `docs`."""
    return store.create(manifest("docs"))


@contextlib.contextmanager
def other_program(source: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Another Python program; killed with SIGKILL at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


OPEN_AND_SLEEP = """
import sys, time
from search.stores.edge import EdgeStore
collection = EdgeStore(sys.argv[1]).open("docs")
print(collection.worker_pid, collection.count(), flush=True)
time.sleep(600)
"""


def open_when_free(folder: Path, seconds: float = 20.0) -> EdgeCollection:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return EdgeStore(folder).open("docs")
        except StoreInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_collection_is_open_in_one_process_at_a_time(
    store: EdgeStore, collection: EdgeCollection, chunk: Make, folder: Path
) -> None:
    """A second program learns who has it; killed, it leaves no lock behind, and no worker."""
    collection.upsert([chunk("a")])
    collection.close()
    with other_program(OPEN_AND_SLEEP, folder) as program:
        worker, count = first_line(program).split()
        assert count == "1"
        for attempt in (lambda: store.open("docs"), lambda: store.delete("docs")):
            with pytest.raises(StoreInUse) as error:
                attempt()
            assert f"in use by pid {program.pid} (" in str(error.value)
            assert "since 20" in str(error.value)
        with pytest.raises(CollectionExists):
            store.create(collection.manifest)
        assert store.list() == [collection.manifest]
        program.kill()  # the worker hears of it by the closed socket, and ends
        with contextlib.closing(open_when_free(folder)) as again:
            assert again.count() == 1
            assert str(again.worker_pid) != worker


OPEN_FORK_AND_SLEEP = """
import os, sys, time
from search.stores.edge import EdgeStore
collection = EdgeStore(sys.argv[1]).open("docs")
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(600)
"""


def test_a_worker_ends_with_its_parent_though_a_fork_holds_the_socket(
    collection: EdgeCollection, folder: Path
) -> None:
    """The socket never closes then; the worker sees that its parent is another one."""
    collection.close()
    with other_program(OPEN_FORK_AND_SLEEP, folder) as program:
        child = int(first_line(program))
        try:
            program.kill()
            with contextlib.closing(open_when_free(folder)) as again:
                assert again.count() == 0
        finally:
            os.kill(child, signal.SIGKILL)


def test_two_stores_of_one_process_exclude_each_other_too(
    collection: EdgeCollection, folder: Path
) -> None:
    """The lock does not care whether the other is a stranger."""
    with (
        contextlib.closing(EdgeStore(folder)) as other,
        pytest.raises(StoreInUse, match=f"pid {os.getpid()}"),
    ):
        other.open("docs")
    assert collection.count() == 0


def test_the_same_store_gives_the_same_open_collection(
    store: EdgeStore, collection: EdgeCollection
) -> None:
    """One engine per collection, however often it is asked for."""
    assert store.open("docs") is collection
    collection.close()
    assert store.open("docs") is not collection


def test_a_read_survives_the_death_of_the_engine(collection: EdgeCollection, chunk: Make) -> None:
    """Killed between two requests or during one, it is started again, with every point."""
    collection.upsert([chunk(f"d{i}") for i in range(50)])
    before = collection.worker_pid
    os.kill(before, signal.SIGKILL)
    assert collection.count() == 50
    assert collection.worker_pid != before
    os.kill(collection.worker_pid, signal.SIGSTOP)  # the request waits in the socket
    killer = threading.Timer(0.2, os.kill, (collection.worker_pid, signal.SIGKILL))
    killer.start()
    assert len(collection.search(X, limit=50)) == 50
    killer.join()


def test_a_write_reports_the_death_of_the_engine(collection: EdgeCollection, chunk: Make) -> None:
    """It is not repeated by itself; the next call finds a new engine and the old points."""
    collection.upsert([chunk("a")])
    os.kill(collection.worker_pid, signal.SIGSTOP)
    killer = threading.Timer(0.2, os.kill, (collection.worker_pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(StoreUnavailable, match=r"'docs' was killed by SIGKILL .*upsert.*repeat it"):
        collection.upsert([chunk("b")])
    killer.join()
    assert collection.count() == 1
    collection.upsert([chunk("b")])
    assert collection.count() == 2
    os.kill(collection.worker_pid, signal.SIGKILL)
    time.sleep(0.1)
    collection.upsert([chunk("c")])  # died before the call: nothing was lost, nothing to report
    assert collection.count() == 3


def test_no_acknowledged_point_is_lost(
    collection: EdgeCollection, chunk: Make, head: Callable[[str], Point]
) -> None:
    """Killed again and again as it writes: what returned is there, no head lacks its chunks."""
    acknowledged: set[str] = set()
    for attempt in range(4):
        worker = _running(collection)
        killer = threading.Timer(0.05 + 0.05 * attempt, os.kill, (worker, signal.SIGKILL))
        killer.start()
        with pytest.raises(StoreUnavailable):
            for number in range(100_000):
                name = f"{attempt}-{number}"
                points = [*(chunk(name, i, vector=(1, i, 0, 0)) for i in range(5)), head(name)]
                collection.upsert(points)
                acknowledged |= {point.id for point in points}
                if number == 0 and attempt == 0:
                    collection.set_metadata({points[0].id: {"cluster": 1}})
                if worker != collection.worker_pid:
                    raise StoreUnavailable("it died between two calls")
        killer.join()
    stored = {record.id: record.payload for record in collection.scroll()}
    assert acknowledged <= stored.keys()
    assert collection.count(where("cluster", 1)) == 1
    for payload in stored.values():
        if payload["kind"] == "head":
            assert collection.count(where("doc_id", payload["metadata"]["doc_id"])) == 6


def test_an_engine_that_does_not_answer_is_killed(
    collection: EdgeCollection, chunk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read is tried again; a write says so."""
    collection.upsert([chunk("a")])
    monkeypatch.setattr(edge_collection, "READ_SECONDS", 5.0)
    monkeypatch.setattr(edge_collection, "WRITE_SECONDS", 0.2)
    os.kill(collection.worker_pid, signal.SIGSTOP)
    with pytest.raises(StoreUnavailable, match=r"no answer in 0\.2 s"):
        collection.upsert([chunk("b")])
    monkeypatch.setattr(edge_collection, "READ_SECONDS", 0.5)
    os.kill(_running(collection), signal.SIGSTOP)
    assert collection.count() == 1


def _running(collection: EdgeCollection) -> int:
    """The worker's pid, once a read has made sure that there is one."""
    collection.count()
    return collection.worker_pid


def test_an_interrupted_call_does_not_answer_the_next_one(
    collection: EdgeCollection, chunk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C in the middle of a request, the next request gets its own answer."""
    collection.upsert([chunk("a"), chunk("b")])
    connection = collection._engine._worker._connection
    monkeypatch.setattr(type(connection), "recv", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        collection.count()
    monkeypatch.undo()
    assert len(collection.search(X, limit=1)) == 1
    assert collection.count() == 2


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_an_error_of_the_engine_is_reported_and_survived(
    collection: EdgeCollection, chunk: Make
) -> None:
    """Were a check missing on our side, the engine's refusal arrives in words."""
    collection.upsert([chunk("a")])
    request = Upsert(
        ids=[chunk("b").id],
        has_vector=[True],
        vectors=np.ones(7, dtype=np.float32).tobytes(),
        payloads=[{}],
        flush=True,
    )
    with pytest.raises(StoreUnavailable, match="the engine answered"):
        collection._engine.write(request, timeout_seconds=5.0)
    assert collection.count() == 1


def test_a_forked_process_may_not_use_the_parent_s_engine(
    collection: EdgeCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on one socket would read each other's answers."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(StoreUnavailable, match="fork"):
            collection.count()
        collection.close()
    assert collection.count() == 0


def test_threads_share_a_collection(collection: EdgeCollection, chunk: Make) -> None:
    """Eight threads write and read at once; every point arrives."""
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(10):
                collection.upsert([chunk(f"{thread}-{number}", i) for i in range(3)])
                assert collection.count(where("doc_id", f"{thread}-{number}")) == 3
        except BaseException as error:  # noqa: BLE001 - shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert collection.count() == 240


def test_a_large_upsert_goes_in_parts(
    collection: EdgeCollection, chunk: Make, head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors stay with their points over the parts, heads between them included."""
    monkeypatch.setattr(edge_collection, "POINTS_PER_UPSERT", 7)
    monkeypatch.setattr(edge_collection, "IDS_PER_REQUEST", 7)
    points = []
    for number in range(20):
        points += [chunk(f"d{number}", vector=(1, number, 0, 0)), head(f"d{number}")]
    collection.upsert(points)
    collection.set_metadata({point.id: {"cluster": 4} for point in points})
    for number in range(20):
        query = np.asarray([1, number, 0, 0], dtype=np.float32)
        [record] = collection.search(query, limit=1, where=where("cluster", 4))
        assert record.payload["metadata"]["doc_id"] == f"d{number}"
    collection.delete([point.id for point in points[:30]])
    assert collection.count(where("cluster", 4)) == 10
    assert len(collection.retrieve([point.id for point in points])) == 10


@pytest.mark.parametrize("leftover", ["empty", "shard", "partial manifest"])
def test_a_creation_that_died_half_way_is_forgotten(
    store: EdgeStore,
    folder: Path,
    manifest: Callable[..., Manifest],
    leftover: str,
    chunk: Make,
) -> None:
    """Not listed, not opened, not in the way."""
    shard = folder / "docs" / "shard"
    shard.mkdir(parents=True)
    if leftover == "shard":
        (shard / "wal").mkdir()
        (shard / "wal" / "open-1").write_bytes(b"junk")
    elif leftover == "partial manifest":
        (folder / "docs" / "manifest.json.partial").write_text("{")
    assert store.list() == []
    for attempt in (lambda: store.open("docs"), lambda: store.delete("docs")):
        with pytest.raises(CollectionNotFound):
            attempt()
    collection = store.create(manifest("docs"))
    collection.upsert([chunk("a")])
    assert collection.count() == 1


def test_a_deletion_that_died_half_way_is_finished(
    store: EdgeStore, collection: EdgeCollection, folder: Path, manifest: Callable[..., Manifest]
) -> None:
    """What was renamed away is gone for readers at once, and from the disk at the next change."""
    collection.close()
    (folder / "docs").rename(folder / ".trash-docs-1")
    assert store.list() == []
    store.create(manifest("other"))
    assert not list(folder.glob(".trash-*"))


def test_a_manifest_of_another_version_is_refused(
    store: EdgeStore, collection: EdgeCollection, folder: Path
) -> None:
    """The message says which version; the collection can still be deleted."""
    collection.close()
    path = folder / "docs" / "manifest.json"
    fields = json.loads(path.read_text())
    edge_files.write_durably(path, json.dumps(fields | {"schema_version": 2, "new": 1}))
    for attempt in (lambda: store.open("docs"), store.list):
        with pytest.raises(StoreUnavailable, match="schema version 2"):
            attempt()
    store.delete("docs")
    assert store.list() == []


def test_a_shard_that_cannot_be_loaded_is_reported(
    store: EdgeStore, collection: EdgeCollection, folder: Path
) -> None:
    """Files are missing: an error, and no process left."""
    collection.close()
    (folder / "docs" / "shard").rename(folder / "docs" / "elsewhere")
    with pytest.raises(StoreUnavailable, match="'docs'"):
        store.open("docs")
    (folder / "docs" / "elsewhere").rename(folder / "docs" / "shard")
    assert store.open("docs").count() == 0


def test_a_copied_folder_is_a_collection_of_its_own(
    store: EdgeStore, collection: EdgeCollection, folder: Path, chunk: Make
) -> None:
    """A backup by `cp -r` opens under the name of its folder."""
    import shutil

    collection.upsert([chunk("a")])
    collection.close()
    shutil.copytree(folder / "docs", folder / "docs-backup")
    assert [found.name for found in store.list()] == ["docs", "docs-backup"]
    assert store.open("docs-backup").count() == 1


def test_a_store_that_is_no_folder_is_reported(
    tmp_path: Path, manifest: Callable[..., Manifest]
) -> None:
    """A file in its place: `StoreUnavailable`, whatever is asked of it."""
    place = tmp_path / "file"
    place.write_text("x")
    store = EdgeStore(place)
    for attempt in (store.list, lambda: store.create(manifest("docs"))):
        with pytest.raises(StoreUnavailable, match="check the path"):
            attempt()
    missing = EdgeStore(tmp_path / "missing")
    assert missing.list() == []
    with pytest.raises(CollectionNotFound):
        missing.open("docs")
    assert not (tmp_path / "missing").exists()


def test_a_lock_names_the_program_without_its_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Arguments may hold secrets."""
    monkeypatch.setattr(sys, "argv", ["/opt/bin/sextant", "ingest", "--api-key", "hush"])
    assert this_process().command == "sextant"
    monkeypatch.setattr(sys, "argv", ["/lib/pytest/__main__.py", "--key=hush"])
    assert this_process().command == "pytest"


def test_a_dropped_collection_ends_its_engine(
    folder: Path, manifest: Callable[..., Manifest]
) -> None:
    """Without `close`, when the object is garbage."""
    import gc

    EdgeStore(folder).create(manifest("docs"))
    gc.collect()
    with contextlib.closing(EdgeStore(folder)) as again:
        assert again.open("docs").count() == 0


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("search.stores.edge_worker", "numpy pydantic search.records search.filters"),
        (
            "search.service search.stores.locate search.stores.edge search.collections",
            "qdrant_edge qdrant_client grpc httpx torch prefect transformers sklearn",
        ),
    ],
)
def test_imports_stay_light(modules: str, absent: str) -> None:
    """A worker starts in tens of milliseconds; `search` loads no engine before a store is open."""
    source = f"import sys, {', '.join(modules.split())}; print(*sys.modules)"
    with other_program(source) as program:
        loaded = set(first_line(program).split())
    assert loaded >= set(modules.split())
    assert loaded.isdisjoint(absent.split())


def test_a_search_with_no_sense_is_refused(collection: EdgeCollection) -> None:
    """The caller's mistakes are found before the engine is asked."""
    with pytest.raises(InvalidRequest, match="limit"):
        collection.search(X, limit=0)
    with pytest.raises(InvalidRequest, match="encoder"):
        collection.search(np.ones(5, dtype=np.float32), limit=1)


def test_the_lock_of_a_killed_process_is_waited_for(tmp_path: Path) -> None:
    """Whoever comes right after a kill waits for the orphaned worker to end, and then has it."""
    path = tmp_path / "lock"
    holder = subprocess.Popen(["sleep", "60"])
    gone = subprocess.Popen(["true"])
    gone.wait()
    descriptor = edge_lock.acquire(path, pid=gone.pid, command="sextant", since="now")
    released = threading.Timer(0.3, edge_lock.release, [descriptor])
    released.start()
    again = edge_lock.acquire(path, pid=holder.pid, command="sextant", since="now")
    with pytest.raises(edge_lock.LockHeldError, match=str(holder.pid)):
        edge_lock.acquire(path, pid=1, command="sextant", since="now")
    edge_lock.release(again)
    holder.kill()
    holder.wait()


def test_a_folder_of_the_users_is_never_taken_for_a_collection(
    tmp_path: Path, manifest: Callable[..., Manifest]
) -> None:
    """With the store in a working folder, a collection named like a folder there is refused."""
    wanted = manifest()
    mine = tmp_path / wanted.name
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    store = EdgeStore(tmp_path)
    with pytest.raises(CollectionExists, match=r"thesis\.txt.*another collection or store"):
        store.create(wanted)
    store.close()
    assert (mine / "thesis.txt").read_text() == "years of work"
