"""A record file, and its rows, whatever its kind."""

from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final

from flows.documents.compression import Compression, compression_of, inner_name
from flows.documents.formats import RECORD_KIND_OF_SUFFIX, RecordKind, suffix_of
from flows.documents.records import delimited, json_array, json_lines, tables
from flows.documents.records.columns import RecordColumns
from flows.documents.records.row import BadRow, Row
from flows.errors import DocumentRejected

_SAMPLE_ROWS: Final = 100
"""From so many rows the columns of a file without a schema are told."""


def record_kind_of(name: str) -> RecordKind | None:
    """The kind of a record file by its name; None for other files.

    Parquet and Arrow compress what they hold; compressed as a whole, they are not read.

    >>> record_kind_of("a.jsonl.gz"), record_kind_of("a.parquet.gz"), record_kind_of("a.md")
    ('jsonl', None, None)
    """
    kind = RECORD_KIND_OF_SUFFIX.get(suffix_of(inner_name(name)))
    return None if kind in ("parquet", "arrow") and compression_of(name) else kind


@dataclass(frozen=True, kw_only=True)
class RecordFile:
    """A file whose rows are documents; all of them share it.

    Attributes:
        doc_id: What the ids of its rows begin with.
        path: Where it lies, as the operating system knows it.
        kind: What it is.
        compression: How it is compressed.
        columns: What its columns are taken for.
        stamp: Inode, time of change and size when it was listed: no reader that was opened before
            a change serves a listing after it.
    """

    doc_id: str
    path: str
    kind: RecordKind
    compression: Compression | None
    columns: RecordColumns
    stamp: tuple[int, int, int]

    def names(self) -> tuple[str, ...]:
        """The columns that it has; of JSON, those of the first good rows.

        Raises:
            DocumentRejected: It cannot be read so far.
            InvalidInput: It is JSON, without an array of objects.
        """
        if self.kind == "parquet" or self.kind == "arrow":
            return tables.names(self.path, self.kind)
        if self.kind == "csv" or self.kind == "tsv":
            return delimited.names(self.path, self.compression, self.kind)
        found: dict[str, None] = {}
        with closing(self.rows()) as rows:
            try:
                good = 0
                for row in rows:
                    with suppress(BadRow):
                        found |= dict.fromkeys(row.values())
                        good += 1
                    if good == _SAMPLE_ROWS:
                        break
            except DocumentRejected:
                if not found:
                    raise  # otherwise who reads the rows will come upon it again
        return tuple(found)

    @property
    def has_schema(self) -> bool:
        """Whether each row has all columns."""
        return self.kind not in ("json", "jsonl")

    def rows(self, start: int = 0) -> Generator[Row, None, None]:
        """Its rows from a place on, see `Row.place`, decoded no further than need be.

        Raises:
            DocumentRejected: It cannot be read from here on.
            InvalidInput: It is JSON, and holds no array of objects or more than one.
        """
        wanted = self.columns.required | self.columns.optional
        if self.kind == "parquet" or self.kind == "arrow":
            required = self.columns.required
            return tables.rows(self.path, self.kind, columns=wanted, required=required, start=start)
        if self.kind == "csv" or self.kind == "tsv":
            return delimited.rows(self.path, self.compression, self.kind, start)
        if self.kind == "json":
            return json_array.rows(self.path, self.compression, start)
        return json_lines.rows(self.path, self.compression, start)

    @property
    def stride(self) -> int | None:
        """Places that are sooner read than skipped; None where skipping is reading."""
        if self.kind == "parquet" or self.kind == "arrow":
            return tables.STRIDE
        if self.kind == "json" or self.compression:
            return None
        return json_lines.STRIDE
