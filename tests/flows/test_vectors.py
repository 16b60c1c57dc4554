"""Vectors that are known are not made again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from flows.ingestion import Ingestion, IngestReport, IngestRequest
from flows.partition import store_documents
from flows.session import Session, Target
from flows.vectors import KnownVectors
from search.records import METADATA

from .conftest import LetterEncoder

Opener = Callable[[Target], Session]


def ingest(session: Session, folder: Path) -> IngestReport:
    request = IngestRequest(sources=(str(folder),), target=session.target)
    ingestion = Ingestion.begin(request, session)
    for part in ingestion.plan.partitions():
        ingestion.add(store_documents(part, session))
    ingestion.remove_vanished()
    return ingestion.finish()


def encoded(letters: LetterEncoder) -> list[str]:
    texts = [text for call in letters.calls for text in call]
    letters.calls.clear()
    return texts


def test_the_latest_are_kept_up_to_a_number_of_bytes() -> None:
    """What was asked for last goes last."""
    known = KnownVectors(most_bytes=2 * 4 * 3)
    rows = np.eye(3, dtype=np.float32)
    for name, row in zip("abc", rows, strict=True):
        known.add(name, row)
        known.get("a")
    assert known.get("b") is None
    assert np.array_equal(known.get("a"), rows[0])  # type: ignore[arg-type]
    assert np.array_equal(known.get("c"), rows[2])  # type: ignore[arg-type]
    rows[2] = 7
    assert np.array_equal(known.get("c"), [0, 0, 1])  # type: ignore[arg-type]


def test_equal_chunks_of_a_run_are_embedded_once(
    open_session: Opener, letters: LetterEncoder, target: Target, tmp_path: Path
) -> None:
    """Three copies of a file: one text encoded, three documents stored, all findable."""
    folder = tmp_path / "copies"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.txt").write_text("The very same text in each of them.\n")
    session = open_session(target)
    session.ensure_collection()
    encoded(letters)
    report = ingest(session, folder)
    assert encoded(letters) == ["The very same text in each of them."]
    assert (report.documents.stored, report.chunks.stored, report.chunks.reused) == (3, 3, 2)
    vectors = [r.vector for r in session.existing_collection().scroll(with_vectors=True)]
    assert len([v for v in vectors if v is not None]) == 3


def test_of_a_changed_document_only_the_changed_chunks_are_embedded(
    open_session: Opener, letters: LetterEncoder, target: Target, tmp_path: Path
) -> None:
    """The others take their vectors from the version that is stored, bit for bit."""
    folder = tmp_path / "book"
    folder.mkdir()
    parts = [f"# Part {n}\n\n{'Words of the part, many of them. ' * 6}\n\n" for n in range(5)]
    (folder / "a.md").write_text("".join(parts))
    first = open_session(target)
    ingest(first, folder)
    before = {
        r.payload["page_content"]: r.vector
        for r in first.existing_collection().scroll(with_vectors=True)
        if r.vector is not None
    }
    parts[2] = parts[2].replace("many", "few")
    (folder / "a.md").write_text("".join(parts))
    session = open_session(target)
    encoded(letters)
    report = ingest(session, folder)
    texts = [text for text in encoded(letters) if "the part" in text]  # not the canary's
    assert texts
    assert all("few" in text for text in texts)
    assert report.chunks.reused == report.chunks.stored - len(texts) > 0
    for record in session.existing_collection().scroll(with_vectors=True):
        if record.vector is not None and record.payload["page_content"] in before:
            assert np.array_equal(record.vector, before[record.payload["page_content"]])


def test_a_moved_document_is_not_embedded_again(
    open_session: Opener, letters: LetterEncoder, target: Target, tmp_path: Path
) -> None:
    """Its vectors come from where it lay before."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "old.txt").write_text("A text that only moves about.\n")
    (folder / "stays.txt").write_text("A text that stays where it is.\n")
    ingest(open_session(target), folder)
    (folder / "old.txt").rename(folder / "new.txt")
    session = open_session(target)
    encoded(letters)
    report = ingest(session, folder)
    assert encoded(letters) == []
    assert (report.documents.stored, report.documents.removed, report.chunks.reused) == (1, 1, 1)


def test_heading_context_is_embedded_and_not_stored(
    open_session: Opener, letters: LetterEncoder, target: Target, corpus: Path
) -> None:
    """The text and its offsets stay; the payload says what stood before it; a retold one is new."""
    plain = open_session(target)
    ingest(plain, corpus)
    texts = {r.id: r.payload.get("page_content") for r in plain.existing_collection().scroll()}
    with_context = target.model_copy(update={"heading_context": True})
    session = open_session(with_context)
    encoded(letters)
    report = ingest(session, corpus)
    assert (report.documents.stored, report.documents.unchanged) == (4, 0)
    assert "Lighthouses > Lenses\n\n## Lenses\n\nA Fresnel lens throws the light" in " ".join(
        text if text.startswith("Lighthouses > Lenses\n\n") else "" for text in encoded(letters)
    )
    records = list(session.existing_collection().scroll())
    assert {r.id: r.payload.get("page_content") for r in records} == texts
    contexts = {r.payload[METADATA].get("context") for r in records if "page_content" in r.payload}
    assert "Lighthouses > Lenses" in contexts
    assert ingest(open_session(with_context), corpus).documents.unchanged == 4
