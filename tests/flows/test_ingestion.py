"""Whole runs, step by step without Prefect: quarantine, near-duplicates, records of runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.errors import SourceUnavailable
from flows.heads import read_heads
from flows.ingest_report import IngestReport
from flows.ingestion import Ingestion, IngestRequest, recording
from flows.partition import store_documents
from flows.quarantine import read_quarantine, want_retry
from flows.run_history import read_runs
from flows.runs import runs_folder
from flows.session import Session
from flows.target import Target
from search.errors import StoreFull
from search.filters import of_kind, where
from search.records import KIND_CHUNK, METADATA

from .conftest import LetterEncoder

Opener = Callable[[Target], Session]

LONG = " ".join(f"word{number * 7 % 401}" for number in range(400))


def ingest(session: Session, *sources: Path) -> IngestReport:
    request = IngestRequest(sources=tuple(map(str, sources)), target=session.target)
    with recording(request, session):
        ingestion = Ingestion.begin(request, session)
        with ingestion.storing():
            for part in ingestion.plan.partitions():
                ingestion.add(store_documents(part, session))
        ingestion.remove_vanished()
        return ingestion.finish()


def test_a_refused_document_is_kept_in_quarantine_and_not_tried_again(
    open_session: Opener, target: Target, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its reason and what was tried; an unchanged run parses nothing and counts it still."""
    (corpus / "junk.md").write_bytes(bytes(range(256)) * 40)
    session = open_session(target)
    report = ingest(session, corpus)
    assert (report.documents.stored, report.documents.quarantined) == (4, 1)
    entry = read_quarantine(session.existing_collection())["notes/junk.md"]
    assert (entry.stage, entry.attempts, entry.run_id) == ("parse", 1, session.run_id)
    assert "looks binary" in entry.reason

    again = open_session(target)
    monkeypatch.setattr(again, "parsers", lambda: pytest.fail("it was parsed again"))
    report = ingest(again, corpus)
    counts = report.documents
    assert (counts.seen, counts.unchanged, counts.quarantined) == (5, 4, 1)
    assert [(q.held, q.stage) for q in report.quarantine] == [(True, "parse")]
    assert read_quarantine(again.existing_collection())["notes/junk.md"] == entry


def test_it_is_tried_again_when_wanted_and_leaves_when_it_is_well(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """Asked for: a second attempt. Repaired: stored, and out of quarantine. Gone: out, too."""
    (corpus / "junk.md").write_bytes(bytes(range(256)) * 40)
    (corpus / "worse.md").write_bytes(b"\x7fELF\x00\x01\x02" * 100)
    session = open_session(target)
    ingest(session, corpus)
    want_retry(session.existing_collection(), ["notes/junk.md"])
    session = open_session(target)
    report = ingest(session, corpus)
    assert {Path(q.source).name: q.held for q in report.quarantine} == {
        "junk.md": False,
        "worse.md": True,
    }
    assert read_quarantine(session.existing_collection())["notes/junk.md"].attempts == 2

    (corpus / "junk.md").write_text("Repaired.\n")
    (corpus / "worse.md").unlink()
    session = open_session(target)
    report = ingest(session, corpus)
    assert (report.documents.stored, report.documents.quarantined) == (1, 0)
    assert read_quarantine(session.existing_collection()) == {}


def test_raising_a_limit_tries_again(open_session: Opener, target: Target, tmp_path: Path) -> None:
    """Too large before, stored after; a document too large is never hashed, so always tried."""
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "a.txt").write_text("word " * 250_000)
    (folder / "b.txt").write_text("small\n")
    assert ingest(open_session(target), folder).documents.quarantined == 1
    larger = target.model_copy(update={"max_document_mb": 2, "near_duplicates": "off"})
    session = open_session(larger)
    report = ingest(session, folder)
    assert (report.documents.stored, report.documents.quarantined) == (1, 0)
    assert read_quarantine(session.existing_collection()) == {}


def test_a_text_that_cannot_be_encoded_is_kept_with_its_hash(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """Its chunks come from good bytes: the same ones are not embedded again."""
    (corpus / "bad.txt").write_text("NaN comes of this\n")
    ingest(open_session(target), corpus)
    session = open_session(target)
    (entry,) = read_quarantine(session.existing_collection()).values()
    assert (entry.stage, bool(entry.content_hash)) == ("embed", True)
    assert ingest(session, corpus).quarantine[0].held


def test_near_duplicates_are_reported(open_session: Opener, target: Target, tmp_path: Path) -> None:
    """Both are stored; the report names the pair once, in the run that stored the second."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text(LONG)
    (folder / "c.txt").write_text("Something else altogether, and short.\n")
    assert ingest(open_session(target), folder).near_duplicates.found == 0
    (folder / "b.txt").write_text(LONG + " and one more")
    report = ingest(open_session(target), folder)
    assert (report.near_duplicates.found, report.near_duplicates.collapsed) == (1, 0)
    (twin,) = report.near_duplicates.documents
    assert (twin.document, twin.of) == ("notes/b.txt", "notes/a.txt")
    assert report.documents.stored == 1
    assert ingest(open_session(target), folder).near_duplicates.found == 0


def test_collapsed_near_duplicates_have_no_chunks_until_they_stand_alone(
    open_session: Opener, letters: LetterEncoder, target: Target, tmp_path: Path
) -> None:
    """Unchanged runs leave it so; when the other goes, the document is stored itself."""
    collapsing = target.model_copy(update={"near_duplicates": "collapse"})
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text(LONG)
    (folder / "b.txt").write_text(LONG + " and one more")
    session = open_session(collapsing)
    report = ingest(session, folder)
    assert (report.documents.stored, report.near_duplicates.collapsed) == (2, 1)
    collection = session.existing_collection()
    heads = read_heads(collection)
    assert (heads["notes/b.txt"].duplicate_of, heads["notes/b.txt"].chunks) == ("notes/a.txt", 0)
    assert collection.count(of_kind(KIND_CHUNK) & where("doc_id", "notes/b.txt")) == 0
    assert ingest(open_session(collapsing), folder).documents.unchanged == 2

    (folder / "a.txt").unlink()
    session = open_session(collapsing)
    report = ingest(session, folder)
    assert (report.documents.stored, report.documents.removed) == (1, 1)
    head = read_heads(session.existing_collection())["notes/b.txt"]
    assert (head.duplicate_of, head.chunks > 1) == ("", True)


def test_payloads_tell_language_and_time(
    open_session: Opener, target: Target, tmp_path: Path
) -> None:
    """Every character of a document lies in a chunk or is counted as skipped."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text(
        "Der Hund läuft am Abend durch den Wald.\n\n\n\n" * 8 + "Er bellt den Mond an.\n"
    )
    session = open_session(target)
    ingest(session, folder)
    collection = session.existing_collection()
    (head,) = read_heads(collection).values()
    chunks = list(collection.scroll(where=of_kind(KIND_CHUNK)))
    covered = sum(len(chunk.payload["page_content"]) for chunk in chunks)
    assert covered + head.skipped == head.characters == len((folder / "a.txt").read_text())
    assert head.language == "de"
    assert {chunk.payload[METADATA]["language"] for chunk in chunks} == {"de"}
    assert head.modified.endswith("+00:00")
    assert {chunk.payload[METADATA]["modified"] for chunk in chunks} == {head.modified}


def test_runs_are_recorded(open_session: Opener, target: Target, corpus: Path) -> None:
    """What was asked, what came of it; a source that failed, too; wrong input leaves no trace."""
    session = open_session(target)
    report = ingest(session, corpus)
    folder = runs_folder(target.store, target.collection)
    (record,) = read_runs(folder).runs
    assert (record.kind, record.state, record.run_id) == ("ingest", "done", session.run_id)
    assert record.report == json.loads(report.model_dump_json())
    assert set(record.versions) == {"sextant", "parser", "chunker"}

    empty = corpus.parent / "empty"
    empty.mkdir()
    with pytest.raises(SourceUnavailable):
        ingest(open_session(target), empty)
    failed = read_runs(folder).runs[0]
    assert failed.state == "failed"
    assert "no document found" in failed.error
    with pytest.raises(Exception, match="no such file or folder"):
        ingest(open_session(target), corpus / "nowhere")
    assert len(read_runs(folder).runs) == 2


def test_stages_say_what_they_took(open_session: Opener, target: Target, corpus: Path) -> None:
    """Each stage of the line was at work."""
    report = ingest(open_session(target), corpus)
    assert {"read", "parse", "chunk", "embed", "write"} <= report.stages.keys()
    assert report.storing_seconds > 0


def test_a_request_shows_no_secret(target: Target) -> None:
    """Prefect's database and logs get it as JSON or text; the run itself has the whole address."""
    source = "https://example.org/guide?page=2&token=hush"
    request = IngestRequest(sources=(source,), target=target)
    assert "hush" not in request.model_dump_json() + repr(request) + str(request)
    assert "page=2" in request.model_dump_json()
    assert request.sources == (source,)
    assert request.model_dump()["sources"] == (source,)


def test_a_disk_too_full_for_an_index_ends_no_run(
    open_session: Opener, target: Target, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is stored and can be found; the report says what is missing."""
    session = open_session(target)
    collection = session.ensure_collection()

    def full(progress: object = None) -> None:
        raise StoreFull("12 MiB are free; indexing wants 400 MiB")

    monkeypatch.setattr(collection, "optimize", full)
    report = ingest(session, corpus)
    assert report.documents.stored == 4
    assert report.warnings == (
        "the collection was not indexed: 12 MiB are free; indexing wants 400 MiB",
    )
