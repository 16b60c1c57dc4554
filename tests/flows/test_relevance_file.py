"""What meaningless queries find, kept: read when it changes, counted now and then."""

from pathlib import Path
from typing import Any

import pytest

from flows import relevance_file
from flows.relevance_file import RelevanceFile
from search.relevance import Chance


class Counted:
    """A collection that says how many chunks it has, and notes how often it was asked."""

    def __init__(self, chunks: int = 100) -> None:
        self.chunks, self.asked = chunks, 0
        self.manifest = type("Manifest", (), {"name": "docs", "fingerprint": "f"})

    def count(self, where: Any) -> int:
        """Of chunks."""
        self.asked += 1
        return self.chunks


def chance(chunks: int = 100, best: tuple[float, ...] = (0.25, 0.5)) -> Chance:
    return Chance(collection="docs", fingerprint="f", chunks=chunks, best=best)


def opened(path: Path, collection: Any) -> RelevanceFile:
    return RelevanceFile(path, collection)


def test_what_is_written_is_known(tmp_path: Path) -> None:
    """Also to another process; asked often, the collection is counted once."""
    path, collection = tmp_path / "docs" / "relevance.json", Counted()
    file = opened(path, collection)
    assert file.known() is None
    file.write(chance())
    assert [file.known() for _ in range(50)] == [chance()] * 50
    assert collection.asked == 1
    assert opened(path, Counted()).known() == chance()


def test_another_file_is_read(tmp_path: Path) -> None:
    """Written by another process, damaged, or gone."""
    path = tmp_path / "relevance.json"
    file = opened(path, Counted())
    file.write(chance())
    assert file.known() == chance()
    other = chance(best=(0.125,))
    opened(path, Counted()).write(other)
    assert file.known() == other
    for damaged in (b"", b"{", b"\xff\xfe", b'{"collection": "docs"}'):
        path.write_bytes(damaged)
        assert file.known() is None
    path.unlink()
    assert file.known() is None


def test_a_collection_that_grew_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is counted again; another collection or encoder is told apart at once."""
    path, collection = tmp_path / "relevance.json", Counted()
    file = opened(path, collection)
    file.write(chance())
    assert file.known() is not None
    collection.chunks = 1000
    assert file.known() is not None
    monkeypatch.setattr(relevance_file, "COUNT_SECONDS", -1.0)
    assert file.known() is None
    file.write(chance(chunks=1000).model_copy(update={"fingerprint": "other"}))
    assert file.known() is None


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    """It is measured again next time."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    file = opened(blocked / "relevance.json", Counted())
    file.write(chance())
    assert file.known() is None
    assert list(tmp_path.iterdir()) == [blocked]
