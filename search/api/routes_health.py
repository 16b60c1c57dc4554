"""`/livez`, `/readyz`, `/metrics`: what those ask who run the server."""

from typing import Final

from fastapi import APIRouter, Request, Response

from search.api.answers import Health
from search.api.backend import Backend
from search.api.metrics import CONTENT_TYPE, Metrics
from search.api.problems import RETRY_SECONDS, of_request
from search.api.workers import Workers

LOOKERS: Final = 2
LOOK_SECONDS: Final = 10.0


def health_routes(backend: Backend, metrics: Metrics) -> tuple[APIRouter, Workers]:
    """The routes, and the threads that look: their own, so that a rush does not make them wait."""
    router = APIRouter(tags=["operations"])
    lookers = Workers(concurrency=LOOKERS, waiting=64, timeout_seconds=LOOK_SECONDS)

    @router.get(
        "/livez",
        operation_id="livez",
        summary="Whether the server lives",
        responses={200: {"model": Health, "description": "It does."}},
    )
    async def livez() -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    @router.get(
        "/readyz",
        operation_id="readyz",
        summary="Whether queries can be answered: the store answers, the encoder is loaded",
        responses={200: {"model": Health, "description": "They can."}},
    )
    async def readyz(request: Request) -> Response:
        missing = await lookers.run(backend.ready)
        if missing is None:
            return Response(b'{"status":"ok"}', media_type="application/json")
        request.state.problem = "not-ready"
        headers = {"Retry-After": str(RETRY_SECONDS)}
        return of_request(request, 503, "not-ready", missing, headers=headers)

    @router.get(
        "/metrics",
        operation_id="metrics",
        summary="Counts and times for Prometheus",
        response_class=Response,
        responses={
            200: {
                "content": {"text/plain": {"schema": {"type": "string"}}},
                "description": "Prometheus' text format.",
            }
        },
    )
    async def show_metrics() -> Response:
        return Response(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    return router, lookers
