"""Aliases of the embedded store: the file, the lock, and names that do not add up."""

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from search.errors import CollectionNotFound, StoreFull, StoreInUse, StoreUnavailable
from search.records import Point
from search.stores import edge_aliases, edge_files, edge_lock
from search.stores.contract import Manifest
from search.stores.edge import EdgeStore

Make = Callable[..., Point]
MakeManifest = Callable[..., Manifest]
FILE = ".aliases.json"


@pytest.fixture
def store(folder: Path, manifest: MakeManifest) -> Iterator[EdgeStore]:
    """A store with the collections `one` and `two`, closed; `docs` leads to `one`."""
    with contextlib.closing(EdgeStore(folder)) as store:
        for name in ("one", "two"):
            store.create(manifest(name)).close()
        store.set_alias("docs", "one")
        yield store


def test_an_alias_and_its_collection_are_one_open_object(store: EdgeStore, chunk: Make) -> None:
    """In either order; after a move, the alias gives the other one, though the first is open."""
    first = store.open("docs")
    assert store.open("one") is first
    assert store.open("docs") is first
    first.upsert([chunk("a")])
    store.set_alias("docs", "two")
    second = store.open("docs")
    assert second.manifest.name == "two"
    assert second.count() == 0
    assert store.open("two") is second
    assert first.count() == 1
    assert store.open("one") is first


def test_another_store_object_sees_a_move_at_once(store: EdgeStore, folder: Path) -> None:
    """Nothing is remembered: the file decides at every opening."""
    with contextlib.closing(EdgeStore(folder)) as other:
        assert other.open("docs").manifest.name == "one"
        store.set_alias("docs", "two")
        assert other.open("docs").manifest.name == "two"
        store.set_alias("docs", None)
        with pytest.raises(CollectionNotFound, match="'docs'"):
            other.open("docs")
        assert other.aliases() == {}


DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"version": 1, "aliases": {"docs": "o',
    "no JSON": b"docs=one",
    "not UTF-8": b'{"version": 1, "aliases": {"docs": "\xff"}}',
    "a list": b"[]",
    "no version": b'{"aliases": {"docs": "one"}}',
    "a later version": b'{"version": 2, "aliases": {"docs": "one"}}',
    "no aliases": b'{"version": 1}',
    "aliases a list": b'{"version": 1, "aliases": ["docs"]}',
    "a number as target": b'{"version": 1, "aliases": {"docs": 1}}',
    "a path as target": b'{"version": 1, "aliases": {"docs": "../two"}}',
    "a folder of ours as target": b'{"version": 1, "aliases": {"docs": ".locks"}}',
    "a path as alias": b'{"version": 1, "aliases": {"../docs": "one"}}',
    "a chain": b'{"version": 1, "aliases": {"docs": "next", "next": "one"}}',
    "a cycle": b'{"version": 1, "aliases": {"docs": "next", "next": "docs"}}',
    "itself": b'{"version": 1, "aliases": {"docs": "docs"}}',
    "twice": b'{"version": 1, "aliases": {"docs": "one", "docs": "two"}}',
    "deep": b"[" * 100_000,
    "huge": b" " * (edge_aliases.MAX_BYTES + 1),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_one_line_and_no_collection(
    store: EdgeStore, folder: Path, manifest: MakeManifest, content: bytes
) -> None:
    """Whatever is asked by name; the collections are still listed, and nothing is written."""
    (folder / FILE).write_bytes(content)
    for attempt in (
        store.aliases,
        lambda: store.open("docs"),
        lambda: store.open("one"),
        lambda: store.delete("two"),
        lambda: store.create(manifest("three")),
        lambda: store.set_alias("docs", "two"),
        lambda: store.set_alias("docs", None),
    ):
        with pytest.raises(
            StoreUnavailable, match=r"\.aliases\.json is no list .*; restore it"
        ) as e:
            attempt()
        assert "\n" not in str(e.value)
        assert len(str(e.value)) < 400 + len(str(folder))
    assert [found.name for found in store.list()] == ["one", "two"]
    assert (folder / FILE).read_bytes() == content
    (folder / FILE).unlink()
    assert store.open("one").count() == 0


def test_a_file_that_cannot_be_read_is_reported(store: EdgeStore, folder: Path) -> None:
    """A folder in its place."""
    (folder / FILE).unlink()
    (folder / FILE).mkdir()
    for attempt in (store.aliases, lambda: store.open("docs")):
        with pytest.raises(StoreUnavailable, match="cannot be used"):
            attempt()


def test_a_target_that_is_gone_is_named(store: EdgeStore, folder: Path) -> None:
    """Removed by hand: the alias leads nowhere, and may be moved or removed."""
    shutil.rmtree(folder / "one")
    with pytest.raises(CollectionNotFound, match=r"alias 'docs' leads to collection 'one', which"):
        store.open("docs")
    assert store.aliases() == {"docs": "one"}
    store.set_alias("docs", "two")
    assert store.open("docs").manifest.name == "two"


def test_an_alias_that_is_also_a_collection_opens_neither(store: EdgeStore, folder: Path) -> None:
    """A folder copied to the alias's name: which of the two was meant is not ours to guess."""
    shutil.copytree(folder / "two", folder / "docs")
    with pytest.raises(StoreUnavailable, match=r"both a collection .* and an alias of 'one'"):
        store.open("docs")
    store.set_alias("docs", None)
    assert store.open("docs").manifest.name == "docs"


def test_a_killed_writer_leaves_the_old_aliases(
    store: EdgeStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Death before the new file is in its place; what it left does not matter to the next."""

    def die(path: Path, text: str) -> None:
        path.with_name(f"{path.name}.partial").write_text(text[:9])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(edge_aliases, "write_durably", die)
        with pytest.raises(KeyboardInterrupt):
            store.set_alias("docs", "two")
    assert store.aliases() == {"docs": "one"}
    store.set_alias("docs", "two")
    assert store.aliases() == {"docs": "two"}


def test_aliases_are_on_the_disk_when_set(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is flushed before it is put in place, and the folder after."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        done.append("flush")
        fsync(descriptor)

    def replaced(self: Path, target: Path) -> Path:
        done.append("replace")
        return replace(self, target)

    monkeypatch.setattr(edge_files.os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", replaced)
    store.set_alias("docs", "two")
    assert done == ["flush", "replace", "flush"]


def test_writers_do_not_undo_each_other(store: EdgeStore, folder: Path) -> None:
    """Eight of them, each through a store of its own, as programs would: every alias is kept."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with contextlib.closing(EdgeStore(folder)) as mine:
                for attempt in range(5):
                    mine.set_alias(f"a{number}-{attempt}", "two")
                mine.set_alias(f"a{number}-0", None)
        except BaseException as error:  # noqa: BLE001 - shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    wanted = {f"a{number}-{attempt}": "two" for number in range(8) for attempt in range(1, 5)}
    assert store.aliases() == {**wanted, "docs": "one"}


def test_a_writer_that_takes_too_long_is_named(
    store: EdgeStore, folder: Path, manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names may not change meanwhile; what is there can be opened."""
    monkeypatch.setattr(edge_aliases, "WAIT_SECONDS", 0.05)
    holder = edge_lock.acquire(
        folder / ".locks" / ".aliases", pid=os.getpid(), command="sextant", since="now"
    )
    changes: list[Callable[[], Any]] = [
        lambda: store.set_alias("docs", "two"),
        lambda: store.create(manifest("three")),
        lambda: store.delete("two"),
    ]
    for attempt in changes:
        with pytest.raises(StoreInUse, match=rf"by pid {os.getpid()} \(sextant\)"):
            attempt()
    assert store.open("docs").manifest.name == "one"
    edge_lock.release(holder)
    store.set_alias("docs", "two")


def test_a_full_disk_keeps_the_old_aliases(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the one for a full disk."""

    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(edge_aliases, "write_durably", full)
        with pytest.raises(StoreFull, match="No space left"):
            store.set_alias("docs", "two")
    assert store.aliases() == {"docs": "one"}


def test_a_store_that_is_not_there_has_no_aliases(tmp_path: Path) -> None:
    """Asking makes nothing."""
    store = EdgeStore(tmp_path / "missing")
    assert store.aliases() == {}
    with pytest.raises(CollectionNotFound):
        store.open("docs")
    assert not (tmp_path / "missing").exists()
