"""Rows of Arrow's record batches, which Parquet, Feather and Arrow files all give."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from flows.documents.extra import require_extra
from flows.documents.records.row import MAX_ROW_BYTES, BadRow, Row, Values
from flows.documents.titles import one_line
from flows.errors import DocumentRejected

MAX_GROUP_BYTES: Final = 512 * 1024 * 1024
"""Of the columns that are read, in one row group or record batch: the least that must be held."""
BATCH_BYTES: Final = 8 * 1024 * 1024
"""Of the rows that are made into Python's values at once, about."""
MAX_BATCH_ROWS: Final = 4096

_NOT_UTF8: Final = object()


def arrow(kind: str) -> Any:
    """The library.

    Raises:
        DocumentRejected: It is not installed.
    """
    return require_extra("pyarrow", kind=kind, extra="tables")


@contextmanager
def damage(kind: str) -> Iterator[None]:
    """What the library raises on files that are damaged, in one line.

    Raises:
        DocumentRejected: In place of whatever else was raised.
    """
    try:
        yield
    except DocumentRejected:
        raise
    except Exception as error:
        # Other people's readers, on damaged files, raise whatever they please.
        reason = one_line(str(error)) or type(error).__name__
        raise DocumentRejected(
            f"cannot be read as {kind} ({reason}); write the file again"
        ) from error


def batch_rows(*, rows: int, size: int) -> int:
    """How many rows come to about `BATCH_BYTES`, where `rows` of them have `size` bytes."""
    return max(1, min(MAX_BATCH_ROWS, BATCH_BYTES * rows // max(1, size)))


def too_large(what: str, size: int) -> DocumentRejected:
    """The error for a part of a file that would have to be held as a whole."""
    return DocumentRejected(
        f"{what} has {size / 2**20:.0f} MiB in the columns that are read; the limit is "
        f"{MAX_GROUP_BYTES // 2**20} MiB; write the file with fewer rows in each"
    )


def rows_of(batch: Any, *, first: int, start: int) -> Iterator[Row]:
    """The rows of a record batch, of which the first has the number `first`, from `start` on."""
    names = batch.schema.names
    columns = [_values(batch.column(index)) for index in range(len(names))]
    for index in range(max(0, start - first), batch.num_rows):
        place = first + index
        cells = [column[index] for column in columns]
        yield Row(place, place + 1, place + 1, partial(_row, names, cells))


def _row(names: Sequence[str], cells: Sequence[object]) -> Values:
    values = dict(zip(names, cells, strict=True))
    for name, value in values.items():
        if value is _NOT_UTF8:
            raise BadRow(f"is not valid UTF-8 in {name!r}; write the file again")
        if isinstance(value, str) and len(value) > MAX_ROW_BYTES:
            raise BadRow(f"is longer than {MAX_ROW_BYTES // 2**20} MiB in {name!r}; split it")
    return values


def _values(column: Any) -> list[object]:
    """The values of a column; nanoseconds, which Python's times have not, are cut."""
    pa = arrow("Arrow")
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    elif pa.types.is_time64(column.type):
        column = column.cast(pa.time64("us"), safe=False)
    elif pa.types.is_duration(column.type):
        column = column.cast(pa.duration("us"), safe=False)
    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:
        return [_value(value) for value in column]
    return values


def _value(scalar: Any) -> object:
    try:
        value: object = scalar.as_py()
    except UnicodeDecodeError:
        return _NOT_UTF8
    return value
