"""Connections to public addresses only, looked at when they are made, and bounded in time.

A name is looked up here and the address that was checked is the one connected to, so that a name
server cannot give one answer to the check and another to the connection.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Final

import httpcore

from flows.documents.remote.answers import FetchFailed

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 20.0
"""Between two parts of an answer."""
MAX_ADDRESSES: Final = 4
"""Of one host, tried one after the other."""

DEADLINE: Final[ContextVar[float]] = ContextVar("DEADLINE", default=float("inf"))
"""`time.monotonic()` at which the present request ends, whatever is still coming in."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's at large; one within another counts as both.

    >>> [is_public(a) for a in ("8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254")]
    [True, False, False, False]
    """
    return all(
        one.is_global and not (one.is_multicast or one.is_reserved or _is_site_local(one))
        for one in _addresses(ipaddress.ip_address(address.partition("%")[0]))
    )


def _addresses(address: _Address) -> tuple[_Address, ...]:
    """The address, or those that it stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:  # all addresses look so where there is IPv6 only
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour is not None:
        return (address, address.sixtofour)
    if address.teredo is not None:
        return (address, *address.teredo)
    return (address,)


def _is_site_local(address: _Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and address.is_site_local


def seconds_left(timeout: float | None) -> float:
    """How long to wait at most: the timeout, or less where the request's time runs out.

    Raises:
        ReadTimeout: It has run out.
    """
    left = DEADLINE.get() - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the whole answer takes too long")
    return min(left, READ_SECONDS if timeout is None else timeout)


class GuardedStream(httpcore.NetworkStream):
    """A connection that ends with the request's time."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Bytes, as soon as there are any."""
        return self._inner.read(max_bytes, seconds_left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """All of the buffer."""
        self._inner.write(buffer, seconds_left(timeout))

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """The connection under TLS; the certificate must be the host's, not the address's."""
        inner = self._inner.start_tls(ssl_context, server_hostname, seconds_left(timeout))
        return GuardedStream(inner)

    def get_extra_info(self, info: str) -> Any:
        """What the connection below says of itself."""
        return self._inner.get_extra_info(info)


class GuardedBackend(httpcore.NetworkBackend):
    """Looks a host up, checks its addresses, and connects to one that passed."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of the host that may be connected to and answers.

        Raises:
            FetchFailed: None of its addresses may be connected to.
            ConnectError, ConnectTimeout: None answers, or there is none.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not a host's name"
            raise httpcore.ConnectError(f"{host!r} cannot be looked up: {reason}") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [a for a in addresses if self._allow_private or is_public(a)]
        if not allowed:
            raise FetchFailed(
                f"{host!r} is at {', '.join(addresses) or 'no address'}, on this machine or in a "
                "private network; if that is meant, add --allow-private-addresses"
            )
        failure: Exception = httpcore.ConnectError(f"{host!r} has no address")
        for address in allowed[:MAX_ADDRESSES]:
            try:
                stream = self._inner.connect_tcp(
                    address, port, seconds_left(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return GuardedStream(stream)
        raise failure
