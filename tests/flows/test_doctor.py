"""The doctor: each trouble made by hand in a real engine, found, and mended where it can be."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from flows import doctor_check, doctor_visit
from flows.doctor_check import check_alias, look_over, unused_versions
from flows.doctor_repair import mend_alias, repair
from flows.doctor_report import MEANINGS, MENDABLE, CollectionUnwell, Finding
from flows.doctor_visit import DoctorRequest, visit
from flows.heads import STORED, WRITING, Head, read_heads
from flows.ingestion import Ingestion, IngestReport, IngestRequest
from flows.partition import store_documents
from flows.progress import Silent
from flows.run_history import read_runs
from flows.runs import runs_folder
from flows.session import Session, Target
from search.collections import create_aliased, create_version
from search.errors import CollectionNotFound, FingerprintMismatch
from search.filters import of_kind
from search.records import KIND_CHUNK, KIND_HEAD, Point, chunk_id, head_id
from search.stores.contract import Collection, Manifest, Status, Store
from search.stores.edge import EdgeStore
from search.stores.server import ServerStore

Opener = Callable[[Target], Session]
DIMENSION = 4
HASH = "a" * 64


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    """Qdrant's own client as a store in memory: through it points can be damaged."""
    with closing(QdrantClient(":memory:")) as client:
        yield client


@pytest.fixture
def place(client: QdrantClient) -> Store:
    return ServerStore.over(client, location=":memory:")


@pytest.fixture
def collection(place: Store) -> Collection:
    """Three sound documents: of three chunks, of one, and of none, for another stands for it."""
    opened = create_aliased(place, "docs", manifest())
    put(opened, "notes/a.md", ["one ", "two ", "three"])
    put(opened, "notes/b.md", ["alone"], skipped=2)
    put(opened, "notes/c.md", [], duplicate_of="notes/a.md")
    return opened


def manifest(**changes: Any) -> Manifest:
    fields = {
        "name": "docs",
        "dimension": DIMENSION,
        "fingerprint": "f" * 64,
        "encoder": {"name": "letters"},
        "created_at": "2025-01-01T00:00:00+00:00",
    }
    return Manifest.model_validate(fields | changes)


def head(doc_id: str, texts: Sequence[str], **changes: Any) -> Head:
    characters = sum(map(len, texts)) + changes.get("skipped", 0)
    fields: dict[str, Any] = {
        "doc_id": doc_id,
        "source": f"/srv/{doc_id}",
        "root": "/srv/notes",
        "title": doc_id,
        "format": "markdown",
        "content_hash": HASH,
        "recipe": "by hand",
        "state": STORED,
        "chunks": len(texts),
        "tokens": 1,
        "size": 1,
        "ingested_at": "2025-01-01",
        "run_id": "run",
        "characters": characters,
    }
    return Head(**{**fields, **changes})


def chunk(doc_id: str, ordinal: int, text: str, *, start: int, **changes: Any) -> Point:
    metadata = {
        "doc_id": doc_id,
        "source": f"/srv/{doc_id}",
        "title": doc_id,
        "start": start,
        "end": start + len(text),
        "chunk": ordinal,
        "content_hash": HASH,
        **changes,
    }
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[ordinal % DIMENSION] = 1
    return Point(
        id=chunk_id(doc_id, ordinal=ordinal, content_hash=metadata["content_hash"]),
        vector=vector,
        payload={"kind": "chunk", "page_content": text, "metadata": metadata},
    )


def chunks(doc_id: str, texts: Sequence[str]) -> list[Point]:
    starts = [sum(map(len, texts[:i])) for i in range(len(texts))]
    return [
        chunk(doc_id, i, text, start=start)
        for i, (text, start) in enumerate(zip(texts, starts, strict=True))
    ]


def put(opened: Collection, doc_id: str, texts: Sequence[str], **changes: Any) -> None:
    opened.upsert([*chunks(doc_id, texts), head(doc_id, texts, **changes).point()])


def idof(doc_id: str, ordinal: int) -> str:
    return chunk_id(doc_id, ordinal=ordinal, content_hash=HASH)


def damage(
    client: QdrantClient, opened: Collection, point: str, vector: Any = None, **payload: Any
) -> None:
    """Write past the checks of our own store."""
    found = client.retrieve(opened.manifest.name, [point], with_vectors=True)[0]
    old: Any = found.vector
    struct = models.PointStruct(
        id=point,
        vector=old if vector is None else {"dense": vector},
        payload={**(found.payload or {}), **payload},
    )
    client.upsert(opened.manifest.name, [struct])


def look(opened: Collection, *, full: bool = True) -> list[tuple[str, str]]:
    seen = look_over(opened, full=full, sample=100, seed=1, progress=Silent())
    return sorted((found.kind, found.doc_id) for found in seen.findings)


Damage = Callable[[Collection, QdrantClient], None]


def _missing(opened: Collection, client: QdrantClient) -> None:
    opened.delete([idof("notes/a.md", 1)])


def _all_missing(opened: Collection, client: QdrantClient) -> None:
    opened.delete([idof("notes/b.md", 0)])


def _orphaned(opened: Collection, client: QdrantClient) -> None:
    opened.upsert(chunks("notes/gone.md", ["left ", "behind"]))


def _stale(opened: Collection, client: QdrantClient) -> None:
    opened.upsert([chunk("notes/a.md", 0, "older", start=0, content_hash="b" * 64)])


def _surplus(opened: Collection, client: QdrantClient) -> None:
    opened.upsert([chunk("notes/b.md", 1, "more", start=5)])


def _foreign_id(opened: Collection, client: QdrantClient) -> None:
    opened.upsert([replace(chunk("notes/a.md", 0, "one ", start=0), id=head_id("nobody"))])


def _no_document(opened: Collection, client: QdrantClient) -> None:
    damage(client, opened, idof("notes/b.md", 0), metadata={})


def _no_span(opened: Collection, client: QdrantClient) -> None:
    metadata = chunk("notes/a.md", 1, "two ", start=4, end="8").payload["metadata"]
    damage(client, opened, idof("notes/a.md", 1), metadata=metadata)


def _short_text(opened: Collection, client: QdrantClient) -> None:
    damage(client, opened, idof("notes/a.md", 1), page_content="tw")


def _short_vector(opened: Collection, client: QdrantClient) -> None:
    # the client normalises what it is given; the engine's own memory is written past it
    stored = client._client.collections[opened.manifest.name]  # type: ignore[attr-defined]
    stored.vectors["dense"][stored.ids[idof("notes/a.md", 2)]] *= 0.5


def _nan_vector(opened: Collection, client: QdrantClient) -> None:
    stored = client._client.collections[opened.manifest.name]  # type: ignore[attr-defined]
    stored.vectors["dense"][stored.ids[idof("notes/a.md", 2)]][0] = np.nan


def _hole(opened: Collection, client: QdrantClient) -> None:
    texts = ["one ", "two ", "three"]
    opened.upsert([head("notes/a.md", texts, characters=20, skipped=3).point()])


def _beyond(opened: Collection, client: QdrantClient) -> None:
    opened.upsert([head("notes/a.md", ["one ", "two ", "three"], characters=7).point()])


def _no_head(opened: Collection, client: QdrantClient) -> None:
    damage(client, opened, head_id("notes/b.md"), metadata={"doc_id": "notes/b.md"})


def _strange_head(opened: Collection, client: QdrantClient) -> None:
    metadata = head("notes/b.md", ["alone"]).point().payload["metadata"] | {"chunks": "many"}
    damage(client, opened, head_id("notes/b.md"), metadata=metadata)


def _lost_original(opened: Collection, client: QdrantClient) -> None:
    opened.upsert([head("notes/c.md", [], duplicate_of="notes/gone.md").point()])


def _chain(opened: Collection, client: QdrantClient) -> None:
    put(opened, "notes/d.md", [], duplicate_of="notes/c.md")


DAMAGES: dict[str, tuple[Damage, list[tuple[str, str]]]] = {
    "missing": (_missing, [("missing_chunks", "notes/a.md")]),
    "all missing": (_all_missing, [("missing_chunks", "notes/b.md")]),
    "orphaned": (_orphaned, [("orphaned", "notes/gone.md")]),
    "stale": (_stale, [("stale", "notes/a.md")]),
    "surplus": (_surplus, [("duplicated", "notes/b.md")]),
    "foreign id": (_foreign_id, [("malformed", "notes/a.md")]),
    "no document": (_no_document, [("malformed", ""), ("missing_chunks", "notes/b.md")]),
    "no span": (_no_span, [("malformed", "notes/a.md"), ("missing_chunks", "notes/a.md")]),
    "short text": (_short_text, [("bad_text", "notes/a.md")]),
    "short vector": (_short_vector, [("bad_vector", "notes/a.md")]),
    "nan vector": (_nan_vector, [("bad_vector", "notes/a.md")]),
    "hole": (_hole, [("uncovered", "notes/a.md")]),
    "beyond": (_beyond, [("uncovered", "notes/a.md")]),
    "no head": (_no_head, [("malformed", "notes/b.md"), ("malformed", "notes/b.md")]),
    "strange head": (_strange_head, [("malformed", "notes/b.md"), ("malformed", "notes/b.md")]),
    "lost original": (_lost_original, [("lost_original", "notes/c.md")]),
    "chain": (_chain, [("lost_original", "notes/d.md")]),
}
LEFT_TO_INGEST = {
    "missing": "notes/a.md",
    "all missing": "notes/b.md",
    "no document": "notes/b.md",
    "no span": "notes/a.md",
    "short text": "notes/a.md",
    "short vector": "notes/a.md",
    "nan vector": "notes/a.md",
    "hole": "notes/a.md",
    "beyond": "notes/a.md",
    "lost original": "notes/c.md",
    "chain": "notes/d.md",
}
"""Damages whose document a repair leaves to the next ingest; the others are mended outright."""


@pytest.mark.parametrize("full", [True, False])
def test_a_sound_collection_has_no_findings(collection: Collection, full: bool) -> None:
    """Overlapping chunks, too, and documents stored before heads counted characters."""
    overlap = [chunk("notes/o.md", 0, "abcdef", start=0), chunk("notes/o.md", 1, "defghi", start=3)]
    collection.upsert([*overlap, head("notes/o.md", ["", ""], characters=9).point()])
    old = head("notes/old.md", ["", ""], characters=0)
    collection.upsert([chunk("notes/old.md", 0, "x", start=5), replace(old, chunks=1).point()])
    seen = look_over(collection, full=full, sample=100, seed=1, progress=Silent())
    assert seen.findings == []
    assert (seen.counts.documents, seen.counts.chunks, seen.checked) == (5, 7, 5)


@pytest.mark.parametrize("name", DAMAGES)
def test_each_trouble_is_found_and_mended(
    name: str, collection: Collection, client: QdrantClient
) -> None:
    """A full look names it; rounds of repair leave nothing but work for the next ingest."""
    break_it, expected = DAMAGES[name]
    break_it(collection, client)
    assert look(collection) == sorted(expected)

    for _ in range(doctor_visit.ROUNDS):
        seen = look_over(collection, full=True, sample=1, seed=1, progress=Silent())
        if not any(found.mendable for found in seen.findings):
            break
        assert repair(seen.findings, collection, Silent())
    left = LEFT_TO_INGEST.get(name)
    assert look(collection) == ([("unfinished", left)] if left else [])
    if left:
        assert read_heads(collection)[left].state == WRITING
    # nothing with a flaw is left, whose vector a later run could take for its own
    for record in collection.scroll(where=of_kind(KIND_CHUNK), with_vectors=True):
        assert record.vector is not None
        assert np.linalg.norm(record.vector) == pytest.approx(1.0)
        metadata = record.payload["metadata"]
        assert len(record.payload["page_content"]) == metadata["end"] - metadata["start"]
    # the documents that were sound are as they were
    spared = {"notes/a.md", "notes/b.md"} - {doc_id for _, doc_id in expected} - {left}
    for doc_id in spared:
        assert doctor_check.examine_document(doc_id, collection) == []


def test_a_sample_sees_wrong_counts_and_what_the_heads_alone_tell(
    collection: Collection, client: QdrantClient
) -> None:
    """Whichever documents are in the sample."""
    for number in range(50):
        put(collection, f"notes/{number}.md", ["text"])
    collection.delete([idof("notes/17.md", 0)])
    put(collection, "notes/d.md", [], duplicate_of="notes/c.md")
    seen = look_over(collection, full=False, sample=1, seed=3, progress=Silent())
    kinds = {found.kind for found in seen.findings}
    assert {"wrong_count", "lost_original"} <= kinds
    assert (seen.checked, seen.full) == (1, False)


def test_the_sample_follows_from_the_seed(collection: Collection) -> None:
    for number in range(50):
        put(collection, f"notes/{number}.md", ["text"])
        damaged = chunk(f"notes/{number}.md", 0, "text", start=1)  # its span begins too late
        collection.upsert([replace(damaged, payload={**damaged.payload, "kind": "chunk"})])

    def sampled(seed: int) -> set[str]:
        seen = look_over(collection, full=False, sample=5, seed=seed, progress=Silent())
        return {found.doc_id for found in seen.findings}

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)


def test_a_half_written_document_is_unfinished_and_nothing_else(collection: Collection) -> None:
    """Its chunks are whatever they are: a run may be at it; the count then is no exact one."""
    put(collection, "notes/w.md", ["one ", "two"], state=WRITING)
    collection.delete([idof("notes/w.md", 0)])
    for full in (True, False):
        assert look(collection, full=full) == [("unfinished", "notes/w.md")]


def test_what_a_run_changes_meanwhile_is_no_finding(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents stored and removed after the heads were read are looked at once more."""
    read = doctor_check._count

    def then_a_run_stores(opened: Collection) -> Any:
        put(opened, "notes/new.md", ["fresh"])
        opened.delete([*(idof("notes/b.md", i) for i in range(3)), head_id("notes/b.md")])
        return read(opened)

    monkeypatch.setattr(doctor_check, "_count", then_a_run_stores)
    assert look(collection) == []


def test_unindexed_vectors_count_only_where_an_index_pays(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a repair has the engine build it."""
    indexed = [0]

    def status() -> Status:
        return Status(points=100_000, indexed=indexed[0], vectors=90_000, bytes=1)

    def optimize(progress: Any = None) -> None:
        indexed[0] = 90_000

    monkeypatch.setattr(collection, "status", status)
    monkeypatch.setattr(collection, "optimize", optimize)
    assert look(collection) == [("unindexed", "")]
    seen = look_over(collection, full=True, sample=1, seed=1, progress=Silent())
    assert [done.action for done in repair(seen.findings, collection, Silent())] == [
        "indexed 90000 of 90000 vectors"
    ]
    assert look(collection) == []


def test_a_name_that_leads_nowhere(place: Store, collection: Collection) -> None:
    """It leads to the only version again; of several, nobody knows which."""
    assert check_alias(place, "docs") == []
    place.set_alias("docs", None)
    found = check_alias(place, "docs")
    assert [(f.kind, f.mendable) for f in found] == [("alias", True)]
    assert mend_alias(place, "docs")
    assert check_alias(place, "docs") == []
    place.set_alias("docs", None)
    create_version(place, "docs", manifest())
    assert mend_alias(place, "docs") == []
    with pytest.raises(CollectionNotFound, match="no collection 'other'"):
        check_alias(place, "other")


def test_versions_that_nobody_uses_are_told(place: Store, collection: Collection) -> None:
    second = create_version(place, "docs", manifest())
    put(second, "notes/a.md", ["x"])
    (unused,) = unused_versions(place, "docs", collection.manifest.name)
    assert (unused.name, unused.points) == (second.manifest.name, 2)


def test_every_kind_has_a_meaning_and_mendable_ones_exist() -> None:
    assert set(MENDABLE) < set(MEANINGS)
    with pytest.raises(ValueError, match="kind"):
        Finding(kind="nonsense", detail="", mendable=False)  # type: ignore[arg-type]


# --- a visit, over the embedded store and real sources ------------------------------------------


def ingest(session: Session, folder: Path) -> IngestReport:
    """The flow's steps, without Prefect."""
    request = IngestRequest(sources=(str(folder),), target=session.target)
    ingestion = Ingestion.begin(request, session)
    for part in ingestion.plan.partitions():
        ingestion.add(store_documents(part, session))
    ingestion.remove_vanished()
    return ingestion.finish()


@pytest.fixture
def stored(open_session: Opener, target: Target, corpus: Path) -> Target:
    """Four documents in the embedded store, which nobody has open."""
    session = open_session(target)
    ingest(session, corpus)
    session.close()
    return target


def test_a_visit_finds_nothing_wrong_after_an_ingest(stored: Target, corpus: Path) -> None:
    """Also with sources and canary; the date is the seed."""
    report = visit(DoctorRequest(target=stored), Silent())
    assert (report.healthy, report.findings, report.mode) == (True, (), "sampled")
    assert (report.checked, len(str(report.seed))) == (4, 8)
    report = visit(
        DoctorRequest(target=stored, sources=(str(corpus),), full=True, canary=True), Silent()
    )
    assert (report.healthy, report.findings, report.warnings) == (True, (), ())


def test_a_visit_holds_the_collection_against_its_sources(stored: Target, corpus: Path) -> None:
    (corpus / "bread.md").write_text("# Bread\n\nSourdough needs no yeast.\n")
    (corpus / "sub" / "rivers.txt").unlink()
    (corpus / "moss.txt").write_text("Moss grows on the north side.\n")
    (corpus / "blob.md").write_bytes(bytes(range(256)) * 40)
    request = DoctorRequest(target=stored, sources=(str(corpus),), exclude=("blob.md",))
    report = visit(request, Silent())
    assert not report.healthy
    assert {(f.kind, f.doc_id) for f in report.remaining} == {
        ("changed", "notes/bread.md"),
        ("vanished", "notes/sub/rivers.txt"),
        ("not_stored", "notes/moss.txt"),
    }
    other = stored.model_copy(update={"chunk_tokens": 48})
    outdated = visit(request.model_copy(update={"target": other}), Silent())
    assert outdated.totals["outdated"] == 2


def test_a_repair_leaves_to_the_next_ingest_what_only_it_can_do(
    stored: Target, corpus: Path, open_session: Opener
) -> None:
    """A sampled visit that finds something looks at all; the ingest then stores what was marked."""
    with closing(EdgeStore(stored.store)) as store:
        opened = store.open(stored.collection)
        records = list(opened.scroll(where=of_kind(KIND_CHUNK)))
        bread = [r for r in records if r.payload["metadata"]["doc_id"] == "notes/bread.md"]
        opened.delete([bread[0].id])
        owls = [r for r in records if r.payload["metadata"]["doc_id"] == "notes/sub/owls.html"]
        opened.delete([head_id("notes/sub/owls.html")])
    found = visit(DoctorRequest(target=stored), Silent())
    assert not found.healthy
    assert found.totals == {"missing_chunks": 1}  # an orphan makes up for it in the count

    report = visit(DoctorRequest(target=stored, repair=True), Silent())
    assert report.healthy
    assert report.mode == "full"
    assert report.awaiting == ("notes/bread.md",)
    assert {done.doc_id for done in report.repairs} == {"notes/bread.md", "notes/sub/owls.html"}
    assert len(owls) == 1
    (record,) = read_runs(runs_folder(stored.store, stored.collection), limit=1).runs
    assert (record.kind, record.state) == ("doctor", "done")
    assert record.report is not None
    assert len(record.report["repairs"]) == 2

    # half-written documents wait: that is no more to mend, but it is not well, either
    assert visit(DoctorRequest(target=stored, repair=True), Silent()).repairs == ()
    assert visit(DoctorRequest(target=stored), Silent()).totals == {"unfinished": 1}

    session = open_session(stored)
    assert ingest(session, corpus).documents.stored == 2
    session.close()
    report = visit(DoctorRequest(target=stored, full=True, sources=(str(corpus),)), Silent())
    assert (report.healthy, report.findings) == (True, ())


def test_a_drifted_encoder_is_found(
    stored: Target, letters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = type(letters).encode_document
    monkeypatch.setattr(
        type(letters), "encode_document", lambda self, texts, **o: encode(self, texts, **o)[:, ::-1]
    )
    report = visit(DoctorRequest(target=stored, canary=True), Silent())
    assert [finding.kind for finding in report.remaining] == ["drifted"]


def test_another_encoder_is_found(stored: Target, corpus: Path) -> None:
    """What is stored is looked at all the same; sources cannot be compared by another's recipe."""
    other = stored.model_copy(update={"encoder": "starter"})
    report = visit(DoctorRequest(target=other, canary=True), Silent())
    assert [(finding.kind, finding.mendable) for finding in report.remaining] == [
        ("wrong_encoder", False)
    ]
    assert report.checked == 4
    with pytest.raises(FingerprintMismatch):
        visit(DoctorRequest(target=other, sources=(str(corpus),)), Silent())


def test_the_flow_fails_where_something_remains(
    stored: Target, prefect_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a schedule shows it; and gives the report where nothing does."""
    from flows.doctor import doctor_flow
    from flows.orchestration import no_heartbeat

    with no_heartbeat():
        assert doctor_flow(DoctorRequest(target=stored)).healthy
        with closing(EdgeStore(stored.store)) as store:
            opened = store.open(stored.collection)
            (first, *_) = opened.scroll(where=of_kind(KIND_HEAD))
            opened.delete([first.id])
        with pytest.raises(CollectionUnwell, match=r"wrong_count|orphaned"):
            doctor_flow(DoctorRequest(target=stored))


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--sample 0", "--sample 0: expected 1 or more"),
        ("--seed -1", "--seed -1: expected 0 or more"),
        ("--full --sample 3", "--full and --sample exclude each other; give one of them"),
        ("--exclude !x", "setting 'exclude' is ['!x'] (option): glob '!x'"),
        ("gone", "source 'gone': no such file or folder"),
    ],
)
def test_wrong_input_is_refused(world: Any, arguments: str, line: str) -> None:
    run = world.sextant("doctor", *arguments.split(), "--quiet")
    assert run.code == 2
    assert run.complaint.startswith(line)


def test_the_command_says_what_it_found(sextant: Any, encoder_folder: Path, corpus: Path) -> None:
    """Exit code 1 while something is wrong, 0 when it is mended; one JSON object."""
    missing = sextant("doctor")
    assert (missing.code, missing.complaint[:22]) == (1, "no collection 'docs' i")
    sextant("ingest", corpus, "--encoder", encoder_folder, "--chunk-tokens", "32")
    run = sextant("doctor", "--quiet", "--json")
    assert (run.code, run.json["healthy"], run.json["checked"]) == (0, True, 4)
    with closing(EdgeStore(sextant.folder / ".sextant")) as store:
        opened = store.open("docs")
        opened.delete([next(opened.scroll(where=of_kind(KIND_CHUNK))).id])
    run = sextant("doctor", "--full", "--quiet")
    assert run.code == 1
    assert "missing_chunks" in run.out
    assert "--repair mends" in run.out
    run = sextant("doctor", "--repair", "--quiet")
    assert run.code == 0, run
    assert "mended: nothing wrong remains" in run.out
    assert "1 documents wait for the next ingest" in run.out
