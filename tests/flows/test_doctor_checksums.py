"""Verifying: points that changed under the engine are found, named, and done again."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from flows.cli_doctor import show_verify
from flows.doctor_checksums import VerifyReport, verify_points
from flows.heads import STORED, WRITING, Head, read_heads
from flows.progress import Silent
from search.checksums import CHECKSUM
from search.collections import create_aliased
from search.filters import of_kind
from search.records import KIND_CHUNK, Point, chunk_id, head_id
from search.stores.contract import Collection, Manifest
from search.stores.edge import EdgeStore
from search.stores.server import ServerStore

HASH = "a" * 64
Damage = Callable[..., None]


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    with closing(QdrantClient(":memory:")) as client:
        yield client


@pytest.fixture
def collection(client: QdrantClient) -> Collection:
    """Two documents, of two chunks and of one; their vectors are unit vectors to the bit."""
    manifest = Manifest(
        name="docs",
        dimension=4,
        fingerprint="f" * 64,
        encoder={"name": "letters"},
        created_at="2025-01-01T00:00:00+00:00",
    )
    opened = create_aliased(ServerStore.over(client, location=":memory:"), "docs", manifest)
    for doc_id, count in (("a.md", 2), ("b.md", 1)):
        opened.upsert(
            [*(_chunk(doc_id, ordinal) for ordinal in range(count)), _head(doc_id, count)]
        )
    return opened


def _chunk(doc_id: str, ordinal: int) -> Point:
    import numpy as np

    metadata = {
        "doc_id": doc_id,
        "source": doc_id,
        "title": doc_id,
        "start": 4 * ordinal,
        "end": 4 * ordinal + 4,
        "chunk": ordinal,
        "content_hash": HASH,
    }
    return Point(
        id=_id(doc_id, ordinal),
        vector=np.array([0, 1, 0, 0], dtype=np.float32),
        payload={"kind": "chunk", "page_content": "text", "metadata": metadata},
    )


def _head(doc_id: str, chunks: int) -> Point:
    return Head(
        doc_id=doc_id,
        source=doc_id,
        root="/srv",
        title=doc_id,
        format="markdown",
        content_hash=HASH,
        recipe="by hand",
        state=STORED,
        chunks=chunks,
        tokens=1,
        size=1,
        ingested_at="2025-01-01",
        run_id="run",
    ).point()


def _id(doc_id: str, ordinal: int) -> str:
    return chunk_id(doc_id, ordinal=ordinal, content_hash=HASH)


@pytest.fixture
def damage(client: QdrantClient, collection: Collection) -> Damage:
    """Writes past the checks of our own store."""

    def write(point: str, **payload: Any) -> None:
        (found,) = client.retrieve(collection.manifest.name, [point], with_vectors=True)
        old: Any = found.vector
        kept = {k: v for k, v in {**(found.payload or {}), **payload}.items() if v is not None}
        struct = models.PointStruct(id=point, vector=old, payload=kept)
        client.upsert(collection.manifest.name, [struct])

    return write


def verified(collection: Collection, *, repair: bool = False) -> VerifyReport:
    return verify_points(collection, name="docs", store="here", repair=repair, progress=Silent())


def test_what_is_as_it_was_written_is_sound(collection: Collection) -> None:
    """A cluster that was set later is no damage."""
    collection.set_metadata({_id("a.md", 0): {"cluster": 3}})
    report = verified(collection)
    assert (report.sound, report.points, report.checked, report.unchecked) == (True, 5, 5, 0)


def test_points_of_before_checksums_are_counted(collection: Collection, damage: Damage) -> None:
    damage(_id("a.md", 0), checksum=None)
    assert CHECKSUM == "checksum"
    report = verified(collection)
    assert (report.sound, report.checked, report.unchecked) == (True, 4, 1)


def test_damaged_points_name_their_documents(collection: Collection, damage: Damage) -> None:
    """And a repair leaves nothing of them: the next ingest stores the documents again."""
    damage(_id("a.md", 1), page_content="tex1")
    report = verified(collection)
    assert not report.sound
    assert [(p.id, p.kind, p.doc_id) for p in report.damaged] == [(_id("a.md", 1), "chunk", "a.md")]
    assert report.documents == ("a.md",)

    mended = verified(collection, repair=True)
    assert mended.sound
    assert [done.doc_id for done in mended.repairs] == ["a.md"]
    heads = read_heads(collection)
    assert (heads["a.md"].state, heads["b.md"].state) == (WRITING, STORED)
    assert collection.retrieve([_id("a.md", 1)]) == []
    assert verified(collection).sound


def test_a_damaged_head_is_marked_and_its_chunks_stay(
    collection: Collection, damage: Damage
) -> None:
    record = collection.retrieve([head_id("b.md")])[0]
    damage(head_id("b.md"), metadata=record.payload["metadata"] | {"size": 2})
    mended = verified(collection, repair=True)
    assert mended.sound
    assert read_heads(collection)["b.md"].state == WRITING
    assert collection.retrieve([_id("b.md", 0)]) != []


def test_a_head_that_cannot_be_read_goes_with_its_chunks(
    collection: Collection, damage: Damage
) -> None:
    damage(head_id("b.md"), metadata={"doc_id": "b.md"})
    mended = verified(collection, repair=True)
    assert mended.sound
    assert {r.payload["metadata"]["doc_id"] for r in collection.scroll()} == {"a.md"}


def test_a_chunk_whose_document_cannot_be_told_goes_alone(
    collection: Collection, damage: Damage
) -> None:
    """Its payload names a document, but its id belongs to another."""
    metadata = collection.retrieve([_id("a.md", 0)])[0].payload["metadata"]
    damage(_id("a.md", 0), metadata=metadata | {"doc_id": "b.md"})
    damage(_id("a.md", 1), metadata={})
    report = verified(collection)
    assert report.documents == ()
    mended = verified(collection, repair=True)
    assert mended.sound
    assert [r.id for r in collection.scroll(where=of_kind(KIND_CHUNK))] == [_id("b.md", 0)]
    assert read_heads(collection)["b.md"].state == STORED


def test_the_summary_names_what_is_damaged(
    collection: Collection, damage: Damage, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(_id("a.md", 1), page_content="tex1")
    show_verify(verified(collection))
    out = capsys.readouterr().out
    assert "5 points, 5 checked, 0 without a checksum, 1 damaged" in out
    assert f"damaged: a.md: chunk {_id('a.md', 1)}: its content differs" in out
    assert "`sextant verify --repair`" in out


def test_the_command(sextant: Any, encoder_folder: Path, corpus: Path) -> None:
    """Sound after an ingest; what another program wrote in is damage, until it is mended."""
    missing = sextant("verify")
    assert missing.code == 1
    assert missing.complaint.startswith("no collection 'docs' in ")
    sextant.environment["SEXTANT_CHUNK_TOKENS"] = "32"
    sextant("ingest", corpus, "--encoder", encoder_folder)
    run = sextant("verify", "--json", "--quiet")
    assert (run.code, run.json["sound"], run.json["unchecked"], run.err) == (0, True, 0, "")
    with closing(EdgeStore(sextant.folder / ".sextant")) as store:
        opened = store.open("docs")
        upset = next(opened.scroll(where=of_kind(KIND_CHUNK), with_vectors=True))
        assert upset.vector is not None
    harm = (
        "import search.checksums as c, search.stores.validation as v\n"
        "v.checksum = lambda point: '0' * 16\n"
        "from search.stores.edge import EdgeStore\nfrom search.records import Point\n"
        "store = EdgeStore('.sextant'); docs = store.open('docs')\n"
        f"(r,) = docs.retrieve([{upset.id!r}], with_vectors=True)\n"
        "docs.upsert([Point(id=r.id, vector=r.vector, payload=r.payload)]); store.close()\n"
        "v.checksum = c.checksum\n"
    )
    run = sextant("verify", "--json", program=harm)
    assert run.code == 1
    assert run.json["damaged"][0]["id"] == upset.id
    run = sextant("verify", "--repair")
    assert (run.code, "mended: " in run.out) == (0, True)
    assert sextant("ingest", corpus, "--json").json["documents"]["stored"] == 1
    assert sextant("doctor", "--full").code == 0
