"""What meaningless queries find in a collection, kept in its state folder between searches."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import ValidationError

from search.filters import of_kind
from search.records import KIND_CHUNK
from search.relevance import Chance
from search.stores.contract import Collection

RELEVANCE: Final = "relevance.json"
"""Name of the file."""
COUNT_SECONDS: Final = 10.0
"""For so long a number of chunks counts as known. Counting takes as long as a search, and what was
measured tells about a collection until it has half as many chunks again."""

_Stamp: TypeAlias = tuple[int, int, int]
"""A file's inode, size and time of change: another one is read again."""


class RelevanceFile:
    """The file of one open collection, read when it has changed. Threads may share it."""

    def __init__(self, path: Path, collection: Collection) -> None:
        """Nothing is read yet."""
        self._path = path
        self._collection = collection
        self._lock = threading.Lock()
        self._read: tuple[_Stamp, Chance | None] | None = None
        self._counted: tuple[float, int] | None = None

    def known(self) -> Chance | None:
        """What was measured, if it still tells about the collection.

        Raises:
            SearchError: the collection cannot be asked how many chunks it has.
        """
        with self._lock:
            found = self._chance()
            if found is None or not found.fits(self._collection, chunks=self._chunks()):
                return None
            return found

    def write(self, chance: Chance) -> None:
        """Keep what was measured; where that cannot be written, it is measured again next time."""
        temporary = self._path.with_suffix(".partial")
        with self._lock:
            self._counted = None
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_text(chance.model_dump_json(), encoding="utf-8")
                temporary.replace(self._path)
            except OSError:
                with contextlib.suppress(OSError):
                    temporary.unlink()

    def _chance(self) -> Chance | None:
        try:
            status = self._path.stat()
            stamp = status.st_ino, status.st_size, status.st_mtime_ns
            if self._read is None or self._read[0] != stamp:
                self._read = stamp, self._parsed()
        except OSError:
            return None  # there is none
        return self._read[1]

    def _parsed(self) -> Chance | None:
        try:
            return Chance.model_validate_json(self._path.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError):
            return None  # not whole: it is measured again

    def _chunks(self) -> int:
        now = time.monotonic()
        if self._counted is None or now - self._counted[0] > COUNT_SECONDS:
            self._counted = now, self._collection.count(of_kind(KIND_CHUNK))
        return self._counted[1]
