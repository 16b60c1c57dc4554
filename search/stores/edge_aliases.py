"""The aliases of an embedded store: one small file, replaced whole."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from search.errors import StoreInUse, StoreUnavailable
from search.stores import edge_lock, manifests
from search.stores.edge_files import write_durably
from search.stores.edge_wire import Owner

FILE: Final = ".aliases.json"
LOCK: Final = ".aliases"
FILE_VERSION: Final = 1
MAX_BYTES: Final = 16 * 2**20
WAIT_SECONDS: Final = 30.0
"""How long a change waits for another process's; the longest makes a collection."""
RETRY_SECONDS: Final = 0.02


class AliasFile:
    """Alias -> collection, as a store's folder keeps it; whoever changes it holds `guard`."""

    def __init__(self, folder: Path, locks: Path) -> None:
        """Nothing is read yet.

        Args:
            folder: The store's; without the file in it there are no aliases.
            locks: Where its locks are.
        """
        self._path = folder / FILE
        self._lock = locks / LOCK

    def read(self) -> dict[str, str]:
        """All aliases, ordered; each leads to a name that is none itself.

        Raises:
            StoreUnavailable: the file is damaged: then no name is known for what it means.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        try:
            return dict(sorted(_checked(content).items()))
        except ValueError as error:
            raise StoreUnavailable(
                f"{self._path} is no list of aliases ({error}); restore it, or remove it and set "
                "the aliases again"
            ) from None

    def write(self, aliases: dict[str, str]) -> None:
        """Replace all aliases in one step."""
        fields = {"version": FILE_VERSION, "aliases": dict(sorted(aliases.items()))}
        write_durably(self._path, json.dumps(fields, indent=2) + "\n")

    @contextlib.contextmanager
    def guard(self, owner: Owner) -> Iterator[None]:
        """Keep others, of this process too, from making, deleting or renaming anything.

        Raises:
            StoreInUse: another process did not finish its change within `WAIT_SECONDS`.
        """
        descriptor = self._acquire(owner)
        try:
            yield
        finally:
            edge_lock.release(descriptor)

    def _acquire(self, owner: Owner) -> int:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return edge_lock.acquire(
                    self._lock, pid=owner.pid, command=owner.command, since=owner.since
                )
            except edge_lock.LockHeldError as held:
                if time.monotonic() > deadline:
                    raise StoreInUse(
                        f"names in {self._path.parent} are being changed by {held}; wait for it "
                        "or stop it"
                    ) from None
                time.sleep(RETRY_SECONDS)


def _checked(content: bytes) -> dict[str, str]:
    """The aliases in a file.

    Raises:
        ValueError: it is anything but what `AliasFile.write` writes.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES:,} bytes")
    try:
        fields = json.loads(content.decode(), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(fields, dict) or fields.get("version") != FILE_VERSION:
        raise ValueError(f"expected an object of version {FILE_VERSION}")
    aliases = fields.get("aliases")
    if not isinstance(aliases, dict):
        raise ValueError("expected an object 'aliases'")
    for alias, target in aliases.items():
        for name in (alias, target):
            if not isinstance(name, str) or not manifests.COLLECTION_NAME.fullmatch(name):
                raise ValueError(f"{_short(name)} is no name of a collection")
        if target in aliases:
            raise ValueError(f"alias {alias!r} leads to alias {target!r}, not to a collection")
    return aliases


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name comes twice")
    return fields


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
