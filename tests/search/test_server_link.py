"""Requests to a server: what is repeated, how long is waited, and what a failure is called."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from pydantic import SecretStr
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from search.errors import CollectionExists, CollectionNotFound, SearchError, StoreUnavailable
from search.records import Point
from search.stores import server_failures
from search.stores.contract import Manifest
from search.stores.server import ServerStore
from search.stores.server_failures import NotApplied, Patience, Refused, Unclear, diagnose
from search.stores.server_link import ServerLink

Make = Callable[..., Point]


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    """Qdrant's own in-memory stand-in."""
    with contextlib.closing(QdrantClient(":memory:")) as client:
        yield client


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(server_failures, "FIRST_WAIT", 0.0)


def answer(status: int, text: bytes = b"try later", **headers: str) -> UnexpectedResponse:
    return UnexpectedResponse(status, "no", text, httpx.Headers(headers))


class RpcFailure(grpc.RpcError):
    """As grpc raises it."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        """What went wrong."""
        return self._code

    def details(self) -> str:
        """In words."""
        return self._details


BUSY = grpc.StatusCode.RESOURCE_EXHAUSTED


class Remote:
    """A client of a server that has a version and nothing else."""

    def __init__(self, version: str = "1.20.1") -> None:
        self.init_options = {"location": None, "path": None}
        self.version: str | Exception = version
        self.looks = 0

    def info(self) -> models.VersionInfo:
        """The version, or a failure."""
        self.looks += 1
        if isinstance(self.version, Exception):
            raise self.version
        return models.VersionInfo(title="qdrant", version=self.version)


def link_to(remote: Any, key: str | None = None) -> ServerLink:
    secret = None if key is None else SecretStr(key)
    return ServerLink(remote, location="http://db", owns_client=False, api_key=secret)


def failing(*errors: Exception) -> tuple[Callable[[], str], list[Exception]]:
    """An operation that fails so, and then answers."""
    left = list(errors)

    def operation() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return operation, left


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (answer(503), "transient"),
        (answer(429), "transient"),
        (answer(500), "fault"),
        (answer(400), "refused"),
        (answer(401), "refused"),
        (answer(413), "refused"),
        (answer(404), "missing"),
        (answer(409), "exists"),
        (answer(400, b"Alias with the same name already exists"), "exists"),
        (ResponseHandlingException(httpx.ConnectError("refused")), "transient"),
        (ResponseHandlingException(httpx.ReadTimeout("slow")), "transient"),
        (
            ResponseHandlingException(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]")),
            "refused",
        ),
        (ResourceExhaustedResponse("rate", 2), "transient"),
        (NotApplied(), "transient"),
        (RpcFailure(grpc.StatusCode.UNAVAILABLE), "transient"),
        (RpcFailure(grpc.StatusCode.DEADLINE_EXCEEDED), "transient"),
        (RpcFailure(BUSY, "slow down"), "transient"),
        (RpcFailure(BUSY, "message larger than max"), "refused"),
        (RpcFailure(grpc.StatusCode.NOT_FOUND), "missing"),
        (RpcFailure(grpc.StatusCode.ALREADY_EXISTS), "exists"),
        (RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, "it already exists"), "exists"),
        (RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, "limit"), "refused"),
        (RpcFailure(grpc.StatusCode.UNAUTHENTICATED), "refused"),
        (RpcFailure(grpc.StatusCode.INTERNAL), "fault"),
        (RuntimeError("client was closed"), "fault"),
        (KeyError("ours"), None),
        (ValueError("ours"), None),
    ],
)
def test_a_failure_is_told_by_what_follows_from_it(error: Exception, meaning: str | None) -> None:
    """Over either protocol; what is our own mistake is no failure of the server."""
    diagnosis = diagnose(error)
    assert (None if diagnosis is None else diagnosis.meaning) == meaning


def test_a_date_in_retry_after_is_no_reason_to_give_up() -> None:
    """The client fails on it with an error of its own."""
    with pytest.raises(Exception, match="Retry-After") as error:
        ResourceExhaustedResponse("rate", "Fri, 20 Nov 2026 10:00:00 GMT")
    diagnosis = diagnose(error.value)
    assert diagnosis is not None
    assert diagnosis.meaning == "transient"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (answer(503, **{"Retry-After": "3"}), 3.0),
        (answer(429, **{"Retry-After": "soon"}), None),
        (answer(503), None),
        (ResourceExhaustedResponse("rate", 7), 7.0),
        (RpcFailure(BUSY), None),
    ],
)
def test_the_server_may_say_how_long_to_wait(error: Exception, seconds: float | None) -> None:
    """By header, and by the client's own error."""
    diagnosis = diagnose(error)
    assert diagnosis is not None
    assert diagnosis.retry_after == seconds


def test_waits_grow_differ_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubled up to 8 s, half of it by chance; six at most, none beyond two minutes."""
    monkeypatch.setattr(server_failures, "FIRST_WAIT", 0.25)
    for _ in range(20):
        patience = Patience()
        waits = [patience.wait() for _ in range(7)]
        assert waits[-1] is None
        for wait, longest in zip(waits, (0.25, 0.5, 1, 2, 4, 8), strict=False):
            assert wait is not None
            assert longest / 2 <= wait <= longest
    assert len({Patience().wait() for _ in range(20)}) > 1
    assert Patience(1).wait() is None
    assert Patience().wait(retry_after=61) is None
    asked = Patience().wait(retry_after=30)
    assert asked is not None
    assert 30 <= asked <= 31
    clock = iter([0.0, 119.9])
    monkeypatch.setattr(server_failures.time, "monotonic", lambda: next(clock))
    assert Patience().wait() is None


def test_the_wait_that_a_server_asks_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one it asks too long for is not waited."""
    link, waited = link_to(Remote()), []
    monkeypatch.setattr(link, "pause", lambda wait, stop=None: waited.append(wait) or True)
    operation, _ = failing(answer(503, **{"Retry-After": "5"}), ResourceExhaustedResponse("", 2))
    assert link.call("it", operation) == "done"
    assert waited == [5.0, 2.0]
    operation, left = failing(ResourceExhaustedResponse("rate limit", 3600), answer(500))
    with pytest.raises(Unclear, match=r"rate limit.*attempt 1.*send less at a time"):
        link.call("it", operation)
    assert len(left) == 1
    assert len(waited) == 2


@pytest.mark.parametrize(
    "error",
    [
        answer(503),
        ResponseHandlingException(httpx.ConnectError("refused")),
        RpcFailure(grpc.StatusCode.UNAVAILABLE, "gone"),
        NotApplied(),
    ],
)
def test_a_transient_failure_is_tried_again(error: Exception) -> None:
    """Seven times in all; one that must not be repeated once only."""
    link = link_to(Remote())
    operation, left = failing(*[error] * 6)
    assert link.call("it", operation) == "done"
    operation, left = failing(*[error] * 8)
    with pytest.raises(Unclear, match=r"it on http://db: .*attempt 7"):
        link.call("it", operation)
    assert len(left) == 1
    operation, left = failing(error, error)
    with pytest.raises(Unclear, match="attempt 1"):
        link.call("it", operation, retry=False)
    assert len(left) == 1


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (answer(400, b"bad"), Refused, "400 bad .*server's log"),
        (answer(401, b"who"), Refused, "401 who .*check the API key"),
        (answer(403, b"you"), Refused, "403 you .*check the API key"),
        (answer(413, b"big"), Refused, "lower `max_request_mb`"),
        (answer(500, b"oops"), Unclear, "500 oops"),
        (answer(404), CollectionNotFound, "no it on http://db"),
        (answer(409), CollectionExists, "it is there already"),
    ],
)
def test_a_refusal_is_not_tried_again(
    error: Exception, kind: type[SearchError], message: str
) -> None:
    """The server said no: once is enough, and the message says what to look at."""
    operation, left = failing(error, error)
    with pytest.raises(kind, match=message):
        link_to(Remote()).call("it", operation)
    assert len(left) == 1


def test_a_stop_or_a_close_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, rather than after the last attempt."""
    monkeypatch.setattr(server_failures, "FIRST_WAIT", 60.0)
    monkeypatch.setattr(server_failures, "LONGEST_WAIT", 60.0)
    stop = threading.Event()
    stop.set()
    link = link_to(Remote())
    operation, left = failing(answer(503), answer(503))
    with pytest.raises(Unclear, match="attempt 1"):
        link.call("it", operation, stop=stop)
    assert len(left) == 1

    def closing() -> None:
        link.close()
        raise answer(503)

    with pytest.raises(StoreUnavailable, match="attempt 1"):
        link.call("it", closing)
    for attempt in (lambda: link.call("it", closing), lambda: link.submit(closing)):
        with pytest.raises(StoreUnavailable, match="closed"):
            attempt()
    link.close()


def test_an_unclear_change_is_looked_up_before_it_is_sent_again() -> None:
    """Done after all: not sent again. Not done: sent again. Never done: an error."""
    link, sent, looks = link_to(Remote()), [], iter([False, True])

    def lost() -> None:
        sent.append(1)
        raise answer(504)

    link.change("it", lost, is_done=lambda: next(looks))
    assert len(sent) == 2
    sent.clear()
    with pytest.raises(Unclear, match="504"):
        link.change("it", lost, is_done=lambda: False)
    assert len(sent) == 7
    for error in (answer(409), answer(404)):  # the first sending arrived after all
        operation, left = failing(answer(500), error)
        link.change("it", operation, is_done=lambda left=left: not left)
        assert left == []
    for error in (answer(409), answer(400)):
        operation, left = failing(error, error)
        with pytest.raises(SearchError):
            link.change("it", operation, is_done=lambda: True)
        assert len(left) == 1


@pytest.mark.parametrize("version", ["1.20.0", "1.19.4", "1.21.0-dev", "unknown", ""])
def test_a_fitting_version_is_asked_for_once(version: str) -> None:
    """One minor version apart, or one that cannot be read, says nothing."""
    remote = Remote(version)
    link = link_to(remote)
    for _ in range(3):
        assert link.call("it", lambda: 1) == 1
    assert remote.looks == 1


def test_versions_apart_are_warned_of_once() -> None:
    """It works as a rule, so that it is no error; but the next error says so, too."""
    link = link_to(Remote("1.17.2"))
    with pytest.warns(UserWarning, match=r"server is Qdrant 1\.17\.2, the client 1\.20") as seen:
        link.call("it", lambda: 1)
    assert len(seen) == 1
    link.call("it", lambda: 1)
    operation, _ = failing(answer(400, b"unknown field"))
    with pytest.raises(Refused, match=r"unknown field.*the server is Qdrant 1\.17\.2"):
        link.call("it", operation)
    with pytest.warns(UserWarning, match=r"Qdrant 2\.20\.0"):
        link_to(Remote("2.20.0")).call("it", lambda: 1)


@pytest.mark.parametrize("version", ["1.15.5", "1.9.0", "0.11.1"])
def test_a_server_that_is_too_old_is_refused(version: str) -> None:
    """Before 1.16 a manifest would be lost in silence; nothing is sent, however often asked."""
    remote = Remote(version)
    link, sent = link_to(remote), []
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=rf"runs Qdrant {version}; expected 1\.16"):
            link.call("it", lambda: sent.append(1))
    assert sent == []


@pytest.mark.parametrize("error", [answer(403), answer(404)])
def test_a_version_that_a_proxy_hides_stops_nothing(error: Exception) -> None:
    """A server that cannot be reached at all does."""
    remote = Remote()
    remote.version = error
    assert link_to(remote).call("it", lambda: 1) == 1
    remote.version = answer(503)
    with pytest.raises(Unclear, match="503"):
        link_to(remote).call("it", lambda: 1)


def test_no_error_holds_the_key() -> None:
    """Not even where a server, or a library, repeats what it was sent."""
    key = "hush-hush-42"
    link = link_to(Remote(), key)
    for error in (
        answer(401, b"unknown key hush-hush-42"),
        answer(404, b"hush-hush-42"),
        RuntimeError("bad header 'hush-hush-42'"),
        RpcFailure(grpc.StatusCode.INTERNAL, "hush-hush-42"),
        ResponseHandlingException(httpx.LocalProtocolError("Illegal header hush-hush-42")),
    ):
        operation, _ = failing(*[error] * 7)
        with pytest.raises(SearchError) as raised:
            link.call("it", operation)
        seen: BaseException | None = raised.value
        while seen is not None:
            assert key not in f"{seen} {seen!r}"
            seen = seen.__cause__ or seen.__context__
    assert key not in repr(vars(link))


def test_the_first_request_alone_opens_the_connection() -> None:
    """Threads that come at once wait for it: the client would open one pool for each."""
    remote, entered, leave, threads = Remote(), threading.Event(), threading.Event(), 4
    ask = remote.info

    def slow() -> models.VersionInfo:
        entered.set()
        assert leave.wait(10)
        return ask()

    remote.info = slow
    link, done = link_to(remote), []
    started = [
        threading.Thread(target=lambda: done.append(link.call("it", lambda: remote.looks)))
        for _ in range(threads)
    ]
    for thread in started:
        thread.start()
    assert entered.wait(10)
    leave.set()
    for thread in started:
        thread.join(10)
    assert done == [1] * threads


@pytest.mark.parametrize("name", ["upsert", "delete", "batch_update_points"])
def test_a_write_that_is_not_applied_is_sent_again(
    client: QdrantClient,
    manifest: Callable[..., Manifest],
    chunk: Make,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """A server that gave up waiting for itself answers 200, and says so in the answer only."""
    collection = ServerStore.over(client, location="here").create(manifest("docs"))
    late = models.UpdateResult(operation_id=1, status=models.UpdateStatus.WAIT_TIMEOUT)
    send, answers = getattr(client, name), [late, late]

    def slow(*args: Any, **kwargs: Any) -> Any:
        result = send(*args, **kwargs)
        if not answers:
            return result
        return [answers.pop()] if name == "batch_update_points" else answers.pop()

    monkeypatch.setattr(client, name, slow)
    writes: dict[str, Callable[[], None]] = {
        "upsert": lambda: collection.upsert([chunk("a")]),
        "delete": lambda: collection.delete([chunk("a").id]),
        "batch_update_points": lambda: collection.set_metadata({chunk("a").id: {"cluster": 1}}),
    }
    writes[name]()
    assert answers == []
    answers += [late] * 7
    with pytest.raises(StoreUnavailable, match=r"not applied.*attempt 7"):
        writes[name]()


def test_a_collection_deleted_by_someone_else_is_reported(
    client: QdrantClient, manifest: Callable[..., Manifest]
) -> None:
    """`CollectionNotFound`, not a failure of the server."""
    store = ServerStore.over(client, location="here")
    collection = store.create(manifest("docs"))
    client.delete_collection("docs")
    with pytest.raises(CollectionNotFound, match="docs"):
        collection.count()
