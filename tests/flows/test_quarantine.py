"""Entries of quarantine: what they say, when they hold, and that the store keeps them."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import quarantine
from flows.heads import Head, read_heads
from flows.quarantine import (
    LONGEST_REASON,
    WANTED,
    Entry,
    held,
    limits_word,
    read_quarantine,
    remove,
    updated,
    want_retry,
    write,
)
from search.filters import of_kind, where
from search.records import KIND_QUARANTINE, Point, chunk_id, quarantine_id
from search.stores.contract import Collection, Manifest

LIMITS = limits_word(max_document_mb=20, parse_seconds=60.0, parse_memory_mb=1024)


def refused(before: Entry | None = None, **changes: Any) -> Entry:
    """A document that was refused by its parser."""
    fields: dict[str, Any] = {
        "doc_id": "notes/junk.md",
        "source": "/data/notes/junk.md",
        "root": "/data/notes",
        "format": "markdown",
        "stage": "parse",
        "reason": "binary, not text; remove it",
        "content_hash": "a" * 64,
        "size": 12,
        "recipe": "parser 1",
        "limits": LIMITS,
        "seen": "2026-01-01T00:00:00+00:00",
        "run_id": "first",
    }
    return updated(before, **fields | changes)


@pytest.fixture(params=["edge", "memory"])
def collection(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Collection]:
    """An empty collection of 4-d vectors."""
    manifest = Manifest(
        name="notes",
        dimension=4,
        fingerprint="f" * 64,
        encoder={"name": "letters"},
        created_at="2026-01-01T00:00:00+00:00",
    )
    if request.param == "edge":
        from search.stores.edge import EdgeStore

        with closing(EdgeStore(scratch / "store")) as store:
            yield store.create(manifest)
    else:
        from qdrant_client import QdrantClient

        from search.stores.server import ServerStore

        with closing(QdrantClient(":memory:")) as client:
            yield ServerStore.over(client, location=":memory:").create(manifest)


def test_a_first_refusal() -> None:
    """One attempt, seen now; the reason on one line, cut, without control characters."""
    entry = refused(reason="bad\nname \x1b[31m" + "\ud800" + "x" * 2000)
    assert (entry.attempts, entry.first_seen, entry.retry) == (1, entry.last_seen, "")
    assert entry.reason.startswith("bad name [31m\ufffdx")
    assert len(entry.reason) <= LONGEST_REASON
    assert refused(reason=" \n").reason == "refused without a reason"


def test_a_second_refusal_remembers_the_first() -> None:
    """Since when it is refused stays; the rest is as of now; a wish for a retry is fulfilled."""
    before = replace(refused(), retry="wanted")
    later = "2026-02-02T00:00:00+00:00"
    entry = refused(before, seen=later, run_id="second", stage="embed", content_hash="b" * 64)
    assert (entry.first_seen, entry.last_seen) == (before.first_seen, later)
    assert (entry.attempts, entry.run_id, entry.stage, entry.retry) == (2, "second", "embed", "")


def test_a_run_counts_once() -> None:
    """A task that Prefect repeats is not another attempt."""
    assert refused(refused(), run_id="first").attempts == 1


@pytest.mark.parametrize(
    ("entry", "now", "expected"),
    [
        ({}, {}, True),
        ({}, {"content_hash": "b" * 64}, False),
        ({}, {"recipe": "parser 2"}, False),
        ({}, {"limits": "more"}, False),
        ({"retry": "wanted"}, {}, False),
        ({"content_hash": ""}, {"content_hash": ""}, False),
    ],
)
def test_what_holds(entry: dict[str, Any], now: dict[str, str], expected: bool) -> None:
    """The same bytes, recipe and limits; never what could not be read, or is to be tried again."""
    same = {"content_hash": "a" * 64, "recipe": "parser 1", "limits": LIMITS}
    assert held(replace(refused(), **entry), **same | now) is expected


@pytest.mark.parametrize(
    "change", [{"max_document_mb": 21}, {"parse_seconds": 60.5}, {"parse_memory_mb": 2048}]
)
def test_every_limit_is_in_the_word(change: dict[str, Any]) -> None:
    """Raising any of them gives another word."""
    limits: dict[str, Any] = {
        "max_document_mb": 20,
        "parse_seconds": 60.0,
        "parse_memory_mb": 1024,
    }
    assert limits_word(**limits) == LIMITS
    assert limits_word(**limits | change) != LIMITS


def test_the_store_keeps_entries(collection: Collection) -> None:
    """What was written is read back; the last of two counts; what is removed is gone."""
    first, other = refused(), refused(doc_id="notes/a.pdf", format="pdf")
    write(collection, [first, other, replace(first, attempts=9)])
    assert read_quarantine(collection) == {
        "notes/a.pdf": other,
        "notes/junk.md": replace(first, attempts=9),
    }
    assert list(read_quarantine(collection)) == ["notes/a.pdf", "notes/junk.md"]
    assert collection.count(of_kind(KIND_QUARANTINE) & where("format", "pdf")) == 1
    remove(collection, ["notes/a.pdf", "notes/a.pdf", "never/was"])
    assert list(read_quarantine(collection)) == ["notes/junk.md"]
    write(collection, [])
    remove(collection, [])
    want_retry(collection, [])


def test_a_retry_is_wanted(collection: Collection) -> None:
    """Of those named alone; an id without entry makes none."""
    write(collection, [refused(), refused(doc_id="notes/a.pdf")])
    want_retry(collection, ["notes/a.pdf", "never/was"])
    found = read_quarantine(collection)
    assert {doc_id: entry.retry for doc_id, entry in found.items()} == {
        "notes/a.pdf": WANTED,
        "notes/junk.md": "",
    }
    assert replace(found["notes/a.pdf"], retry="") == refused(doc_id="notes/a.pdf")


def test_many_entries_are_written_in_batches(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All arrive, are marked, and go."""
    monkeypatch.setattr(quarantine, "_BATCH", 2)
    ids = [f"notes/{number}.md" for number in range(5)]
    write(collection, [refused(doc_id=doc_id) for doc_id in ids])
    want_retry(collection, ids)
    assert [entry.retry for entry in read_quarantine(collection).values()] == [WANTED] * 5
    remove(collection, ids)
    assert read_quarantine(collection) == {}


def test_an_entry_lies_beside_the_earlier_version(collection: Collection) -> None:
    """The head and the chunks of a document stay, and a search finds the chunks alone."""
    metadata = {"doc_id": "notes/junk.md", "source": "s", "title": "t", "start": 0, "end": 1}
    chunk = Point(
        id=chunk_id("notes/junk.md", ordinal=0, content_hash="h"),
        vector=np.array([1, 0, 0, 0], dtype=np.float32),
        payload={"kind": "chunk", "page_content": "x", "metadata": metadata},
    )
    head = Head(
        doc_id="notes/junk.md",
        source="/data/notes/junk.md",
        root="/data/notes",
        title="Junk",
        format="markdown",
        content_hash="h",
        recipe="parser 1",
        state="stored",
        chunks=1,
        tokens=1,
        size=1,
        ingested_at="2026-01-01T00:00:00+00:00",
        run_id="0",
    )
    collection.upsert([chunk, head.point()])
    write(collection, [refused()])
    assert read_heads(collection) == {"notes/junk.md": head}
    found = collection.search(np.array([1, 0, 0, 0], dtype=np.float32), limit=10)
    assert [record.id for record in found] == [chunk.id]
    remove(collection, ["notes/junk.md"])
    assert (collection.count(), read_quarantine(collection)) == (2, {})


def test_an_entry_of_a_later_program_is_read(collection: Collection) -> None:
    """Fields that this one does not know are left aside."""
    point = refused().point()
    point.payload["metadata"] = {**asdict(refused()), "colour": "red"}
    collection.upsert([point])
    assert read_quarantine(collection) == {"notes/junk.md": refused()}


def test_an_id_of_its_own() -> None:
    """Neither the head's nor another document's."""
    point: Callable[[str], str] = lambda doc_id: refused(doc_id=doc_id).point().id  # noqa: E731
    assert point("a") == quarantine_id("a") != point("b")
    assert refused().point().vector is None
