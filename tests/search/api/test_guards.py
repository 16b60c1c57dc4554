"""Who may ask, how often, how much, how long; and what the log and the headers say of it."""

import io
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from search.api.application import make_app
from search.api.keys import KeyFile, KeyRing
from search.api.options import ApiOptions
from search.api.paths import is_open
from search.api.rate_limits import RateLimits
from search.api.request_log import LOGGER, JsonLines
from search.errors import StoreUnavailable

Client = Any
Backend = Any
Make = Any

NEEDLE = "xyzzyneedle"


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    """An empty file of keys."""
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the server writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(LOGGER)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield written
    logger.removeHandler(handler)
    logger.setLevel(before[0])
    logger.propagate = before[1]


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """The log's lines, each of which must be an object."""
    return [json.loads(line) for line in log.getvalue().splitlines()]


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"Authorization": f"Bearer {key}"}


def slug(response: Any) -> str:
    """What a problem is called."""
    return str(response.json()["type"]).rpartition(":")[2]


def routes(app: Any) -> list[tuple[str, str]]:
    """Every method and path of an app."""
    found = []
    for context in iter_route_contexts(app.routes):
        path = context.path.replace("{id:path}", "a/b").replace("{file}", "app.js")
        found += [(method, path) for method in context.methods or ()]
    return found


def test_every_route_needs_a_key_but_those_that_are_named(make_client: Make, keys: KeyFile) -> None:
    """By iterating over the app: a route that is added is covered."""
    key, _ = keys.create("alice")
    client = make_client(keys=KeyRing(keys))
    seen = routes(client.app)
    assert {("POST", "/v1/search"), ("GET", "/metrics"), ("GET", "/v1/documents/a/b")} <= set(seen)
    opened = set()
    for method, path in seen:
        for wrong in ({}, bearer("sextant_wrong"), bearer(""), {"Authorization": key}):
            answer = client.request(method, path, headers=wrong)
            if is_open(path):
                assert answer.status_code != 401, path
                opened.add(path)
                continue
            assert (answer.status_code, slug(answer)) == (401, "no-key"), (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert client.request(method, path, headers=bearer(key)).status_code != 401
    assert opened - {"/page/app.js"} == {"/", "/livez", "/readyz", "/openapi.json"}
    assert client.get("/nowhere").status_code == 401
    assert client.get("/page/../v1/collections").status_code == 401


def test_without_keys_everybody_may_ask(client: Client) -> None:
    """As on the loopback."""
    assert client.get("/v1/collections").status_code == 200


def test_keys_that_cannot_be_read_let_nobody_in(
    make_client: Make, keys: KeyFile, log: io.StringIO
) -> None:
    """503, since it is no fault of the caller's; the file's name is in the log alone."""
    key, _ = keys.create("alice")
    keys.path.write_text("{")
    answer = make_client(keys=KeyRing(keys)).get("/v1/collections", headers=bearer(key))
    assert (answer.status_code, slug(answer)) == (503, "keys-unreadable")
    assert str(keys.path) not in answer.text
    assert str(keys.path) in log.getvalue()


def test_rates_are_counted_for_each_key(make_client: Make, keys: KeyFile) -> None:
    """By its own rate or the server's; time lets it ask again."""
    now = [0.0]
    slow, _ = keys.create("slow", rate_per_minute=2)
    other, _ = keys.create("other")
    client = make_client(
        keys=KeyRing(keys), rate_per_minute=3, limits=RateLimits(clock=lambda: now[0])
    )

    def ask(key: str) -> Any:
        return client.get("/v1/collections", headers=bearer(key))

    assert [ask(slow).status_code for _ in range(3)] == [200, 200, 429]
    refused = ask(slow)
    assert (slug(refused), refused.headers["retry-after"]) == ("too-many-requests", "30")
    assert [ask(other).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert client.get("/metrics", headers=bearer(slow)).status_code == 200
    now[0] = 30.0
    assert [ask(slow).status_code for _ in range(2)] == [200, 429]
    text = client.get("/metrics", headers=bearer(slow)).text
    assert 'sextant_rate_limited_total{key="slow"} 3.0' in text


def test_without_keys_all_callers_share_a_rate(make_client: Make) -> None:
    """The server's, if it has one."""
    client = make_client(rate_per_minute=1, limits=RateLimits(clock=lambda: 0.0))
    assert [client.get("/v1/collections").status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(make_client: Make, chunked: bool) -> None:
    """Whether its head says so, or it is counted while it comes."""
    client = make_client(max_body_kb=1)
    body = json.dumps({"query": "owl", "cursor": "x" * 2000}).encode()
    pieces = (body[start : start + 100] for start in range(0, len(body), 100))
    answer = client.post(
        "/v1/search",
        content=pieces if chunked else body,
        headers={"content-type": "application/json"},
    )
    assert ("content-length" in answer.request.headers) is not chunked
    assert (answer.status_code, slug(answer)) == (413, "body-too-large")
    assert "larger than 1 KiB" in answer.json()["detail"]
    small = json.dumps({"query": "owl"}).encode()
    assert client.post(
        "/v1/search", content=iter([small]), headers={"content-type": "application/json"}
    ).is_success


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
def test_a_body_of_another_kind(client: Client, kind: str) -> None:
    """Only JSON, and a page of another origin cannot send that unasked."""
    answer = client.post("/v1/search", content=b'{"query": "owl"}', headers={"content-type": kind})
    assert (answer.status_code, slug(answer)) == (415, "wrong-media-type")


def test_a_body_that_does_not_arrive(backend: Backend) -> None:
    """408; asked by the protocol itself, since no client sends half a body."""
    import asyncio

    app = make_app(backend, ApiOptions(timeout_seconds=0.01))
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/search",
        "raw_path": b"/v1/search", "query_string": b"", "scheme": "http", "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")],
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["type"].endswith("slow-body")


def test_an_answer_that_takes_too_long(make_client: Make, backend: Backend) -> None:
    """504, and the server goes on."""
    backend.hold = threading.Event()
    client = make_client(timeout_seconds=0.05)
    answer = client.post("/v1/search", json={"query": "owl"})
    assert (answer.status_code, slug(answer)) == (504, "timeout")
    backend.hold.set()
    backend.hold = None
    workers, _ = client.app.state.workers
    workers._timeout_seconds = 60.0
    assert client.post("/v1/search", json={"query": "owl"}).status_code == 200


def test_a_line_that_is_too_long(make_client: Make, backend: Backend) -> None:
    """One is worked on, one waits, the third is told to come back; health is told all the same."""
    backend.hold = threading.Event()
    client = make_client(concurrency=1, waiting=1)
    held, _ = client.app.state.workers
    with ThreadPoolExecutor(2) as pool, client:
        asked = [pool.submit(client.post, "/v1/search", json={"query": "owl"}) for _ in range(2)]
        assert backend.held.acquire(timeout=30)
        full = threading.Event()
        while held.held < 2 and not full.wait(0.001):
            pass
        busy = client.post("/v1/search", json={"query": "owl"})
        assert (busy.status_code, slug(busy)) == (503, "busy")
        assert busy.headers["retry-after"]
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
        backend.hold.set()
        assert [one.result().status_code for one in asked] == [200, 200]
    assert held.held == 0


def test_pages_of_other_origins_are_kept_out(client: Client, make_client: Make) -> None:
    """Unless they are named."""
    origin = {"Origin": "https://notes.example.org"}
    wish = {**origin, "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.get("/livez", headers=origin).headers
    assert not client.options("/v1/search", headers=wish).is_success
    opened = make_client(cors_origins=("https://notes.example.org",))
    asked = opened.options(
        "/v1/search", headers={**wish, "Access-Control-Request-Headers": "authorization"}
    )
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://notes.example.org"
    assert "access-control-allow-credentials" not in asked.headers
    other = opened.get("/v1/collections", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_page_may_ask_whether_it_may_before_it_has_a_key(
    make_client: Make, keys: KeyFile
) -> None:
    """A browser sends no key with that question."""
    keys.create("alice")
    client = make_client(keys=KeyRing(keys), cors_origins=("https://a.example",))
    wish = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/v1/search", headers=wish).status_code == 200
    refused = client.post(
        "/v1/search", json={"query": "a"}, headers={"Origin": "https://a.example"}
    )
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://a.example"


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_names_that_are_ours(make_client: Make, host: str) -> None:
    """With any port; another name is refused, as a page that rebinds its name would use."""
    client = make_client(hosts=("localhost", "127.0.0.1", "::1"))
    assert client.get("/v1/collections", headers={"Host": host}).status_code == 200
    answer = client.get("/v1/collections", headers={"Host": "evil.example:8000"})
    assert (answer.status_code, slug(answer)) == (421, "unknown-host")


@pytest.mark.parametrize(
    ("given", "taken"), [("abc-123", True), ("a" * 129, False), ("a b", False), ("", False)]
)
def test_request_ids(client: Client, given: str, taken: bool) -> None:
    """The caller's, if it is sane; else one of ours, each time another."""
    ids = {
        client.get("/livez", headers={"X-Request-ID": given}).headers["x-request-id"]
        for _ in range(2)
    }
    assert (ids == {given}) is taken
    assert len(ids) == (1 if taken else 2)


def test_headers_that_keep_browsers_careful(client: Client) -> None:
    """On every answer; the page has its own policy."""
    for path in ("/livez", "/v1/collections", "/nowhere", "/metrics"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert client.get("/v1/collections").headers["cache-control"] == "no-store"
    page = client.get("/").headers["content-security-policy"]
    assert "script-src 'self'" in page
    assert "frame-ancestors 'none'" in page


def test_the_page_can_be_left_out(make_client: Make) -> None:
    """Nothing is at `/` then."""
    assert make_client(page=False).get("/").status_code == 404


def test_a_line_for_every_request_without_its_words(
    make_client: Make, backend: Backend, keys: KeyFile, log: io.StringIO
) -> None:
    """Whatever happens to it, and wherever the words stand."""
    key, _ = keys.create("alice")
    client = make_client(keys=KeyRing(keys))
    asked = [
        ("POST", "/v1/search", {"json": {"query": NEEDLE}}, 200),
        ("GET", f"/v1/search?q={NEEDLE}", {}, 200),
        ("POST", "/v1/search", {"json": {"query": NEEDLE * 3000}}, 400),
        ("POST", "/v1/search", {"json": {"query": "a", "limit": NEEDLE}}, 422),
        ("POST", "/v1/similar", {"json": {"text": NEEDLE}}, 200),
        ("POST", "/v1/embeddings", {"json": {"input": NEEDLE}}, 200),
        ("GET", f"/v1/documents/{NEEDLE}", {}, 404),
        ("GET", f"/{NEEDLE}", {}, 404),
    ]
    for method, path, more, status in asked:
        headers = {**bearer(key), "X-Request-ID": "mine"}
        assert client.request(method, path, headers=headers, **more).status_code == status
    backend.raises = ZeroDivisionError(NEEDLE)
    client.get("/v1/clusters", headers=bearer(key))
    backend.raises = StoreUnavailable("the disk is gone")
    client.get("/v1/clusters", headers=bearer(key))
    assert NEEDLE not in log.getvalue()
    assert key not in log.getvalue()
    found = [line for line in lines(log) if line["event"] == "request"]
    assert [line["status"] for line in found] == [status for *_, status in asked] + [500, 503]
    assert found[0].keys() == {
        "time", "level", "event", "method", "route", "status", "ms", "request_id", "key",
    }  # fmt: skip
    assert (found[0]["route"], found[0]["key"], found[0]["request_id"]) == (
        "/v1/search",
        "alice",
        "mine",
    )
    assert found[6]["route"] == "/v1/documents/{id}"
    assert found[7]["route"] == "unmatched"
    assert "the disk is gone" in log.getvalue()


def test_queries_are_logged_where_that_is_wanted(make_client: Make, log: io.StringIO) -> None:
    """Of every route that has one."""
    client = make_client(log_queries=True)
    client.post("/v1/search", json={"query": NEEDLE})
    client.get("/v1/search", params={"q": NEEDLE})
    client.post("/v1/similar", json={"text": NEEDLE})
    assert [line["query"] for line in lines(log)] == [NEEDLE] * 3


def test_an_unforeseen_failure_says_nothing_but_its_id(
    client: Client, backend: Backend, log: io.StringIO
) -> None:
    """The log has where it happened."""
    backend.raises = ZeroDivisionError("division of secrets")
    answer = client.post("/v1/search", json={"query": "a"})
    assert (answer.status_code, slug(answer)) == (500, "internal-error")
    assert "secrets" not in answer.text
    failure = next(line for line in lines(log) if line["event"] == "unexpected failure")
    assert failure["request_id"] == answer.headers["x-request-id"]
    assert "conftest.py" in failure["traceback"]
    assert failure["error"] == "ZeroDivisionError"


def test_a_store_that_is_away(client: Client, backend: Backend) -> None:
    """503 with a time to come back, without the names of places on this machine."""
    backend.raises = StoreUnavailable("store /srv/secret cannot be used")
    answer = client.post("/v1/search", json={"query": "a"})
    assert (answer.status_code, slug(answer)) == (503, "store-unavailable")
    assert "secret" not in answer.text
    assert answer.headers["retry-after"]


def test_metrics(client: Client, backend: Backend) -> None:
    """By route, never by what was asked for."""
    client.post("/v1/search", json={"query": NEEDLE})
    client.get(f"/v1/documents/{NEEDLE}")
    backend.encoder = None
    client.post("/v1/search", json={"query": NEEDLE})
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'sextant_requests_total{method="POST",route="/v1/search",status="200"} 2.0',
        'sextant_requests_total{method="GET",route="/v1/documents/{id}",status="404"} 1.0',
        'sextant_request_seconds_count{route="/v1/search"} 2.0',
        'sextant_stage_seconds_count{stage="total"} 2.0',
        "sextant_degraded_answers_total 1.0",
        "sextant_requests_in_progress 1.0",
        "process_resident_memory_bytes",
    ):
        assert line in answer.text
    assert NEEDLE not in answer.text
