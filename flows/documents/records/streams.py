"""Record files as streams of bytes: regular files only, decompressed as they are read."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from flows.documents.compression import Compression, decompressed
from flows.documents.source_document import kind_of, reason_of
from flows.errors import DocumentRejected

_BUFFER_BYTES: Final = 64 * 1024
_SKIP_BYTES: Final = 1024 * 1024


@contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """A regular file, open for reading; a FIFO or device that took its place blocks nothing.

    Raises:
        DocumentRejected: It cannot be opened, or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DocumentRejected(reason_of(error)) from error
    with os.fdopen(descriptor, "rb", buffering=_BUFFER_BYTES) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise DocumentRejected(f"is {kind_of(mode)}, not a regular file; remove it or skip it")
        yield file


@contextmanager
def open_stream(path: str, compression: Compression | None) -> Iterator[io.BufferedReader]:
    """What a file holds, decompressed: `readline`, `read` and `read1` as of a file.

    Raises:
        DocumentRejected: As `open_file`; and while reading, where it is not compressed as its name
            says, breaks off, or becomes beyond all measure.
    """
    with open_file(path) as file:
        if compression is None:
            assert isinstance(file, io.BufferedReader)  # noqa: S101 - for the type checker
            yield file
            return
        size = os.fstat(file.fileno()).st_size
        parts: Any = _Parts(decompressed(file, compression, size=size))
        with io.BufferedReader(parts, _BUFFER_BYTES) as stream:
            yield stream


def skip_to(stream: io.BufferedReader, offset: int, *, now: int) -> None:
    """Go forward from offset `now` to another; past the end, nothing is read any more."""
    if stream.seekable():
        stream.seek(offset)
        return
    while now < offset and (part := stream.read(min(_SKIP_BYTES, offset - now))):
        now += len(part)


class _Parts(io.RawIOBase):
    """Parts of bytes as a raw file."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = memoryview(part)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
