"""What goes over the wire: a small server on loopback, by gRPC and by HTTP, with and without TLS.

It hands requests to the client's own in-memory engine, and remembers what it was sent.
"""

# ruff: noqa: D102, N802 - the methods of a service are named and described by its protocol

import contextlib
import datetime
import ipaddress
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from qdrant_client import QdrantClient
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc.collections_service_pb2_grpc import (
    CollectionsServicer,
    add_CollectionsServicer_to_server,
)
from qdrant_client.grpc.points_service_pb2_grpc import (
    PointsServicer,
    add_PointsServicer_to_server,
)
from qdrant_client.grpc.qdrant_pb2_grpc import QdrantServicer, add_QdrantServicer_to_server

from search.errors import InvalidRequest, StoreUnavailable
from search.records import Point
from search.stores import server_failures
from search.stores.contract import Manifest, StorageOptions
from search.stores.server import ServerStore
from search.stores.server_options import ServerOptions

Make = Callable[..., Point]
KEY = "hush-hush-42"


class Authority:
    """A certificate for 127.0.0.1 and the authority that signed it, as PEM."""

    def __init__(self, folder: Path) -> None:
        own, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)

        def certificate(subject: x509.Name, key: Any, *, is_authority: bool) -> bytes:
            builder = (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(name)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(start)
                .not_valid_after(start + datetime.timedelta(days=3))
                .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            )
            if not is_authority:
                address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
                builder = builder.add_extension(x509.SubjectAlternativeName([address]), False)
            signed = builder.sign(own, hashes.SHA256())
            return signed.public_bytes(serialization.Encoding.PEM)

        self.file = folder / "authority.pem"
        self.file.write_bytes(certificate(name, own, is_authority=True))
        host = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        self.certificate = certificate(host, server, is_authority=False)
        self.key = server.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """One for this test alone."""
    return Authority(tmp_path)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(server_failures, "FIRST_WAIT", 0.0)


class Bridge(QdrantServicer, CollectionsServicer, PointsServicer):
    """The part of Qdrant's gRPC service that these tests use."""

    def __init__(self, engine: QdrantClient) -> None:
        self.engine = engine
        self.sent: list[Any] = []
        self.keys: set[str | None] = set()
        self.failures: list[tuple[grpc.StatusCode, str, str | None]] = []
        self.guard = threading.Lock()

    def _note(self, request: Any, context: grpc.ServicerContext) -> None:
        self.keys.add(dict(context.invocation_metadata()).get("api-key"))
        self.sent.append(request)
        if self.failures and not isinstance(request, wire.HealthCheckRequest):
            code, text, after = self.failures.pop(0)
            if after is not None:
                context.set_trailing_metadata((("retry-after", after),))
            context.abort(code, text)

    def HealthCheck(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        return wire.HealthCheckReply(title="qdrant", version="1.20.3")

    def List(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        found = self.engine.get_collections().collections
        return wire.ListCollectionsResponse(
            collections=[wire.CollectionDescription(name=one.name) for one in found]
        )

    def Get(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        try:
            info = self.engine.get_collection(request.collection_name)
        except ValueError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return wire.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))

    def Create(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        self.engine.create_collection(
            request.collection_name,
            vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config),
            sparse_vectors_config=GrpcToRest.convert_sparse_vector_config(
                request.sparse_vectors_config
            ),
            metadata=GrpcToRest.convert_payload(request.metadata),
        )
        return wire.CollectionOperationResponse(result=True)

    def Update(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        self.engine.update_collection(
            request.collection_name, metadata=GrpcToRest.convert_payload(request.metadata)
        )
        return wire.CollectionOperationResponse(result=True)

    def UpdateAliases(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        actions = [GrpcToRest.convert_alias_operations(action) for action in request.actions]
        self.engine.update_collection_aliases(actions)
        return wire.CollectionOperationResponse(result=True)

    def ListAliases(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        found = self.engine.get_aliases().aliases
        return wire.ListAliasesResponse(
            aliases=[RestToGrpc.convert_alias_description(one) for one in found]
        )

    def CreateFieldIndex(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        return _done()

    def Upsert(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        with self.guard:
            self.engine.upsert(request.collection_name, points)
        return _done()

    def Count(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        where = GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None
        found = self.engine.count(request.collection_name, count_filter=where)
        return wire.CountResponse(result=wire.CountResult(count=found.count))

    def Query(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        return wire.QueryResponse()

    def of(self, kind: type) -> list[Any]:
        """The requests of one kind."""
        return [request for request in self.sent if isinstance(request, kind)]


def _done() -> Any:
    return wire.PointsOperationResponse(
        result=wire.UpdateResult(operation_id=1, status=wire.UpdateStatus.Completed)
    )


@contextlib.contextmanager
def serving(authority: Authority | None = None) -> Iterator[tuple[Bridge, ServerOptions]]:
    """The bridge on a port of its own, and the options that lead to it."""
    server = grpc.server(ThreadPoolExecutor(8))
    with contextlib.closing(QdrantClient(":memory:")) as engine:
        bridge = Bridge(engine)
        add_QdrantServicer_to_server(bridge, server)
        add_CollectionsServicer_to_server(bridge, server)
        add_PointsServicer_to_server(bridge, server)
        if authority is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            pair = (authority.key, authority.certificate)
            credentials = grpc.ssl_server_credentials([pair])
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            file = None if authority is None else authority.file
            yield bridge, ServerOptions(grpc_port=port, ca_certificate=file, timeout_seconds=10)
        finally:
            server.stop(None).wait()


def test_a_collection_by_grpc(manifest: Callable[..., Manifest], chunk: Make, head: Any) -> None:
    """Made, loaded by several requests, pointed to and counted; all as the protocol has it."""
    storage = StorageOptions(quantisation="int8", on_disk=True, shards=2, replicas=3)
    points = [*(chunk(f"d{i}") for i in range(1000)), head("d0")]
    with serving() as (bridge, options):
        store = ServerStore("http://127.0.0.1:1", SecretStr(KEY), options=options)
        with contextlib.closing(store):
            made = manifest("docs--1", storage=storage)
            collection = store.create(made)
            with collection.bulk_load():
                collection.upsert(points)
            store.set_alias("docs", "docs--1")
            assert store.aliases() == {"docs": "docs--1"}
            assert store.open("docs").manifest == made
            assert store.list() == [made]
            status = collection.status()
            assert (status.points, status.vectors) == (1001, 1000)
            collection.search(np.ones(4, np.float32), limit=3)
    assert bridge.keys == {KEY}
    assert len(bridge.of(wire.HealthCheckRequest)) == 1
    [creation] = bridge.of(wire.CreateCollection)
    dense = creation.vectors_config.params_map.map["dense"]
    assert dense.on_disk
    assert dense.quantization_config.scalar.always_ram
    assert (creation.shard_number, creation.replication_factor) == (2, 3)
    assert creation.on_disk_payload
    assert creation.strict_mode_config.enabled
    assert creation.strict_mode_config.max_query_limit == 50_000
    assert creation.strict_mode_config.HasField("unindexed_filtering_update")
    first, last = bridge.of(wire.UpdateCollection)
    assert first.optimizers_config.indexing_threshold == 0
    assert last.optimizers_config.indexing_threshold == 20_000
    sent = [len(request.points) for request in bridge.of(wire.UpsertPoints)]
    assert sorted(sent[:4]) == [232, 256, 256, 256]
    assert sent[4:] == [1]
    [aliasing] = bridge.of(wire.ChangeAliases)
    assert len(aliasing.actions) == 1
    query = bridge.of(wire.QueryPoints)[0].params
    assert (query.quantization.rescore, query.quantization.oversampling) == (True, 2.0)


def test_grpc_failures_are_repeated_or_named(
    manifest: Callable[..., Manifest], chunk: Make
) -> None:
    """A server that is away or busy is asked again, and a refusal is not."""
    with (
        serving() as (bridge, options),
        contextlib.closing(ServerStore("http://127.0.0.1:1", options=options)) as store,
    ):
        collection = store.create(manifest("docs"))
        bridge.failures = [
            (grpc.StatusCode.UNAVAILABLE, "restarting", None),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "rate", None),
        ]
        collection.upsert([chunk("a")])
        assert collection.count() == 1
        sent = len(bridge.sent)
        bridge.failures = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "rate", "3600")]
        with pytest.raises(StoreUnavailable, match=r"is busy \(rate\) \(attempt 1\)"):
            collection.upsert([chunk("b")])
        bridge.failures = [(grpc.StatusCode.PERMISSION_DENIED, "read-only", None)]
        with pytest.raises(StoreUnavailable, match=r"read-only.*check the API key"):
            collection.upsert([chunk("b")])
        assert len(bridge.sent) == sent + 2


def test_grpc_over_tls(authority: Authority, tmp_path: Path) -> None:
    """The private authority is trusted for its own server, and no other authority is."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    with serving(authority) as (bridge, options):
        address = "https://127.0.0.1:1"
        store = ServerStore(address, SecretStr(KEY), options=options)
        with contextlib.closing(store):
            assert store.list() == []
        assert bridge.keys == {KEY}
        bridge.keys.clear()
        wrong = options.model_copy(update={"ca_certificate": other.file})
        with (
            contextlib.closing(ServerStore(address, SecretStr(KEY), options=wrong)) as store,
            pytest.raises(StoreUnavailable, match=r"\(attempt 1\); .*certificate") as error,
        ):
            store.list()
        assert KEY not in str(error.value)
        assert bridge.keys == set()


class Handler(BaseHTTPRequestHandler):
    """Answers what it was told to, and remembers paths and keys."""

    def do_GET(self) -> None:
        server = cast("Http", self.server)
        server.seen.append((self.path, self.headers.get("api-key")))
        status, headers, body = 200, {}, {"version": "1.20.0", "title": "qdrant"}
        if self.path != "/":
            status, headers, body = server.answers.pop(0)
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


class Http(ThreadingHTTPServer):
    """A server of prepared answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str | None]] = []
        self.answers: list[tuple[int, dict[str, str], Any]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is expected."""


NO_COLLECTIONS = {"result": {"collections": []}, "status": "ok", "time": 0.0}
HTTP_ONLY = ServerOptions(grpc=False, timeout_seconds=10)


@contextlib.contextmanager
def http(authority: Authority | None = None) -> Iterator[tuple[Http, str]]:
    """The server of prepared answers, and its address."""
    server, scheme = Http(), "http"
    if authority is not None:
        import ssl

        folder = authority.file.parent
        (folder / "server.pem").write_bytes(authority.certificate + authority.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server, f"{scheme}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_http_answers_are_repeated_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the header that says when; the key goes along, and nowhere else."""
    with http() as (server, address):
        store = ServerStore(address, SecretStr(KEY), options=HTTP_ONLY)
        waited: list[float] = []
        monkeypatch.setattr(store._link, "pause", lambda wait, stop=None: waited.append(wait) or 1)
        with contextlib.closing(store):
            busy = {"status": {"error": "too many"}, "time": 0.0}
            server.answers = [
                (503, {}, {}),
                (429, {"Retry-After": "4"}, busy),
                (503, {"Retry-After": "2"}, {}),
                (200, {}, NO_COLLECTIONS),
            ]
            assert store.list() == []
            assert waited == [0.0, 4.0, 2.0]
            assert server.seen == [("/", KEY), *[("/collections", KEY)] * 4]
            server.answers = [(401, {}, {"status": {"error": f"unknown key {KEY}"}})]
            with pytest.raises(StoreUnavailable, match=r"401.*\*\*\*.*check the API key") as error:
                store.list()
            assert KEY not in str(error.value) + repr(error.value.__cause__)


def test_a_redirect_is_not_followed() -> None:
    """Another host would get the key."""
    with http() as (server, address), http() as (elsewhere, target):
        with contextlib.closing(ServerStore(address, SecretStr(KEY), options=HTTP_ONLY)) as store:
            server.answers = [(307, {"Location": f"{target}/collections"}, {})]
            with pytest.raises(StoreUnavailable, match="answered 307"):
                store.list()
        assert elsewhere.seen == []


def test_http_over_tls(authority: Authority, tmp_path: Path) -> None:
    """The private authority's own server alone; a wrong certificate is not tried again."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    with http(authority) as (server, address):
        right = HTTP_ONLY.model_copy(update={"ca_certificate": authority.file})
        with contextlib.closing(ServerStore(address, SecretStr(KEY), options=right)) as store:
            server.answers = [(200, {}, NO_COLLECTIONS)]
            assert store.list() == []
        server.seen.clear()
        for file in (other.file, None):
            wrong = HTTP_ONLY.model_copy(update={"ca_certificate": file})
            with contextlib.closing(ServerStore(address, SecretStr(KEY), options=wrong)) as store:
                message = r"certificate.*\(attempt 1\).*`ca_certificate`"
                with pytest.raises(StoreUnavailable, match=message):
                    store.list()
        assert server.seen == []


def test_a_certificate_is_looked_at_before_anything_is_sent(
    tmp_path: Path, authority: Authority
) -> None:
    """A file that is not there, is none, or for an address that asks for none, is refused."""
    good = authority.file
    text, binary, empty = tmp_path / "a.txt", tmp_path / "a.der", tmp_path / "empty.pem"
    text.write_text("-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n")
    binary.write_bytes(b"\x30\x82\xff\x00")
    empty.write_text("")
    for wrong in (tmp_path / "absent.pem", tmp_path, text, binary, empty):
        with pytest.raises(InvalidRequest, match=f"certificate file '{wrong}'.*expected a PEM"):
            ServerStore("https://host", options=ServerOptions(ca_certificate=wrong))
    with pytest.raises(InvalidRequest, match="expected an https:// address"):
        ServerStore("http://localhost", options=ServerOptions(ca_certificate=good))
    ServerStore("https://host", options=ServerOptions(ca_certificate=good)).close()
