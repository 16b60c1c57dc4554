"""The application: routes, and what every request passes on its way to them."""

from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from search.api.answering import Answers
from search.api.backend import Backend
from search.api.description import TITLE, describe
from search.api.metrics import Metrics
from search.api.middleware import REQUEST_ID, Accounts, BodyLimit, Gate
from search.api.options import ApiOptions
from search.api.problems import handle_problems
from search.api.rate_limits import RateLimits
from search.api.routes_collections import collection_routes
from search.api.routes_health import health_routes
from search.api.routes_search import search_routes
from search.api.workers import Workers

CORS_SECONDS: Final = 600
"""How long a browser may remember what a page of another origin may ask."""


def make_app(
    backend: Backend, options: ApiOptions | None = None, *, limits: RateLimits | None = None
) -> FastAPI:
    """An ASGI application over a backend.

    `app.state.workers` are the threads that it answers in; close them when it is done.

    Args:
        backend: What answers.
        options: Limits, times, who may ask; None: the defaults, and everybody.
        limits: The rate limits' buckets, for tests; None: new ones.
    """
    options = options or ApiOptions()
    metrics = Metrics()
    workers = Workers(
        concurrency=options.concurrency,
        waiting=options.waiting,
        timeout_seconds=options.timeout_seconds,
    )
    metrics.watch(
        "sextant_requests_held", "Requests that are worked on or waiting.", lambda: workers.held
    )
    app = FastAPI(
        title=TITLE,
        version=options.version,
        docs_url=None,  # they are pages that load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        middleware=_middleware(options, metrics, limits or RateLimits()),
    )
    health, lookers = health_routes(backend, metrics)
    answers = Answers(backend, options, metrics)
    app.include_router(search_routes(answers, workers))
    app.include_router(collection_routes(answers, workers))
    app.include_router(health)
    if options.page:
        from search.page.routes import add_page

        add_page(app)
    handle_problems(app)
    describe(app)
    app.state.workers = (workers, lookers)
    return app


def _middleware(options: ApiOptions, metrics: Metrics, limits: RateLimits) -> list[Middleware]:
    """Outermost first: a page of another origin may ask whether it may before it has a key."""
    found = [Middleware(Accounts, metrics=metrics, log_queries=options.log_queries)]
    if options.cors_origins:
        found.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(options.cors_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", REQUEST_ID],
                expose_headers=[REQUEST_ID, "Retry-After"],
                max_age=CORS_SECONDS,
            )
        )
    found.append(Middleware(Gate, options=options, limits=limits, metrics=metrics))
    found.append(
        Middleware(BodyLimit, max_bytes=options.max_body_kb * 1024, seconds=options.timeout_seconds)
    )
    return found
