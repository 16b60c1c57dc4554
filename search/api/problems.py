"""Errors as RFC 9457 problem details, with the status that fits."""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from search.api.backend import NotClustered
from search.errors import (
    CollectionNotFound,
    EncoderUnavailable,
    FingerprintMismatch,
    InvalidRequest,
    SearchError,
    WordsMissing,
)

MEDIA_TYPE: Final = "application/problem+json"
TYPES: Final = "urn:sextant:problem:"
"""Beginning of every `type`; the rest is the name of what went wrong."""
DETAIL_CHARACTERS: Final = 1000
MAX_ERRORS: Final = 10
RETRY_SECONDS: Final = 2
"""When to come back after a 503."""

logger = logging.getLogger("sextant.api")


class InputError(BaseModel):
    """One part of a request that is wrong."""

    at: str
    """Where: `limit`, `filters.0`, `query.k`."""
    message: str


class Problem(BaseModel):
    """What went wrong with a request, as RFC 9457 has it."""

    type: str = Field(examples=[f"{TYPES}unknown-collection"])
    title: str = Field(examples=["Unknown collection"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["no collection 'dosc'; did you mean 'docs'?"])
    instance: str = Field(examples=["/v1/search"])
    request_id: str = Field(examples=["6f0c2a8e5b1d4c37"])
    errors: list[InputError] | None = None


class DocumentNotFound(SearchError):
    """The collection holds no document of that id."""


class Busy(SearchError):
    """Too many requests are waiting already."""


class Late(SearchError):
    """The request took longer than it may."""


_SEARCH_ERRORS: Final[tuple[tuple[type[SearchError], int, str], ...]] = (
    (InvalidRequest, 400, "invalid-request"),
    (CollectionNotFound, 404, "unknown-collection"),
    (DocumentNotFound, 404, "unknown-document"),
    (NotClustered, 404, "not-clustered"),
    (WordsMissing, 409, "words-missing"),
    (Busy, 503, "busy"),
    (Late, 504, "timeout"),
    (EncoderUnavailable, 503, "encoder-unavailable"),
    (FingerprintMismatch, 503, "encoder-unavailable"),
    (SearchError, 503, "store-unavailable"),
)
_OURS_TO_KNOW: Final = {"store-unavailable"}
"""Problems whose message names places on this machine: it goes to the log."""
_HTTP_SLUGS: Final = {
    400: "invalid-request",
    401: "no-key",
    404: "unknown-path",
    405: "wrong-method",
    408: "slow-body",
    413: "body-too-large",
    415: "wrong-media-type",
    421: "unknown-host",
    429: "too-many-requests",
    503: "keys-unreadable",
}


def problem(
    status: int,
    slug: str,
    detail: str,
    *,
    path: str,
    request_id: str,
    errors: Sequence[Mapping[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer for something that went wrong.

    Args:
        status: Of HTTP.
        slug: Ends the problem's `type`.
        detail: The value, what was expected, the remedy.
        path: What was asked for.
        request_id: The request's.
        errors: Of wrong input, where it is wrong.
        headers: Further ones.
    """
    title = slug.replace("-", " ").capitalize() if slug else HTTPStatus(status).phrase
    fields: dict[str, Any] = {
        "type": f"{TYPES}{slug}",
        "title": title,
        "status": status,
        "detail": detail[:DETAIL_CHARACTERS],
        "instance": path,
        "request_id": request_id,
    }
    if errors:
        fields["errors"] = list(errors)
    # whatever the caller sent may be quoted: lone surrogates too
    body = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def of_request(request: Request, status: int, slug: str, detail: str, **further: Any) -> Response:
    """The answer for something that went wrong with a request; see `problem`."""
    return problem(
        status,
        slug,
        detail,
        path=request.url.path,
        request_id=getattr(request.state, "request_id", ""),
        **further,
    )


def handle_problems(app: FastAPI) -> None:
    """Answer every error of an app by a problem."""
    app.add_exception_handler(SearchError, _search_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def _search_error(request: Request, error: Exception) -> Response:
    status, slug = next((s, n) for kind, s, n in _SEARCH_ERRORS if isinstance(error, kind))
    request.state.problem = slug
    detail = str(error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        logger.warning(
            "request not answered",
            extra={
                "fields": {
                    "request_id": getattr(request.state, "request_id", ""),
                    "error": type(error).__name__,
                    "reason": detail,
                }
            },
        )
    if slug in _OURS_TO_KNOW:
        detail = "the store does not answer just now; the server's log says why"
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None
    return of_request(request, status, slug, detail, headers=headers)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    status, path = error.status_code, request.url.path
    details = {
        400: "the body cannot be read as JSON in UTF-8",
        404: f"nothing is served at {path}; GET /openapi.json lists what is",
        405: f"{request.method} is not served at {path}; see the Allow header",
    }
    given = str(error.detail)
    detail = details.get(status, given) if status in (404, 405) or "parsing" in given else given
    slug = _HTTP_SLUGS.get(status, "")
    request.state.problem = slug
    return of_request(request, status, slug, detail, headers=error.headers)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    found = error.errors()
    first = found[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "malformed")
        detail = f"the body is not JSON: {reason} at character {first['loc'][-1]}"
        request.state.problem = "broken-json"
        return of_request(request, 400, "broken-json", detail)
    errors = [{"at": _place(one["loc"]), "message": _message(one)} for one in found[:MAX_ERRORS]]
    detail = f"{errors[0]['at']}: {errors[0]['message']}"
    if len(found) > 1:
        detail += f" (and {len(found) - 1} more)"
    request.state.problem = "invalid-input"
    return of_request(request, 422, "invalid-input", detail, errors=errors)


def _place(location: Sequence[int | str]) -> str:
    """Where in the request; of a body, the path inside of it."""
    parts = [str(part) for part in location]
    if parts[:1] == ["body"]:
        parts = parts[1:]
    return ".".join(parts)[:200] or "body"


def _message(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if error["type"] == "extra_forbidden":
        return "no such field; leave it out"
    if error["type"] == "missing":
        return "expected a value; there is none"
    given = error.get("input")
    shown = "" if isinstance(given, dict | list) else f"; got {given!r:.60}"
    return f"expected {message[:1].lower()}{message[1:]}{shown}"
