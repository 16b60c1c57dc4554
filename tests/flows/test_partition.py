"""Storing and removing documents in a real store: whole documents, or none of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import embedded, partition
from flows.documents.chunking import Chunker
from flows.documents.parsing import parse
from flows.documents.source_document import SourceDocument
from flows.documents.sources import discover
from flows.errors import InvalidInput
from flows.heads import STORED, WRITING, read_heads
from flows.ingestion import Ingestion, IngestReport, IngestRequest
from flows.partition import Receipt, remove_document, store_documents
from flows.session import Session, Target
from search.errors import CollectionExists, StoreUnavailable
from search.filters import of_kind, where
from search.records import KIND_CHUNK, chunk_id, head_id
from search.stores.contract import Collection

Opener = Callable[[Target], Session]


def documents_of(folder: Path) -> tuple[SourceDocument, ...]:
    return discover([str(folder)]).documents


def ingest(session: Session, folder: Path) -> IngestReport:
    """The flow's steps, without Prefect."""
    ingestion = Ingestion.begin(
        IngestRequest(sources=(str(folder),), target=session.target), session
    )
    for part in ingestion.plan.partitions():
        ingestion.add(store_documents(part, session))
    ingestion.remove_vanished()
    return ingestion.finish()


def test_a_document_becomes_chunks_and_a_head(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """Ids from document, ordinal and content; exact spans; a head that says it is stored whole."""
    session = open_session(target)
    report = ingest(session, corpus)
    assert (report.documents.seen, report.documents.stored) == (4, 4)

    collection = session.existing_collection()
    heads = read_heads(collection)
    head = heads["notes/bread.md"]
    assert head.state == STORED
    assert head.source == str(corpus / "bread.md")
    assert head.title == "Bread"
    assert head.is_current(head.content_hash, session.recipe)
    assert sum(head.chunks for head in heads.values()) == report.chunks.stored
    assert sum(head.tokens for head in heads.values()) == report.tokens

    text = parse((corpus / "bread.md").read_bytes(), format="markdown", name="bread.md").text
    chunks = list(collection.scroll(where=of_kind(KIND_CHUNK) & where("doc_id", "notes/bread.md")))
    assert len(chunks) == head.chunks > 1
    for record in chunks:
        metadata = record.payload["metadata"]
        expected = chunk_id(
            "notes/bread.md", ordinal=metadata["chunk"], content_hash=head.content_hash
        )
        assert record.id == expected
        assert record.payload["page_content"] == text[metadata["start"] : metadata["end"]]
        assert metadata["run_id"] == session.run_id
        assert metadata["tokens"] <= target.chunk_tokens


def test_what_is_stored_comes_back_as_the_encoder_gave_it(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """A chunk's own vector finds it first, with cosine 1."""
    session = open_session(target)
    ingest(session, corpus)
    collection = session.existing_collection()
    record = next(iter(collection.scroll(where=of_kind(KIND_CHUNK), with_vectors=True)))
    text = record.payload["page_content"]
    vector = session.encode_documents([text]).vectors[0]
    assert record.vector is not None
    assert np.allclose(record.vector, vector, atol=1e-6)
    best = collection.search(vector, limit=1)[0]
    assert best.score == pytest.approx(1.0, abs=1e-5)


def test_changed_documents_are_replaced_and_vanished_ones_removed(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """The second run leaves exactly what a first run over the new folder would."""
    ingest(open_session(target), corpus)
    (corpus / "bread.md").write_text("# Bread\n\nSourdough needs no yeast.\n")
    (corpus / "sub" / "rivers.txt").unlink()
    (corpus / "moss.txt").write_text("Moss grows on the north side.\n")
    session = open_session(target)
    report = ingest(session, corpus)
    counts = report.documents
    assert (counts.seen, counts.stored, counts.unchanged, counts.removed) == (4, 2, 2, 1)
    assert report.chunks.removed >= 3

    found = {r.id for r in session.existing_collection().scroll()}
    fresh = open_session(target.model_copy(update={"collection": "fresh"}))
    ingest(fresh, corpus)
    assert found == {r.id for r in fresh.existing_collection().scroll()}
    assert ingest(open_session(target), corpus).documents.unchanged == 4


def test_a_bad_document_stops_no_other_and_loses_nothing(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """A binary file, a blank one, and one that turned bad: its old version stays."""
    ingest(open_session(target), corpus)
    (corpus / "junk.md").write_bytes(bytes(range(256)) * 40)
    (corpus / "blank.txt").write_text(" \n")
    (corpus / "bread.md").write_bytes(b"\x7fELF\x00\x01\x02" * 100)
    session = open_session(target)
    report = ingest(session, corpus)
    assert [Path(entry.source).name for entry in report.quarantine] == [
        "blank.txt",
        "bread.md",
        "junk.md",
    ]
    counts = report.documents
    assert counts.seen == counts.stored + counts.unchanged + counts.quarantined == 6
    assert read_heads(session.existing_collection())["notes/bread.md"].state == STORED
    assert session.existing_collection().count(where("doc_id", "notes/bread.md")) > 1


@pytest.mark.parametrize("bad", [("a.txt",), ("c.txt",), ("a.txt", "b.txt", "c.txt")])
@pytest.mark.parametrize(
    ("word", "reason"), [("NaN", "no finite vector"), ("TooLong", "too long for the encoder")]
)
def test_a_text_that_cannot_be_encoded_whole_is_rejected(
    open_session: Opener,
    target: Target,
    tmp_path: Path,
    bad: tuple[str, ...],
    word: str,
    reason: str,
) -> None:
    """The document that holds it, wherever it stands, and no other of its group."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        filling = "word " * 60
        (folder / name).write_text(f"{filling}\n\n{word if name in bad else 'fine'} of {name}\n")
    session = open_session(target)
    report = ingest(session, folder)
    assert tuple(Path(entry.source).name for entry in report.quarantine) == bad
    assert all(reason in entry.reason for entry in report.quarantine)
    assert len(read_heads(session.ensure_collection())) == 3 - len(bad)


class Watched:
    """A collection that notes what is done to it, and fails when told to."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.done: list[tuple[str, Any]] = []
        self.fail_at: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.collection, name)

    def _step(self, *step: Any) -> None:
        if len(self.done) == self.fail_at:
            raise StoreUnavailable("the engine died")
        self.done.append(step)  # type: ignore[arg-type]

    def upsert(self, points: Sequence[Any]) -> None:
        """Note the kinds of the points."""
        kinds = [
            p.payload["metadata"].get("state", "chunk") if p.payload["kind"] == "head" else "chunk"
            for p in points
        ]
        self._step("upsert", sorted(set(kinds)))
        self.collection.upsert(points)

    def delete(self, ids: Sequence[str]) -> None:
        """Note the ids."""
        self._step("delete", list(ids))
        self.collection.delete(ids)

    def delete_where(self, condition: Any) -> None:
        """Note the condition."""
        self._step("delete_where", condition)
        self.collection.delete_where(condition)


def watch(session: Session) -> Watched:
    watched = Watched(session.ensure_collection())
    session.collection = watched  # type: ignore[assignment]
    return watched


def test_new_chunks_are_in_before_old_ones_are_out(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """First the head says `writing`, last it says `stored`; no moment without a whole version."""
    ingest(open_session(target), corpus)
    (corpus / "bread.md").write_text("# Bread\n\nSourdough needs no yeast.\n")
    session = open_session(target)
    watched = watch(session)
    ingest(session, corpus)
    (new, old, whole) = watched.done
    assert new == ("upsert", ["chunk", WRITING])
    assert old[0] == "delete"
    assert len(old[1]) > 1
    assert whole == ("upsert", [STORED])


def test_a_removed_document_loses_its_head_last(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """Killed between, the head is still there, and the next run removes the document again."""
    session = open_session(target)
    ingest(session, corpus)
    head = read_heads(session.existing_collection())["notes/bread.md"]
    watched = watch(session)
    removed = remove_document(head, watched)  # type: ignore[arg-type]
    assert removed == head.chunks
    assert [step[0] for step in watched.done] == ["upsert", "delete_where", "delete"]
    assert watched.done[0][1] == [WRITING]
    assert watched.done[2][1] == [head_id("notes/bread.md")]
    assert watched.collection.count(where("doc_id", "notes/bread.md")) == 0


@pytest.mark.parametrize("step", [1, 2])
def test_a_document_that_is_back_after_a_removal_that_was_killed_is_stored_again(
    open_session: Opener, target: Target, corpus: Path, step: int
) -> None:
    """Its chunks are gone already, and its head is not: it must not count as unchanged."""
    session = open_session(target)
    ingest(session, corpus)
    text = (corpus / "bread.md").read_text()
    (corpus / "bread.md").unlink()
    session = open_session(target)
    watch(session).fail_at = step
    with pytest.raises(StoreUnavailable):
        ingest(session, corpus)
    (corpus / "bread.md").write_text(text)
    session = open_session(target)
    assert ingest(session, corpus).documents.stored == 1
    head = read_heads(session.existing_collection())["notes/bread.md"]
    assert head.state == STORED
    assert session.existing_collection().count(where("doc_id", "notes/bread.md")) == head.chunks + 1


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_run_that_failed_at_any_step_is_made_good_by_the_next(
    open_session: Opener, target: Target, corpus: Path, step: int
) -> None:
    """After a failure at any write, one more run leaves what an undisturbed one does."""
    ingest(open_session(target), corpus)
    (corpus / "bread.md").write_text("# Bread\n\nSourdough needs no yeast.\n")
    session = open_session(target)
    watch(session).fail_at = step
    with pytest.raises(StoreUnavailable):
        ingest(session, corpus)
    session = open_session(target)
    assert ingest(session, corpus).documents.stored == 1
    found = {r.id for r in session.existing_collection().scroll()}
    fresh = open_session(target.model_copy(update={"collection": "fresh"}))
    ingest(fresh, corpus)
    assert found == {r.id for r in fresh.existing_collection().scroll()}


def test_a_second_attempt_cleans_up_after_the_first(
    open_session: Opener, target: Target, tmp_path: Path
) -> None:
    """A new document whose file changes between two attempts of one run leaves no stray chunk."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("The first text. " * 20)
    session = open_session(target)
    watched = watch(session)
    watched.fail_at = 1
    with pytest.raises(StoreUnavailable):
        store_documents(documents_of(folder), session)
    (folder / "a.txt").write_text("The second text. " * 20)
    watched.fail_at = None
    store_documents(documents_of(folder), session)
    hashes = {
        r.payload["metadata"]["content_hash"]
        for r in watched.collection.scroll(where=of_kind(KIND_CHUNK))
    }
    assert len(hashes) == 1


def test_a_large_document_is_written_in_parts(
    open_session: Opener, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory and messages to the engine stay bounded; it is whole when its last part is in."""
    monkeypatch.setattr(partition, "GROUP_CHUNKS", 4)
    monkeypatch.setattr(embedded, "GROUP_CHUNKS", 4)
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "long.txt").write_text("A sentence of some words.\n\n" * 100)
    (folder / "short.txt").write_text("Short.\n")
    session = open_session(target)
    watched = watch(session)
    report = ingest(session, folder)
    assert report.chunks.stored > 8
    kinds = [kinds for step, kinds in watched.done if step == "upsert"]
    assert kinds[0] == ["chunk", WRITING]
    assert kinds[1] == ["chunk"]
    assert [k for k in kinds if STORED in k] == [[STORED], [STORED]]
    assert watched.collection.count(of_kind(KIND_CHUNK)) == report.chunks.stored


def test_receipts_add_up() -> None:
    """A partition's receipt is the sum of its groups'."""
    one = Receipt(stored=("a",), chunks_stored=2, chunks_removed=3, tokens=4, chunks_reused=1)
    other = Receipt(stored=("b",), collapsed=1)
    assert one + one + other == Receipt(
        stored=("a", "a", "b"),
        collapsed=1,
        chunks_stored=4,
        chunks_removed=6,
        tokens=8,
        chunks_reused=2,
    )


def test_no_collection_takes_the_place_of_a_folder_of_documents(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """With the documents' parent as store and their folder's name as collection: refused."""
    session = open_session(target.model_copy(update={"store": str(corpus.parent)}))
    with pytest.raises(CollectionExists, match=r"is no collection, but holds 'bread"):
        ingest(session, corpus)
    assert (corpus / "bread.md").exists()


def test_chunks_must_fit_the_encoder(open_session: Opener, target: Target) -> None:
    """More tokens than the encoder reads would be cut off silently."""
    session = open_session(target.model_copy(update={"chunk_tokens": 501}))
    with pytest.raises(InvalidInput, match="chunk_tokens is 501; this encoder takes 500"):
        session.chunker()
    assert isinstance(open_session(target).chunker(), Chunker)
