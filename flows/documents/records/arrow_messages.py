"""What the messages of an Arrow file claim of their size, read before the library does.

The library makes room for whatever a message says that it holds. Here the same is read from the
message's own description, a FlatBuffers table, and no more than a few numbers of it are needed:
https://arrow.apache.org/docs/format/Columnar.html
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from flows.documents.records.arrow_rows import MAX_GROUP_BYTES, too_large
from flows.errors import DocumentRejected

FILE_MAGIC: Final = b"ARROW1"
"""A file with a footer begins so; without it, it is a stream."""

_CONTINUATION: Final = 0xFFFFFFFF
_MAX_METADATA_BYTES: Final = 16 * 1024 * 1024
_DICTIONARY_BATCH: Final = 2
_RECORD_BATCH: Final = 3
_DICTIONARIES: Final = 2
_RECORD_BATCHES: Final = 3
_MAX_STRUCTS: Final = 1_000_000
_NO_COMPRESSION: Final = -1


def check_messages(file: BinaryIO) -> None:
    """Go through all messages of a file or stream without reading what they hold.

    Raises:
        DocumentRejected: One claims more than `MAX_GROUP_BYTES`, as it is or decompressed; or the
            file is not Arrow's.
    """
    size = file.seek(0, 2)
    number = 0
    try:
        for start in _messages(file, size):
            number += 1
            file.seek(start)
            if (held := _held(file, size)) > MAX_GROUP_BYTES:
                raise too_large(f"record batch {number}", held)
    except (struct.error, OSError, ValueError, OverflowError) as error:
        raise DocumentRejected("is not sound Arrow: a message of it is damaged") from error
    file.seek(0)


def _messages(file: BinaryIO, size: int) -> Iterator[int]:
    """Where the messages with batches begin: as the footer says, or one after another."""
    file.seek(0)
    if file.read(len(FILE_MAGIC)) == FILE_MAGIC:
        footer = _footer(file, size)
        for field in (_DICTIONARIES, _RECORD_BATCHES):
            yield from (block[0] for block in footer.structs(field, "<q16x"))
        return
    start = 0
    while start < size:
        file.seek(start)
        metadata = _metadata(file)
        if not metadata:
            return
        message, body = _Table.root(metadata), file.tell()
        if message.number(1, "<B") in (_DICTIONARY_BATCH, _RECORD_BATCH):
            yield start
        start = body + max(0, message.number(3, "<q"))


def _footer(file: BinaryIO, size: int) -> "_Table":
    file.seek(max(0, size - 10))
    end = file.read(10)
    if len(end) < 10 or end[4:] != FILE_MAGIC:
        raise DocumentRejected("is not sound Arrow, or breaks off: its footer is missing")
    (length,) = struct.unpack("<i", end[:4])
    if not 0 < length <= min(_MAX_METADATA_BYTES, size - 10):
        raise DocumentRejected(f"is not sound Arrow: its footer claims {length} bytes")
    file.seek(size - 10 - length)
    return _Table.root(file.read(length))


def _held(file: BinaryIO, size: int) -> int:
    """Bytes that the batch of the message here has, decompressed."""
    message = _Table.root(_metadata(file))
    start, body = file.tell(), message.number(3, "<q")
    if not 0 <= body <= size - start:
        raise DocumentRejected("is not sound Arrow, or breaks off within a batch")
    batch = message.table(2)
    if message.number(1, "<B") == _DICTIONARY_BATCH:
        batch = batch.table(1)
    return max(body, sum(_decompressed(file, batch, start=start, body=body)))


def _metadata(file: BinaryIO) -> bytes:
    """The description of the next message; empty at the end."""
    prefix = file.read(4)
    if len(prefix) == 4 and struct.unpack("<I", prefix)[0] == _CONTINUATION:
        prefix = file.read(4)  # before Arrow 0.15 the length stood alone
    if len(prefix) < 4:
        return b""
    (length,) = struct.unpack("<i", prefix)
    if not 0 <= length <= _MAX_METADATA_BYTES:
        raise DocumentRejected("is not Arrow: it does not begin as a file or stream of it would")
    metadata = file.read(length)
    if len(metadata) < length:
        raise DocumentRejected("is not sound Arrow, or breaks off within a message")
    return metadata


def _decompressed(file: BinaryIO, batch: "_Table", *, start: int, body: int) -> Iterator[int]:
    """Bytes of each buffer of a compressed record batch; none where it is not compressed."""
    if not batch.has(3):
        return
    for offset, length in batch.structs(2, "<qq"):
        if length < 8:
            continue
        if not 0 <= offset <= body - length:
            raise DocumentRejected("is not sound Arrow: a buffer lies outside its batch")
        file.seek(start + offset)
        (claimed,) = struct.unpack("<q", file.read(8))
        yield length if claimed == _NO_COMPRESSION else abs(claimed)


class _Table:
    """A table of FlatBuffers; whatever lies outside the bytes raises `struct.error`."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - self._get("<i", at)

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        (at,) = struct.unpack_from("<I", data)
        return cls(data, at)

    def has(self, field: int) -> bool:
        return bool(self._where(field))

    def number(self, field: int, kind: str) -> int:
        at = self._where(field)
        return self._get(kind, at) if at else 0

    def table(self, field: int) -> "_Table":
        return _Table(self._data, self._target(field))

    def structs(self, field: int, kind: str) -> Iterator[tuple[int, ...]]:
        """The elements of a vector of structs, laid out as `struct` has it."""
        if not self.has(field):
            return
        at = self._target(field)
        count, size = self._get("<I", at), struct.calcsize(kind)
        if count > _MAX_STRUCTS:
            raise struct.error("too many")
        for index in range(count):
            yield struct.unpack_from(kind, self._data, at + 4 + size * index)

    def _where(self, field: int) -> int:
        """Where a field's value lies; 0 where the table has none."""
        place = 4 + 2 * field
        if place >= self._get("<H", self._fields):
            return 0
        offset = self._get("<H", self._fields + place)
        return self._at + offset if offset else 0

    def _target(self, field: int) -> int:
        at = self._where(field)
        if not at:
            raise struct.error("a field is missing")
        return at + self._get("<I", at)

    def _get(self, kind: str, at: int) -> int:
        if at < 0:
            raise struct.error("outside of the message")
        (value,) = struct.unpack_from(kind, self._data, at)
        return int(value)
