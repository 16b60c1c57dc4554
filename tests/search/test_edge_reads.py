"""Reads of several threads: sent together, in turn; a fault reaches the thread that caused it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.errors import StoreUnavailable
from search.records import Point
from search.stores import edge_reads
from search.stores.contract import Manifest
from search.stores.edge import EdgeStore
from search.stores.edge_child import Worker, WorkerDiedError
from search.stores.edge_collection import EdgeCollection
from search.stores.edge_reads import Read, ReadQueue
from search.stores.edge_wire import CountIndexed

Make = Callable[..., Any]
AXIS = np.asarray([1, 0, 0, 0], dtype=np.float32)


def read(message: bytes = b"-") -> Read:
    return Read(CountIndexed(), message, 10.0)


class Desk:
    """Answers each read with its message; the first exchange waits until it is let go."""

    def __init__(self) -> None:
        self.queue = ReadQueue()
        self.exchanges: list[list[bytes]] = []
        self.started, self.go = threading.Event(), threading.Event()
        self.failing: BaseException | None = None

    def exchange(self, reads: Sequence[Read]) -> None:
        """Raises once, if told to, when half of the reads are answered."""
        self.exchanges.append([one.message for one in reads])
        self.started.set()
        assert self.go.wait(30)
        for number, one in enumerate(reads):
            if self.failing is not None and number >= len(reads) // 2:
                error, self.failing = self.failing, None
                raise error
            one.answer(one.message)

    def ask(self, message: bytes) -> Any:
        """In the calling thread."""
        return self.queue.ask(read(message), self.exchange)

    def crowd(self, pool: ThreadPoolExecutor, messages: Sequence[bytes]) -> list[Future[Any]]:
        """The first is under way when the others queue up, in this order."""
        found = [pool.submit(self.ask, messages[0])]
        assert self.started.wait(30)
        for number, message in enumerate(messages[1:], start=1):
            found.append(pool.submit(self.ask, message))
            while len(self.queue._waiting) < number:
                threading.Event().wait(0.001)
        return found


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """More threads than go together."""
    with ThreadPoolExecutor(40) as pool:
        yield pool


def test_what_waits_goes_together_in_turn(pool: ThreadPoolExecutor) -> None:
    """The first alone; then as many as may, in the order they came."""
    desk = Desk()
    messages = [f"{number:02}".encode() for number in range(40)]
    asked = desk.crowd(pool, messages)
    desk.go.set()
    assert [one.result(30) for one in asked] == messages
    most = edge_reads.MOST
    assert desk.exchanges == [messages[:1], messages[1 : 1 + most], messages[1 + most : 33],
                              messages[33:]]  # fmt: skip
    assert desk.ask(b"later") == b"later"


def test_no_more_is_sent_than_a_socket_holds(pool: ThreadPoolExecutor) -> None:
    """A long read goes alone, and keeps its place."""
    desk = Desk()
    long = b"x" * (edge_reads.MAX_BYTES + 1)
    asked = desk.crowd(pool, [b"first", b"a", b"b", long, b"c"])
    desk.go.set()
    assert [one.result(30) for one in asked] == [b"first", b"a", b"b", long, b"c"]
    assert desk.exchanges == [[b"first"], [b"a", b"b"], [long], [b"c"]]


def test_a_leader_that_is_interrupted_leaves_the_others_served(pool: ThreadPoolExecutor) -> None:
    """What it had not had answered goes with the next leader; nobody waits for ever."""
    desk = Desk()
    asked = desk.crowd(pool, [b"first", b"a", b"b", b"c", b"d"])

    class Interrupted(BaseException):
        """As Ctrl-C is."""

    desk.failing = Interrupted()
    desk.go.set()
    with pytest.raises(Interrupted):
        asked[0].result(30)
    assert [one.result(30) for one in asked[1:]] == [b"a", b"b", b"c", b"d"]
    desk.failing = Interrupted()
    with pytest.raises(Interrupted):
        desk.ask(b"x")
    assert desk.ask(b"y") == b"y"


# --- with a worker ---------------------------------------------------------------------------


@pytest.fixture
def opened(folder: Path, manifest: Callable[..., Manifest], chunk: Make) -> Iterator[Any]:
    """A collection of forty chunks."""
    with closing(EdgeStore(folder)) as store:
        collection = store.create(manifest())
        collection.upsert([chunk(f"d{i:02}", vector=(1, i / 10, 0, 0)) for i in range(40)])
        yield collection


def test_threads_get_their_own_answers(opened: EdgeCollection, pool: ThreadPoolExecutor) -> None:
    """Reads of every kind and writes at once: each as if it were alone."""
    ids = sorted(record.id for record in opened.scroll())

    def work(number: int) -> bool:
        limit = number % 40 + 1
        if number % 4 == 0:
            return len(opened.rank([AXIS, "says"], limit=limit)[0]) == limit
        if number % 4 == 1:
            wanted = ids[number % 40 :]
            return [record.id for record in opened.retrieve(wanted)] == wanted
        if number % 4 == 2:
            opened.set_metadata({ids[number % 40]: {"cluster": number}})
            return True
        return opened.count() == 40

    assert all(pool.map(work, range(400)))


def test_a_worker_that_dies_over_many_reads_fails_none(
    opened: EdgeCollection, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is asked again of the next worker."""
    ask_all = Worker.ask_all
    pids: list[int] = []

    def dying(worker: Worker, messages: Sequence[bytes], *rest: Any) -> None:
        if len(pids) < 3:
            pids.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)
        ask_all(worker, messages, *rest)

    monkeypatch.setattr(Worker, "ask_all", dying)
    assert list(pool.map(lambda _: opened.count(), range(60))) == [40] * 60
    assert len(set(pids)) == 3


def test_the_read_that_kills_fails_alone(
    opened: EdgeCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of reads that were sent together, the others have their answers."""
    engine = opened._engine
    ask = Worker.ask

    def deadly(worker: Worker, request: Any, *rest: Any) -> Any:
        if isinstance(request, CountIndexed):
            raise WorkerDiedError("was killed by SIGABRT")
        return ask(worker, request, *rest)

    def dead(worker: Worker, *rest: Any) -> None:
        raise WorkerDiedError("was killed by SIGABRT")

    monkeypatch.setattr(Worker, "ask", deadly)
    monkeypatch.setattr(Worker, "ask_all", dead)
    monkeypatch.setattr(edge_reads, "MOST", 3)
    from search.stores.edge_wire import Conditions, Count

    good = [Read(Count(conditions=Conditions()), b"-", 10.0) for _ in range(2)]
    bad = read()
    engine._exchange([good[0], bad, good[1]])
    assert [one.outcome() for one in good] == [40, 40]
    with pytest.raises(StoreUnavailable, match="countindexed; it died again after a restart"):
        bad.outcome()


def test_a_closed_collection_tells_every_thread(
    opened: EdgeCollection, pool: ThreadPoolExecutor
) -> None:
    """Each has an error of its own."""
    opened.close()

    def attempt(_: int) -> BaseException:
        with pytest.raises(StoreUnavailable, match="closed") as raised:
            opened.count()
        return raised.value

    errors = list(pool.map(attempt, range(20)))
    assert len({id(error) for error in errors}) == 20


def test_an_answer_larger_than_the_socket_holds_blocks_nobody(
    opened: EdgeCollection, chunk: Make, pool: ThreadPoolExecutor
) -> None:
    """Many requests are sent while the worker is still sending megabytes."""
    points: list[Point] = []
    for number in range(20):
        point = chunk("long", number)
        point.payload["page_content"] = "word " * 20_000
        points.append(point)
    opened.upsert(points)
    ids = [point.id for point in points]
    found = pool.map(lambda _: len(opened.retrieve(ids)), range(48))
    assert list(found) == [20] * 48
