"""The embedded store: collections in a folder, Qdrant's own engine, one worker process for each.

    <folder>/<collection>/manifest.json    written last: a folder without it is no collection
    <folder>/<collection>/shard/           the engine's files
    <folder>/.locks/<collection>           who has it open; outlives the collection
    <folder>/.trash-<collection>-<id>/     a deletion that was interrupted

POSIX only: the lock is `flock`'s, and the worker inherits a socket.
"""

import contextlib
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from search.errors import CollectionExists, CollectionNotFound, StoreInUse, StoreUnavailable
from search.stores import edge_files, edge_lock, manifests
from search.stores.contract import Manifest
from search.stores.edge_collection import EdgeCollection
from search.stores.edge_process import EngineProcess, this_process
from search.stores.edge_wire import Create, Open
from search.stores.validation import INDEXED

MANIFEST: Final = "manifest.json"
LOCKS: Final = ".locks"
TRASH: Final = ".trash-"


class EdgeStore:
    """A folder of collections; see `contract.Store`."""

    def __init__(self, folder: str | Path) -> None:
        """Nothing is read or made yet: a folder that does not exist is an empty store."""
        self._folder = Path(folder).absolute()
        self._opened: dict[str, EdgeCollection] = {}
        self._lock = threading.RLock()

    @property
    def location(self) -> str:
        """The folder."""
        return str(self._folder)

    def list(self) -> list[Manifest]:
        """The manifests of all collections, ordered by name."""
        with self._filesystem():
            if not self._folder.exists():
                return []
            names = sorted(
                entry.name
                for entry in self._folder.iterdir()
                if manifests.COLLECTION_NAME.fullmatch(entry.name) and (entry / MANIFEST).exists()
            )
            return [self._read_manifest(name) for name in names]

    def create(self, manifest: Manifest) -> EdgeCollection:
        """Make a collection and open it."""
        name = manifests.check_manifest(manifest).name
        with self._lock, self._filesystem():
            self._prepare_folder()
            if (self._folder / name / MANIFEST).exists():
                raise CollectionExists(f"collection {name!r} is there already in {self._folder}")
            opening = Create(
                folder=str(self._folder / name),
                lock=str(self._folder / LOCKS / name),
                owner=this_process(),
                manifest=manifests.manifest_text(manifest),
                dimension=manifest.dimension,
                indexes=tuple(INDEXED.items()),
            )
            return self._start(manifest, opening)

    def open(self, name: str) -> EdgeCollection:
        """Open a collection; the same object again while it is open."""
        manifests.check_name(name)
        with self._lock, self._filesystem():
            opened = self._opened.get(name)
            if opened is not None and not opened.is_closed:
                return opened
            manifest = self._read_manifest(name)
            self._prepare_folder()
            return self._start(manifest, self._opening(name))

    def delete(self, name: str) -> None:
        """Delete a collection, closing it first if this store has it open."""
        manifests.check_name(name)
        with self._lock, self._filesystem():
            opened = self._opened.pop(name, None)
            if opened is not None:
                opened.close()
            if not (self._folder / name / MANIFEST).exists():
                raise self._not_found(name)
            self._prepare_folder()
            owner = this_process()
            try:
                lock = edge_lock.acquire(
                    self._folder / LOCKS / name,
                    pid=owner.pid,
                    command=owner.command,
                    since=owner.since,
                )
            except edge_lock.LockHeldError as held:
                raise StoreInUse(
                    f"collection {name!r} is in use by {held}; wait for it or stop it"
                ) from None
            try:
                trash = self._folder / f"{TRASH}{name}-{uuid.uuid4().hex}"
                (self._folder / name).rename(trash)
                edge_files.sync_folder(self._folder)
            finally:
                edge_lock.release(lock)
            # what cannot be removed now, or is being removed by another store's opening of the
            # folder, goes at the next change
            shutil.rmtree(trash, ignore_errors=True)

    def close(self) -> None:
        """Close every collection that was opened through this store."""
        with self._lock:
            while self._opened:
                self._opened.popitem()[1].close()

    def _start(self, manifest: Manifest, opening: Create | Open) -> EdgeCollection:
        engine = EngineProcess(manifest.name, opening, self._opening(manifest.name))
        self._opened[manifest.name] = EdgeCollection(manifest, engine)
        return self._opened[manifest.name]

    def _opening(self, name: str) -> Open:
        return Open(
            folder=str(self._folder / name),
            lock=str(self._folder / LOCKS / name),
            owner=this_process(),
        )

    def _prepare_folder(self) -> None:
        (self._folder / LOCKS).mkdir(parents=True, exist_ok=True)
        for leftover in self._folder.glob(f"{TRASH}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _read_manifest(self, name: str) -> Manifest:
        path = self._folder / name / MANIFEST
        try:
            text = path.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            raise self._not_found(name) from None
        return manifests.read_manifest(text, name=name, place=str(path))

    def _not_found(self, name: str) -> CollectionNotFound:
        return CollectionNotFound(
            f"no collection {name!r} in {self._folder}; ingest first, or check the name"
        )

    @contextlib.contextmanager
    def _filesystem(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(
                f"store {self._folder} cannot be used: {error}; check the path, rights and space"
            ) from error
