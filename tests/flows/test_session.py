"""One session for a process: opened once, shared by nested blocks, closed by the outermost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.errors import FlowError
from flows.session import Session, Target, current, running
from search.errors import CollectionNotFound, FingerprintMismatch, InvalidRequest, StoreInUse

Opener = Callable[[Target], Session]


def test_nested_blocks_share_a_session(target: Target) -> None:
    """A command and its flow meet in one; afterwards there is none."""
    with pytest.raises(FlowError, match="no run is open"):
        current()
    with running(target) as outer:
        with running(target) as inner:
            assert inner is outer
        assert current() is outer
        collection = outer.ensure_collection()
        assert outer.ensure_collection() is collection
        assert collection.count() == 0
    with pytest.raises(FlowError, match="no run is open"):
        current()
    with running(target) as another:
        assert another is not outer
        name = another.existing_collection().manifest.name
        assert name == f"notes--{another.specification.fingerprint[:8]}-1"


def test_one_target_at_a_time(target: Target) -> None:
    """Another collection in the same process would be written through the wrong session."""
    other = target.model_copy(update={"collection": "other"})
    with (
        running(target),
        pytest.raises(FlowError, match="works on collection 'notes'; run one flow"),
        running(other),
    ):
        pass
    with running(other):
        pass


def test_a_failing_block_closes_its_session(target: Target) -> None:
    """The store is free again for the next."""
    with pytest.raises(ZeroDivisionError), running(target) as session:
        session.ensure_collection()
        raise ZeroDivisionError
    with running(target) as session:
        session.existing_collection()


def test_a_run_that_stores_nothing_creates_nothing(target: Target) -> None:
    """Looking for a collection that is not there leaves no folder behind."""
    with running(target) as session:
        assert session.heads == {}
        with pytest.raises(CollectionNotFound, match=r"no collection 'notes' in .*; ingest first"):
            session.existing_collection()
    assert not Path(target.store).exists()


def test_the_collection_knows_its_encoder(target: Target, fingerprint: str) -> None:
    """Once it is made, nobody has to name the encoder again."""
    with running(target) as session:
        manifest = session.ensure_collection().manifest
        assert manifest.fingerprint == fingerprint
        assert manifest.dimension == 32
    with running(target.model_copy(update={"encoder": None})) as session:
        assert session.specification.fingerprint == fingerprint


@pytest.mark.parametrize(
    ("settings", "dimension"),
    [
        ({"pooling": "last_mean"}, 64),
        ({"dimensions": 8, "precision": "int8"}, 8),
        ({"pooling": "last_mean", "dimensions": 48, "precision": "binary"}, 48),
    ],
)
def test_a_collection_has_the_dimension_of_the_vectors(
    target: Target,
    encoder_folder: Path,
    tmp_path: Path,
    settings: dict[str, Any],
    dimension: int,
) -> None:
    """Not of the model's states: they may be pooled twice, or shortened; never of packed bits."""
    folder = tmp_path / "encoder"
    shutil.copytree(encoder_folder, folder)
    (folder / "sextant.json").write_text(json.dumps(settings))
    with running(target.model_copy(update={"encoder": str(folder)})) as session:
        manifest = session.ensure_collection().manifest
        assert manifest.dimension == dimension
        assert session.encode_documents(["an owl", "a lamp"]).vectors.shape == (2, dimension)
        assert session.queries().encode_query(["an owl"]).shape == (1, dimension)


def test_another_encoder_is_refused(target: Target, encoder_folder: Path, tmp_path: Path) -> None:
    """The same weights with another tokenizer make other vectors; the store stays usable."""
    with running(target) as session:
        session.ensure_collection()
    other = tmp_path / "other"
    shutil.copytree(encoder_folder, other)
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    with (
        pytest.raises(FingerprintMismatch, match=r"was built by encoder .* use `--encoder"),
        running(target.model_copy(update={"encoder": str(other)})),
    ):
        pass
    with running(target) as session:
        session.existing_collection()


def test_an_encoder_that_moved_is_found_where_it_is_said_to_be(
    target: Target, encoder_folder: Path, tmp_path: Path
) -> None:
    """Its old place gone, the message says what to do; the same files elsewhere will do."""
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(encoder_folder, before)
    with running(target.model_copy(update={"encoder": str(before)})) as session:
        session.ensure_collection()
    before.rename(after)
    unnamed = target.model_copy(update={"encoder": None})
    with (
        pytest.raises(FlowError, match="which is not there any more; say with --encoder where"),
        running(unnamed),
    ):
        pass
    with running(target.model_copy(update={"encoder": str(after)})) as session:
        session.existing_collection()


def test_a_store_is_open_in_one_place_at_a_time(open_session: Opener, target: Target) -> None:
    """The second one learns who has it."""
    open_session(target).ensure_collection()
    with pytest.raises(StoreInUse, match="in use by pid"):
        Session.open(target)


def test_a_name_that_cannot_be_one_is_refused_before_anything_is_opened(target: Target) -> None:
    """No separators, no capitals: it becomes a folder and part of an address."""
    with pytest.raises(InvalidRequest, match=r"'\.\./x': expected 1-63 characters"):
        Session.open(target.model_copy(update={"collection": "../x"}))


def test_the_recipe_says_what_decides_the_chunks(open_session: Opener, target: Target) -> None:
    """Another chunk size is another recipe; another size limit is not."""
    recipe = open_session(target).recipe
    assert "32 tokens, overlap 0" in recipe
    assert open_session(target.model_copy(update={"chunk_overlap": 4})).recipe != recipe
    assert open_session(target.model_copy(update={"max_document_mb": 9})).recipe == recipe
