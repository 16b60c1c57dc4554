"""Points on their way to a server: cut, several requests at once, and heads after their chunks."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ALL_COMPLETED
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from search.errors import StoreUnavailable
from search.records import Point
from search.stores import server_failures, server_uploads, server_wire
from search.stores.contract import Manifest
from search.stores.server import ServerStore
from search.stores.server_link import ServerLink
from search.stores.server_options import ServerOptions
from search.stores.server_uploads import upload

Make = Callable[..., Point]
DONE = models.UpdateResult(operation_id=1, status=models.UpdateStatus.COMPLETED)
PATIENCE = 20
"""Seconds after which something hangs."""


class Recorder:
    """A client that remembers what began and what ended, and waits or fails when told to."""

    def __init__(self) -> None:
        self.init_options = {"location": None, "path": None}
        self.events: list[tuple[str, frozenset[str]]] = []
        self.under_way = self.most = 0
        self.changed = threading.Condition()
        self.wait_for = 1
        """So many requests must be under way before the first of them ends."""
        self.fail: Callable[[frozenset[str]], Exception | None] = lambda ids: None

    def info(self) -> models.VersionInfo:
        """A version that fits."""
        return models.VersionInfo(title="qdrant", version="1.20.0")

    def upsert(self, name: str, points: list[models.PointStruct], *, wait: bool) -> Any:
        """One request."""
        assert wait
        ids = frozenset(str(point.id) for point in points)
        with self.changed:
            self.events.append(("begin", ids))
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.most >= self.wait_for, PATIENCE)
            self.under_way -= 1
            error = self.fail(ids)
            self.events.append(("end" if error is None else "failed", ids))
            self.changed.notify_all()
        if error is not None:
            raise error
        return DONE

    def sent(self, kind: str = "end") -> list[frozenset[str]]:
        """The ids of each request that ended so, in that order."""
        return [ids for event, ids in self.events if event == kind]


@pytest.fixture
def recorder() -> Recorder:
    """One that answers at once."""
    return Recorder()


@pytest.fixture
def link(recorder: Any) -> Iterator[ServerLink]:
    """A link with four streams."""
    with contextlib.closing(
        ServerLink(recorder, location="http://db", owns_client=False, options=ServerOptions())
    ) as link:
        yield link


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(server_failures, "FIRST_WAIT", 0.0)


def refused(status: int = 400) -> UnexpectedResponse:
    return UnexpectedResponse(status, "no", b"refused", httpx.Headers())


def cut(points: list[Point], **options: Any) -> list[list[Point]]:
    return list(server_wire.requests(points, dimension=4, options=ServerOptions(**options)))


def test_requests_are_bounded_in_number_and_size(chunk: Make) -> None:
    """Up to 256 points or 5 MB, in order; a point larger than that goes alone."""
    points = [chunk(f"d{i}") for i in range(600)]
    assert [len(batch) for batch in cut(points)] == [256, 256, 88]
    large = [chunk(f"d{i}", text="x" * 2_000_000) for i in range(5)]
    large.insert(2, chunk("huge", text="x" * 6_000_000))
    batches = cut(large)
    assert [len(batch) for batch in batches] == [2, 1, 2, 1]
    assert [point for batch in batches for point in batch] == large
    assert [len(batch) for batch in cut(large, max_request_mb=30)] == [6]
    assert cut([]) == []


@pytest.mark.parametrize("grpc", [True, False])
def test_the_size_of_a_request_is_not_underestimated(chunk: Make, head: Any, grpc: bool) -> None:
    """By what the client really sends: protocol buffers, or JSON."""
    from qdrant_client.conversions.conversion import RestToGrpc

    dimension = 64
    vector = [-1.2345678e-5 * (i + 1) for i in range(dimension)]
    points = [chunk(f"dé{i}", vector=vector, note="é\n" * 50) for i in range(100)] + [head("d")]
    most = 0.1
    options = ServerOptions(grpc=grpc, max_request_mb=most)
    for batch in server_wire.requests(points, dimension=dimension, options=options):
        structs = server_wire.to_structs(batch)
        if grpc:
            size = sum(RestToGrpc.convert_point_struct(one).ByteSize() for one in structs)
        else:
            size = len(json.dumps([one.model_dump(mode="json") for one in structs]))
        assert size <= most * 1e6


def test_chunks_go_side_by_side_in_as_many_streams_as_asked(
    link: ServerLink, recorder: Recorder, chunk: Make
) -> None:
    """Four requests are under way at once, never a fifth; every point is sent once."""
    points = [chunk(f"d{i}") for i in range(256 * 9)]
    recorder.wait_for = 4
    upload(link, "docs", points, dimension=4)
    assert recorder.most == 4
    sent = recorder.sent()
    assert len(sent) == 9
    assert frozenset().union(*sent) == {point.id for point in points}


def test_a_head_is_sent_after_all_before_it_and_before_all_after_it(
    link: ServerLink, recorder: Recorder, chunk: Make, head: Callable[[str], Point]
) -> None:
    """Nothing that a head vouches for is under way still when it goes."""
    groups = [
        [head("a0"), head("b0")],
        [chunk(f"a{i}") for i in range(1000)],
        [head("a")],
        [chunk(f"b{i}") for i in range(10)],
        [head(f"h{i}") for i in range(300)],
        [chunk(f"c{i}") for i in range(600)],
    ]
    upload(link, "docs", [point for group in groups for point in group], dimension=4)
    ended: set[str] = set()
    stage, ids = 0, [{point.id for point in group} for group in groups]
    for event, sent in recorder.events:
        while not sent <= ids[stage]:
            stage += 1
        if event == "begin":
            assert set().union(*ids[:stage]) <= ended
        else:
            ended |= sent
    assert ended == set().union(*ids)
    heads = [sent for sent in recorder.sent("begin") if sent <= ids[4]]
    assert [len(sent) for sent in heads] == [256, 44]


@pytest.mark.parametrize("failing", range(5))
def test_a_failure_stops_the_other_streams_and_no_head_follows(
    link: ServerLink,
    recorder: Recorder,
    chunk: Make,
    head: Callable[[str], Point],
    failing: int,
) -> None:
    """Whichever request fails, it is named; nothing is under way any more; nor is more begun."""
    points = [chunk(f"d{i}") for i in range(256 * 12)]
    wrong = points[256 * failing].id
    recorder.fail = lambda ids: refused() if wrong in ids else None
    with pytest.raises(StoreUnavailable, match=r"collection 'docs' on http://db: answered 400"):
        upload(link, "docs", [*points, head("d")], dimension=4)
    assert recorder.under_way == 0
    begun = recorder.sent("begin")
    assert len(begun) <= failing + 1 + 2 * 4
    assert head("d").id not in frozenset().union(*begun)
    assert len(recorder.events) == 2 * len(begun)
    recorder.fail = lambda ids: None
    upload(link, "docs", [*points, head("d")], dimension=4)
    assert recorder.sent()[-1] == {head("d").id}


def test_a_failed_upload_returns_when_nothing_is_under_way(
    link: ServerLink, recorder: Recorder, chunk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that takes longer than the one that failed is awaited, not left behind."""
    points = [chunk(f"d{i}") for i in range(256 * 2)]
    awaited, left = threading.Event(), threading.Event()
    wait, send = server_uploads.wait, recorder.upsert

    def observed(futures: Any, return_when: str = ALL_COMPLETED) -> Any:
        if return_when == ALL_COMPLETED:
            awaited.set()
        return wait(futures, return_when=return_when)

    def held(name: str, structs: list[models.PointStruct], *, wait: bool) -> Any:
        if structs[0].id == points[0].id:
            raise refused()
        awaited.wait(1)
        left.set()
        return send(name, structs, wait=wait)

    monkeypatch.setattr(server_uploads, "wait", observed)
    monkeypatch.setattr(recorder, "upsert", held)
    with pytest.raises(StoreUnavailable, match="answered 400"):
        upload(link, "docs", points, dimension=4)
    assert awaited.is_set()
    assert left.is_set() or not recorder.events


def test_streams_that_wait_to_try_again_give_up_with_the_first_failure(
    link: ServerLink, recorder: Recorder, chunk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a run would end minutes after it failed."""
    monkeypatch.setattr(server_failures, "FIRST_WAIT", 60.0)
    monkeypatch.setattr(server_failures, "LONGEST_WAIT", 60.0)
    points = [chunk(f"d{i}") for i in range(256 * 4)]
    wrong = points[0].id
    recorder.wait_for = 4
    recorder.fail = lambda ids: refused(400 if wrong in ids else 503)
    with pytest.raises(StoreUnavailable, match="answered 400"):
        upload(link, "docs", points, dimension=4)
    assert len(recorder.sent("failed")) == 4


def test_a_busy_server_is_asked_again_by_each_stream(
    link: ServerLink, recorder: Recorder, chunk: Make
) -> None:
    """Each request fails once; all points arrive."""
    failed: set[frozenset[str]] = set()

    def once(ids: frozenset[str]) -> Exception | None:
        if ids in failed:
            return None
        failed.add(ids)
        return refused(503)

    recorder.fail = once
    points = [chunk(f"d{i}") for i in range(256 * 6)]
    upload(link, "docs", points, dimension=4)
    assert frozenset().union(*recorder.sent()) == {point.id for point in points}


def test_a_close_in_the_middle_is_reported(
    link: ServerLink, recorder: Recorder, chunk: Make
) -> None:
    """Two uploads share the streams, so that some requests wait for one: each is told."""
    recorder.wait_for = 4
    closer = threading.Thread(target=link.close, daemon=True)

    def close(ids: frozenset[str]) -> None:
        if closer.ident is None:
            closer.start()
            assert link._closing.wait(PATIENCE)

    recorder.fail = close
    told: list[StoreUnavailable] = []

    def write(name: str) -> None:
        with pytest.raises(StoreUnavailable, match="closed") as error:
            upload(link, name, [chunk(f"d{i}") for i in range(256 * 12)], dimension=4)
        told.append(error.value)

    writers = [
        threading.Thread(target=write, args=(name,), daemon=True) for name in ("docs", "notes")
    ]
    for writer in writers:
        writer.start()
    for thread in (*writers, closer):
        thread.join(PATIENCE)
    assert len(told) == 2
    assert recorder.under_way == 0
    assert len(recorder.sent("begin")) < 12


def test_an_interrupt_leaves_nothing_under_way(
    link: ServerLink, recorder: Recorder, chunk: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between two requests: those sent are awaited, no other is begun."""
    submit, submitted = link.submit, []

    def interrupted(task: Callable[[], Any]) -> Any:
        submitted.append(task)
        if len(submitted) == 3:
            raise KeyboardInterrupt
        return submit(task)

    monkeypatch.setattr(link, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        upload(link, "docs", [chunk(f"d{i}") for i in range(256 * 12)], dimension=4)
    assert recorder.under_way == 0
    assert len(recorder.sent("begin")) <= 2


def test_two_programs_may_write_the_same_points(
    manifest: Callable[..., Manifest], chunk: Make, head: Callable[[str], Point]
) -> None:
    """Ids follow from documents, so that both write the same; the heads are there once."""
    with contextlib.closing(QdrantClient(":memory:")) as client:
        store = ServerStore.over(client, location="here")
        collection = store.create(manifest("docs"))
        points = [chunk(f"d{i % 7}", i) for i in range(700)] + [head(f"d{i}") for i in range(7)]
        failures: list[BaseException] = []

        def write() -> None:
            try:
                store.open("docs").upsert(points)
            except BaseException as error:  # noqa: BLE001 - reported below
                failures.append(error)

        writers = [threading.Thread(target=write) for _ in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(PATIENCE)
        assert failures == []
        assert collection.count() == 707
        store.close()
