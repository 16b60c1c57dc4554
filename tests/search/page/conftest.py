"""The page before an API that gives canned answers, in Debian's Chromium."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from search.page.routes import add_page

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

HOSTILE = "<img src=x onerror=\"window.ran='img'\"><script>window.ran='script'</script>"
"""What a document may say to become markup."""
TEXT = (
    "\U0001f9ed A sextant measures angles. The lamp of a lighthouse is trimmed at dusk. "
    "Nobody sails without a chart."
)
SENTENCE = "The lamp of a lighthouse is trimmed at dusk."
TOTAL = 25
CHUNKS = 450


def _span(text: str, part: str) -> tuple[int, int]:
    begin = text.index(part)
    return begin, begin + len(part)


def make_hit(rank: int, **changes: Any) -> dict[str, Any]:
    """A hit as the API gives it; offsets count characters, and an emoji stands before them."""
    start, end = _span(TEXT, SENTENCE)
    return {
        "rank": rank,
        "score": 0.016,
        "id": f"00000000-0000-5000-8000-{rank:012}",
        "doc_id": f"notes/lamp {rank}.md",
        "source": f"/home/notes/lamp {rank}.md",
        "title": f"Lamps, part {rank}",
        "text": TEXT,
        "start": 1000 * rank,
        "end": 1000 * rank + len(TEXT),
        "metadata": {
            "chunk": rank,
            "headings": ["Lighthouses", "Lamps"],
            "format": "markdown",
            "language": "en",
            "cluster": 3,
            "cluster_name": "Lights at sea",
        },
        "ranks": {
            "dense_rank": rank,
            "dense_score": 0.71,
            "lexical_rank": None,
            "lexical_score": None,
        },
        "more": 3 if rank == 1 else 0,
        "duplicates": [],
        "percentile": 0.97,
        "evidence": {"start": start, "end": end, "score": 0.8},
        "marks": [_span(TEXT, "lamp"), _span(TEXT, "lighthouse")],
        **changes,
    }


FIELDS = [{"name": "title", "type": "integer"}, {"name": "year", "type": "integer"}]
"""Of a source; every collection has further ones."""
FACETS = {
    "format": {
        "values": [{"value": "markdown", "chunks": 1200}, {"value": "html", "chunks": 300}],
        "whole": True,
    },
    "cluster_name": {
        "values": [{"value": "Lights at sea", "chunks": 40}, {"value": HOSTILE, "chunks": 9}],
        "whole": False,
    },
}


@dataclass
class FakeApi:
    """The API's answers; a test changes what it needs before it opens the page."""

    hits: list[dict[str, Any]] = field(
        default_factory=lambda: [make_hit(rank) for rank in range(1, TOTAL + 1)]
    )
    changes: dict[str, Any] = field(default_factory=dict)
    """Of every answer to a search."""
    document: dict[str, Any] = field(
        default_factory=lambda: {
            "doc_id": "d",
            "title": "Lamps, all parts",
            "source": "https://example.org/lamps?a=1",
            "format": "markdown",
            "chunks": CHUNKS,
        }
    )
    collections: list[str] = field(default_factory=lambda: ["docs", "mails"])
    clusters: list[str] = field(default_factory=lambda: ["Lights at sea", HOSTILE])
    key: str | None = None
    problems: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    """Path -> status, title and detail of the problem that is the answer."""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    """Paths, and bodies or parameters, in the order of arrival."""
    hold: threading.Event | None = None
    """Searches are answered when it is set."""
    url: str = ""

    def of(self, path: str) -> list[Any]:
        """What was asked of a path."""
        return [body for where, body in self.asked if where == path]

    def app(self) -> FastAPI:
        """The API and the page."""
        app = FastAPI(openapi_url=None)
        add_page(app)

        @app.exception_handler(HTTPException)
        async def problem(request: Request, error: HTTPException) -> Response:
            detail: Any = error.detail
            told = detail if isinstance(detail, dict) else {"title": "Not found"}
            return JSONResponse(
                {"type": "about:blank", "status": error.status_code, "request_id": "req-7", **told},
                error.status_code,
                media_type="application/problem+json",
                headers=error.headers,
            )

        @app.get("/v1/collections")
        def collections(request: Request) -> Any:
            self._check(request, "collections")
            return {
                "collections": [
                    {
                        "name": name,
                        "documents": 12,
                        "chunks": 1500,
                        "default": place == 0,
                        "fields": FIELDS,
                    }
                    for place, name in enumerate(self.collections)
                ]
            }

        @app.get("/v1/clusters")
        def clusters(request: Request) -> Any:
            self._check(request, "clusters")
            if not self.clusters:
                raise HTTPException(404, {"title": "Not clustered"})
            return {"clusters": [{"id": 1, "name": n, "size": 9, "now": 9} for n in self.clusters]}

        @app.post("/v1/facets")
        def facets(request: Request, body: dict[str, Any]) -> Any:
            self._check(request, "facets", body)
            return {
                "collection": "docs",
                "facets": {key: FACETS[key] for key in body["keys"] if key in FACETS},
            }

        @app.post("/v1/search")
        def search(request: Request, body: dict[str, Any]) -> Any:
            self._check(request, "search", body)
            if self.hold is not None:
                self.hold.wait(20)
            begin = int(body.get("cursor") or 0)
            return self._answer(body, begin)

        @app.post("/v1/similar")
        def similar(request: Request, body: dict[str, Any]) -> Any:
            self._check(request, "similar", body)
            return {**self._answer(body, 0), "cursor": None}

        @app.get("/v1/documents/{doc_id:path}")
        def document(request: Request, doc_id: str, offset: int = 0, limit: int = 1000) -> Any:
            self._check(request, "documents", {"id": doc_id, "offset": offset, "limit": limit})
            chunks = [self._chunk(n) for n in range(offset, min(CHUNKS, offset + limit))]
            return {"document": self.document, "chunks": chunks}

        return app

    def _chunk(self, ordinal: int) -> dict[str, Any]:
        text = f"{TEXT} {HOSTILE} Chunk number {ordinal}."
        start = 1000 * ordinal
        return {
            "id": str(ordinal),
            "ordinal": ordinal,
            "start": start,
            "end": start + len(text),
            "headings": ["Lamps, all parts", "Wicks"],
            "text": text,
        }

    def _answer(self, body: Mapping[str, Any], begin: int) -> dict[str, Any]:
        end = begin + body["limit"]
        return {
            "query": body.get("query", ""),
            "collection": "docs",
            "encoder": "letters",
            "mode": body.get("mode", "hybrid"),
            "degraded": None,
            "nothing_good": False,
            "hits": self.hits[begin:end],
            "timings_ms": {"encode": 3.2, "search": 8.9, "total": 12.5},
            "cursor": str(end) if end < len(self.hits) else None,
            **self.changes,
        }

    def _check(self, request: Request, kind: str, body: Any = None) -> None:
        self.asked.append((kind, dict(request.query_params) if body is None else body))
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            detail = {"title": "No key", "detail": "send Authorization: Bearer KEY"}
            raise HTTPException(401, detail)
        if kind in self.problems:
            status, title, text = self.problems[kind]
            headers = {"Retry-After": "7"} if status == 429 else None
            raise HTTPException(status, {"title": title, "detail": text}, headers)


@pytest.fixture
def fake() -> FakeApi:
    """An API to be changed before `serve` is called."""
    return FakeApi()


@pytest.fixture
def serve() -> Iterator[Callable[[FastAPI], str]]:
    """Serves an app on a port of its own, which is an origin of its own to the browser."""
    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(app: FastAPI) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread, listener))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, thread, listener in running:
        server.should_exit = server.force_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def _program(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Chrome"]:
    """One headless Chromium for all tests, with a folder of its own."""
    browser, driver = _program("chromium", "chromium-browser"), _program("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = browser
    for argument in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-dev-shm-usage",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "force-prefers-reduced-motion",
        "window-size=1280,900",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = Chrome(options=options, service=Service(executable_path=str(Path(driver))))
    yield started
    started.quit()
