"""What a failed request means, in our words, and how long to wait before the next attempt."""

import random
import time
from typing import Any, Final, Literal, NamedTuple

from qdrant_client import models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from search.errors import StoreUnavailable

MOST_ATTEMPTS: Final = 7
FIRST_WAIT: Final = 0.25
"""Seconds before the second attempt; doubled for each further one."""
LONGEST_WAIT: Final = 8.0
LONGEST_HINT: Final = 60.0
"""Seconds that a server may ask us to wait; if it asks for more, the request fails."""
GIVE_UP_SECONDS: Final = 120.0
"""After so long no further attempt begins."""

_TRANSIENT_HTTP: Final = {408, 425, 429, 502, 503, 504}
_TRANSIENT_GRPC: Final = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"}
_REFUSED_GRPC: Final = {
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
}
_NO_RIGHTS: Final = {401, 403, "UNAUTHENTICATED", "PERMISSION_DENIED"}
_TOO_LARGE: Final = 413
_TLS: Final = ("certificate", "wrong_version_number", "wrong version number")

Meaning = Literal["transient", "fault", "refused", "missing", "exists"]
"""transient: may go well the next time; fault: the server's own; refused: it will always say no."""


class Unclear(StoreUnavailable):
    """No answer, or none that says whether the request was carried out."""


class Refused(StoreUnavailable):
    """The server answered, and did not do it."""


class NotApplied(Exception):
    """The server wrote points down, and had not applied them when its own time ran out."""


class Diagnosis(NamedTuple):
    """What a failed call means: its text, what follows from it, and what to look at."""

    text: str
    meaning: Meaning
    remedy: str = "see the server's log"
    retry_after: float | None = None
    """Seconds, if the server named any."""


def require_applied(result: models.UpdateResult) -> None:
    """A write is done when it is applied, not when it waits in the server's queue.

    Raises:
        NotApplied: the server gave up waiting for it; the same request may be sent again.
    """
    if result.status == models.UpdateStatus.WAIT_TIMEOUT:
        raise NotApplied


def diagnose(error: Exception) -> Diagnosis | None:
    """What a client's exception means, or None if it is not the server's doing."""
    if isinstance(error, UnexpectedResponse):
        return _of_response(error)
    if isinstance(error, ResponseHandlingException):
        source = error.source
        return _unreachable(f"no answer ({type(source).__name__}: {source})")
    if isinstance(error, ResourceExhaustedResponse):
        return _busy(str(error), float(error.retry_after_s))
    if isinstance(error, NotApplied):
        return _busy("points are written down, and not applied in the server's own time")
    if isinstance(error, QdrantException) and "Retry-After" in str(error):
        return _busy("too many requests")  # with a date, which the client does not read
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if callable(code) and callable(details):  # grpc.RpcError, which promises neither
        return _of_grpc(code().name, str(details()))
    if isinstance(error, ValueError):  # the client's local mode
        text = str(error)
        if "not found" in text:
            return Diagnosis(text, "missing")
        return Diagnosis(text, "exists") if "already exists" in text else None
    if isinstance(error, ApiException | QdrantException | RuntimeError):
        return Diagnosis(f"{type(error).__name__}: {error}", "fault")
    return None


def _of_response(error: UnexpectedResponse) -> Diagnosis:
    status, content = error.status_code or 0, error.content.decode(errors="replace")
    text = f"answered {status} {content[:200]}"
    if status in _TRANSIENT_HTTP:
        return Diagnosis(text, "transient", retry_after=_seconds(error.headers))
    if status == 404:
        return Diagnosis(text, "missing")
    if status == 409 or _says_exists(status == 400, content):
        return Diagnosis(text, "exists")
    if status in _NO_RIGHTS:
        return Diagnosis(text, "refused", "check the API key and its rights")
    if status == _TOO_LARGE:
        return Diagnosis(text, "refused", "send smaller requests: lower `max_request_mb`")
    return Diagnosis(text, "refused" if 400 <= status < 500 else "fault")


def _of_grpc(name: str, details: str) -> Diagnosis:
    text = f"{name} {details}"
    if name == "NOT_FOUND":
        return Diagnosis(text, "missing")
    if name == "ALREADY_EXISTS" or _says_exists(name == "INVALID_ARGUMENT", details):
        return Diagnosis(text, "exists")
    if name in _NO_RIGHTS:
        return Diagnosis(text, "refused", "check the API key and its rights")
    if "larger than max" in details:
        return Diagnosis(text, "refused", "send smaller requests: lower `max_request_mb`")
    if name == "RESOURCE_EXHAUSTED":
        return _busy(text)
    if name in _TRANSIENT_GRPC:
        return _unreachable(text)
    return Diagnosis(text, "refused" if name in _REFUSED_GRPC else "fault")


def _says_exists(is_bad_request: bool, text: str) -> bool:
    """Qdrant answers so where an alias has the name of a collection to be made."""
    return is_bad_request and "already exists" in text


def _unreachable(text: str) -> Diagnosis:
    if any(sign in text.lower() for sign in _TLS):  # it will be the same the next time
        return Diagnosis(
            text, "refused", "check https:// or http://, and the certificate (`ca_certificate`)"
        )
    return Diagnosis(
        text, "transient", "check that the server runs, and that address and ports are right"
    )


def _busy(text: str, retry_after: float | None = None) -> Diagnosis:
    return Diagnosis(f"is busy ({text})", "transient", "send less at a time", retry_after)


def _seconds(headers: Any) -> float | None:
    value = str(headers.get("retry-after", "") if headers is not None else "").strip()
    return float(value) if value.isdecimal() else None  # a date is not worth reading


class Patience:
    """The waits of one request: 0.25 s, doubled, with up to half of it left out by chance."""

    def __init__(self, attempts: int = MOST_ATTEMPTS) -> None:
        self.attempts = 0
        """How many have failed."""
        self._most = attempts
        self._began = time.monotonic()

    def wait(self, retry_after: float | None = None) -> float | None:
        """Seconds to wait after a further failed attempt; None when it was the last one.

        Args:
            retry_after: What the server asked for; it is waited for at least.
        """
        self.attempts += 1
        if self.attempts >= self._most:
            return None
        wait = min(FIRST_WAIT * 2 ** (self.attempts - 1), LONGEST_WAIT) * random.uniform(0.5, 1.0)
        if retry_after is not None:
            if retry_after > LONGEST_HINT:
                return None
            wait += retry_after
        return wait if time.monotonic() - self._began + wait <= GIVE_UP_SECONDS else None
