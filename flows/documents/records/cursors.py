"""Rows found again after the listing: a few open readers, which go forward as documents are read.

Reading all rows of a file in their order reads the file once, whatever its kind and compression.
Going back opens it anew; where a kind allows for it, near the row that is looked for.
"""

import time
from collections.abc import Generator
from threading import Lock, Timer
from typing import Final

from flows.documents.records.record_file import RecordFile
from flows.documents.records.row import Row, Values
from flows.errors import DocumentRejected

MAX_OPEN: Final = 4
"""Readers kept, of all files together: partitions that are read at once have one each."""
IDLE_SECONDS: Final = 10.0
"""A reader that nobody asks is closed after about that time."""

CHANGED: Final = "changed after it was listed; run again"


class Cursor:
    """A reader of one file, and how far it has come."""

    def __init__(self, file: RecordFile, start: int) -> None:
        self.file = file
        self.position = start
        self.used = time.monotonic()
        self._rows: Generator[Row, None, None] = file.rows(start)

    def reaches(self, place: int) -> bool:
        """Whether it gets to a row sooner by reading on than another one would from there."""
        stride = self.file.stride
        return self.position <= place and (stride is None or place - self.position <= stride)

    def find(self, place: int) -> Row | None:
        """The row at a place that lies ahead; None where none begins there any more."""
        for row in self._rows:
            self.position = row.end
            if row.place >= place:
                return row if row.place == place else None
        return None

    def close(self) -> None:
        """Close its file."""
        self._rows.close()


class Cursors:
    """Readers that are not in use just now; safe for threads, each of which uses its own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[Cursor] = []
        self._timer: Timer | None = None

    def values(self, file: RecordFile, place: int) -> Values:
        """The values of the row at a place.

        Raises:
            DocumentRejected: There is no such row, or it cannot be decoded.
        """
        cursor = self._take(file, place)
        try:
            row = cursor.find(place)
        except BaseException:
            cursor.close()
            raise
        self._give(cursor)
        if row is None:
            raise DocumentRejected(CHANGED)
        return row.values()

    def close(self, *, idle_for: float = 0.0) -> int:
        """Close the readers that nobody has asked for so many seconds; how many are left."""
        latest = time.monotonic() - idle_for
        with self._lock:
            old = [cursor for cursor in self._idle if cursor.used <= latest]
            self._idle = [cursor for cursor in self._idle if cursor.used > latest]
            left = len(self._idle)
        for cursor in old:
            cursor.close()
        return left

    def _take(self, file: RecordFile, place: int) -> Cursor:
        with self._lock:
            near = [c for c in self._idle if c.file == file and c.reaches(place)]
            if near:
                cursor = max(near, key=lambda cursor: cursor.position)
                self._idle.remove(cursor)
                return cursor
        return Cursor(file, 0 if file.stride is None else place)

    def _give(self, cursor: Cursor) -> None:
        cursor.used = time.monotonic()
        with self._lock:
            self._idle.append(cursor)
            surplus, self._idle = self._idle[:-MAX_OPEN], self._idle[-MAX_OPEN:]
            if self._timer is None:
                self._start_timer()
        for old in surplus:
            old.close()

    def _start_timer(self) -> None:
        self._timer = Timer(IDLE_SECONDS, self._tidy)
        self._timer.daemon = True
        self._timer.start()

    def _tidy(self) -> None:
        left = self.close(idle_for=IDLE_SECONDS)
        with self._lock:
            self._timer = None
            if left:
                self._start_timer()


CURSORS: Final = Cursors()
"""Those of this process."""
