"""CSV and TSV: a header, then rows of as many cells."""

import codecs
import csv
import io
import re
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Final, Literal

from flows.documents.compression import Compression
from flows.documents.records.json_lines import rest_of_line
from flows.documents.records.row import (
    MAX_ROW_BYTES,
    NOT_UTF8,
    BadRow,
    Row,
    Values,
    failing,
    is_utf8,
)
from flows.documents.records.streams import open_stream, skip_to
from flows.errors import DocumentRejected

Dialect = Literal["csv", "tsv"]

_DELIMITERS: Final = (",", ";", "\t", "|")
_QUOTED: Final = re.compile('"[^"]*"')


def names(path: str, compression: Compression | None, dialect: Dialect) -> tuple[str, ...]:
    """The cells of the header; none in an empty file.

    Raises:
        DocumentRejected: See `open_stream`; or the header cannot be read.
    """
    with open_stream(path, compression) as stream:
        return _Table(stream, dialect).names


def rows(
    path: str, compression: Compression | None, dialect: Dialect, start: int = 0
) -> Generator[Row, None, None]:
    """Each row that is not blank, from the offset `start` on.

    The delimiter of CSV is the comma, semicolon, tab or bar that the header has most of; cells may
    be quoted and then hold line breaks. In TSV a quotation mark is a character like any other.

    Raises:
        DocumentRejected: See `names`.
    """
    with open_stream(path, compression) as stream:
        yield from _Table(stream, dialect).rows(start)


class _Table:
    """A stream whose header has been read."""

    def __init__(self, stream: io.BufferedReader, dialect: Dialect) -> None:
        self._lines = _Lines(stream)
        first = self._lines.first()
        delimiter = "\t" if dialect == "tsv" else _delimiter(first)
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES))  # of the whole process
        self._reader = csv.reader(
            self._lines,
            delimiter=delimiter,
            quoting=csv.QUOTE_NONE if dialect == "tsv" else csv.QUOTE_MINIMAL,
            strict=True,
        )
        try:
            header = next(self._reader, [])
        except (BadRow, csv.Error) as error:
            raise DocumentRejected(f"its header cannot be read ({error})") from error
        if not all(is_utf8(name) for name in header):
            raise DocumentRejected("its header is not valid UTF-8; save the file as UTF-8")
        self.names = tuple(name.strip() for name in header)

    def rows(self, start: int) -> Iterator[Row]:
        """The rows below the header."""
        lines = self._lines
        if start > lines.offset:
            lines.skip_to(start)
        while True:
            place, number = lines.offset, lines.number + 1
            lines.row_bytes = 0
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except (BadRow, csv.Error) as error:
                reason = str(error) if isinstance(error, BadRow) else f"is not valid CSV ({error})"
                yield Row(place, lines.offset, number, failing(reason))
                continue
            if cells:
                values = partial(_values, self.names, cells)
                yield Row(place, lines.offset, number, values)


class _Lines:
    """The lines of a stream as text, for the reader of the standard library; bounded by row.

    Attributes:
        offset: Bytes taken.
        number: Lines taken.
        row_bytes: Bytes taken since it was last set to 0.
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._first: bytes | None = None
        self.offset = 0
        self.number = 0
        self.row_bytes = 0

    def first(self) -> str:
        """The first line, which is given again by the iteration."""
        self._first = self._stream.readline(MAX_ROW_BYTES + 1)
        return self._first.decode("utf-8", "surrogateescape")

    def skip_to(self, offset: int) -> None:
        """Go on at another offset, which lies behind."""
        skip_to(self._stream, offset, now=self.offset)
        self.offset = offset

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line, self._first = self._first, None
        if line is None:
            line = self._stream.readline(MAX_ROW_BYTES + 1)
        if not line:
            raise StopIteration
        at_start = self.offset == 0
        self.offset += len(line)
        self.number += 1
        self.row_bytes += len(line)
        if self.row_bytes > MAX_ROW_BYTES:
            self.offset += rest_of_line(self._stream, line)
            raise BadRow(
                f"is longer than {MAX_ROW_BYTES // 2**20} MiB; split it, "
                "or close a quotation mark that is open"
            )
        if at_start:
            line = line.removeprefix(codecs.BOM_UTF8)
        return line.decode("utf-8", "surrogateescape")


def _delimiter(header: str) -> str:
    outside = _QUOTED.sub("", header)
    return max(_DELIMITERS, key=outside.count)  # of equals the first: the comma


def _values(names: Sequence[str], cells: Sequence[str]) -> Values:
    if not all(is_utf8(cell) for cell in cells):
        raise BadRow(NOT_UTF8)
    if len(cells) != len(names):
        raise BadRow(f"has {len(cells)} cells; the header has {len(names)}")
    return dict(zip(names, cells, strict=True))
