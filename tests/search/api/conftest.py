"""An app over an embedded store, with an encoder that counts letters."""

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from search.api.application import make_app
from search.api.backend import Embedded, InputType, NotClustered, Opened, Summary
from search.api.options import ApiOptions
from search.collection_schema import CollectionSchema
from search.errors import CollectionNotFound, EncoderUnavailable
from search.query_cache import QueryCache
from search.records import Point, chunk_id, head_id
from search.stores.contract import Collection, Manifest
from search.stores.edge import EdgeStore

TEXTS = {
    "notes/owls.md": ["An owl hunts at night.", "Its wings make no sound at all."],
    "notes/rivers.md": ["A river carries sand down to the sea."],
    "notes/bread.html": ["Flour, water, salt and yeast make a loaf. Bake it well."],
}


class Letters:
    """A text's vector counts its letters, modulo four, and a little of each."""

    name = "letters"
    fingerprint = "f" * 64

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, of length 1."""
        vectors = np.full((len(sentences), 4), 1e-3, dtype=np.float32)
        for row, text in enumerate(sentences):
            for letter in text:
                vectors[row, ord(letter) % 4] += 1
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@dataclass
class Backend:
    """Collections `docs` and `empty`, of which tests may break anything."""

    docs: Collection
    empty: Collection
    default: str = "docs"
    encoder: Letters | None = field(default_factory=Letters)
    listing: Mapping[str, Any] | None = None
    missing: str | None = None
    raises: Exception | None = None
    hold: threading.Event | None = None
    """Every request waits for it."""
    held: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released by every request that waits."""
    cache: QueryCache = field(default_factory=QueryCache)

    def collections(self) -> list[Summary]:
        """Both; `empty` is not opened."""
        return [
            Summary(
                name=name,
                dimension=4,
                encoder="letters",
                fingerprint="f" * 64,
                created_at="2025-01-01T00:00:00+00:00",
                opened=self._open(name) if name == "docs" else None,
            )
            for name in ("docs", "empty")
        ]

    def collection(self, name: str) -> Opened:
        """One of the two."""
        if self.hold is not None:
            self.held.release()
            self.hold.wait(30)
        if self.raises is not None:
            raise self.raises
        if name not in ("docs", "empty"):
            raise CollectionNotFound(f"no collection {name!r} in /secret/place")
        return self._open(name)

    def clusters(self, name: str) -> Mapping[str, Any]:
        """What the test has put there."""
        if self.listing is None:
            raise NotClustered(f"collection {name!r} has no clusters yet")
        return self.listing

    def embed(self, name: str, texts: Sequence[str], input_type: InputType) -> Embedded:
        """Letters; of queries the negative."""
        if self.encoder is None:
            raise EncoderUnavailable("no encoder")
        vectors = self.encoder.encode_query(texts)
        return Embedded(
            vectors_ND=-vectors if input_type == "query" else vectors,
            model="letters",
            tokens=sum(len(text.split()) for text in texts),
        )

    def ready(self) -> str | None:
        """What is missing."""
        return self.missing

    def _open(self, name: str) -> Opened:
        held = self.docs if name == "docs" else self.empty
        return Opened(
            name=name,
            collection=held,
            schema=CollectionSchema(held),
            encoder=self.encoder,
            encoder_name="letters",
            cache=self.cache,
        )


def points() -> list[Point]:
    """Chunks and heads of `TEXTS`."""
    made, letters = [], Letters()
    for number, (doc_id, texts) in enumerate(TEXTS.items()):
        offset = 0
        for ordinal, text in enumerate(texts):
            metadata = {
                "doc_id": doc_id,
                "source": f"/{doc_id}",
                "title": doc_id.rpartition("/")[2].partition(".")[0].title(),
                "format": "html" if doc_id.endswith("html") else "markdown",
                "language": "en",
                "start": offset,
                "end": offset + len(text),
                "chunk": ordinal,
                "headings": ["Top"],
                "cluster": number,
                "fields": {"year": 2020 + number},
            }
            offset += len(text) + 1
            made.append(
                Point(
                    id=chunk_id(doc_id, ordinal=ordinal, content_hash="h"),
                    vector=letters.encode_query([text])[0],
                    payload={"kind": "chunk", "page_content": text, "metadata": metadata},
                )
            )
        head = {"doc_id": doc_id, "content_hash": "h", "title": "T", "signature": "s" * 20}
        made.append(
            Point(id=head_id(doc_id), vector=None, payload={"kind": "head", "metadata": head})
        )
    return made


@pytest.fixture(scope="session")
def collections() -> Iterator[tuple[Collection, Collection]]:
    """`docs` with three documents, and `empty`; tests only read them."""
    memory = Path("/dev/shm")  # noqa: S108 - only looked at
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**31
    with (
        tempfile.TemporaryDirectory(dir=memory if roomy else None) as folder,
        contextlib.closing(EdgeStore(folder)) as store,
    ):
        manifest = Manifest(
            name="docs",
            dimension=4,
            fingerprint="f" * 64,
            encoder={"name": "letters"},
            created_at="2025-01-01T00:00:00+00:00",
        )
        docs = store.create(manifest)
        docs.upsert(points())
        yield docs, store.create(manifest.model_copy(update={"name": "empty"}))


@pytest.fixture
def backend(collections: tuple[Collection, Collection]) -> Backend:
    """Fresh, over collections that are shared."""
    return Backend(*collections)


Make = Callable[..., TestClient]


@pytest.fixture
def make_client(backend: Backend) -> Iterator[Make]:
    """Makes a client of an app with these options; `options.limits` may be given besides."""
    apps: list[FastAPI] = []

    def make(*, limits: Any = None, **options: Any) -> TestClient:
        app = make_app(backend, ApiOptions(**options), limits=limits)
        apps.append(app)
        return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=True)

    yield make
    if backend.hold is not None:
        backend.hold.set()
    for app in apps:
        for workers in app.state.workers:
            workers.close()


@pytest.fixture
def client(make_client: Make) -> TestClient:
    """Of an app with the defaults."""
    return make_client()
