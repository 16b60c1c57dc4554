"""A plan says what an ingest would do; then the ingest does that, and nothing was done before."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import console
from flows.documents.source_document import SourceDocument
from flows.errors import RemovalsRefused
from flows.failures import FAILED, explain
from flows.forecast import SAMPLE_DOCUMENTS, draw
from flows.ingestion import Ingestion, IngestReport, IngestRequest
from flows.partition import store_documents
from flows.preview import preview
from flows.rate import FEWEST_TOKENS, known_rate, rate_file, record_rate
from flows.removals import FREE_REMOVALS, objection
from flows.session import Session, Target

Opener = Callable[[Target], Session]

WORDS = "the keeper trims a lamp and a river carries sand to the sea while owls hunt at night"


def request_of(session: Session, folder: Path, **options: Any) -> IngestRequest:
    return IngestRequest(sources=(str(folder),), target=session.target, **options)


def ingest(session: Session, folder: Path, **options: Any) -> IngestReport:
    """The flow's steps, without Prefect."""
    ingestion = Ingestion.begin(request_of(session, folder, **options), session)
    for part in ingestion.plan.partitions():
        ingestion.add(store_documents(part, session))
    ingestion.remove_vanished()
    return ingestion.finish()


def write_many(folder: Path, count: int) -> Path:
    """Documents of quite different lengths."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        words = (WORDS.split() * (1 + number * 7 % 40))[number:]
        lines = [" ".join(words[at : at + 12]) for at in range(0, len(words), 12)]
        (folder / f"{number:03}.md").write_text(f"# Note {number}\n\n" + ".\n".join(lines) + "\n")
    return folder


def test_a_plan_names_each_document_s_fate(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """Worked example: one of each; a moved document counts neither as added nor as removed."""
    (corpus / "gone.txt").write_text("It will vanish.\n")
    ingest(open_session(target), corpus)
    (corpus / "gone.txt").unlink()
    (corpus / "new.md").write_text("# New\n\nA new note.\n")
    (corpus / "bread.md").write_text("# Bread\n\nSourdough needs no yeast.\n")
    (corpus / "lighthouses.md").rename(corpus / "sub" / "lights.md")
    (corpus / "huge.md").write_bytes(b"x" * (1024 * 1024 + 1))

    session = open_session(target)
    found = preview(request_of(session, corpus), session)
    assert found.documents.model_dump() == {
        "seen": 6,
        "added": 1,
        "changed": 1,
        "moved": 1,
        "renewed": 0,
        "unchanged": 2,
        "removed": 1,
        "quarantined": 1,
    }
    assert [Path(source).name for source in found.added] == ["new.md"]
    assert [Path(source).name for source in found.changed] == ["bread.md"]
    assert [Path(source).name for source in found.removed] == ["gone.txt"]
    (move,) = found.moved
    assert (move.before, move.now) == (
        str(corpus / "lighthouses.md"),
        str(corpus / "sub" / "lights.md"),
    )
    assert found.quarantine[0].reason.startswith("1.0 MiB; the limit is 1.0 MiB")
    assert (found.refusal, found.warnings) == ("", ())

    report = ingest(open_session(target), corpus)
    assert report.documents.stored == 3
    assert report.documents.removed == 2
    assert found.estimate.chunks == report.chunks.stored
    assert found.estimate.tokens == report.tokens


def test_another_recipe_renews_what_has_not_changed(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """All is stored again, and the plan says why."""
    ingest(open_session(target), corpus)
    session = open_session(target.model_copy(update={"chunk_tokens": 48}))
    found = preview(request_of(session, corpus), session)
    assert (found.documents.renewed, found.documents.changed, len(found.renewed)) == (4, 0, 4)


def test_a_folder_that_moved_is_moved(open_session: Opener, target: Target, corpus: Path) -> None:
    """The ids stay, the places do not; and of two copies of one document, one has moved."""
    ingest(open_session(target), corpus)
    (corpus.parent / "elsewhere").mkdir()
    moved = corpus.parent / "elsewhere" / "notes"
    corpus.rename(moved)
    session = open_session(target)
    found = preview(request_of(session, moved), session)
    assert (found.documents.moved, found.documents.removed, found.documents.added) == (4, 0, 0)
    assert {move.before for move in found.moved} == {
        str(corpus / Path(move.now).relative_to(moved)) for move in found.moved
    }


def test_of_two_copies_one_has_moved(open_session: Opener, target: Target, corpus: Path) -> None:
    """The other one is added; a copy of what is still in its place is added too."""
    ingest(open_session(target), corpus)
    shutil.copy(corpus / "bread.md", corpus / "a.md")
    shutil.copy(corpus / "bread.md", corpus / "b.md")
    shutil.copy(corpus / "lighthouses.md", corpus / "c.md")
    (corpus / "bread.md").unlink()
    session = open_session(target)
    found = preview(request_of(session, corpus), session)
    assert [Path(move.now).name for move in found.moved] == ["a.md"]
    assert [Path(source).name for source in found.added] == ["b.md", "c.md"]
    assert found.removed == ()


def test_a_plan_writes_nothing_and_encodes_nothing(
    open_session: Opener, target: Target, corpus: Path, letters: Any
) -> None:
    """Neither where there is no store yet, nor where there is one."""
    session = open_session(target)
    found = preview(request_of(session, corpus), session)
    assert found.documents.added == 4
    assert not Path(target.store).exists()
    assert letters.calls == []

    ingest(open_session(target), corpus)
    calls = len(letters.calls)
    (corpus / "bread.md").unlink()
    session = open_session(target)
    before = [(r.id, r.payload) for r in session.existing_collection().scroll()]
    assert preview(request_of(session, corpus), session).documents.removed == 1
    assert [(r.id, r.payload) for r in session.existing_collection().scroll()] == before
    assert len(letters.calls) == calls


def test_a_sample_tells_the_whole(open_session: Opener, target: Target, tmp_path: Path) -> None:
    """From 16 of 80 documents, chunks and tokens within a tenth; twice the same."""
    folder = write_many(tmp_path / "many", 80)
    session = open_session(target)
    first = preview(request_of(session, folder), session).estimate
    session = open_session(target)
    estimate = preview(request_of(session, folder), session).estimate
    assert estimate == first
    assert estimate.sampled <= SAMPLE_DOCUMENTS
    report = ingest(session, folder)
    assert estimate.chunks == pytest.approx(report.chunks.stored, rel=0.1)
    assert estimate.tokens == pytest.approx(report.tokens, rel=0.1)


def test_a_long_document_is_told_by_its_beginning(
    open_session: Opener, target: Target, tmp_path: Path
) -> None:
    """Only its first characters are chunked."""
    folder = tmp_path / "long"
    folder.mkdir()
    (folder / "long.txt").write_text(f"{WORDS}.\n" * 2000)
    session = open_session(target)
    estimate = preview(request_of(session, folder), session).estimate
    report = ingest(session, folder)
    assert estimate.tokens == pytest.approx(report.tokens, rel=0.05)
    assert estimate.chunks == pytest.approx(report.chunks.stored, rel=0.05)


def test_documents_of_the_sample_that_cannot_be_parsed_are_told(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """A plan parses no others, so that it does not count them as quarantined."""
    (corpus / "junk.md").write_bytes(bytes(range(256)) * 40)
    session = open_session(target)
    found = preview(request_of(session, corpus), session)
    assert (found.documents.added, found.documents.quarantined) == (5, 0)
    assert found.warnings == (
        "1 of 5 documents sampled cannot be parsed; an ingest quarantines them and any other "
        "like them",
    )


def test_time_is_unknown_until_a_run_has_measured_it(
    open_session: Opener, target: Target, tmp_path: Path
) -> None:
    """Never made up; then tokens over the rate of this encoder on this machine."""
    folder = write_many(tmp_path / "many", 40)
    session = open_session(target)
    estimate = preview(request_of(session, folder), session).estimate
    assert (estimate.seconds, estimate.tokens_per_second) == (None, None)
    report = ingest(session, folder)
    assert report.tokens > FEWEST_TOKENS
    (folder / "more.md").write_text("One more note.\n")
    session = open_session(target)
    estimate = preview(request_of(session, folder), session).estimate
    assert estimate.tokens_per_second is not None
    assert estimate.seconds == pytest.approx(estimate.tokens / estimate.tokens_per_second, abs=0.06)


def test_a_rate_belongs_to_an_encoder_and_fades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worked example: 2,000 tokens in 10 s, then 2,000 in 5 s: 3,000 in 10 s, 300 a second."""
    path = tmp_path / "docs" / "rate.json"
    assert known_rate(path, fingerprint="a") is None
    record_rate(path, fingerprint="a", tokens=0, seconds=1.0)
    assert not path.exists()
    record_rate(path, fingerprint="a", tokens=FEWEST_TOKENS - 1, seconds=1.0)
    assert known_rate(path, fingerprint="a") is None
    path.unlink()
    record_rate(path, fingerprint="a", tokens=2000, seconds=10.0)
    record_rate(path, fingerprint="a", tokens=2000, seconds=5.0)
    rate = known_rate(path, fingerprint="a")
    assert rate is not None
    assert rate.tokens_per_second == 300.0
    assert known_rate(path, fingerprint="b") is None
    record_rate(path, fingerprint="b", tokens=5000, seconds=5.0)
    rate = known_rate(path, fingerprint="b")
    assert rate is not None
    assert rate.tokens_per_second == 1000.0
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "another machine")
        assert known_rate(path, fingerprint="b") is None
    path.write_text("{damaged")
    assert known_rate(path, fingerprint="b") is None
    record_rate(path, fingerprint="b", tokens=5000, seconds=5.0)
    assert known_rate(path, fingerprint="b") is not None
    assert [p.name for p in path.parent.iterdir()] == ["rate.json"]


def test_a_rate_that_cannot_be_kept_fails_no_run(
    open_session: Opener, target: Target, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a warning in the report."""

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flows.ingestion.record_rate", full)
    report = ingest(open_session(target), corpus)
    assert report.documents.stored == 4
    (warning,) = report.warnings
    assert warning == (
        f"the run's rate was not kept in {str(rate_file(target.store, 'notes'))!r}: "
        "No space left on device"
    )


def test_documents_are_drawn_by_their_bytes() -> None:
    """All where they are few; else at equal steps, a large one once for all steps it takes."""

    def document(name: str, size: int) -> SourceDocument:
        return SourceDocument(
            doc_id=name, source=name, root="r", format="text", size=size, path=name
        )

    few = [document("a", 1), document("b", 6), document("c", 1)]
    assert [(d.doc_id, share) for d, share in draw(few, 3)] == [
        ("a", pytest.approx(1 / 3)),
        ("b", pytest.approx(1 / 3)),
        ("c", pytest.approx(1 / 3)),
    ]
    assert [(d.doc_id, share) for d, share in draw(few, 2)] == [("b", 1.0)]
    even = [document(str(number), 10) for number in range(100)]
    drawn = draw(even, 10)
    assert [d.doc_id for d, _ in drawn] == [str(number) for number in range(5, 100, 10)]
    assert sum(share for _, share in drawn) == pytest.approx(1)
    empty = [document(str(number), 0) for number in range(20)]
    assert sum(share for _, share in draw(empty, 4)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("lost", "known", "share", "refused"),
    [
        (FREE_REMOVALS, FREE_REMOVALS, 0.2, False),
        (FREE_REMOVALS, 1000, 0.0, False),
        (FREE_REMOVALS + 1, FREE_REMOVALS + 1, 0.2, True),
        (20, 100, 0.2, False),
        (21, 100, 0.2, True),
        (21, 100, 1.0, False),
        (100, 100, 1.0, False),
        (6, 1000, 0.0, True),
    ],
)
def test_how_much_may_go(lost: int, known: int, share: float, refused: bool) -> None:
    """Five always; beyond, up to the share of what is stored from these sources."""
    assert bool(objection(lost=lost, known=known, max_share=share)) == refused


def test_a_run_that_would_remove_too_much_does_nothing(
    open_session: Opener, target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the numbers and the remedy, code 1; with leave it goes on."""
    folder = write_many(tmp_path / "many", 20)
    ingest(open_session(target), folder)
    for number in range(8):
        (folder / f"{number:03}.md").unlink()
    (folder / "new.md").write_text("A new note.\n")
    session = open_session(target)
    before = [(r.id, r.payload) for r in session.existing_collection().scroll()]
    with pytest.raises(RemovalsRefused) as raised:
        ingest(session, folder)
    assert explain(raised.value) == FAILED
    assert capsys.readouterr().err == (
        "sextant: 8 of the 20 documents stored from these sources (40%) are no longer in them; "
        "at most 20% are removed unasked (max_removal_share); check the sources and globs with "
        "`sextant plan`, or add --allow-removals; nothing was changed\n"
    )
    assert [(r.id, r.payload) for r in session.existing_collection().scroll()] == before

    found = preview(request_of(session, folder), session)
    assert found.refusal == str(raised.value)
    assert found.documents.removed == 8
    assert preview(request_of(session, folder, max_removal_share=0.5), session).refusal == ""
    report = ingest(session, folder, max_removal_share=0.4)
    assert (report.documents.removed, report.documents.stored) == (8, 1)


def test_documents_that_moved_are_not_lost(
    open_session: Opener, target: Target, tmp_path: Path
) -> None:
    """Tidying up a folder removes every old id, and refuses nothing."""
    folder = write_many(tmp_path / "many", 20)
    ingest(open_session(target), folder)
    (folder / "archive").mkdir()
    for path in folder.glob("*.md"):
        path.rename(folder / "archive" / path.name)
    report = ingest(open_session(target), folder)
    assert (report.documents.stored, report.documents.removed) == (20, 20)


def test_a_plan_in_words(
    open_session: Opener, target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of fates, `about` before what is estimated, a few names of each."""
    folder = write_many(tmp_path / "many", 7)
    session = open_session(target)
    console.show_preview(preview(request_of(session, folder), session))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"plan for collection 'notes', encoder {target.encoder!r}"
    assert "added        7" in lines
    assert "removed      0" in lines
    about = next(line for line in lines if line.startswith("about "))
    assert about.endswith("in the store; time unknown until a first run has measured it")
    assert f"added: {folder}/000.md" in lines
    assert "... and 2 more added (--json lists all)" in lines
    assert lines[-1] == "nothing was written"

    ingest(session, folder)
    for number in range(6):
        (folder / f"{number:03}.md").unlink()
    session = open_session(target)
    console.show_preview(preview(request_of(session, folder), session))
    lines = capsys.readouterr().out.splitlines()
    assert "nothing to store" in lines
    assert any(line.startswith("an ingest would refuse: 6 of the 7 documents") for line in lines)
