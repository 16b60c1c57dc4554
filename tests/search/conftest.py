"""Small points that can be worked out by hand, and every store there is to try them on."""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.records import Point, chunk_id, head_id
from search.stores.contract import Collection, Manifest, Store

DIMENSION = 4

OpenStore = Callable[[], Store]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not exist yet: in memory where there is room, for every write is flushed.

    A disk that takes 4 ms for a flush takes 2 s to make a collection.
    """
    memory = Path("/dev/shm")  # noqa: S108 - only looked at
    if memory.is_dir() and shutil.disk_usage(memory).free > 2**31:
        with tempfile.TemporaryDirectory(dir=memory) as place:
            yield Path(place) / "store"
    else:
        yield tmp_path / "store"


@pytest.fixture
def manifest() -> Callable[..., Manifest]:
    """Makes the manifest of a collection of 4-d vectors, under a name not used before."""

    def make(name: str | None = None, **changes: Any) -> Manifest:
        fields = {
            "name": name or f"test-{uuid.uuid4().hex[:12]}",
            "dimension": DIMENSION,
            "fingerprint": "f" * 64,
            "encoder": {"name": "letters", "layer": -1, "scale": 1.0, "options": {"on": True}},
            "created_at": "2025-01-01T00:00:00+00:00",
        }
        return Manifest.model_validate(fields | changes)

    return make


@pytest.fixture
def chunk() -> Callable[..., Point]:
    """Makes the chunk of a document; `vector` is its direction, extra keywords its metadata."""

    def make(doc_id: str, ordinal: int = 0, *, vector: Any = (1, 0, 0, 0), **extra: Any) -> Point:
        text = f"{doc_id} says {ordinal}"
        metadata = {
            "doc_id": doc_id,
            "source": f"{doc_id}.md",
            "title": doc_id.title(),
            "start": 10 * ordinal,
            "end": 10 * ordinal + len(text),
            "chunk": ordinal,
            **extra,
        }
        return Point(
            id=chunk_id(doc_id, ordinal=ordinal, content_hash="h"),
            vector=np.asarray(vector, dtype=np.float32),
            payload={"kind": "chunk", "page_content": text, "metadata": metadata},
        )

    return make


@pytest.fixture
def head() -> Callable[[str], Point]:
    """Makes the head of a document."""

    def make(doc_id: str) -> Point:
        payload = {"kind": "head", "metadata": {"doc_id": doc_id, "content_hash": "h"}}
        return Point(id=head_id(doc_id), vector=None, payload=payload)

    return make


@pytest.fixture(
    params=[
        "edge",
        "memory",
        *([pytest.param("server", marks=pytest.mark.server)] if "QDRANT_URL" in os.environ else []),
    ]
)
def open_store(request: pytest.FixtureRequest, folder: Path) -> Iterator[OpenStore]:
    """Opens one and the same place again and again, as a program started again would."""
    with contextlib.ExitStack() as stack:
        if request.param == "edge":
            from search.stores.edge import EdgeStore

            def reopen() -> Store:
                return stack.enter_context(contextlib.closing(EdgeStore(folder)))

        elif request.param == "memory":
            from qdrant_client import QdrantClient

            from search.stores.server import ServerStore

            client = stack.enter_context(contextlib.closing(QdrantClient(":memory:")))

            def reopen() -> Store:
                return ServerStore.over(client, location=":memory:")

        else:
            from pydantic import SecretStr

            from search.stores.server import ServerStore

            url, key = os.environ["QDRANT_URL"], os.environ.get("QDRANT_API_KEY")

            def reopen() -> Store:
                store = ServerStore(url, None if key is None else SecretStr(key))
                return stack.enter_context(contextlib.closing(store))

            cleaner = reopen()
            before = {found.name for found in cleaner.list()}

            def clean() -> None:
                for alias, target in cleaner.aliases().items():
                    if target not in before:
                        cleaner.set_alias(alias, None)
                for found in cleaner.list():
                    if found.name not in before:
                        cleaner.delete(found.name)

            stack.callback(clean)
        yield reopen


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    """An open store, empty but for what a server may hold."""
    return open_store()


@pytest.fixture
def collection(store: Store, manifest: Callable[..., Manifest]) -> Collection:
    """An empty collection of 4-d vectors."""
    return store.create(manifest())
