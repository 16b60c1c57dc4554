"""Arrow's own files (`.arrow`, `.feather`) and streams, record batch by record batch."""

from collections.abc import Generator, Iterator, Set
from contextlib import contextmanager
from typing import Any, Final

from flows.documents.records.arrow_messages import FILE_MAGIC, check_messages
from flows.documents.records.arrow_rows import arrow, batch_rows, damage, rows_of
from flows.documents.records.row import Row
from flows.documents.records.streams import open_file
from flows.errors import DocumentRejected

_FEATHER_1: Final = b"FEA1"


def names(path: str) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        DocumentRejected: Damaged, or pyarrow is not installed.
    """
    with _open(path) as (_, schema), damage("Arrow"):
        return tuple(schema.names)


def rows(path: str, columns: Set[str], start: int = 0) -> Generator[Row, None, None]:
    """Each row from number `start` on, of which only some columns are read.

    Raises:
        DocumentRejected: Damaged, or a record batch is too large.
    """
    with _open(path, columns) as (batches, _), damage("Arrow"):
        first = 0
        for batch in batches:
            _check_offsets(batch)
            step = batch_rows(rows=batch.num_rows, size=batch.nbytes)
            for at in range(0, batch.num_rows, step):
                part = batch.slice(at, step)
                if first + part.num_rows > start:
                    yield from rows_of(part, first=first, start=start)
                first += part.num_rows


def _check_offsets(batch: Any) -> None:
    """Refuse values that lie outside their buffers, where the library would read as told.

    Text is looked at as bytes: that some of it is not UTF-8 is for its row to say.
    """
    pa = arrow("Arrow")
    as_bytes = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    for column in batch.columns:
        kind = as_bytes.get(column.type)
        (column if kind is None else column.view(kind)).validate(full=True)


@contextmanager
def _open(path: str, columns: Set[str] | None = None) -> Iterator[tuple[Iterator[Any], Any]]:
    """The batches, with these columns only, and the schema with all of them."""
    arrow("Arrow")
    from pyarrow import ipc

    with open_file(path) as file:
        begin = file.read(len(FILE_MAGIC))
        if begin.startswith(_FEATHER_1):
            raise DocumentRejected("is Feather of version 1; write it again as version 2")
        check_messages(file)
        with damage("Arrow"):
            open_reader = ipc.open_file if begin == FILE_MAGIC else ipc.open_stream
            reader = open_reader(file)
            schema = reader.schema
            if columns is not None:
                wanted = [i for i, name in enumerate(schema.names) if name in columns]
                file.seek(0)
                reader = open_reader(file, options=ipc.IpcReadOptions(included_fields=wanted))
        yield _batches(reader), schema


def _batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "get_batch"):
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from reader
