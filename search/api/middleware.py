"""What every request passes: an id, a log line, a check of its key, rate and body."""

import asyncio
import re
import secrets
import time
from collections.abc import MutableMapping
from http import HTTPMethod, HTTPStatus
from typing import Any, Final

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search.api.keys import KeyRing, KeysUnreadable, StoredKey
from search.api.metrics import Metrics
from search.api.options import ApiOptions
from search.api.paths import API, is_open, route_of
from search.api.problems import problem
from search.api.rate_limits import RateLimits
from search.api.request_log import log_failure, log_request, logger

REQUEST_ID: Final = "X-Request-ID"
ANYBODY: Final = "anybody"
"""Whose bucket is drawn from where there are no keys."""
SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Of every answer that does not say otherwise."""

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_METHODS: Final = frozenset(method.value for method in HTTPMethod)
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class Accounts:
    """Outermost: the request's id, its line in the log, its place in the metrics, safe headers.

    Whatever is raised inside ends here, as a problem that says nothing but the request's id.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, log_queries: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._log_queries = log_queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        asked = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = asked if _SANE_ID.fullmatch(asked) else secrets.token_hex(8)
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith(API):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        with self._metrics.in_progress.track_inprogress():
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
                log_failure(error, request_id=request_id, message=self._log_queries)
                if not status:
                    answer = problem(
                        500,
                        "internal-error",
                        "something failed that should not; the server's log has more by the "
                        "request's id",
                        path=scope["path"],
                        request_id=request_id,
                    )
                    await answer(scope, receive, send_with_headers)
        seconds = time.perf_counter() - began
        route = route_of(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.request(route, method, status, seconds)
        log_request(
            method=method,
            route=route,
            status=status,
            milliseconds=seconds * 1e3,
            request_id=request_id,
            key=state.get("key"),
            problem=state.get("problem"),
            query=state.get("query") if self._log_queries else None,
        )


class Gate:
    """Lets nobody by without a key where keys are needed, nor more often than the key allows.

    A route that is added later needs a key as well, unless `paths.is_open` says otherwise.
    """

    def __init__(
        self, app: ASGIApp, *, options: ApiOptions, limits: RateLimits, metrics: Metrics
    ) -> None:
        self._app = app
        self._options = options
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it by."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        hosts = self._options.hosts
        headers = Headers(scope=scope)
        if hosts is not None and _host(headers.get("host", "")) not in hosts:
            return self._refuse(
                scope,
                421,
                "unknown-host",
                f"this server goes by {', '.join(hosts)}; with API keys it takes any name",
            )
        path = scope["path"]
        if is_open(path):
            return None
        caller, bucket, rate = ANYBODY, ANYBODY, self._options.rate_per_minute
        if self._options.keys is not None:
            try:
                found = self._find(self._options.keys, headers)
            except KeysUnreadable as error:
                logger.error("keys unreadable", extra={"fields": {"reason": str(error)}})
                return self._refuse(
                    scope, 503, "keys-unreadable", "the server cannot read its keys just now"
                )
            if found is None:
                self._metrics.refused_key()
                return self._refuse(
                    scope,
                    401,
                    "no-key",
                    "expected a valid key as `Authorization: Bearer KEY`",
                    {"WWW-Authenticate": 'Bearer realm="sextant"'},
                )
            caller = scope["state"]["key"] = found.name
            bucket, rate = found.id, found.rate_per_minute or rate
        if not path.startswith(API):
            return None
        seconds = self._limits.take(bucket, rate)
        if not seconds:
            return None
        self._metrics.rate_limited(caller)
        return self._refuse(
            scope,
            429,
            "too-many-requests",
            f"{rate} requests a minute are allowed; come back in {seconds:.1f} s",
            {"Retry-After": str(max(1, -int(-seconds // 1)))},
        )

    def _find(self, keys: KeyRing, headers: Headers) -> StoredKey | None:
        """What is kept of the request's key; None if it has no valid one."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return keys.find(key.strip()) if scheme.lower() == "bearer" and key.strip() else None

    def _refuse(
        self,
        scope: Scope,
        status: int,
        slug: str,
        detail: str,
        headers: dict[str, str] | None = None,
    ) -> ASGIApp:
        scope["state"]["problem"] = slug
        return problem(
            status,
            slug,
            detail,
            path=scope["path"],
            request_id=scope["state"]["request_id"],
            headers=headers,
        )


class BodyLimit:
    """Refuses bodies that are too large, too slow, or no JSON by their own account."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request by; its body is counted while it comes, whatever its head says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        said = headers.get("content-length", "0")
        refusal = None
        if said.isdigit() and int(said) > self._max_bytes:
            refusal = (413, "body-too-large", self._too_large)
        elif scope["method"] in _WITH_BODY and not _is_json(headers.get("content-type", "")):
            refusal = (
                415,
                "wrong-media-type",
                f"Content-Type {headers.get('content-type', '')!r:.100}: expected application/json",
            )
        if refusal is not None:
            scope["state"]["problem"] = refusal[1]
            answer = problem(*refusal, path=scope["path"], request_id=scope["state"]["request_id"])
            await answer(scope, receive, send)
            return
        until = time.monotonic() + self._seconds
        taken, whole = 0, False

        async def receive_counted() -> Message:
            nonlocal taken, whole
            if whole:  # what follows is a wait for the caller's going away
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                raise HTTPException(
                    HTTPStatus.REQUEST_TIMEOUT,
                    f"the body did not arrive within {self._seconds:g} s",
                    headers={"Connection": "close"},
                ) from None
            taken += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if taken > self._max_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large)
            return message

        await self._app(scope, receive_counted, send)

    @property
    def _too_large(self) -> str:
        return f"the body is larger than {self._max_bytes // 1024:,} KiB; send less at once"


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0][1:].lower()
    return header.partition(":")[0].lower()
