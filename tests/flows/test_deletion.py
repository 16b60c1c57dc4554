"""Deleting documents: whole ones, with a receipt; what is not named stays as it is."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from flows import deletion
from flows.cli_delete import show_deletion
from flows.deletion import (
    carry_out,
    choose,
    exclusions,
    held_elsewhere,
    receipt_of,
    require_receipts,
    write_receipt,
)
from flows.documents.globs import Selection
from flows.errors import FlowError, InvalidInput
from flows.heads import STORED, WRITING, Head, read_heads
from flows.progress import Silent
from search.collections import create_aliased, create_version
from search.filters import Filter, parse_filters
from search.records import KIND_QUARANTINE, Point, chunk_id, quarantine_id
from search.stores.contract import Collection, Manifest, Store
from search.stores.edge import EdgeStore
from search.stores.server import ServerStore

HASH = "a" * 64


@pytest.fixture
def place() -> Iterator[Store]:
    with closing(QdrantClient(":memory:")) as client:
        yield ServerStore.over(client, location=":memory:")


@pytest.fixture
def collection(place: Store) -> Collection:
    """Three documents of two chunks; one of them stands for a fourth."""
    opened = create_aliased(place, "docs", manifest())
    for name in ("notes/a.md", "notes/sub/b.txt", "notes/c.md"):
        put(opened, name)
    put(opened, "notes/copy.md", chunks=0, duplicate_of="notes/a.md")
    return opened


def manifest() -> Manifest:
    return Manifest(
        name="docs",
        dimension=4,
        fingerprint="f" * 64,
        encoder={"name": "letters"},
        created_at="2025-01-01T00:00:00+00:00",
    )


def put(opened: Collection, doc_id: str, *, chunks: int = 2, **changes: Any) -> None:
    form = "text" if doc_id.endswith(".txt") else "markdown"
    points = [
        Point(
            id=chunk_id(doc_id, ordinal=ordinal, content_hash=HASH),
            vector=np.array([1, 0, 0, ordinal], dtype=np.float32),
            payload={
                "kind": "chunk",
                "page_content": "text",
                "metadata": {
                    "doc_id": doc_id,
                    "source": f"/srv/{doc_id}",
                    "title": doc_id,
                    "format": form if ordinal else "markdown",
                    "start": 4 * ordinal,
                    "end": 4 * ordinal + 4,
                    "chunk": ordinal,
                    "content_hash": HASH,
                },
            },
        )
        for ordinal in range(chunks)
    ]
    fields: dict[str, Any] = {
        "doc_id": doc_id,
        "source": f"/srv/{doc_id}",
        "root": "/srv/notes",
        "title": doc_id,
        "format": form,
        "content_hash": HASH,
        "recipe": "by hand",
        "state": STORED,
        "chunks": chunks,
        "tokens": 1,
        "size": 1,
        "ingested_at": "2025-01-01",
        "run_id": "run",
    }
    opened.upsert([*points, Head(**{**fields, **changes}).point()])


def chosen(opened: Collection, *doc_ids: str, matching: Filter | None = None) -> deletion.Deletion:
    return choose(opened, read_heads(opened), doc_ids=doc_ids, matching=matching or Filter())


def test_a_document_goes_with_all_that_is_stored_of_it(collection: Collection) -> None:
    """Chunks, head, entry in quarantine; the others keep every point."""
    quarantined = {"kind": KIND_QUARANTINE, "metadata": {"doc_id": "notes/c.md", "reason": "bad"}}
    collection.upsert([Point(id=quarantine_id("notes/c.md"), vector=None, payload=quarantined)])
    before = {r.id for r in collection.scroll()}
    doomed = {r.id for r in collection.scroll() if r.payload["metadata"]["doc_id"] == "notes/c.md"}
    assert len(doomed) == 4
    found = chosen(collection, "notes/c.md")
    assert [(d.doc_id, d.chunks, d.content_hash) for d in found.documents] == [
        ("notes/c.md", 2, HASH)
    ]
    assert carry_out(found, collection, Silent()) == ()
    assert {r.id for r in collection.scroll()} == before - doomed


def test_a_filter_takes_documents_whole(collection: Collection) -> None:
    """One chunk of b is text, the other is not: both go."""
    found = chosen(collection, matching=parse_filters(["format=text"]))
    assert [(d.doc_id, d.chunks) for d in found.documents] == [("notes/sub/b.txt", 2)]
    both = chosen(collection, "notes/c.md", matching=parse_filters(["format=text"]))
    assert both.ids == {"notes/c.md", "notes/sub/b.txt"}


def test_near_duplicates_are_stored_again(collection: Collection) -> None:
    """Nothing stands for them any more: marked first, they are done by the next ingest."""
    assert carry_out(chosen(collection, "notes/a.md"), collection, Silent()) == ("notes/copy.md",)
    heads = read_heads(collection)
    assert heads["notes/copy.md"].state == WRITING
    assert "notes/a.md" not in heads
    assert carry_out(chosen(collection, "notes/copy.md"), collection, Silent()) == ()


def test_what_has_lost_its_head_can_go_as_well(collection: Collection) -> None:
    """And what only stands in quarantine."""
    head = read_heads(collection)["notes/c.md"]
    collection.delete([head.point().id])
    carry_out(chosen(collection, "notes/c.md"), collection, Silent())
    quarantined = {"kind": KIND_QUARANTINE, "metadata": {"doc_id": "notes/q.md", "reason": "bad"}}
    collection.upsert([Point(id=quarantine_id("notes/q.md"), vector=None, payload=quarantined)])
    carry_out(chosen(collection, "notes/q.md"), collection, Silent())
    left = {r.payload["metadata"]["doc_id"] for r in collection.scroll()}
    assert left == {"notes/a.md", "notes/sub/b.txt", "notes/copy.md"}


@pytest.mark.parametrize(
    ("doc_ids", "filters", "line"),
    [
        ((), [], "nothing to delete is named; give --doc DOC_ID or --filter KEY=VALUE"),
        (("notes/aa.md",), [], "no document 'notes/aa.md' in collection"),
        (("b.txt",), [], "close to it: 'notes/sub/b.txt'"),
        (("notes/a.md", "x", "y"), [], "no document 'x' (and 1 more) in"),
        ((), ["format=pdf"], "no chunk of collection"),
        (("a\udcff",), [], "--doc 'a\\udcff': "),
    ],
)
def test_what_is_not_there_cannot_be_deleted(
    collection: Collection, doc_ids: tuple[str, ...], filters: list[str], line: str
) -> None:
    before = collection.count()
    with pytest.raises(InvalidInput) as refused:
        chosen(collection, *doc_ids, matching=parse_filters(filters))
    assert line in str(refused.value)
    assert collection.count() == before


def test_a_receipt_is_kept(collection: Collection, tmp_path: Path) -> None:
    """It names ids, hashes and person; a folder that cannot be written is found beforehand."""
    found = chosen(collection, "notes/a.md")
    receipt = receipt_of(
        found, collection, name="docs", store=str(tmp_path), reason="asked to be forgotten"
    )
    require_receipts(str(tmp_path), "docs")
    kept = write_receipt(receipt)
    (path,) = (tmp_path / "docs" / "receipts").iterdir()
    assert kept.receipt == str(path)
    written = json.loads(path.read_text())
    assert written["reason"] == "asked to be forgotten"
    assert written["documents"][0]["content_hash"] == HASH
    assert "@" in written["who"]
    assert (written["collection"], written["version"]) == ("docs", "docs--ffffffff-1")

    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(FlowError, match="nothing was deleted"):
        require_receipts(str(tmp_path), "blocked")
    with pytest.raises(FlowError, match="the documents are deleted, but the receipt"):
        write_receipt(receipt.model_copy(update={"collection": "blocked"}))


def test_other_versions_that_hold_it_are_named(place: Store, collection: Collection) -> None:
    """What is to be forgotten must be forgotten there, too."""
    old = create_version(place, "docs", manifest())
    put(old, "notes/a.md")
    found = chosen(collection, "notes/a.md", "notes/c.md")
    assert held_elsewhere(place, found, collection) == (old.manifest.name,)
    assert held_elsewhere(place, chosen(collection, "notes/c.md"), collection) == ()


@pytest.mark.parametrize(
    ("doc_id", "changes", "path"),
    [
        ("notes/a.md", {}, "a.md"),
        ("notes/sub/odd [1]*?.md", {}, "sub/odd [1]*?.md"),
        ("one.md", {"root": "/srv/one.md", "source": "/srv/one.md"}, "one.md"),
        ("python:stdlib/json", {"root": "python:stdlib", "source": "python:stdlib/json"}, "json"),
    ],
)
def test_the_hint_leaves_out_just_that_document(
    place: Store, doc_id: str, changes: dict[str, Any], path: str
) -> None:
    """By the path that an ingest compares with its globs."""
    opened = create_aliased(place, "docs", manifest())
    put(opened, doc_id, **changes)
    (glob,) = exclusions(chosen(opened, doc_id))
    selection = Selection(exclude=(glob,))
    assert not selection.takes(path)
    assert selection.takes("sub/deeper/a.md")
    assert selection.takes("odd 1xx.md")


def test_the_summary_says_what_else_is_to_be_thought_of(
    collection: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    found = chosen(collection, "notes/a.md")
    receipt = receipt_of(found, collection, name="docs", store="s", reason="").model_copy(
        update={"elsewhere": ("docs--eeeeeeee-1",), "redone": ("notes/copy.md",), "receipt": "r"}
    )
    show_deletion(receipt, exclusions(found), dry_run=False)
    out = capsys.readouterr().out
    assert "1 documents, 2 chunks are deleted from collection 'docs'" in out
    assert "still held by docs--eeeeeeee-1" in out
    assert "1 near-duplicates" in out
    assert "--exclude /a.md" in out
    show_deletion(receipt, exclusions(found), dry_run=True)
    assert "nothing was deleted" in capsys.readouterr().out


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ([], 2, "nothing to delete is named"),
        (["--doc", "notes/bred.md"], 2, "no document 'notes/bred.md' in collection"),
        (["--filter", "format"], 2, "filter 'format' is not KEY=VALUE"),
        (["--filter", "size=1"], 2, "unknown filter key 'size'"),
        (["--collection", "gone", "--doc", "x"], 1, "no collection 'gone'"),
    ],
)
def test_wrong_input_is_refused(world: Any, arguments: list[str], code: int, line: str) -> None:
    run = world.sextant("delete", *arguments)
    assert run.code == code
    assert run.complaint.startswith(line)


def test_the_command(
    sextant: Any, encoder_folder: Path, corpus: Path, write_many: Callable[[int], None]
) -> None:
    """A dry run changes nothing; many documents want confirmation; a receipt is printed."""
    write_many(6)
    sextant.environment["SEXTANT_CHUNK_TOKENS"] = "32"
    sextant("ingest", corpus, "--encoder", encoder_folder)
    dry = sextant("delete", "--doc", "notes/bread.md", "--dry-run", "--json")
    assert (dry.code, dry.json["dry_run"], dry.json["receipt"]) == (0, True, "")
    unasked = sextant("delete", "--filter", "format=text")
    assert unasked.code == 2
    assert unasked.complaint.startswith("deleting 7 documents wants confirmation")
    with closing(EdgeStore(sextant.folder / ".sextant")) as store:
        assert len(read_heads(store.open("docs"))) == 10

    run = sextant("delete", "--filter", "format=text", "--yes", "--reason", "old", "--json")
    assert run.code == 0
    assert len(run.json["documents"]) == 7
    assert json.loads((sextant.folder / run.json["receipt"]).read_text())["reason"] == "old"
    with closing(EdgeStore(sextant.folder / ".sextant")) as store:
        assert set(read_heads(store.open("docs"))) == {
            "notes/bread.md",
            "notes/lighthouses.md",
            "notes/sub/owls.html",
        }
    words = sextant("delete", "--doc", "notes/bread.md")
    assert words.code == 0
    assert "receipt: " in words.out
    assert "--exclude /bread.md" in words.out
    again = sextant("ingest", corpus, "--exclude", "/bread.md", "--exclude", "*.txt", "--json")
    assert again.json["documents"]["stored"] == 0


@pytest.fixture
def write_many(corpus: Path) -> Callable[[int], None]:
    def write(count: int) -> None:
        for number in range(count):
            (corpus / f"{number}.txt").write_text(f"Note number {number} is a note.\n")

    return write
