"""Room on the disk of an embedded collection, looked at before each write.

The engine maps its files into memory, so that a disk that is full kills it (SIGBUS) rather than
failing a call. Deletes are let through, and need some 25 bytes for each point: for them a file of
the store is held in reserve, and given up where another program has filled the disk.
"""

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Final

from search.errors import StoreFull

FLOOR_BYTES: Final = 64 * 2**20
"""Two of the files of 32 MiB in which the engine's log and its payloads grow."""
FACTOR: Final = 4
"""A batch goes into the log, the vectors, the payloads and the indexes."""
RESERVE: Final = ".reserve"
RESERVE_BYTES: Final = 4 * 2**20

_REMEDY: Final = (
    "free some space there, or delete a collection, and repeat; points can be deleted still"
)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_PHRASES: Final = tuple(os.strerror(code) for code in _FULL)


class Room:
    """The room for one collection's files."""

    def __init__(self, folder: Path, name: str) -> None:
        """Look at the disk of `folder`, which exists, on behalf of the collection `name`."""
        self._folder = folder
        self._name = name
        self._reserve = folder / RESERVE

    @property
    def free_bytes(self) -> int:
        """What an ordinary user may still write on that disk; a quota does not show in it."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:  # the folder is gone, say: the engine will tell, and better
            return sys.maxsize
        return disk.f_bavail * disk.f_frsize

    @property
    def is_short(self) -> bool:
        """Whether a death of the engine is likely to come of a lack of room."""
        return self.free_bytes < FLOOR_BYTES

    def require(self, size: int, *, factor: int = FACTOR) -> None:
        """Refuse a write for which there is no room; otherwise, see to the reserve.

        Args:
            size: Bytes that are to be written.
            factor: How often.

        Raises:
            StoreFull: less than that and `FLOOR_BYTES` are free.
        """
        wanted, free = FLOOR_BYTES + factor * size, self.free_bytes
        if free < wanted:
            raise StoreFull(
                f"collection {self._name!r}: {_mebibytes(free)} free in {self._folder}, "
                f"{_mebibytes(wanted)} wanted; nothing was sent: {_REMEDY}"
            )
        with contextlib.suppress(OSError):  # done without in a folder that only others may write
            if not self._reserve.exists():
                self._reserve.write_bytes(os.urandom(RESERVE_BYTES))  # which no disk compresses

    def give_way(self) -> None:
        """Give up the reserve where a delete would find no room; the next write makes it anew."""
        if self.free_bytes < RESERVE_BYTES:
            with contextlib.suppress(OSError):
                self._reserve.unlink()

    def ran_out(self, what_happened: str) -> StoreFull:
        """The error for a write that the disk did not take after all."""
        return StoreFull(
            f"collection {self._name!r} has no room left in {self._folder} "
            f"({_mebibytes(self.free_bytes)} free): {what_happened}; {_REMEDY}"
        )


def is_out_of_space(error: BaseException) -> bool:
    """Whether an error, which the engine gives as text, says that the disk or a quota is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return says_out_of_space(str(error))


def says_out_of_space(text: str) -> bool:
    """Whether the engine's words speak of a full disk or quota."""
    return any(phrase in text for phrase in _PHRASES)


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
