"""`sextant serve` and `sextant keys`: the backend over stores, and the server as a process."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from embedder.errors import ModelUnavailable
from embedder.specification import specify
from flows import cli_serve
from flows.errors import FlowError, InvalidInput
from flows.serving import Serving, serve
from flows.serving_backend import LOOK_SECONDS, RETIRE_SECONDS, StoreBackend
from flows.serving_keys import key_file
from flows.settings import Settings
from search.api.backend import NotClustered
from search.api.options import ApiOptions
from search.collections import create_aliased, create_version
from search.errors import (
    CollectionNotFound,
    EncoderUnavailable,
    FingerprintMismatch,
    InvalidRequest,
    StoreUnavailable,
)
from search.records import Point, chunk_id
from search.stores.contract import Collection, Manifest, Store
from search.stores.server import ServerStore

CommandLine = Any
World = Any
Letters = Any
DIMENSION = 32


@pytest.fixture
def store() -> Iterator[Store]:
    """A server's store in memory: another may change it meanwhile, as an embedded one may not."""
    with contextlib.closing(QdrantClient(":memory:")) as client:
        yield ServerStore.over(client, location=":memory:")


@pytest.fixture
def manifest(encoder_folder: Path) -> Manifest:
    """Of collections that the tiny encoder built."""
    specification = specify(str(encoder_folder))
    return Manifest(
        name="given-by-the-store",
        dimension=DIMENSION,
        fingerprint=specification.fingerprint,
        encoder=specification.describe(),
        created_at="2025-01-01T00:00:00+00:00",
    )


@pytest.fixture
def settings(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of collection `notes`, with a state folder of its own."""
    monkeypatch.chdir(scratch)
    return Settings(store=str(scratch / "state"), collection="notes")


@pytest.fixture
def encoder(letters: Letters, monkeypatch: pytest.MonkeyPatch) -> Letters:
    """Letters are counted in place of the model."""
    monkeypatch.setattr("flows.encoders.load_encoder", lambda specification: letters)
    return letters


def chunk(text: str, **metadata: Any) -> Point:
    """A document of one chunk."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    for letter in text.lower():
        vector[ord(letter) % DIMENSION] += 1
    fields = {"doc_id": text, "source": text, "title": text, "start": 0, "end": 1, "chunk": 0}
    return Point(
        id=chunk_id(text, ordinal=0, content_hash="h"),
        vector=vector,
        payload={"kind": "chunk", "page_content": text, "metadata": fields | metadata},
    )


def texts(collection: Collection) -> list[str]:
    """What is in it."""
    return sorted(str(one.payload["page_content"]) for one in collection.scroll())


def test_what_a_name_leads_to_is_noticed(
    store: Store, manifest: Manifest, settings: Settings
) -> None:
    """New, moved, made anew and deleted collections, each within its time and not before."""
    now = [0.0]
    create_aliased(store, "notes", manifest).upsert([chunk("first")])
    backend = StoreBackend(store, settings, with_encoder=False, clock=lambda: now[0])
    first = backend.collection("notes")
    assert texts(first.collection) == ["first"]
    assert backend.collection("notes").collection is first.collection

    second = create_version(store, "notes", manifest)
    second.upsert([chunk("second")])
    store.set_alias("notes", second.manifest.name)
    assert texts(backend.collection("notes").collection) == ["first"]
    now[0] += LOOK_SECONDS
    assert texts(backend.collection("notes").collection) == ["second"]
    assert texts(first.collection) == ["first"]  # requests in flight still have it

    create_aliased(store, "other", manifest).upsert([chunk("third")])
    with pytest.raises(CollectionNotFound):
        backend.collection("other")
    now[0] += LOOK_SECONDS
    assert texts(backend.collection("other").collection) == ["third"]
    assert [one.name for one in backend.collections()] == ["notes", "other"]
    assert backend.ready() is None

    store.set_alias("notes", None)
    for name in (first.collection.manifest.name, second.manifest.name):
        store.delete(name)
    now[0] += LOOK_SECONDS
    with pytest.raises(CollectionNotFound):
        backend.collection("notes")
    assert backend.ready() == "collection 'notes' is not there"

    later = manifest.model_copy(update={"created_at": "2026-01-01T00:00:00+00:00"})
    create_aliased(store, "notes", later).upsert([chunk("anew")])
    now[0] += LOOK_SECONDS
    assert texts(backend.collection("notes").collection) == ["anew"]
    now[0] += RETIRE_SECONDS
    backend._close_retired()
    with pytest.raises((StoreUnavailable, CollectionNotFound)):
        first.collection.count()


def test_other_collections_may_be_left_out(
    store: Store, manifest: Manifest, settings: Settings
) -> None:
    """`--only`; and a name that nothing can have is refused as such."""
    for name in ("notes", "other"):
        create_aliased(store, name, manifest)
    backend = StoreBackend(store, settings, with_encoder=False, only_default=True)
    assert [one.name for one in backend.collections()] == ["notes"]
    assert backend.collection("notes").name == "notes"
    with pytest.raises(CollectionNotFound):
        backend.collection("other")
    with pytest.raises(InvalidRequest):
        backend.collection("../notes")


def test_a_collection_that_is_not_there_ends_the_start(
    store: Store, manifest: Manifest, settings: Settings
) -> None:
    """With the near miss."""
    create_aliased(store, "nodes", manifest)
    backend = StoreBackend(store, settings, with_encoder=False)
    with pytest.raises(CollectionNotFound, match=r"no collection 'notes' in .*'nodes'"):
        backend.start()


def test_queries_and_texts_are_encoded(
    store: Store, manifest: Manifest, settings: Settings, encoder: Letters
) -> None:
    """By the collection's own encoder; what it cannot take is the caller's fault."""
    create_aliased(store, "notes", manifest).upsert([chunk("owl")])
    with pytest.raises(FingerprintMismatch):
        StoreBackend(store, settings.model_copy(update={"encoder": "starter"})).start()
    backend = StoreBackend(store, settings)
    backend.start()
    try:
        opened = backend.collection("notes")
        assert opened.encoder is not None
        assert opened.encoder.encode_query(["aa"])[0][1] == 1.0
        assert backend.ready() is None
        made = backend.embed("notes", ["aa"] * 40, "document")
        assert made.vectors_ND.shape == (40, DIMENSION)
        assert made.tokens == 80
        with pytest.raises(InvalidRequest, match="input 17 is longer than the encoder takes"):
            backend.embed("notes", ["a"] * 17 + ["TooLong"], "query")
        with pytest.raises(InvalidRequest, match="input 18 has no finite vector"):
            backend.embed("notes", ["a"] * 18 + ["NaN"], "document")
        with pytest.raises(EncoderUnavailable):
            opened.encoder.encode_query(["NaN"])
    finally:
        backend.close()


def test_an_encoder_that_cannot_be_loaded_is_told(
    store: Store,
    manifest: Manifest,
    settings: Settings,
    encoder: Letters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not ready, with the reason; once it can be, all is well."""
    create_aliased(store, "notes", manifest).upsert([chunk("owl")])

    def refuse(specification: object) -> None:
        raise ModelUnavailable("its weights are gone")

    monkeypatch.setattr("flows.encoders.load_encoder", refuse)
    backend = StoreBackend(store, settings)
    backend.start()
    try:
        found = backend.collection("notes").encoder
        assert found is not None
        with pytest.raises(EncoderUnavailable, match="its weights are gone"):
            found.encode_query(["a"])
        assert "cannot be loaded: its weights are gone" in str(backend.ready())
        with pytest.raises(EncoderUnavailable):
            backend.embed("notes", ["a"], "query")
        monkeypatch.setattr("flows.encoders.load_encoder", lambda specification: encoder)
        found.encode_query(["a"])
        assert backend.ready() is None
    finally:
        backend.close()


def test_what_another_encoder_built_is_answered_by_words(
    store: Store, manifest: Manifest, settings: Settings, encoder: Letters
) -> None:
    """One encoder is loaded, the default collection's."""
    create_aliased(store, "notes", manifest)
    create_aliased(store, "other", manifest.model_copy(update={"fingerprint": "e" * 64}))
    backend = StoreBackend(store, settings)
    backend.start()
    try:
        assert backend.collection("other").encoder is None
        with pytest.raises(EncoderUnavailable, match="'other' is not served here"):
            backend.embed("other", ["a"], "query")
    finally:
        backend.close()


def test_fields_that_come_later_are_noticed(
    store: Store, manifest: Manifest, settings: Settings
) -> None:
    """By the upkeep, which looks now and then."""
    create_aliased(store, "notes", manifest).upsert([chunk("a")])
    backend = StoreBackend(store, settings, with_encoder=False)
    assert dict(backend.collection("notes").schema.fields()) == {}
    backend.collection("notes").collection.upsert([chunk("b", fields={"year": 2020})])
    backend._look_after(backend._entry("notes"))
    assert dict(backend.collection("notes").schema.fields()) == {"year": "integer"}


def test_chance_is_measured_while_others_are_served(
    store: Store, manifest: Manifest, settings: Settings, encoder: Letters
) -> None:
    """In small portions; kept for the next start."""
    words = ("owl", "river", "loaf", "stone", "orbit")
    create_aliased(store, "notes", manifest).upsert(
        [chunk(f"{one} {other}") for one in words for other in words]
    )
    backend = StoreBackend(store, settings)
    backend.start()
    try:
        backend._look_after(backend._entry("notes"))
        chance = backend.collection("notes").chance
        assert chance is not None
        assert chance.chunks == 25
        assert (Path(settings.store) / "notes" / "relevance.json").exists()
    finally:
        backend.close()


def test_clusters_are_those_of_the_last_run(
    store: Store, manifest: Manifest, settings: Settings
) -> None:
    """With the chunks that each has now; read again when they were written anew."""
    create_aliased(store, "notes", manifest).upsert([chunk("a", cluster=7), chunk("b", cluster=7)])
    backend = StoreBackend(store, settings, with_encoder=False)
    with pytest.raises(NotClustered, match="'notes' has no clusters yet; `sextant cluster`"):
        backend.clusters("notes")
    folder = Path(settings.store) / "notes" / "report"
    folder.mkdir(parents=True)
    for name in ("Birds", "Owls and other birds"):
        (folder / "clusters.json").write_text(json.dumps(_report(name)))
        listed = backend.clusters("notes")
        assert listed.keys() == {
            "collection", "run_id", "created_at", "algorithm", "chunks", "clusters",
        }  # fmt: skip
        assert [(c["id"], c["name"], c["now"]) for c in listed["clusters"]] == [(7, name, 2)]


def _report(name: str) -> dict[str, Any]:
    cluster = {
        "id": 7, "size": 2, "share": 1.0, "documents": 2, "name": name, "keywords": [],
        "cohesion": 1.0, "outliers": 0, "exemplars": [], "top_documents": [],
    }  # fmt: skip
    return {
        "collection": "notes", "clusters": [cluster], "outliers": 0, "report": "", "chunks": 2,
        "documents": 2, "k": 1, "requested_k": None, "criterion": [], "outlier_examples": [],
        "seed": 0, "fingerprint": "f", "run_id": "r", "created_at": "2025-01-01T00:00:00+00:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"port": 70_000}, "--port 70000: expected 0 to 65535"),
        ({"timeout": 0.0}, "--timeout 0: expected 0.1 to 3600"),
        ({"timeout": float("nan")}, "--timeout nan: expected"),
        ({"max_body_kb": 0}, "--max-body-kb 0: expected 1 to"),
        ({"concurrency": 0}, "--concurrency 0: expected 1 to 1024"),
        ({"rate": 0}, "--rate 0: expected 1 to"),
        ({"mode": "fuzzy"}, "--mode 'fuzzy': expected hybrid, dense or lexical"),
        ({"cors": ["example.org"]}, "--cors 'example.org': expected an origin"),
        ({"cors": ["https://example.org/"]}, "--cors 'https://example.org/': expected an origin"),
        ({"encoder": "starter", "no_encoder": True}, "--no-encoder and --encoder"),
    ],
)
def test_options_that_cannot_be_right(options: dict[str, Any], line: str) -> None:
    """Refused before anything is opened."""
    with pytest.raises(InvalidInput) as refused:
        cli_serve.serve(**options)
    assert str(refused.value).startswith(line)


def test_places_and_keys_that_will_not_do(
    settings: Settings, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses, ports that are taken, keys that are missing, certificates that are none."""
    monkeypatch.setattr("flows.serving.log_to", lambda stream: None)

    def refusal(kind: type[Exception], **changes: Any) -> str:
        with pytest.raises(kind) as refused:
            serve(settings, Serving(port=0, **changes))
        return str(refused.value)

    assert "--host 'no.such.invalid'" in refusal(InvalidInput, host="no.such.invalid")
    assert "--host 0.0.0.0 needs API keys" in refusal(InvalidInput, host="0.0.0.0")  # noqa: S104
    assert "`sextant keys create NAME`" in refusal(InvalidInput, require_keys=True)
    key_file(settings, None).create("old", days=1)
    every = ApiOptions(cors_origins=("*",))
    assert "--cors '*' without keys" in refusal(InvalidInput, api=every)
    junk = scratch / "junk.pem"
    junk.write_text("junk")
    assert "--tls-cert" in refusal(InvalidInput, certificate=junk, private_key=junk)
    assert "No such file" in refusal(InvalidInput, certificate=scratch / "none.pem")
    assert "--tls-key without --tls-cert" in refusal(InvalidInput, private_key=junk)
    assert "no collection 'notes'" in refusal(CollectionNotFound)
    assert not (Path(settings.store) / "notes").exists()
    with (
        contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken,
        pytest.raises(FlowError, match="cannot be served at: Address already in use"),
    ):
        serve(settings, Serving(port=taken.getsockname()[1]))


def test_keys_on_the_command_line(sextant: CommandLine) -> None:
    """Made, shown once, listed without themselves, revoked."""
    made = sextant("keys", "create", "alice", "--rate", "60", "--days", "30", "--json").json
    assert made.keys() == {"key", "id", "name", "created_at", "expires_at", "rate_per_minute"}
    listed = sextant("keys", "list")
    assert "alice" in listed.out
    assert made["key"] not in listed.out
    assert made["key"] not in (sextant.folder / ".sextant/.api-keys.json").read_text()
    refused = sextant("keys", "revoke", "bob")
    assert (refused.code, refused.complaint) == (2, "no key 'bob'; keys are of: alice")
    assert sextant("keys", "revoke", made["id"], "--json").json["revoked"][0]["name"] == "alice"
    assert sextant("keys", "list", "--json").json == {"keys": []}
    elsewhere = sextant("keys", "create", "carol", "--keys", "mine.json")
    assert elsewhere.out.startswith("sextant_")
    assert (sextant.folder / "mine.json").exists()


class Server:
    """A server in a process of its own, on a copy of a store."""

    def __init__(self, sextant: CommandLine, store: Path, *options: str) -> None:
        self.process = sextant.start(
            "serve", "--port", "0", "--collection", "notes", "--store", store, *options
        )
        self.line = self.process.stdout.readline()
        assert self.line, self.process.stderr.read()
        self.port = int(self.line.partition("127.0.0.1:")[2].split()[0])
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def connect(self) -> http.client.HTTPConnection:
        """A connection that does not wait for ever."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def _read(self) -> None:
        for line in self.process.stderr:
            self.errors.append(line)

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and body of an answer."""
        with contextlib.closing(self.connect()) as connection:
            content = None if body is None else json.dumps(body)
            kind = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, content, {**kind, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
            is_json = "json" in answer.headers.get("content-type", "")
            return answer.status, json.loads(text) if is_json else text.decode()

    def wait_until_ready(self) -> None:
        """Until the encoder is loaded."""
        for _ in range(600):
            status, body = self.ask("GET", "/readyz")
            if status == 200:
                return
            assert "is being loaded" in body["detail"]
            threading.Event().wait(0.1)
        raise AssertionError("not ready")

    def stop(self, number: int = signal.SIGTERM) -> list[dict[str, Any]]:
        """Its log, once it has stopped as asked."""
        os.kill(self.process.pid, number)
        return self.ended()

    def ended(self) -> list[dict[str, Any]]:
        """Its log, once it has ended with code 0."""
        assert self.process.wait(30) == 0, self.errors
        self._reader.join(10)
        return [json.loads(line) for line in self.errors]


@pytest.fixture
def start(world: World, scratch: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers on a copy of the world's store; what still runs at the end is killed."""
    store = scratch / "served"
    shutil.copytree(world.store, store)
    servers: list[Server] = []

    def starter(*options: str) -> Server:
        servers.append(Server(world.sextant, store, *options))
        return servers[-1]

    starter.store = store  # type: ignore[attr-defined]
    yield starter
    for server in servers:
        with server.process:
            if server.process.poll() is None:
                os.killpg(server.process.pid, signal.SIGKILL)
            server.process.stdin.close()


@pytest.mark.slow
def test_a_server_from_start_to_end(start: Any, world: World) -> None:
    """Ready, asked, in the way of an ingest, stopped with a request in flight."""
    server = start()
    server.wait_until_ready()
    status, answer = server.ask("POST", "/v1/search", {"query": "A river carries sand"})
    assert (status, answer["degraded"], answer["mode"]) == (200, None, "hybrid")
    assert answer["hits"][0]["doc_id"] == "notes/sub/rivers.txt"
    status, made = server.ask("POST", "/v1/embeddings", {"input": "a", "input_type": "query"})
    assert (status, len(made["data"][0]["embedding"])) == (200, DIMENSION)
    assert server.ask("GET", "/")[0] == 200
    assert server.ask("GET", "/v1/collections", headers={"Host": "evil.example"})[0] == 421
    ingest = world.sextant(
        "ingest", "notes", "--store", start.store, "--collection", "notes", "--quiet"
    )
    assert ingest.code == 1
    assert "is in use by" in ingest.complaint

    with contextlib.closing(server.connect()) as connection:
        body = json.dumps({"query": "a river", "mode": "lexical"}).encode()
        connection.putrequest("POST", "/v1/search")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        connection.send(body[:10])
        while server.ask("GET", "/metrics")[1].find("in_progress 2.0") < 0:
            pass
        os.kill(server.process.pid, signal.SIGTERM)
        while not any('"stopping"' in line for line in server.errors):
            threading.Event().wait(0.01)
        connection.send(body[10:])
        answered = connection.getresponse()
        assert answered.status == 200
        assert json.loads(answered.read())["mode"] == "lexical"
    log = server.ended()
    assert [line["event"] for line in log[-3:]] == ["stopping", "request", "stopped"]
    assert "river" not in json.dumps(log)
    assert not any(line["level"] == "error" for line in log)


@pytest.mark.slow
def test_a_server_without_encoder_and_with_keys(start: Any, world: World) -> None:
    """It loads no torch; keys made and revoked while it runs count; Ctrl-C ends it."""
    made = world.sextant("keys", "create", "alice", "--store", start.store, "--json").json
    server = start("--no-encoder", "--require-keys", "--log-queries")
    assert "with API keys" in server.line
    assert server.ask("GET", "/readyz")[0] == 200
    key = {"Authorization": f"Bearer {made['key']}"}
    status, answer = server.ask("GET", "/v1/search?q=river", headers=key)
    assert (status, answer["mode"], answer["degraded"]) == (200, "lexical", None)
    assert answer["hits"][0]["doc_id"] == "notes/sub/rivers.txt"
    assert server.ask("GET", "/v1/search?q=river")[0] == 401
    libraries = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "libtorch" not in libraries
    world.sextant("keys", "revoke", "alice", "--store", start.store)
    while server.ask("GET", "/v1/collections", headers=key)[0] != 401:
        threading.Event().wait(0.1)
    log = server.stop(signal.SIGINT)
    asked = next(line for line in log if line.get("query"))
    assert (asked["query"], asked["key"]) == ("river", "alice")
    assert made["key"] not in json.dumps(log)
