"""Fetching from the web: GET only, checked addresses, bounded time and bytes, `robots.txt` kept to.

Proxies named in the environment are not used: behind one, the address of a host cannot be checked.
httpcore is used without httpx's client, which logs every address with its secrets.
"""

import logging
import random
import threading
import time
import weakref
from contextvars import ContextVar
from functools import cache
from http import HTTPStatus
from typing import Final

import httpcore
import httpx

from flows.documents.remote.answers import Answer, FetchFailed
from flows.documents.remote.guarded_network import (
    CONNECT_SECONDS,
    DEADLINE,
    READ_SECONDS,
    GuardedBackend,
)
from flows.documents.remote.http_replies import Reply, answer_of, read_reply, unfit
from flows.documents.remote.redaction import redacted_text
from flows.documents.remote.robots import MAX_ROBOTS_BYTES, Robots, read_robots
from flows.documents.remote.web_address import WebAddress, joined, web_address
from flows.documents.titles import one_line
from flows.errors import InvalidInput

AGENT: Final = "sextant"
"""The name by which a `robots.txt` may speak of us."""
WHOLE_SECONDS: Final = 120.0
"""From a request to the end of its answer."""
POLITE_SECONDS: Final = 0.25
"""Between the beginnings of two requests to one site; more where its `robots.txt` asks for it."""
ATTEMPTS: Final = 3
RETRY_SECONDS: Final = 1.0
"""Before the second attempt, and twice that before the third; within a half, at random."""
MAX_PATIENCE_SECONDS: Final = 30.0
"""A site that asks to wait longer than this is left alone."""
MAX_REDIRECTS: Final = 5
MAX_CONNECTIONS: Final = 4

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ASKING: ContextVar[bool] = ContextVar("_ASKING", default=False)


class WebClient:
    """One run's way to the web; what it knows of sites is forgotten with it. Safe among threads."""

    def __init__(self, *, allow_private: bool) -> None:
        _hush_headers()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=READ_SECONDS,
            network_backend=GuardedBackend(allow_private=allow_private),
        )
        weakref.finalize(self, self._pool.close)
        self._robots: dict[str, Robots | FetchFailed] = {}
        self._robots_lock = threading.RLock()
        self._next: dict[str, float] = {}
        self._next_lock = threading.Lock()

    def get(self, address: WebAddress, *, max_bytes: int, version: str = "") -> Answer | None:
        """What an address answers, after at most `MAX_REDIRECTS` redirects.

        Args:
            address: Where to ask.
            max_bytes: A longer answer is refused, as soon as it is known to be.
            version: An ETag; while the answer is still of that version, it is None.

        Raises:
            FetchFailed: There is no answer, or not one that may be taken; the message says why.
        """
        here, reply = self._follow(address, max_bytes=max_bytes, version=version)
        if reply.status == HTTPStatus.NOT_MODIFIED and version:
            return None
        if reply.status != HTTPStatus.OK:
            raise FetchFailed(unfit(reply.status), status=reply.status)
        return answer_of(reply, shown=here.shown, max_bytes=max_bytes)

    def _follow(
        self, address: WebAddress, *, max_bytes: int, version: str = "", is_robots: bool = False
    ) -> tuple[WebAddress, Reply]:
        here = address
        for _ in range(MAX_REDIRECTS + 1):
            delay = 0.0 if is_robots else self._asked_delay(here)
            reply = self._ask(
                here, max_bytes=max_bytes, version=version, cut=is_robots, delay=delay
            )
            if reply.status not in _REDIRECTS or "location" not in reply.headers:
                return here, reply
            here = _redirected(here, reply.headers["location"])
        raise FetchFailed(f"more than {MAX_REDIRECTS} redirects, the last to {here.shown!r}")

    def _asked_delay(self, address: WebAddress) -> float:
        """The delay that a site asks for.

        Raises:
            FetchFailed: It asks us not to fetch this, or does not say: its rules are out of reach.
        """
        robots = self._robots_of(address)
        if isinstance(robots, FetchFailed) and robots.status is None:
            raise FetchFailed(str(robots))  # the site itself is out of reach
        if isinstance(robots, FetchFailed):
            raise FetchFailed(
                f"the robots.txt of {address.site!r} cannot be had ({robots}), which forbids all "
                "until it can (RFC 9309); run again later"
            )
        if not robots.allows(address.target):
            raise FetchFailed(f"the robots.txt of {address.site!r} asks not to fetch it; leave it")
        return robots.delay

    def _robots_of(self, address: WebAddress) -> Robots | FetchFailed:
        with self._robots_lock:
            if address.origin not in self._robots:
                place = web_address(f"{address.origin}/robots.txt")
                try:
                    _, reply = self._follow(place, max_bytes=MAX_ROBOTS_BYTES, is_robots=True)
                except FetchFailed as error:
                    self._robots[address.origin] = error
                else:
                    self._robots[address.origin] = _rules(reply)
            return self._robots[address.origin]

    def _ask(
        self, address: WebAddress, *, max_bytes: int, version: str, cut: bool, delay: float
    ) -> Reply:
        """One answer, after a few attempts where the first ones fail in a way that may pass."""
        for attempt in range(1, ATTEMPTS + 1):
            self._wait_for_turn(address.site, max(delay, POLITE_SECONDS))
            try:
                return self._send(address, max_bytes=max_bytes, version=version, cut=cut)
            except FetchFailed as error:
                if not error.may_pass or attempt == ATTEMPTS:
                    raise
                patience = RETRY_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
                if error.patience is not None:
                    patience = max(patience, error.patience)
                if patience > MAX_PATIENCE_SECONDS:
                    raise
                time.sleep(patience)
        raise AssertionError("unreachable")

    def _wait_for_turn(self, site: str, delay: float) -> None:
        with self._next_lock:
            start = max(time.monotonic(), self._next.get(site, 0.0))
            self._next[site] = start + delay
        if (seconds := start - time.monotonic()) > 0:
            time.sleep(seconds)

    def _send(self, address: WebAddress, *, max_bytes: int, version: str, cut: bool) -> Reply:
        headers = {"User-Agent": _agent(), "Accept": "*/*", "Accept-Encoding": "identity"}
        if version:
            headers["If-None-Match"] = version
        url = httpcore.URL(
            scheme=address.scheme, host=address.host, port=address.port, target=address.target
        )
        timeouts = {
            "connect": CONNECT_SECONDS,
            "read": READ_SECONDS,
            "write": READ_SECONDS,
            "pool": WHOLE_SECONDS,
        }
        asking = _ASKING.set(True)
        deadline = DEADLINE.set(time.monotonic() + WHOLE_SECONDS)
        try:
            with self._pool.stream(
                "GET",
                url,
                headers=[("Host", address.site), *headers.items()],
                extensions={"timeout": timeouts},
            ) as response:
                return read_reply(response, max_bytes=max_bytes, cut=cut)
        except (
            httpcore.NetworkError,
            httpcore.TimeoutException,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
        ) as error:
            reason = one_line(redacted_text(str(error))) or type(error).__name__
            is_trust = "CERTIFICATE_VERIFY_FAILED" in reason
            raise FetchFailed(f"no answer: {reason}", may_pass=not is_trust) from None
        finally:
            DEADLINE.reset(deadline)
            _ASKING.reset(asking)


def _redirected(here: WebAddress, location: str) -> WebAddress:
    try:
        there = joined(here, location)
    except InvalidInput as error:
        raise FetchFailed(f"redirects to where nothing may be fetched: {error}") from None
    if here.scheme == "https" and there.scheme != "https":
        raise FetchFailed(f"redirects from https to {there.shown!r}, which is not encrypted")
    return there


def _rules(reply: Reply) -> Robots | FetchFailed:
    """RFC 9309: a site that has no rules forbids nothing; one that fails to give them, all."""
    if reply.status == HTTPStatus.OK:
        return read_robots(reply.body, AGENT)
    if reply.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Robots()
    return FetchFailed(unfit(reply.status), status=reply.status)


@cache
def _agent() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{AGENT}/{version('sextant-pipeline')}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return AGENT


class _Hush(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Drop what httpcore says of our requests: a header `Location` may hold secrets."""
        return not _ASKING.get()


@cache
def _hush_headers() -> None:
    for name in ("httpcore.connection", "httpcore.http11"):
        logging.getLogger(name).addFilter(_Hush())
