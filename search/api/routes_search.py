"""`/v1/search`, `/v1/similar`, `/v1/facets`, `/v1/embeddings`: what is asked of a collection."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from search.api.answering import Answers
from search.api.answers import EmbeddingsAnswer, FacetsAnswer, SearchAnswer
from search.api.requests import (
    EmbeddingsRequest,
    FacetsRequest,
    SearchParameters,
    SearchRequest,
    SimilarRequest,
)
from search.api.workers import Workers

JSON: Final = "application/json"


def search_routes(answers: Answers, workers: Workers) -> APIRouter:
    """The routes, each answered in a thread of `workers`."""
    router = APIRouter(prefix="/v1", tags=["search"])

    @router.post(
        "/search",
        operation_id="search",
        summary="Find the chunks that answer a query",
        responses={200: {"model": SearchAnswer, "description": "Hits, best first."}},
    )
    async def search(asked: SearchRequest, request: Request) -> Response:
        request.state.query = asked.query
        return Response(await workers.run(answers.search, asked), media_type=JSON)

    @router.get(
        "/search",
        operation_id="search_simply",
        summary="Find the chunks that answer a query, asked in the address",
        responses={200: {"model": SearchAnswer, "description": "Hits, best first."}},
    )
    async def search_simply(
        asked: Annotated[SearchParameters, Query()], request: Request
    ) -> Response:
        request.state.query = asked.q
        return Response(await workers.run(answers.search, asked.in_full()), media_type=JSON)

    @router.post(
        "/similar",
        operation_id="similar",
        summary="Find what is like chunks, documents or a text",
        responses={200: {"model": SearchAnswer, "description": "Hits, best first."}},
    )
    async def similar(asked: SimilarRequest, request: Request) -> Response:
        request.state.query = asked.text
        return Response(await workers.run(answers.similar, asked), media_type=JSON)

    @router.post(
        "/facets",
        operation_id="facets",
        summary="Count the chunks that have each value of some keys",
        responses={200: {"model": FacetsAnswer, "description": "Values, most frequent first."}},
    )
    async def facets(asked: FacetsRequest) -> Response:
        return Response(await workers.run(answers.facets, asked), media_type=JSON)

    @router.post(
        "/embeddings",
        operation_id="embeddings",
        summary="Encode texts by a collection's encoder, in OpenAI's shape",
        responses={200: {"model": EmbeddingsAnswer, "description": "A vector for each text."}},
    )
    async def embeddings(asked: EmbeddingsRequest) -> Response:
        return Response(await workers.run(answers.embeddings, asked), media_type=JSON)

    return router
