"""The way to a Qdrant server: its address checked, its failures retried and put in our words."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from search.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidRequest,
    StoreUnavailable,
)

Result = TypeVar("Result")

RETRY_AFTER_SECONDS: Final = (0.2, 1.0, 3.0)
"""Waits before the second, third and fourth attempt."""

_TRANSIENT_HTTP: Final = {408, 429, 502, 503, 504}
_TRANSIENT_GRPC: Final = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"}


class Diagnosis(NamedTuple):
    """What a failed call means: its text, and whether to try again, or it is about existence."""

    text: str
    is_transient: bool = False
    is_missing: bool = False
    is_there: bool = False


def check_url(url: str) -> str:
    """The server's address, cleaned: scheme, host, port and path.

    Raises:
        InvalidRequest: not http or https, no host, or anything that may be a secret. The message
            does not repeat the address then.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"server address: {error}; expected e.g. http://host:6333") from None
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest(
            "server address holds a user or password, which logs would show; "
            "leave it out and pass the API key as `api_key`"
        )
    if parts.query or parts.fragment:
        raise InvalidRequest(
            "server address holds a query or fragment; expected e.g. http://host:6333, "
            "with the API key passed as `api_key`"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(
            f"server address {url!r}: expected http:// or https:// and a host, "
            "e.g. http://localhost:6333"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port_text = "" if port is None else f":{port}"
    return f"{parts.scheme}://{host}{port_text}{parts.path.rstrip('/')}"


def connect(
    location: str,
    *,
    api_key: SecretStr | None,
    prefer_grpc: bool,
    grpc_port: int,
    timeout_seconds: float,
) -> QdrantClient:
    """A client of the server at `location`. Sends nothing but a request for its version."""
    return QdrantClient(
        url=location,
        api_key=None if api_key is None else api_key.get_secret_value(),
        prefer_grpc=prefer_grpc,
        grpc_port=grpc_port,
        timeout=max(1, round(timeout_seconds)),
        check_compatibility=True,
    )


class ServerLink:
    """A client, and the one way to call it."""

    def __init__(self, client: QdrantClient, *, location: str, owns_client: bool) -> None:
        self.client = client
        self.location = location
        self._owns_client = owns_client
        self._closed = False
        options = client.init_options
        self.is_local = options["location"] == ":memory:" or options["path"] is not None
        # eight threads broke a collection of the client's local mode for good; servers need no lock
        self._guard: contextlib.AbstractContextManager[object] = (
            threading.RLock() if self.is_local else contextlib.nullcontext()
        )

    def call(self, subject: str, operation: Callable[[], Result], *, retry: bool = True) -> Result:
        """Run one request; again after a transient failure, if it may be repeated.

        Args:
            subject: What the request is about, for the message: `collection 'docs'`.
            operation: Sends the request.
            retry: Whether a second sending does no harm.

        Raises:
            CollectionNotFound: the server knows no such collection.
            CollectionExists: someone else made it in the meantime.
            StoreUnavailable: the link is closed, or the server did not do it.
        """
        waits = list(RETRY_AFTER_SECONDS) if retry else []
        attempts = 0
        while True:
            if self._closed:
                raise StoreUnavailable(f"store {self.location} is closed; open it again")
            attempts += 1
            try:
                with self._guard:
                    return operation()
            except Exception as error:
                diagnosis = diagnose(error)
                if diagnosis is None:
                    raise
                if diagnosis.is_transient and waits:
                    time.sleep(waits.pop(0))
                    continue
                if diagnosis.is_missing:
                    raise CollectionNotFound(
                        f"no {subject} on {self.location}; ingest first, or check the name"
                    ) from error
                if diagnosis.is_there:
                    raise CollectionExists(
                        f"{subject} is there already on {self.location}; "
                        "open it, delete it, or choose another name"
                    ) from error
                raise StoreUnavailable(
                    f"{subject} on {self.location}: {diagnosis.text} (attempt {attempts}); "
                    "check that the server runs and that the API key is right"
                ) from error

    def close(self) -> None:
        """Close the client if it is ours; a second call does nothing."""
        if not self._closed:
            self._closed = True
            if self._owns_client:
                self.client.close()


def diagnose(error: Exception) -> Diagnosis | None:
    """What a client's exception means, or None if it is not the server's doing."""
    if isinstance(error, UnexpectedResponse):
        status = error.status_code
        return Diagnosis(
            f"answered {status} {error.content[:200].decode(errors='replace')}",
            is_transient=status in _TRANSIENT_HTTP,
            is_missing=status == 404,
            is_there=status == 409,
        )
    if isinstance(error, ResponseHandlingException):
        source = error.source
        return Diagnosis(f"no answer ({type(source).__name__}: {source})", is_transient=True)
    if isinstance(error, ResourceExhaustedResponse):
        return Diagnosis(f"too many requests ({error})", is_transient=True)
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if callable(code) and callable(details):  # grpc.RpcError, which promises neither
        name = code().name
        return Diagnosis(
            f"{name} {details()}",
            is_transient=name in _TRANSIENT_GRPC,
            is_missing=name == "NOT_FOUND",
            is_there=name == "ALREADY_EXISTS",
        )
    if isinstance(error, ValueError):  # the client's local mode
        text = str(error)
        if "not found" in text or "already exists" in text:
            return Diagnosis(text, is_missing="not found" in text, is_there="exists" in text)
        return None
    if isinstance(error, ApiException | QdrantException | RuntimeError):
        return Diagnosis(f"{type(error).__name__}: {error}")
    return None
