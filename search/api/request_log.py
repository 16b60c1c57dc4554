"""The server's log: one JSON object a line, without what people searched for."""

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any, Final, TextIO

LOGGER: Final = "sextant.api"
TRACE_CHARACTERS: Final = 20_000

logger = logging.getLogger(LOGGER)


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, event, then what the record's `fields` say."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields["traceback"] = where_it_failed(record.exc_info[1])
        return json.dumps(fields, default=str)


def where_it_failed(error: BaseException) -> str:
    """The traceback of an error without its message, which may hold what somebody searched for."""
    lines = traceback.format_tb(error.__traceback__)
    return ("".join(lines) + type(error).__name__)[-TRACE_CHARACTERS:]


def log_request(
    *,
    method: str,
    route: str,
    status: int,
    milliseconds: float,
    request_id: str,
    key: str | None,
    problem: str | None = None,
    query: str | None = None,
) -> None:
    """One line for a request.

    Args:
        method: Of HTTP.
        route: Its template: `/v1/documents/{id}`, never what was asked for.
        status: Of the answer.
        milliseconds: From the head of the request to the end of the answer.
        request_id: See `X-Request-ID`.
        key: The key's name.
        problem: What went wrong, by its short name.
        query: What was searched for; only where that is wanted.
    """
    fields: dict[str, Any] = {
        "method": method,
        "route": route,
        "status": status,
        "ms": round(milliseconds, 2),
        "request_id": request_id,
        "key": key,
    }
    if problem is not None:
        fields["problem"] = problem
    if query is not None:
        fields["query"] = query
    logger.info("request", extra={"fields": fields})


def log_failure(error: BaseException, *, request_id: str, message: bool) -> None:
    """A failure that nobody foresaw, with the place it happened at.

    Args:
        error: What was raised.
        request_id: The request's.
        message: Whether the error's own words are written, which may hold a query.
    """
    fields: dict[str, Any] = {"request_id": request_id, "error": type(error).__name__}
    if message:
        fields["message"] = str(error)
    logger.error("unexpected failure", extra={"fields": fields}, exc_info=error)


def log_to(stream: TextIO) -> None:
    """Write the log as JSON lines, and what uvicorn complains of among them."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for name, level in ((LOGGER, logging.INFO), ("uvicorn.error", logging.WARNING)):
        one = logging.getLogger(name)
        one.handlers, one.propagate = [handler], False
        one.setLevel(level)
