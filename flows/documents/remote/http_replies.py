"""Answers of HTTP: read within bounds, and turned into documents or into reasons."""

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import httpcore

from flows.documents.compression import decompress
from flows.documents.remote.answers import Answer, FetchFailed, too_large
from flows.documents.titles import one_line
from flows.errors import DocumentRejected

_MAY_PASS: Final = frozenset({429, 502, 503, 504})
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]{1,256}"')
_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([A-Za-z0-9_:.\-]{1,40})', re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """One answer, before redirects are followed; `body` is empty where the status is not 200."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a header that comes twice, the last."""
    body: bytes


def read_reply(response: httpcore.Response, *, max_bytes: int, cut: bool) -> Reply:
    """The answer's status and headers, and of one that is wanted, the body.

    Args:
        response: One whose body has not been read.
        max_bytes: Most bytes of a body, as they come.
        cut: Take the beginning of a longer one.

    Raises:
        FetchFailed: It is too large; or the site is not well, which may pass.
    """
    headers = {
        name.decode("ascii", "replace").lower(): value.decode("utf-8", "replace")
        for name, value in response.headers
    }
    if response.status in _MAY_PASS:
        patience = _patience(headers.get("retry-after", ""))
        asked = "" if patience is None else f", and asks to wait {patience:.0f} s"
        raise FetchFailed(
            unfit(response.status) + asked,
            may_pass=True,
            status=response.status,
            patience=patience,
        )
    body = bytearray()
    if response.status == HTTPStatus.OK:
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > max_bytes and not cut:
            raise too_large(int(length[:20]), max_bytes)
        for part in response.iter_stream():
            body += part
            if len(body) > max_bytes:
                if cut:
                    break
                raise too_large(None, max_bytes)
    return Reply(response.status, headers, bytes(body[:max_bytes]))


def answer_of(reply: Reply, *, shown: str, max_bytes: int) -> Answer:
    """What an answer says, as a document.

    Args:
        reply: One with status 200.
        shown: Its address, without secrets.
        max_bytes: Most bytes once decompressed.

    Raises:
        FetchFailed: It came in a coding that was not asked for, or is too large.
    """
    coding = reply.headers.get("content-encoding", "identity").strip().lower()
    kind = reply.headers.get("content-type", "")
    charset = _CHARSET.search(kind)
    etag = reply.headers.get("etag", "").strip()
    return Answer(
        data=_decoded(reply.body, coding, max_bytes=max_bytes),
        media_type=one_line(kind.partition(";")[0]).lower(),
        charset=charset[1].lower() if charset else "",
        version=etag if _STRONG_ETAG.fullmatch(etag) else "",
        modified=_date(reply.headers.get("last-modified", "")),
        was_coded=coding not in ("", "identity"),
        shown=shown,
    )


def _decoded(body: bytes, coding: str, *, max_bytes: int) -> bytes:
    """The content of an answer that was compressed for its journey, although nobody asked."""
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip"):
        raise FetchFailed(
            f"answers in the coding {one_line(coding)[:40]!r}, which was not asked for"
        )
    try:
        return decompress(body, "gzip", max_bytes=max_bytes)
    except DocumentRejected as error:
        # what cannot be decompressed has the library's error as its cause
        raise FetchFailed(str(error), too_large=error.__cause__ is None) from None


def unfit(status: int) -> str:
    """An answer that holds no document, and what may be done."""
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    remedy = {
        401: "it needs a login; leave it",
        403: "it may not be read; leave it",
        404: "it is not there (any more); leave it, or correct the address",
        410: "it is gone; leave it",
    }.get(status, "run again later")
    return f"answers {phrase}: {remedy}"


def _patience(value: str) -> float | None:
    """Seconds of a `Retry-After`, which may also be a date."""
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _date(value: str) -> str:
    """A date of HTTP in ISO 8601, UTC; empty where it is none."""
    try:
        date = email.utils.parsedate_to_datetime(value)
        aware = date if date.tzinfo else date.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, TypeError, OverflowError):
        return ""
