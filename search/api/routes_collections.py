"""`/v1/collections`, `/v1/documents/{id}`, `/v1/clusters`: what there is."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from search.api.answering import Answers
from search.api.answers import ClustersAnswer, CollectionsAnswer, DocumentAnswer
from search.api.requests import CollectionParameters, DocumentParameters
from search.api.workers import Workers

JSON: Final = "application/json"


def collection_routes(answers: Answers, workers: Workers) -> APIRouter:
    """The routes, each answered in a thread of `workers`."""
    router = APIRouter(prefix="/v1", tags=["collections"])

    @router.get(
        "/collections",
        operation_id="collections",
        summary="List the collections that are served",
        responses={200: {"model": CollectionsAnswer, "description": "By name."}},
    )
    async def collections() -> Response:
        return Response(await workers.run(answers.collections), media_type=JSON)

    @router.get(
        "/documents/{id:path}",
        operation_id="document",
        summary="Get a document's chunks in order, and what the store knows of it",
        responses={200: {"model": DocumentAnswer, "description": "The document."}},
    )
    async def document(
        id: Annotated[
            str,
            Path(
                min_length=1,
                description="The document's id; slashes stay as they are.",
                examples=["notes/lighthouses.md"],
            ),
        ],
        asked: Annotated[DocumentParameters, Query()],
    ) -> Response:
        return Response(await workers.run(answers.document, id, asked), media_type=JSON)

    @router.get(
        "/clusters",
        operation_id="clusters",
        summary="List the clusters of the last run",
        responses={200: {"model": ClustersAnswer, "description": "By size."}},
    )
    async def clusters(asked: Annotated[CollectionParameters, Query()]) -> Response:
        return Response(await workers.run(answers.clusters, asked.collection), media_type=JSON)

    return router
