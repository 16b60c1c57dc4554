"""The OpenAPI description: errors of each route, and how a key is sent."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from search.api.paths import API, is_open
from search.api.problems import MEDIA_TYPE, TYPES, Problem

TITLE: Final = "Sextant"
SUMMARY: Final = "Search in collections of documents, by vectors and by words."
SCHEME: Final = "key"

_EVERYWHERE: Final = {
    401: ("no-key", "No key, or a wrong one; only where keys are needed."),
    421: ("unknown-host", "The server does not go by that name."),
    429: ("too-many-requests", "More often than the key allows; `Retry-After` says when."),
    500: ("internal-error", "A failure that nobody foresaw; the log has more."),
    503: ("store-unavailable", "The store, the encoder, or a free thread is not to be had."),
    504: ("timeout", "No answer within the server's time."),
}
_INPUT: Final = {
    400: ("invalid-request", "Broken JSON, or something that the search refuses."),
    422: ("invalid-input", "A field that is missing, unknown, of the wrong type or out of range."),
}
_BODY: Final = {
    408: ("slow-body", "The body did not arrive in time."),
    413: ("body-too-large", "The body is larger than allowed."),
    415: ("wrong-media-type", "The body is not `application/json`."),
}
_COLLECTION: Final = {
    404: ("unknown-collection", "No such collection, document or clustering."),
    409: ("words-missing", "The collection has no vectors of words, and `lexical` was asked for."),
}


def describe(app: FastAPI) -> None:
    """Let `/openapi.json` tell the whole truth about an app's routes."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(_described(app))
        return made

    app.openapi = openapi  # type: ignore[method-assign]


def _described(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=TITLE,
        version=app.version,
        summary=SUMMARY,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    components["securitySchemes"] = {
        SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A key made by `sextant keys create NAME`; needed unless the "
            "server is bound to the loopback.",
        }
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
    return document


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Add what may go wrong, and that a key may be needed."""
    wrong = {status: _EVERYWHERE[status] for status in (421, 500)}
    if not is_open(path):
        operation["security"] = [{}, {SCHEME: []}]
        wrong[401] = _EVERYWHERE[401]
    if path == "/readyz":
        wrong |= {status: _EVERYWHERE[status] for status in (503, 504)}
    if path == "/metrics":
        wrong[503] = _EVERYWHERE[503]
    if path.startswith(API):
        wrong |= _EVERYWHERE
        if "requestBody" in operation:
            wrong |= _BODY
        if "requestBody" in operation or "parameters" in operation:
            wrong |= _INPUT | _COLLECTION
    responses = operation["responses"]
    responses.pop("422", None)
    for status, (slug, description) in sorted(wrong.items()):
        responses[str(status)] = {
            "description": description,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": _example(path, status, slug),
                }
            },
        }


def _example(path: str, status: int, slug: str) -> dict[str, Any]:
    return {
        "type": f"{TYPES}{slug}",
        "title": slug.replace("-", " ").capitalize(),
        "status": status,
        "detail": "what was given, what was expected, and what to do",
        "instance": path,
        "request_id": "6f0c2a8e5b1d4c37",
    }
