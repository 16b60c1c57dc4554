"""Indexing in the embedded store: when, how often, what is told meanwhile, and int8 vectors."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from search.errors import InvalidRequest, StoreUnavailable
from search.records import Point
from search.stores import edge_child, edge_collection
from search.stores.contract import Manifest
from search.stores.edge import EdgeStore
from search.stores.edge_collection import EdgeCollection
from search.stores.edge_files import allocated_bytes
from search.stores.edge_wire import CountIndexed, Optimize

Make = Callable[..., Point]
MakeManifest = Callable[..., Manifest]
DIMENSION = 64
INDEX_FROM = 1000


@pytest.fixture
def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EdgeStore]:
    """An empty store that indexes from a thousand points on."""
    monkeypatch.setattr(edge_collection, "INDEX_FROM_POINTS", INDEX_FROM)
    with contextlib.closing(EdgeStore(folder)) as store:
        yield store


@pytest.fixture
def collection(store: EdgeStore, manifest: MakeManifest) -> EdgeCollection:
    """An empty collection of 64-d vectors called `docs`."""
    return store.create(manifest("docs", dimension=DIMENSION))


@pytest.fixture
def points(chunk: Make) -> Callable[[int, int], list[Point]]:
    """The chunks of that number, from a first one on; each has a random direction of its own."""

    def make(first: int, count: int, *, seed: int = 0) -> list[Point]:
        vectors = np.random.default_rng([seed, first]).standard_normal((count, DIMENSION))
        return [
            chunk(f"d{first + i}", vector=vector.astype(np.float32))
            for i, vector in enumerate(vectors)
        ]

    return make


def nearest(points: list[Point], query: npt.NDArray[np.float32], limit: int) -> dict[str, float]:
    """Ids and cosines of the nearest, worked out here."""
    vectors = np.stack([point.vector for point in points if point.vector is not None])
    scores = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    return {points[i].id: float(scores[i]) for i in np.argsort(-scores)[:limit]}


def told(collection: EdgeCollection) -> list[tuple[int, int]]:
    """What `optimize` tells."""
    counts: list[tuple[int, int]] = []
    collection.optimize(lambda indexed, vectors: counts.append((indexed, vectors)))
    return counts


def test_vectors_are_indexed_once_enough_are_not(collection: EdgeCollection, points: Any) -> None:
    """None below the threshold; then all; then again when a fifth is missing, and not before."""
    collection.upsert(points(0, INDEX_FROM - 1))
    assert told(collection) == [(0, INDEX_FROM - 1)] * 2
    collection.upsert(points(INDEX_FROM - 1, 201))
    counts = told(collection)
    assert (counts[0], counts[-1]) == ((0, 1200), (1200, 1200))
    assert collection.status().indexed == 1200
    collection.upsert(points(1200, 200))
    assert told(collection)[-1] == (1200, 1400)
    collection.upsert(points(1400, 200))
    assert told(collection)[-1] == (1600, 1600)
    assert collection.count() == 1600


def test_vectors_that_replace_others_count_too(collection: EdgeCollection, points: Any) -> None:
    """As many points as before, but a third of the index is out of date."""
    collection.upsert(points(0, 1200))
    collection.optimize()
    everything = points(0, 1200)
    everything[:400] = points(0, 400, seed=1)
    collection.upsert(everything[:400])
    request = Optimize(at_least=INDEX_FROM, share=edge_collection.UNINDEXED_SHARE)
    assert collection._engine.write(request, timeout_seconds=60)
    assert not collection._engine.write(request, timeout_seconds=60)
    query = np.ones(DIMENSION, dtype=np.float32)
    found = collection.search(query, limit=10, exact=True)
    assert {record.id for record in found} == nearest(everything, query, 10).keys()
    assert collection.count() == 1200


def test_what_was_deleted_is_cleared_away(collection: EdgeCollection, points: Any) -> None:
    """The engine counts deleted vectors as indexed till then; the status does not."""
    everything = points(0, 3000)
    collection.upsert(everything)
    collection.optimize()
    collection.delete([point.id for point in everything[1500:]])
    assert collection.status().indexed <= collection.status().vectors == 1500
    assert collection._engine.read(CountIndexed(), timeout_seconds=60) > 1500
    collection.optimize()
    assert collection._engine.read(CountIndexed(), timeout_seconds=60) == 1500
    query = np.ones(DIMENSION, dtype=np.float32)
    found = collection.search(query, limit=10)
    assert {record.id: pytest.approx(record.score, abs=1e-6) for record in found} == nearest(
        everything[:1500], query, 10
    )


def test_an_index_is_found_again_by_the_next_program(
    store: EdgeStore, collection: EdgeCollection, points: Any
) -> None:
    """Closed and opened, it is as it was, and nothing is indexed again."""
    collection.upsert(points(0, 1200))
    collection.optimize()
    collection.close()
    again = store.open("docs")
    assert again.status().indexed == 1200
    assert told(again) == [(1200, 1200)] * 2


def test_something_is_told_while_the_engine_is_busy(
    collection: EdgeCollection, points: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the caller's own thread, with the numbers from before."""
    monkeypatch.setattr(edge_child, "TICK_SECONDS", 0.001)
    collection.upsert(points(0, 5000))
    threads: set[int] = set()
    counts: list[tuple[int, int]] = []

    def progress(indexed: int, vectors: int) -> None:
        threads.add(threading.get_ident())
        counts.append((indexed, vectors))

    collection.optimize(progress)
    assert len(counts) > 2
    assert counts[:-1] == [(0, 5000)] * (len(counts) - 1)
    assert counts[-1] == (5000, 5000)
    assert threads == {threading.get_ident()}


def test_an_engine_killed_while_it_indexes_is_reported(
    collection: EdgeCollection, points: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No point is lost, and the next call does the work."""
    monkeypatch.setattr(edge_child, "TICK_SECONDS", 0.001)
    everything = points(0, 5000)
    collection.upsert(everything)
    before, calls = collection.worker_pid, 0

    def kill(indexed: int, vectors: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first is told before it begins
            os.kill(before, signal.SIGKILL)

    with pytest.raises(StoreUnavailable, match=r"SIGKILL .* during optimize"):
        collection.optimize(kill)
    assert collection.count() == 5000
    assert collection.worker_pid != before
    collection.optimize()
    assert collection.status().indexed == 5000
    query = np.ones(DIMENSION, dtype=np.float32)
    found = collection.search(query, limit=10, exact=True)
    assert {record.id for record in found} == nearest(everything, query, 10).keys()


def test_indexing_can_be_interrupted(
    collection: EdgeCollection, points: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ctrl-C, or whatever else the caller's own function raises."""
    monkeypatch.setattr(edge_child, "TICK_SECONDS", 0.001)
    collection.upsert(points(0, 5000))
    calls = 0

    def interrupt(indexed: int, vectors: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collection.optimize(interrupt)
    assert collection.count() == 5000
    assert collection.status().indexed == 0


def test_an_engine_that_never_ends_indexing_is_killed(
    collection: EdgeCollection, points: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time it may take grows with what there is to index."""
    monkeypatch.setattr(edge_collection, "OPTIMIZE_SECONDS", 0.0)
    monkeypatch.setattr(edge_collection, "OPTIMIZE_SECONDS_PER_VALUE", 1e-4)
    collection.upsert(points(0, 50))

    def stop(indexed: int, vectors: int) -> None:
        os.kill(collection.worker_pid, signal.SIGSTOP)

    with pytest.raises(StoreUnavailable, match=r"no answer in 0\.32 s"):
        collection.optimize(stop)
    assert collection.count() == 50


@pytest.mark.parametrize("indexed", [False, True])
def test_int8_vectors_are_scored_by_the_whole_ones(
    store: EdgeStore, manifest: MakeManifest, points: Any, folder: Path, indexed: bool
) -> None:
    """The nearest by the index, and exactly the nearest by an exact search; scores are cosines."""
    made = manifest("docs", dimension=DIMENSION, storage={"quantisation": "int8"})
    collection = store.create(made)
    everything = points(0, 3000)
    collection.upsert(everything)
    if indexed:
        collection.optimize()
    assert bool(list((folder / "docs" / "shard").rglob("quantized*"))) == indexed
    hits = 0
    for query in np.random.default_rng(5).standard_normal((20, DIMENSION)).astype(np.float32):
        truth = nearest(everything, query, 10)
        exact = collection.search(query, limit=10, exact=True)
        assert {record.id: record.score for record in exact} == {
            identifier: pytest.approx(score, abs=1e-6) for identifier, score in truth.items()
        }
        for record in collection.search(query, limit=10):
            hits += record.id in truth
            if record.id in truth:
                assert record.score == pytest.approx(truth[record.id], abs=1e-6)
    assert hits >= 190
    collection.close()
    assert store.open("docs").manifest.storage.quantisation == "int8"


@pytest.mark.parametrize(
    ("storage", "named"),
    [
        ({"on_disk": True}, "on_disk"),
        ({"shards": 2}, "shards"),
        ({"shards": 1, "replicas": 1, "quantisation": "int8"}, "shards, replicas"),
    ],
)
def test_options_of_servers_are_refused(
    store: EdgeStore, manifest: MakeManifest, folder: Path, storage: Any, named: str
) -> None:
    """In one line, before anything is made."""
    with pytest.raises(InvalidRequest, match=f"'docs': storage option {named} is for servers only"):
        store.create(manifest("docs", storage=storage))
    assert not folder.exists()


def test_the_status_gives_what_files_take(
    store: EdgeStore, collection: EdgeCollection, points: Any, folder: Path
) -> None:
    """Not what they seem to take: they are sparse."""
    with (folder / "sparse").open("wb") as file:
        file.truncate(2**30)
    assert allocated_bytes(folder) < 2**29
    before = collection.status().bytes
    collection.upsert(points(0, 5000))
    after = collection.status().bytes
    assert before is not None
    assert after is not None
    assert 5000 * DIMENSION * 4 < after - before < 2**28
    assert after == allocated_bytes(folder / "docs")
    assert allocated_bytes(folder / "nothing") == 0
