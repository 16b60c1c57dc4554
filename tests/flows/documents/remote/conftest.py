"""A web site on this machine, with and without TLS: a test writes its pages and reads its log."""

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.documents.remote import web_client
from flows.documents.remote.limits import RemoteLimits

HERE = RemoteLimits(allow_network=True, allow_private_addresses=True)
"""Loopback is a private address."""


@dataclass
class Page:
    """What one path answers; `raw` may write whatever it likes instead."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/html"})
    raw: Callable[[BaseHTTPRequestHandler], None] | None = None
    honours_etag: bool = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up: many tests are about that."""


class Site:
    """Pages by path, and the requests that came."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.pages: dict[str, Page | list[Page]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                answers = site.pages.get(self.path, Page(b"none", 404))
                if isinstance(answers, list):
                    answers = answers.pop(0) if len(answers) > 1 else answers[0]
                site.answer(self, answers)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.scheme, self.host = "http", "127.0.0.1"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.scheme, self.host = "https", "localhost"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @staticmethod
    def answer(handler: BaseHTTPRequestHandler, page: Page) -> None:
        """Write one answer."""
        if page.raw is not None:
            page.raw(handler)
            return
        etag = page.headers.get("ETag")
        if page.honours_etag and etag and handler.headers.get("If-None-Match") == etag:
            handler.send_response(304)
            handler.end_headers()
            return
        handler.send_response(page.status)
        headers = {"Content-Length": str(len(page.body)), **page.headers}
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(page.body)

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"{self.scheme}://{self.host}:{self.port}{path}"

    def asked(self) -> list[str]:
        """Paths in the order of the requests, without those for `robots.txt`."""
        return [path for path, _ in self.requests if path != "/robots.txt"]

    def sitemap(self, path: str, *locations: str, kind: str = "urlset") -> str:
        """Write a sitemap of addresses, or of paths on this site; returns its address."""
        entry = "url" if kind == "urlset" else "sitemap"
        entries = "".join(
            f"<{entry}><loc>{loc if '://' in loc else self.url(loc)}</loc></{entry}>"
            for loc in locations
        )
        space = "http://www.sitemaps.org/schemas/sitemap/0.9"
        xml = f'<?xml version="1.0"?><{kind} xmlns="{space}">{entries}</{kind}>'
        self.pages[path] = Page(xml.encode(), headers={"Content-Type": "application/xml"})
        return self.url(path)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for anyone's sake."""
    monkeypatch.setattr(web_client, "POLITE_SECONDS", 0.0)
    monkeypatch.setattr(web_client, "RETRY_SECONDS", 0.0)


@pytest.fixture
def here() -> RemoteLimits:
    """Limits that allow loopback."""
    return HERE


@pytest.fixture
def page() -> type[Page]:
    """See `Page`."""
    return Page


@pytest.fixture
def site() -> Iterator[Site]:
    """A site without TLS."""
    made = Site()
    yield made
    made.close()


@pytest.fixture
def other_site() -> Iterator[Site]:
    """Another site: another port is another host."""
    made = Site()
    yield made
    made.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of its own for `localhost`, and not for 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def tls_site(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site under TLS, whose certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    made = Site(certificate)
    yield made
    made.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Host names and the addresses that they resolve to, in place of the system's."""
    table: dict[str, list[str]] = {}
    system = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        addresses = table.get(str(host))
        if addresses is None:
            ipaddress.ip_address(str(host))  # no name goes to the network from here
            return system(host, port, *args, **options)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return table
