"""Parquet, row group by row group; what a group holds is bounded before it is read."""

import struct
from collections.abc import Generator, Iterator, Set
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from flows.documents.records.arrow_rows import (
    MAX_GROUP_BYTES,
    arrow,
    batch_rows,
    damage,
    rows_of,
    too_large,
)
from flows.documents.records.row import Row
from flows.documents.records.streams import open_file
from flows.errors import DocumentRejected

_MAGIC: Final = b"PAR1"
_MAX_FOOTER_BYTES: Final = 64 * 1024 * 1024
_BUFFER_BYTES: Final = 1024 * 1024


def names(path: str) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        DocumentRejected: Damaged, or pyarrow is not installed.
    """
    with _open(path) as file, damage("Parquet"):
        return tuple(file.schema_arrow.names)


def rows(path: str, columns: Set[str], start: int = 0) -> Generator[Row, None, None]:
    """Each row from number `start` on, of which only some columns are read.

    Raises:
        DocumentRejected: Damaged, or a row group is too large.
    """
    with _open(path) as file, damage("Parquet"):
        wanted = [name for name in file.schema_arrow.names if name in columns]
        first = 0
        for group in range(file.metadata.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            if first + count > start:
                for batch in _batches(file, group, wanted):
                    yield from rows_of(batch, first=first, start=start)
                    first += batch.num_rows
            else:
                first += count


def _batches(file: Any, group: int, wanted: list[str]) -> Iterator[Any]:
    size, rows = _group_bytes(file, group, wanted), file.metadata.row_group(group).num_rows
    if size > MAX_GROUP_BYTES:
        raise too_large(f"row group {group + 1}", size)
    yield from file.iter_batches(
        batch_size=batch_rows(rows=rows, size=size),
        row_groups=[group],
        columns=wanted,
        use_threads=False,
    )


def _group_bytes(file: Any, group: int, wanted: list[str]) -> int:
    """Bytes of the wanted columns in a row group, decompressed."""
    metadata = file.metadata.row_group(group)
    columns = (metadata.column(index) for index in range(metadata.num_columns))
    return sum(
        max(column.total_uncompressed_size, column.total_compressed_size)
        for column in columns
        if any(f"{column.path_in_schema}.".startswith(f"{name}.") for name in wanted)
    )


@contextmanager
def _open(path: str) -> Iterator[Any]:
    arrow("Parquet")
    from pyarrow.parquet import ParquetFile

    with open_file(path) as file:
        _check_footer(file)
        with damage("Parquet"):
            table = ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        yield table


def _check_footer(file: BinaryIO) -> None:
    """Refuse what has no footer, and a footer beyond reason, before the library reads it."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    end = file.read(8)
    if len(end) < 8 or end[4:] != _MAGIC:
        raise DocumentRejected("is not Parquet, or breaks off: its footer is missing")
    (length,) = struct.unpack("<I", end[:4])
    if length > min(_MAX_FOOTER_BYTES, size - 8):
        raise DocumentRejected(
            f"is not sound Parquet: its footer claims {length} bytes; write the file again"
        )
    file.seek(0)
