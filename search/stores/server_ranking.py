"""Several queries in one request to a server: what each finds, without the payloads."""

from collections.abc import Sequence
from typing import Any, Final

from qdrant_client import models

from search import findings
from search.findings import Finding
from search.stores import ties
from search.stores.server_link import ServerLink
from search.stores.server_schema import MAX_QUERY_LIMIT

_KEYS: Final = list(findings.PATHS)


def rank(
    link: ServerLink,
    name: str,
    queries: Sequence[models.QueryRequest],
    *,
    limit: int,
) -> list[list[Finding]]:
    """The `limit` best points for each query, ordered by (score descending, id).

    Args:
        link: To the server.
        name: The collection's.
        queries: With their vectors, filters and parameters; limits and payloads are set here.
        limit: Points for each, 1 to `server_schema.MAX_QUERY_LIMIT`.

    Raises:
        StoreUnavailable, CollectionNotFound: see `ServerLink.call`.
    """
    if not queries:
        return []
    most = min(limit + ties.SPARE, MAX_QUERY_LIMIT)
    first = _ask(link, name, queries, most)
    return [
        _nearest(link, name, query, limit, points)
        for query, points in zip(queries, first, strict=True)
    ]


def _nearest(
    link: ServerLink,
    name: str,
    query: models.QueryRequest,
    limit: int,
    first: Sequence[models.ScoredPoint],
) -> list[Finding]:
    """The best of what the first request found, and of more where a tie is cut."""
    found: dict[str, models.ScoredPoint] = {}
    waiting = [first]

    def fetch(count: int) -> list[ties.Scored]:
        points = waiting.pop() if waiting else _ask(link, name, [query], count)[0]
        found.update({str(point.id): point for point in points})
        return [(str(point.id), point.score) for point in points]

    return [
        Finding(identifier, score, *findings.keys_of(found[identifier].payload or {}))
        for identifier, score in ties.nearest(fetch, limit)
    ]


def _ask(
    link: ServerLink, name: str, queries: Sequence[models.QueryRequest], count: int
) -> list[Sequence[models.ScoredPoint]]:
    changes: dict[str, Any] = {"limit": min(count, MAX_QUERY_LIMIT), "with_payload": _KEYS}
    requests = [query.model_copy(update=changes) for query in queries]
    answers = link.call(
        f"collection {name!r}", lambda: link.client.query_batch_points(name, requests)
    )
    return [answer.points for answer in answers]
