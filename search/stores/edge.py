"""The embedded store: collections in a folder, Qdrant's own engine, one worker process for each.

    <folder>/<collection>/manifest.json    written last: a folder without it is no collection
    <folder>/<collection>/shard/           the engine's files
    <folder>/.aliases.json                 further names of collections
    <folder>/.locks/<collection>           who has it open; outlives the collection
    <folder>/.locks/.aliases               who changes the aliases
    <folder>/.reserve                      4 MiB, given up so that deletes work on a full disk
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

from search.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidRequest,
    StoreFull,
    StoreInUse,
    StoreUnavailable,
)
from search.stores import edge_files, edge_lock, edge_room, manifests
from search.stores.contract import Manifest, StorageOptions
from search.stores.edge_aliases import AliasFile
from search.stores.edge_collection import EdgeCollection
from search.stores.edge_process import EngineProcess, this_process
from search.stores.edge_wire import Create, Layout, Open
from search.stores.filter_checks import INDEXED

MANIFEST: Final = "manifest.json"
LOCKS: Final = ".locks"
TRASH: Final = ".trash-"
SERVER_OPTIONS: Final = ("on_disk", "shards", "replicas")
"""Storage options that this engine knows nothing of."""


class EdgeStore:
    """A folder of collections; see `contract.Store`."""

    def __init__(self, folder: str | Path) -> None:
        """Nothing is read or made yet: a folder that does not exist is an empty store."""
        self._folder = Path(folder).absolute()
        self._aliases = AliasFile(self._folder, self._folder / LOCKS)
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
                if manifests.COLLECTION_NAME.fullmatch(entry.name)
                and self._is_collection(entry.name)
            )
            return [self._read_manifest(name) for name in names]

    def create(self, manifest: Manifest) -> EdgeCollection:
        """Make a collection and open it."""
        name = manifests.check_manifest(manifest).name
        _check_storage(manifest)
        with self._changing_names():
            if self._is_collection(name):
                raise CollectionExists(f"collection {name!r} is there already in {self._folder}")
            if name in (aliases := self._aliases.read()):
                raise CollectionExists(
                    f"{name!r} is an alias in {self._folder}, of collection {aliases[name]!r}; "
                    "choose another name, or remove the alias"
                )
            opening = Create(
                folder=str(self._folder / name),
                lock=str(self._folder / LOCKS / name),
                owner=this_process(),
                layout=_layout(manifest),
                manifest=manifests.manifest_text(manifest),
                indexes=tuple(INDEXED.items()),
            )
            return self._start(manifest, opening)

    def open(self, name: str) -> EdgeCollection:
        """Open a collection by its name or an alias; the same object again while it is open."""
        manifests.check_name(name)
        with self._lock, self._filesystem():
            target = self._resolve(name)
            opened = self._opened.get(target)
            if opened is not None and not opened.is_closed:
                return opened
            manifest = self._read_manifest(target)
            self._prepare_folder()
            return self._start(manifest, self._opening(manifest))

    def aliases(self) -> dict[str, str]:
        """Alias -> name of the collection that it leads to, ordered by alias."""
        with self._filesystem():
            return self._aliases.read()

    def set_alias(self, alias: str, target: str | None) -> None:
        """Let an alias lead to a collection, in one step that outlives a crash; None removes it."""
        manifests.check_name(alias)
        if target is not None:
            manifests.check_name(target)
        with self._changing_names():
            aliases = self._aliases.read()
            if target is None:
                if alias not in aliases:
                    raise CollectionNotFound(f"no alias {alias!r} in {self._folder}")
                del aliases[alias]
            else:
                if self._is_collection(alias):
                    raise CollectionExists(
                        f"{alias!r} is a collection in {self._folder}; choose another alias"
                    )
                if target in aliases:
                    raise CollectionNotFound(
                        f"{target!r} is an alias in {self._folder}; expected a collection, "
                        f"e.g. {aliases[target]!r}, to which it leads"
                    )
                if not self._is_collection(target):
                    raise self._not_found(target)
                aliases[alias] = target
            self._aliases.write(aliases)

    def delete(self, name: str) -> None:
        """Delete a collection to which no alias leads, closing it first if it is open here."""
        manifests.check_name(name)
        with self._changing_names():
            aliases = self._aliases.read()
            if name in aliases:
                raise InvalidRequest(
                    f"{name!r} is an alias of collection {aliases[name]!r}; remove the alias, and "
                    "delete the collection by its own name"
                )
            if not self._is_collection(name):
                raise self._not_found(name)
            if leading := [alias for alias, target in aliases.items() if target == name]:
                raise InvalidRequest(
                    f"alias {leading[0]!r} leads to collection {name!r}; let it lead to another "
                    "one, or remove it, before the collection is deleted"
                )
            opened = self._opened.pop(name, None)
            if opened is not None:
                opened.close()
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
        engine = EngineProcess(manifest.name, opening, self._opening(manifest))
        collection = EdgeCollection(manifest, engine, self._folder / manifest.name)
        self._opened[manifest.name] = collection
        return collection

    def _opening(self, manifest: Manifest) -> Open:
        return Open(
            folder=str(self._folder / manifest.name),
            lock=str(self._folder / LOCKS / manifest.name),
            owner=this_process(),
            layout=_layout(manifest),
        )

    def _resolve(self, name: str) -> str:
        """The name of the collection that a name means."""
        target = self._aliases.read().get(name)
        if target is None:
            return name
        if self._is_collection(name):
            raise StoreUnavailable(
                f"{name!r} is both a collection in {self._folder} and an alias of {target!r}; "
                f"give the folder {name!r} another name, or remove the alias"
            )
        if not self._is_collection(target):
            raise CollectionNotFound(
                f"alias {name!r} leads to collection {target!r}, which is not in {self._folder}; "
                "let it lead to another one, or remove it"
            )
        return target

    def _is_collection(self, name: str) -> bool:
        return (self._folder / name / MANIFEST).exists()

    @contextlib.contextmanager
    def _changing_names(self) -> Iterator[None]:
        """No other thread or process makes, deletes or renames anything here meanwhile."""
        with self._lock, self._filesystem():
            self._prepare_folder()
            with self._aliases.guard(this_process()):
                yield

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
            kind = StoreFull if edge_room.is_out_of_space(error) else StoreUnavailable
            raise kind(
                f"store {self._folder} cannot be used: {error}; check the path, rights and space"
            ) from error


def _check_storage(manifest: Manifest) -> None:
    """Refuse options that would do nothing here."""
    default = StorageOptions()
    given = [
        option
        for option in SERVER_OPTIONS
        if getattr(manifest.storage, option) != getattr(default, option)
    ]
    if given:
        raise InvalidRequest(
            f"collection {manifest.name!r}: storage option {', '.join(given)} is for servers only; "
            "leave it out, or use a server's address as the store"
        )


def _layout(manifest: Manifest) -> Layout:
    return Layout(dimension=manifest.dimension, quantisation=manifest.storage.quantisation)
