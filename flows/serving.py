"""The server: an address, a store, an encoder, the API over them; until it is told to stop.

One process, since an embedded store has one owner and an encoder is large: threads answer, and the
encoder takes what several ask together. Whoever needs more puts several servers, over a Qdrant
server, behind a balancer.
"""

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import uvicorn

from flows import console
from flows.arenas import limit_arenas
from flows.errors import FlowError, InvalidInput
from flows.serving_backend import StoreBackend
from flows.serving_keys import key_file
from flows.settings import Settings
from flows.stores import store_of
from search.api.application import make_app
from search.api.keys import KeyRing
from search.api.options import ApiOptions
from search.api.request_log import log_to, logger

GRACE_SECONDS: Final = 10
"""Requests in flight may take so long to end once the server is told to stop."""
CLOSE_SECONDS: Final = 3.0
IDLE_SECONDS: Final = 15
"""A connection that asks nothing is closed."""
BACKLOG: Final = 512
LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Where and how to serve."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0: any that is free."""
    keys: Path | None = None
    """File of API keys; None: the store's own."""
    require_keys: bool = False
    """Whether keys are needed on the loopback, too."""
    with_encoder: bool = True
    only_default: bool = False
    certificate: Path | None = None
    private_key: Path | None = None
    """PEM; with a certificate the server speaks HTTPS."""
    api: ApiOptions = field(default_factory=ApiOptions)


def serve(settings: Settings, serving: Serving) -> None:
    """Serve until SIGINT or SIGTERM; requests in flight are answered first.

    Raises:
        InvalidInput: no such address, no keys where they are needed, a certificate that is none.
        FlowError: the port is taken.
        SearchError, EmbedderError: see `StoreBackend.start`.
    """
    limit_arenas()
    _check_certificate(serving)
    listening = _bind(serving.host, serving.port)
    with contextlib.closing(listening):
        options = _guarded(settings, serving, listening)
        backend = StoreBackend(
            store_of(settings),
            settings,
            with_encoder=serving.with_encoder,
            only_default=serving.only_default,
        )
        log_to(sys.stderr)
        try:
            backend.start()
            app = make_app(backend, options)
            config = uvicorn.Config(
                app,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
                ssl_certfile=serving.certificate,
                ssl_keyfile=serving.private_key,
            )
            server = _Server(config, _announcement(settings, serving, listening, options))
            asyncio.run(_run(server, listening))
            for workers in app.state.workers:
                workers.close()
        finally:
            closing = threading.Thread(target=backend.close, daemon=True)
            closing.start()
            closing.join(timeout=CLOSE_SECONDS)
        logger.info("stopped")
        if closing.is_alive() or backend.is_busy or any(w.held for w in app.state.workers):
            # what a thread does cannot be broken off, and Python would wait for it
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


class _Server(uvicorn.Server):
    """A server that says where it is, and whose signals are ours."""

    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        super().__init__(config)
        self._announcement = announcement
        self._asked: float | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """They are the loop's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            console.say(self._announcement)

    def ask_to_stop(self) -> None:
        """End after the requests in flight; asked again later on, at once."""
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
            self.should_exit = True
            logger.info("stopping", extra={"fields": {"grace_seconds": GRACE_SECONDS}})
        elif now > self._asked + 1:  # some senders send to process and group at once
            os._exit(1)


async def _run(server: _Server, listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.ask_to_stop)
    await server.serve(sockets=[listening])


def _bind(host: str, port: int) -> socket.socket:
    """A socket that is bound to the address, and does not listen yet."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(
            f"--host {host!r}: no such address ({error}); expected e.g. 127.0.0.1, 0.0.0.0 or ::"
        ) from None
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise FlowError(
            f"{host} port {port} cannot be served at: {error.strerror}; stop what is there, or "
            "choose another --port (0: any that is free)"
        ) from None
    return listening


def _guarded(settings: Settings, serving: Serving, listening: socket.socket) -> ApiOptions:
    """The options with keys where they are needed, and where not, with names that are ours."""
    options = serving.api
    is_local = ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback
    if is_local and not serving.require_keys:
        if "*" in options.cors_origins:
            raise InvalidInput(
                "--cors '*' without keys would let any page that is opened on this machine read "
                "everything; name the origins, or add --require-keys"
            )
        names = dict.fromkeys((*LOOPBACK_NAMES, serving.host.lower()))
        return replace(options, hosts=tuple(names))
    file = key_file(settings, serving.keys)
    ring = KeyRing(file)
    if not ring.live():
        where = "--require-keys" if is_local else f"--host {serving.host}"
        raise InvalidInput(
            f"{where} needs API keys, and {str(file.path)!r} holds none that is valid; make one: "
            "`sextant keys create NAME`"
        )
    return replace(options, keys=ring)


def _check_certificate(serving: Serving) -> None:
    if serving.certificate is None:
        if serving.private_key is not None:
            raise InvalidInput("--tls-key without --tls-cert; give both")
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(serving.certificate, serving.private_key, password=lambda: "")
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(
            f"--tls-cert {str(serving.certificate)!r}: {error.strerror or error}; expected PEM "
            "files of a certificate and its private key without a password"
        ) from None


def _announcement(
    settings: Settings, serving: Serving, listening: socket.socket, options: ApiOptions
) -> str:
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    scheme = "http" if serving.certificate is None else "https"
    keys = "without keys" if options.keys is None else "with API keys"
    return (
        f"serving collection {settings.collection!r} at {scheme}://{name}:{port} ({keys}); "
        "Ctrl-C ends it"
    )
