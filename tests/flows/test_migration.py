"""Migrations over real stores, with two encoders that can be worked out by hand."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from embedder.canary import canary_vectors
from embedder.errors import NonFiniteActivation
from embedder.specification import EncoderSpecification, specify
from flows import migration_documents, migration_spool, migration_versions
from flows.errors import FlowError, InvalidInput
from flows.heads import STORED, WRITING, Head
from flows.migration_commands import abandon, abandon_question, migration_status, roll_back
from flows.migration_evidence import Evidence
from flows.migration_index import MIGRATED_HEAD
from flows.migration_report import MigrationReport
from flows.migration_request import MigrationRequest
from flows.migration_session import migrating
from flows.migration_state import MigrationState
from flows.quarantine import read_quarantine, updated, write
from flows.settings import Settings
from search.collections import create_aliased, versions
from search.errors import CollectionNotFound, InvalidRequest, StoreInUse
from search.filters import of_kind, where
from search.records import Point, Record, chunk_id, quarantine_id
from search.stores.contract import Collection, Manifest, Store
from search.stores.edge import EdgeStore
from search.stores.server import ServerStore

LetterEncoder = Any
Documents = dict[str, list[str]]

DOCUMENTS: Documents = {
    f"notes/{number:02}.md": [
        f"Note {number}, part {part}, tells of {'rivers' * (part + 1)} and {'seas' * number}."
        for part in range(1 + number % 4)
    ]
    for number in range(12)
}


class Killed(BaseException):
    """The process ends here."""


class SecondEncoder:
    """Counts every other letter; `before` is called with the documents' texts, before they are.

    A text with "unreadable" has no vector, one with "overlong" is cut.
    """

    def __init__(self, letters: LetterEncoder) -> None:
        self._letters = letters
        self.texts: list[str] = []
        self.before: Callable[[list[str]], None] = lambda texts: None
        self.max_text_tokens = letters.max_text_tokens
        self.config = letters.config
        self.tokenizer_json = letters.tokenizer_json

    def encode_with_counts(self, texts: Sequence[str], **options: Any) -> Any:
        """Every other letter, counted; a call that names a precision is the canary's."""
        if options["prompt_name"] == "document" and "precision" not in options:
            self.before(list(texts))
            for index, text in enumerate(texts):
                if "unreadable" in text:
                    raise NonFiniteActivation(f"text {index} gave NaN", index=index)
            self.texts += texts
        encoding = self._letters.encode_with_counts([text[::2] for text in texts], **options)
        encoding.truncated |= np.array(["overlong" in text for text in texts])
        return encoding

    def encode_document(self, texts: Sequence[str], **options: Any) -> Any:
        """The canary's way, which is not recorded."""
        return self.encode_with_counts(
            texts, prompt_name="document", **({"precision": None} | options)
        ).vectors

    def encode_query(self, texts: Sequence[str]) -> Any:
        """As for documents."""
        return self.encode_with_counts(texts, prompt_name="query").vectors


@pytest.fixture(scope="session")
def second_folder(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with other settings: another fingerprint."""
    folder = tmp_path_factory.mktemp("second") / "tiny"
    folder.mkdir()
    for file in encoder_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = specify(str(encoder_folder)).config.model_dump(mode="json")
    changed = {**config, "normalise_text": "papers"}
    (folder / "sextant.json").write_text(json.dumps(changed))
    return folder


@pytest.fixture(scope="session")
def specifications(
    encoder_folder: Path, second_folder: Path
) -> tuple[EncoderSpecification, EncoderSpecification]:
    first, second = specify(str(encoder_folder)), specify(str(second_folder))
    assert first.fingerprint != second.fingerprint
    return first, second


@pytest.fixture
def second(letters: LetterEncoder) -> SecondEncoder:
    return SecondEncoder(letters)


@pytest.fixture(autouse=True)
def encoders(
    letters: LetterEncoder,
    second: SecondEncoder,
    specifications: tuple[EncoderSpecification, EncoderSpecification],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The letters for the first model, the other one for the second; small parts and groups."""

    def load(specification: EncoderSpecification) -> Any:
        return second if specification == specifications[1] else letters

    monkeypatch.setattr("flows.migration.load_encoder", load)
    monkeypatch.setattr("flows.migration_judgement.load_encoder", load)
    monkeypatch.setattr(migration_spool, "PART_CHUNKS", 6)
    monkeypatch.setattr(migration_documents, "GROUP_CHUNKS", 3)
    monkeypatch.setattr(migration_documents, "GROUP_DOCUMENTS", 2)


class Place:
    """A store that is opened again and again, and what stands in it."""

    def __init__(self, location: str, opener: Callable[[], Store], letters: LetterEncoder) -> None:
        self.location = location
        self.open = opener
        self._letters = letters

    @property
    def settings(self) -> Settings:
        """That lead to the collection."""
        return Settings(store=self.location, collection="notes")

    def request(self, second_folder: Path | None, **options: Any) -> MigrationRequest:
        """To the second encoder, or to that of the migration under way."""
        encoder = str(second_folder) if second_folder is not None else None
        return MigrationRequest(store=self.location, collection="notes", encoder=encoder, **options)

    def put(self, documents: Documents, **changes: Any) -> None:
        """Store documents as an ingest by the first encoder does."""
        with self.collection("notes") as collection:
            for doc_id, texts in documents.items():
                collection.delete_where(of_kind("chunk") & where("doc_id", doc_id))
                collection.upsert(self.points(doc_id, texts, **changes))

    def points(
        self, doc_id: str, texts: list[str], *, state: Any = STORED, **changes: Any
    ) -> list[Point]:
        """A document's chunks, then its head; `changes` are metadata of the chunks."""
        content_hash = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        vectors = self._letters.encode_document(texts)
        title = f"Title of {doc_id}"
        points = [
            Point(
                id=chunk_id(doc_id, ordinal=number, content_hash=content_hash),
                vector=vectors[number],
                payload={
                    "kind": "chunk",
                    "page_content": text,
                    "metadata": {
                        "doc_id": doc_id,
                        "source": f"/{doc_id}",
                        "root": "/notes",
                        "title": title,
                        "chunk": number,
                        "start": 0,
                        "end": len(text),
                        "tokens": 5,
                        "content_hash": content_hash,
                        "run_id": "first",
                        "ingested_at": "2026-01-01T00:00:00+00:00",
                        "cluster": 3,
                        **changes,
                    },
                },
            )
            for number, text in enumerate(texts)
        ]
        head = Head(
            doc_id=doc_id,
            source=f"/{doc_id}",
            root="/notes",
            title=title,
            format="markdown",
            content_hash=content_hash,
            recipe="recipe",
            state=state,
            chunks=len(texts),
            tokens=5 * len(texts),
            size=100,
            ingested_at="2026-01-01T00:00:00+00:00",
            run_id="first",
        )
        return [*points, head.point()]

    def remove(self, doc_id: str) -> None:
        """Remove a document, as an ingest does that no longer finds it."""
        with self.collection("notes") as collection:
            collection.delete_where(where("doc_id", doc_id))

    def collection(self, name: str) -> Any:
        """The collection, open inside a `with` block."""
        store = self.open()

        class Opened:
            def __enter__(self) -> Collection:
                self.collection = store.open(name)
                return self.collection

            def __exit__(self, *error: Any) -> None:
                self.collection.close()
                store.close()

        return Opened()

    def read(self, name: str) -> dict[str, Record]:
        """All of a collection, by id."""
        with self.collection(name) as collection:
            return {r.id: r for r in collection.scroll(with_vectors=True)}

    def versions(self) -> list[str]:
        """Oldest first."""
        with closing(self.open()) as store:
            return [manifest.name for manifest in versions(store, "notes")]

    def in_use(self) -> str:
        """Where the alias leads."""
        with closing(self.open()) as store:
            return store.aliases()["notes"]


@pytest.fixture(params=["edge", "memory"])
def place(
    request: pytest.FixtureRequest,
    scratch: Path,
    letters: LetterEncoder,
    specifications: tuple[EncoderSpecification, EncoderSpecification],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """A store with collection `notes` of twelve documents by the first encoder."""
    client = None
    if request.param == "edge":
        location = str(scratch / "store")

        def opener() -> Store:
            return EdgeStore(location)

    else:
        location = "http://127.0.0.1:1"
        client = QdrantClient(":memory:")
        over = client
        monkeypatch.setenv("XDG_STATE_HOME", str(scratch))

        def opener() -> Store:
            return ServerStore.over(over, location=location)

        monkeypatch.setattr("flows.migration.open_store", lambda *a, **k: opener())
        monkeypatch.setattr("flows.migration_commands.store_of", lambda settings: opener())
    made = Place(location, opener, letters)
    with closing(opener()) as store:
        create_aliased(
            store,
            "notes",
            Manifest(
                name="notes",
                dimension=32,
                fingerprint=specifications[0].fingerprint,
                encoder=specifications[0].describe(),
                created_at="2026-01-01T00:00:00+00:00",
                canary=canary_vectors(letters),
            ),
        ).close()
    made.put(DOCUMENTS)
    yield made
    if client is not None:
        client.close()


edge_only = pytest.mark.parametrize("place", ["edge"], indirect=True)


def migrate(request: MigrationRequest) -> MigrationReport:
    """What the flow does, without Prefect."""
    with migrating(request) as running:
        while True:
            while running.next_round():
                for number in running.parts():
                    running.store_part(number)
                running.end_round()
            report = running.conclude()
            if report is not None:
                return report


def require_migrated(place: Place, second: SecondEncoder, left_out: Sequence[str] = ()) -> None:
    """The new version holds what the old one holds, by the second encoder."""
    old, new = (place.read(name) for name in place.versions())
    kept = {i: r for i, r in old.items() if r.payload["metadata"]["doc_id"] not in left_out}
    own = {i for i, r in new.items() if MIGRATED_HEAD in r.payload["metadata"]}
    assert kept.keys() == new.keys() - own
    for identifier, before in kept.items():
        now = new[identifier]
        metadata = {k: v for k, v in before.payload["metadata"].items() if k != "cluster"}
        assert now.payload["metadata"] == metadata
        assert now.payload["kind"] == before.payload["kind"]
        if before.payload["kind"] != "chunk":
            assert now.vector is None
            continue
        assert now.payload["page_content"] == before.payload["page_content"]
        context = metadata.get("context", "")
        text = before.payload["page_content"]
        expected = second.encode_document([f"{context}\n\n{text}" if context else text])[0]
        assert now.vector is not None
        assert np.allclose(now.vector, expected, atol=1e-5)


def complaint(kind: type[Exception], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


# --- from one version to the next -------------------------------------------------------------


def test_a_migration_from_end_to_end(
    place: Place, second: SecondEncoder, second_folder: Path
) -> None:
    """Same ids, texts, metadata, heads and quarantine; other vectors; the old one untouched."""
    with place.collection("notes") as collection:
        write(collection, [quarantined("notes/bad.pdf", "damaged")])
    place.put({"notes/context.md": ["A text that stood somewhere."]}, context="Guide > Part")
    before = place.read("notes")
    report = migrate(place.request(second_folder))
    require_migrated(place, second)
    old, new = place.versions()
    assert (report.old, report.new, report.encoder) == (old, new, str(second_folder))
    assert (report.documents, report.chunks, report.removed, report.rounds) == (13, 31, 0, 1)
    assert not report.switched
    assert place.in_use() == old
    after = place.read("notes")
    assert {i: r.payload for i, r in after.items()} == {i: r.payload for i, r in before.items()}
    with place.collection(new) as collection:
        manifest = collection.manifest
        assert read_quarantine(collection)["notes/bad.pdf"].reason == "damaged"
    assert (manifest.dimension, len(manifest.canary) > 0) == (32, True)
    evidence = report.evidence
    assert (evidence.old.documents, evidence.new.documents) == (13, 13)
    assert (evidence.old.chunks, evidence.new.chunks) == (31, 31)
    assert evidence.sampled == evidence.queries == 13
    assert Evidence.model_validate_json(Path(report.evidence_file).read_bytes()) == evidence
    assert not (Path(report.evidence_file).parent / "spool").exists()

    second.texts.clear()
    again = migrate(place.request(second_folder, switch=True))
    assert (again.documents, again.rounds, second.texts) == (0, 0, [])
    assert again.switched
    assert place.in_use() == new


def quarantined(doc_id: str, reason: str) -> Any:
    return updated(
        None,
        doc_id=doc_id,
        source=f"/{doc_id}",
        root="/notes",
        format="pdf",
        stage="parse",
        reason=reason,
        content_hash="",
        size=1,
        recipe="recipe",
        limits="",
        seen="2026-01-01T00:00:00+00:00",
        run_id="first",
    )


def test_an_empty_collection(place: Place, second_folder: Path) -> None:
    for doc_id in DOCUMENTS:
        place.remove(doc_id)
    report = migrate(place.request(second_folder, switch=True))
    assert (report.documents, report.evidence.queries, report.evidence.overlap) == (0, 0, None)
    assert report.switched
    assert report.evidence.refusal(0.0) == "there is no overlap to judge by"


def test_equal_texts_are_embedded_once(
    place: Place, second: SecondEncoder, second_folder: Path
) -> None:
    place.put({f"notes/copy-{n}.md": ["The very same text."] for n in range(5)})
    migrate(place.request(second_folder))
    assert second.texts.count("The very same text.") == 1
    require_migrated(place, second)


@edge_only
def test_the_old_version_is_free_while_the_new_one_is_embedded(
    place: Place, second: SecondEncoder, second_folder: Path
) -> None:
    """Others may search and ingest all along; the embedded engine lets in one at a time."""
    found = []

    def look(texts: list[str]) -> None:
        with place.collection("notes") as collection:
            found.append(collection.count(of_kind("head")))

    second.before = look
    migrate(place.request(second_folder))
    assert len(found) > 5
    assert set(found) == {12}


def test_killed_at_every_moment(
    place: Place,
    second: SecondEncoder,
    second_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At each call of the encoder, before and after each write; the last run does the rest."""
    calls = 0
    kill_at = 0

    def tick(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise Killed

    second.before = tick
    with place.collection("notes") as collection:
        kind = type(collection)
    upsert, delete = kind.upsert, kind.delete

    def ticking_upsert(self: Any, points: Any) -> None:
        tick()
        upsert(self, points)
        tick()

    def ticking_delete(self: Any, ids: Any) -> None:
        tick()
        delete(self, ids)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "upsert", ticking_upsert)
        patch.setattr(kind, "delete", ticking_delete)
        kills = 0
        for moment in range(2, 200, 3):
            calls, kill_at = 0, moment
            try:
                migrate(place.request(second_folder))
            except Killed:
                kills += 1
            else:
                break
    assert kills > 5
    require_migrated(place, second)
    assert len(place.versions()) == 2


def test_a_whole_spool_is_taken_up_and_stored_documents_are_not_embedded_again(
    place: Place, second: SecondEncoder, second_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(texts: list[str]) -> None:
        if len(second.texts) > 10:
            raise Killed

    second.before = kill
    with suppress(Killed):
        migrate(place.request(second_folder))
    done = len(second.texts)
    status = migration_status(place.settings)
    assert (status.under_way, status.ready) == (str(second_folder), False)
    assert 0 < status.done < status.documents == 12
    assert "is not finished" in complaint(
        InvalidInput, lambda: migrate(place.request(None, switch=True))
    )

    def no_fill(*arguments: Any, **options: Any) -> None:
        raise AssertionError("spooled again")

    second.before = lambda texts: None
    monkeypatch.setattr(migration_spool.Spool, "fill", no_fill)
    report = migrate(place.request(None))  # the encoder of the migration under way
    assert len(second.texts) == sum(map(len, DOCUMENTS.values()))
    assert report.chunks <= sum(map(len, DOCUMENTS.values())) - done + 3
    require_migrated(place, second)


@pytest.mark.parametrize("harm", ["truncated", "flipped", "index"])
def test_a_damaged_spool_is_made_again(
    place: Place, second: SecondEncoder, second_folder: Path, harm: str
) -> None:
    """A short part or a missing index is no spool; damage inside is told, and made again."""

    def kill(texts: list[str]) -> None:
        raise Killed

    second.before = kill
    with suppress(Killed):
        migrate(place.request(second_folder))
    folder = migration_folder(place)
    part = max((folder / "spool").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(part.read_bytes())
    if harm == "truncated":
        part.write_bytes(data[:-5])
    elif harm == "flipped":
        data[len(data) // 2] ^= 0xFF
        part.write_bytes(data)
    else:
        (folder / "spool.json").write_text("{")
    second.before = lambda texts: None
    if harm == "flipped":
        line = complaint(FlowError, lambda: migrate(place.request(second_folder)))
        assert "cannot be read" in line
        assert "same command again" in line
    migrate(place.request(second_folder))
    require_migrated(place, second)


def migration_folder(place: Place) -> Path:
    from flows.state import state_folder

    return state_folder(place.location) / "notes" / "migration"


def test_what_changes_meanwhile_is_caught_up(
    place: Place, second: SecondEncoder, second_folder: Path
) -> None:
    """Added, changed, removed, quarantined: while the first round embeds, and again in the next."""
    steps = iter(range(100))

    def ingest(texts: list[str]) -> None:
        step = next(steps)
        if step == 2:
            place.put({"notes/new.md": ["A new one."], "notes/03.md": ["Changed."]})
            place.remove("notes/04.md")
            with place.collection("notes") as collection:
                write(collection, [quarantined("notes/bad.pdf", "damaged")])
        if "Changed." in texts:
            place.put({"notes/03.md": ["Changed once more.", "In two chunks."]})

    second.before = ingest
    report = migrate(place.request(second_folder))
    assert report.rounds == 3
    second.before = lambda texts: None
    require_migrated(place, second)
    ids = {r.payload["metadata"]["doc_id"] for r in place.read(report.new).values()}
    assert {"notes/new.md", "notes/bad.pdf"} < ids
    assert "notes/04.md" not in ids

    place.remove("notes/05.md")
    with place.collection("notes") as collection:
        collection.delete([quarantine_id("notes/bad.pdf")])
    report = migrate(place.request(second_folder))
    assert (report.removed, report.documents) == (1, 0)
    require_migrated(place, second)


def test_a_collection_that_never_rests_has_no_moment_to_switch_at(
    place: Place, second: SecondEncoder, second_folder: Path
) -> None:
    count = 0

    def ingest(texts: list[str]) -> None:
        nonlocal count
        count += 1
        place.put({"notes/busy.md": [f"Version {count}."]})

    second.before = ingest
    line = complaint(FlowError, lambda: migrate(place.request(second_folder, switch=True)))
    assert "has changed 8 times" in line
    assert place.in_use() == place.versions()[0]


def test_a_half_written_document_is_left_as_it_was(
    place: Place, second: SecondEncoder, second_folder: Path
) -> None:
    """It is not whole in the old version, so that it is not made whole in the new one."""
    with place.collection("notes") as collection:
        collection.upsert(place.points("notes/half.md", ["Half a"], state=WRITING))
    report = migrate(place.request(second_folder))
    assert any("1 documents are half-written" in note for note in report.evidence.notes)
    require_migrated(place, second, left_out=["notes/half.md"])


# --- documents that do not fit ----------------------------------------------------------------


def test_chunks_too_long_for_the_new_encoder_are_refused_before_any_is_embedded(
    place: Place, second: SecondEncoder, second_folder: Path
) -> None:
    """Never cut in silence: refused, or left out by request and named; a shorter text goes in."""
    second.max_text_tokens = 150
    place.put({"notes/long.md": ["A fine text.", "word " * 200], "notes/tall.md": ["line " * 99]})
    line = complaint(FlowError, lambda: migrate(place.request(second_folder)))
    assert "cannot take 2 chunks of 2 documents, nothing of this was embedded" in line
    assert "1 of its 2 chunks are too long for the new encoder: up to " in line
    assert "it takes 150" in line
    assert "--skip-unfit" in line
    assert second.texts == []
    assert len(place.versions()) == 1

    report = migrate(place.request(second_folder, skip_unfit=True))
    assert [one.source for one in report.left_out] == ["/notes/long.md", "/notes/tall.md"]
    assert any("2 documents do not fit" in note for note in report.evidence.notes)
    require_migrated(place, second, left_out=["notes/long.md", "notes/tall.md"])
    with place.collection(report.new) as collection:
        entry = read_quarantine(collection)["notes/long.md"]
    assert (entry.stage, entry.retry, entry.recipe) == ("embed", "wanted", "recipe")
    assert "too long" in entry.reason

    count = len(second.texts)
    again = migrate(place.request(second_folder))  # known by now: nothing is refused anew
    assert (again.rounds, len(second.texts)) == (0, count)
    place.put({"notes/long.md": ["A fine text.", "Shorter."]})
    migrate(place.request(second_folder))
    require_migrated(place, second, left_out=["notes/tall.md"])


@pytest.mark.parametrize(
    ("word", "reason"), [("unreadable", "no finite vector"), ("overlong", "too long")]
)
def test_a_text_that_the_encoder_fails_on_stops_no_other(
    place: Place, second: SecondEncoder, second_folder: Path, word: str, reason: str
) -> None:
    """The others are stored; the next run, which may leave it out, has nothing else to do."""
    place.put({"notes/bad.md": ["A good text.", f"An {word} one."]})
    line = complaint(FlowError, lambda: migrate(place.request(second_folder, switch=True)))
    assert "cannot take 1 chunks of 1 documents, all others are stored" in line
    assert "'/notes/bad.md'" in line
    assert reason in line
    assert place.in_use() == place.versions()[0]
    second.texts.clear()
    report = migrate(place.request(second_folder, skip_unfit=True))
    assert [one.source for one in report.left_out] == ["/notes/bad.md"]
    assert set(second.texts) <= {"A good text.", f"An {word} one."}
    require_migrated(place, second, left_out=["notes/bad.md"])


def test_a_damaged_document_is_not_taken_for_a_whole_one(place: Place, second_folder: Path) -> None:
    """Its head tells of a chunk that is not there; that may pass, and is looked at twice."""
    with place.collection("notes") as collection:
        points = place.points("notes/torn.md", ["One.", "Two."])
        collection.upsert(points[1:])
    line = complaint(FlowError, lambda: migrate(place.request(second_folder)))
    assert "its head tells of 2 chunks, 1 are stored" in line


# --- switch, rollback, abandon ----------------------------------------------------------------


def test_switch_and_rollback(place: Place, second: SecondEncoder, second_folder: Path) -> None:
    """The alias moves, and back, and no version is lost; then back to the first encoder anew."""
    assert migration_status(place.settings).rollback_to is None
    assert "no version before" in complaint(InvalidInput, lambda: roll_back(place.settings))
    report = migrate(place.request(second_folder, switch=True))
    old, new = place.versions()
    assert (report.switched, place.in_use()) == (True, new)
    status = migration_status(place.settings)
    assert (status.in_use, status.rollback_to, status.under_way) == (new, old, None)
    assert (status.encoder, status.versions) == (str(second_folder), (old, new))
    assert "nothing to migrate" in complaint(
        InvalidInput, lambda: migrate(place.request(second_folder))
    )
    assert roll_back(place.settings) == (new, old)
    assert place.in_use() == old
    assert "no version before" in complaint(InvalidInput, lambda: roll_back(place.settings))
    assert place.versions() == [old, new]

    place.put({"notes/later.md": ["Ingested after the rollback."]})
    second.texts.clear()
    report = migrate(place.request(second_folder, switch=True))  # the version is there, and used
    assert (report.new, second.texts) == (new, ["Ingested after the rollback."])
    assert place.in_use() == new
    require_migrated(place, second)


def test_without_its_state_a_rollback_goes_to_the_version_made_before(
    place: Place, second_folder: Path
) -> None:
    migrate(place.request(second_folder, switch=True))
    old, new = place.versions()
    (migration_folder(place) / "state.json").unlink()
    assert migration_status(place.settings).rollback_to == old
    assert roll_back(place.settings) == (new, old)


def test_without_its_state_an_unfinished_version_is_found_again(
    place: Place, second: SecondEncoder, second_folder: Path
) -> None:
    migrate(place.request(second_folder))
    (migration_folder(place) / "state.json").write_text("{")
    second.texts.clear()
    migrate(place.request(second_folder))
    assert (len(place.versions()), second.texts) == (2, [])
    version, deleted = abandon(place.settings)  # not known to be its own
    assert (version, deleted) == (place.versions()[1], False)


def test_killed_between_the_switch_and_its_note(
    place: Place, second_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias decides; the way back is remembered all the same."""

    def kill(*arguments: Any) -> None:
        raise Killed

    migrate(place.request(second_folder))
    with monkeypatch.context() as patch:
        patch.setattr(MigrationState, "switched", kill)
        with suppress(Killed):
            migrate(place.request(second_folder, switch=True))
    old, new = place.versions()
    status = migration_status(place.settings)
    assert (status.in_use, status.rollback_to, status.under_way) == (new, old, None)
    assert roll_back(place.settings) == (new, old)


def test_abandon(place: Place, second: SecondEncoder, second_folder: Path) -> None:
    """The unfinished version goes, the one in use stays, and a migration may begin again."""
    for call in (lambda: abandon(place.settings), lambda: abandon_question(place.settings)):
        assert "no migration of collection 'notes' is under way" in complaint(InvalidInput, call)

    def kill(texts: list[str]) -> None:
        if len(second.texts) > 6:
            raise Killed

    second.before = kill
    with suppress(Killed):
        migrate(place.request(second_folder))
    old, new = place.versions()
    assert f"version '{new}'" in abandon_question(place.settings)
    assert abandon(place.settings) == (new, True)
    assert place.versions() == [old]
    assert migration_status(place.settings).under_way is None
    assert [path.name for path in migration_folder(place).iterdir() if path.is_dir()] == []
    second.before = lambda texts: None
    migrate(place.request(second_folder, switch=True))
    require_migrated(place, second)
    assert "is under way" in complaint(InvalidInput, lambda: abandon(place.settings))


def test_a_switch_only_on_good_evidence(place: Place, second_folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evidence, "refusal", lambda self, least: f"not {least}")
        report = migrate(place.request(second_folder, min_overlap=0.9))
    assert (report.switched, report.refusal) == (False, "not 0.9")
    assert place.in_use() == report.old
    report = migrate(place.request(None, min_overlap=0.0))
    assert (report.switched, report.refusal) == (True, "")
    assert place.in_use() == report.new


def test_without_the_old_encoder(
    place: Place, second_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is gone: that is when a migration is wanted; there is nothing to compare with."""

    def gone(*arguments: Any) -> None:
        raise FlowError("gone")

    monkeypatch.setattr("flows.migration_request.encoder_of", gone)
    line = complaint(FlowError, lambda: migrate(place.request(second_folder, min_overlap=0.5)))
    assert "is gone or has changed" in line
    assert len(place.versions()) == 1
    report = migrate(place.request(second_folder, switch=True))
    assert report.switched
    evidence = report.evidence
    assert (evidence.overlap, evidence.old.self_retrieval, evidence.score_shift) == (None,) * 3
    assert evidence.new.self_retrieval is not None
    assert any("is gone or has changed" in note for note in evidence.notes)


# --- what cannot be right, and what the world refuses -------------------------------------------


def test_wrong_requests_are_refused_before_any_work(
    place: Place, encoder_folder: Path, second_folder: Path, tmp_path: Path
) -> None:
    """One clear line each, and neither a version nor a folder is made."""
    blank, latin = tmp_path / "blank.txt", tmp_path / "latin.txt"
    blank.write_text("\n  \n")
    latin.write_bytes(b"caf\xe9\n")
    endless = tmp_path / "endless.txt"
    endless.write_text("x" * 10_001)
    name = place.versions()[0]
    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (InvalidInput, "nothing to migrate", {"encoder": str(encoder_folder)}),
        (InvalidInput, "name the new encoder with --encoder", {"encoder": None}),
        (Exception, "unknown encoder 'nope'", {"encoder": "nope"}),
        (CollectionNotFound, "no collection 'gone'", {"collection": "gone"}),
        (InvalidInput, "name the collection, 'notes'", {"collection": name}),
        (InvalidRequest, "collection name 'A/B'", {"collection": "A/B"}),
        (InvalidInput, "--min-overlap 1.5: expected 0 to 1", {"min_overlap": 1.5}),
        (InvalidInput, "--min-overlap nan: expected 0 to 1", {"min_overlap": float("nan")}),
        (InvalidInput, "--sample 0: expected 1 to", {"sample": 0}),
        (InvalidInput, "holds no query; expected one a line", {"queries": str(blank)}),
        (InvalidInput, "is not UTF-8 at byte 3", {"queries": str(latin)}),
        (InvalidInput, "line 1 has 10001 characters", {"queries": str(endless)}),
        (InvalidInput, "no such file", {"queries": str(tmp_path / "gone")}),
    ]
    fields = {"store": place.location, "collection": "notes", "encoder": str(second_folder)}
    for kind, words, options in wrong:
        line = complaint(kind, lambda: migrate(MigrationRequest(**(fields | options))))  # noqa: B023
        assert words in line
    assert place.versions() == [name]
    assert not migration_folder(place).parent.exists() or not any(
        path.name.startswith(("spool", "state")) for path in migration_folder(place).iterdir()
    )


def test_another_migration_under_way(
    place: Place, second: SecondEncoder, second_folder: Path, tmp_path: Path
) -> None:
    """To another encoder: refused. In another process: refused. A changed encoder likewise."""
    migrate(place.request(second_folder))
    third = tmp_path / "third"
    third.mkdir()
    for file in second_folder.iterdir():
        (third / file.name).write_bytes(file.read_bytes())
    config = json.loads((third / "sextant.json").read_text()) | {"max_tokens": 200}
    (third / "sextant.json").write_text(json.dumps(config))
    line = complaint(InvalidInput, lambda: migrate(place.request(third)))
    assert "is under way" in line
    assert "--abandon" in line
    with migrating(place.request(second_folder)):
        line = complaint(FlowError, lambda: roll_back(place.settings))
        assert "another process migrates collection 'notes'" in line
        line = complaint(FlowError, lambda: migrate(place.request(second_folder, switch=True)))
        assert "this process migrates collection 'notes'" in line


def test_a_collection_without_versions_is_refused(
    place: Place,
    second_folder: Path,
    specifications: tuple[EncoderSpecification, EncoderSpecification],
) -> None:
    """An alias cannot have a collection's own name; told before any work."""
    with closing(place.open()) as store:
        store.create(
            Manifest(
                name="plain",
                dimension=32,
                fingerprint=specifications[0].fingerprint,
                encoder=specifications[0].describe(),
                created_at="2026-01-01T00:00:00+00:00",
            )
        ).close()
    request = place.request(second_folder).model_copy(update={"collection": "plain"})
    line = complaint(InvalidInput, lambda: migrate(request))
    assert "it has that name itself" in line
    assert "sextant copy" in line


@edge_only
def test_a_version_in_use_is_waited_for(
    place: Place, second_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until whoever has it lets go; or not for ever."""
    holder = place.open()
    holder.open("notes")
    monkeypatch.setattr(migration_versions, "WAIT_SECONDS", 0.0)
    line = complaint(StoreInUse, lambda: migrate(place.request(second_folder)))
    assert "is in use by" in line
    assert "the same command goes on from there" in line

    class LetsGo:
        def wait(self, seconds: float) -> None:
            holder.close()

    monkeypatch.setattr(migration_versions, "WAIT_SECONDS", 60.0)
    monkeypatch.setattr(migration_versions, "_pause", LetsGo())
    assert migrate(place.request(second_folder)).documents == 12


@edge_only
def test_a_full_disk(
    place: Place, second: SecondEncoder, second_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little for the vectors: nothing is begun. Full while texts are copied: one line."""

    class Usage:
        free = 100

    with monkeypatch.context() as patch:
        patch.setattr("flows.migration_versions.shutil.disk_usage", lambda path: Usage)
        line = complaint(FlowError, lambda: migrate(place.request(second_folder)))
        assert "30 vectors of 32 components take" in line
    with monkeypatch.context() as patch:

        def full(*arguments: Any) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(migration_spool._Writer, "_flush", full)
        line = complaint(FlowError, lambda: migrate(place.request(second_folder)))
        assert "No space left on device; make room" in line
    assert len(place.versions()) == 1
    migrate(place.request(second_folder))
    require_migrated(place, second)


def test_a_drifted_encoder_does_not_write(
    place: Place, second: SecondEncoder, second_folder: Path
) -> None:
    """The version has the canary of the encoder that began it."""
    migrate(place.request(second_folder))
    place.put({"notes/new.md": ["A new one."]})
    straight = second.encode_with_counts

    def drifted(texts: Sequence[str], **options: Any) -> Any:
        return straight([text[::-3] for text in texts], **options)

    second.encode_with_counts = drifted  # type: ignore[method-assign]
    line = complaint(Exception, lambda: migrate(place.request(second_folder)))
    assert "reference text" in line
