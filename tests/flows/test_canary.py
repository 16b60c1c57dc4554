"""A collection keeps reference vectors; an encoder that no longer gives them writes nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedder.canary import CANARY_TEXTS, canary_vectors
from embedder.config import EncoderConfig
from embedder.errors import CanaryDrift, InvalidConfig
from flows.documents.sources import discover
from flows.partition import store_documents
from flows.searching import searching
from flows.session import Session, Target
from flows.settings import load_settings
from search.filters import of_kind
from search.records import KIND_CHUNK, KIND_HEAD
from search.stores.edge import EdgeStore

Opener = Callable[[Target], Session]
World = Any

CANARY = list(CANARY_TEXTS)


def ingest(session: Session, folder: Path) -> None:
    store_documents(discover([str(folder)]).documents, session)


def edit_manifest(store: Path | str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what collection `notes` says of itself."""
    (path,) = Path(store).glob("notes--*/manifest.json")
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def drift(fields: dict[str, Any]) -> None:
    """As if another release of torch had made the collection: one of the vectors is turned."""
    vector = fields["canary"][1]
    fields["canary"][1] = [vector[-1], *vector[:-1]]


def test_a_new_collection_keeps_the_canary(
    open_session: Opener, target: Target, corpus: Path, letters: Any
) -> None:
    """Made by the encoder that makes everything else in it, once; no second look in that run."""
    session = open_session(target)
    ingest(session, corpus)
    assert letters.calls.count(CANARY) == 1
    assert session.existing_collection().manifest.canary == canary_vectors(letters)


def test_an_existing_collection_is_checked_once_a_run(
    open_session: Opener, target: Target, corpus: Path, letters: Any
) -> None:
    """Before the first chunk is encoded, and not again."""
    open_session(target).ensure_collection()
    session = open_session(target)
    letters.calls.clear()
    ingest(session, corpus)
    session.encode_documents(["more"])
    assert letters.calls.index(CANARY) == 0
    assert letters.calls.count(CANARY) == 1
    assert letters.calls[-1] == ["more"]


def test_an_encoder_that_drifted_writes_nothing(
    open_session: Opener, target: Target, corpus: Path
) -> None:
    """However often it is asked; the collection stays as it was."""
    session = open_session(target)
    ingest(session, corpus / "sub")
    session.close()
    edit_manifest(target.store, drift)
    session = open_session(target)
    before = {record.id for record in session.existing_collection().scroll()}
    for _ in range(2):
        with pytest.raises(CanaryDrift, match=r"reference text 2 .* has cosine 0\.\d+ with"):
            ingest(session, corpus)
    assert {record.id for record in session.existing_collection().scroll()} == before


def test_a_collection_older_than_canaries_is_written_as_before(
    open_session: Opener, target: Target, corpus: Path, letters: Any
) -> None:
    """It has nothing to compare with."""
    open_session(target).ensure_collection().close()
    edit_manifest(target.store, lambda fields: fields.pop("canary"))
    session = open_session(target)
    letters.calls.clear()
    ingest(session, corpus)
    assert session.existing_collection().count(of_kind(KIND_HEAD)) == 4
    assert CANARY not in letters.calls


def test_no_document_is_blamed_for_a_canary_without_vector(
    open_session: Opener, target: Target, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that gives NaN for a reference text makes no collection, and quarantines nobody."""
    monkeypatch.setattr("embedder.canary.CANARY_TEXTS", ("fine", "NaN"))
    session = open_session(target)
    with pytest.raises(InvalidConfig, match=r"reference text 2 \('NaN'\) gives no finite vector"):
        ingest(session, corpus)
    assert session.collection is None


@pytest.mark.parametrize("precision", ["float16", "int8", "binary"])
def test_a_store_holds_float32_whatever_the_encoder_returns(
    open_session: Opener, target: Target, corpus: Path, letters: Any, precision: Any
) -> None:
    """Unit vectors, as exact as the precision left them; queries likewise."""
    letters.config = EncoderConfig(precision=precision)
    session = open_session(target)
    ingest(session, corpus)
    collection = session.existing_collection()
    for record in collection.scroll(where=of_kind(KIND_CHUNK), with_vectors=True):
        assert record.vector is not None
        assert record.vector.dtype == np.float32
        assert np.linalg.norm(record.vector) == pytest.approx(1, abs=1e-5)
        query = session.queries().encode_query([record.payload["page_content"]])
        assert (query.dtype, query.shape) == (np.float32, (1, 32))
        assert np.allclose(query[0], record.vector, atol=1e-6)
    assert collection.manifest.canary == canary_vectors(letters)


def test_a_search_warns_and_answers(
    open_session: Opener,
    target: Target,
    corpus: Path,
    letters: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hits of a drifted encoder may be off, and are better than none."""
    monkeypatch.setattr("flows.encoders.load_encoder", lambda specification: letters)
    session = open_session(target)
    ingest(session, corpus)
    session.close()

    def found() -> tuple[list[str], str | None]:
        with searching(load_settings(store=target.store, collection=target.collection)) as place:
            result = place.search("sand", mode="dense", limit=9)
            return [hit.id for hit in result.hits], place.encoder.drift

    hits, warning = found()
    assert (len(hits), warning) == (4, None)
    edit_manifest(target.store, drift)
    again, warning = found()
    assert again == hits
    assert warning is not None
    assert warning.startswith("reference text 2 (")


def test_the_commands_of_a_drifted_collection(world: World, tmp_path: Path) -> None:
    """`ingest` ends with 1 and one line, nothing written; `search` answers, with one line."""
    store = tmp_path / "copy"
    shutil.copytree(world.store, store)
    edit_manifest(store, drift)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "moss.txt").write_text("Moss grows on the north side.\n")
    options = ("--store", store)
    before = world.sextant("collections", "show", "notes", "--json", *options).json
    run = world.sextant("ingest", tmp_path / "more", "--quiet", *options)
    assert run.code == 1
    assert run.complaint.startswith("reference text 2 ('A lighthouse keeper trims")
    assert run.complaint.endswith("or re-embed into a new collection")
    assert world.sextant("collections", "show", "notes", "--json", *options).json == before

    run = world.sextant("search", "bread", "--json", *options)
    assert (run.code, run.err.count("\n")) == (0, 1)
    assert run.err.startswith("sextant: warning, hits may be off: reference text 2 (")
    assert len(run.json["hits"]) == 5

    (listed,) = world.sextant("collections", "list", "--json", *options).json["collections"]
    assert "canary" not in listed
    assert EdgeStore(store).list()[0].canary
