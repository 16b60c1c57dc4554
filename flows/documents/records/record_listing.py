"""Listing record files: each row named, hashed and let go; bad rows named with their line."""

import os
import stat
from collections.abc import Iterator, Set
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from flows.documents.compression import compression_of, full_suffix
from flows.documents.formats import RecordKind
from flows.documents.globs import EXCLUDED, Selection
from flows.documents.listing import RootListing, Unreadable
from flows.documents.records.columns import RecordColumns, missing_columns
from flows.documents.records.content import content_of, key_of
from flows.documents.records.record_document import RecordDocument
from flows.documents.records.record_file import RecordFile
from flows.documents.records.row import BadRow
from flows.documents.source_document import printable, reason_of
from flows.errors import DocumentRejected, InvalidInput

DUPLICATE_ROWS: Final = "duplicate rows"
"""Why rows were left out that say the very same as another one of their file."""
NO_TEXT_COLUMN: Final = "no text column named"
"""Why record files in folders were left out."""
MAX_BAD_ROWS: Final = 1000
"""Of one file that are named one by one; the others are counted."""


def list_record_file(
    path: Path, kind: RecordKind, columns: RecordColumns, selection: Selection
) -> RootListing:
    """A record file that is a source of its own.

    Raises:
        InvalidInput: It lacks one of the columns, or is JSON without an array of objects.
    """
    shown = printable(str(path))
    listing = RootListing(root=shown)
    if not selection.takes(printable(path.name)):
        listing.ignored[EXCLUDED] += 1
        return listing
    rows = _Rows(listing, doc_id=printable(path.name), path=str(path))
    try:
        seen = rows.add(kind, columns)
    except InvalidInput as error:
        raise InvalidInput(f"source {shown!r}: {error}") from error
    except DocumentRejected as error:
        rows.reject_file(str(error))
        return listing
    if unseen := seen.unseen(columns):
        raise InvalidInput(f"source {shown!r}: {missing_columns(unseen, seen.names)}")
    return listing


class RecordFolder:
    """The record files of a folder, as they are come upon."""

    def __init__(self, listing: RootListing, columns: RecordColumns) -> None:
        self._listing = listing
        self._columns = columns
        self._seen = Seen((), any_row=False)

    def add(self, path: str, *, doc_id: str, kind: RecordKind) -> None:
        """List the rows of a file; without a text column, count the file as left out.

        What is stored of a file that was left out or cannot be read stays.
        """
        rows = _Rows(self._listing, doc_id=doc_id, path=path)
        if self._columns.text_column is None:
            suffix = printable(full_suffix(Path(path).name))
            self._listing.ignored[f"{suffix} ({NO_TEXT_COLUMN})"] += 1
            self._listing.uncertain.add(doc_id)
            return
        try:
            if rows.is_special():
                self._listing.ignored["special"] += 1
                return
            self._seen |= rows.add(kind, self._columns)
        except InvalidInput as error:
            rows.reject_file(f"{error}; or leave it out with --exclude")
        except DocumentRejected as error:
            rows.reject_file(f"{error}; or leave it out with --exclude")
            self._seen |= Seen(tuple(self._columns.optional), any_row=False)  # for all we know

    def check(self) -> None:
        """After the last file.

        Raises:
            InvalidInput: A title or metadata column is in none of the files.
        """
        if unseen := self._seen.unseen(self._columns):
            reason = missing_columns(unseen, self._seen.names)
            raise InvalidInput(f"record files in {self._listing.root!r}: {reason}")


@dataclass(frozen=True)
class Seen:
    """Columns that were come upon, and whether there were rows at all."""

    names: tuple[str, ...]
    any_row: bool

    def unseen(self, columns: RecordColumns) -> Set[str]:
        """Optional columns that no row has, so that their names must be wrong."""
        return columns.optional - set(self.names) if self.any_row else frozenset()

    def __or__(self, other: "Seen") -> "Seen":
        names = dict.fromkeys((*self.names, *other.names))
        return Seen(tuple(names), self.any_row or other.any_row)


@dataclass
class _Rows:
    """The rows of one file on their way into the listing of its root."""

    listing: RootListing
    doc_id: str
    path: str
    taken: set[str] = field(default_factory=set)
    """Ids of the rows so far."""
    bad: int = 0

    @property
    def source(self) -> str:
        return printable(self.path)

    def add(self, kind: RecordKind, columns: RecordColumns) -> Seen:
        """All rows of the file; if it breaks off, those before.

        Raises:
            InvalidInput: It lacks the text or id column, or is JSON of another shape.
            DocumentRejected: None of it can be read.
        """
        if self.source != self.path:
            raise DocumentRejected("its file or folder name is not UTF-8; rename it")
        status = self._status()
        modified = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")
        file = RecordFile(
            doc_id=self.doc_id,
            path=self.path,
            kind=kind,
            compression=compression_of(self.path),
            columns=columns,
            stamp=(status.st_ino, status.st_mtime_ns, status.st_size),
        )
        names = file.names()
        if not names:
            return self._without_columns(file)
        file = replace(file, columns=columns.within(names))
        seen = dict.fromkeys(names)
        before = len(self.listing.documents)
        try:
            for document in self._documents(file, seen, modified):
                self.listing.documents.append(document)
        except InvalidInput:
            del self.listing.documents[before:]
            raise
        except DocumentRejected as error:
            self.reject_file(
                f"{error}; {len(self.listing.documents) - before} rows before it count"
            )
            seen |= dict.fromkeys(columns.optional)  # for all we know
        self._count_bad()
        if not self.taken:
            self.listing.uncertain.add(self.doc_id)  # perhaps it is being written just now
        return Seen(tuple(seen), any_row=bool(self.taken))

    def _without_columns(self, file: RecordFile) -> Seen:
        """A file that is empty, or whose rows are all bad; what is stored of it stays."""
        self.listing.uncertain.add(self.doc_id)
        with closing(file.rows()) as rows:
            for row in rows:
                try:
                    row.values()
                except BadRow as error:
                    self._reject_row(row.number, error)
        self._count_bad()
        return Seen((), any_row=False)

    def _documents(
        self, file: RecordFile, seen: dict[str, None], modified: str
    ) -> Iterator[RecordDocument]:
        """The documents of the rows that are good, and not the same as another's."""
        columns = file.columns
        missing = set() if file.has_schema else set(columns.optional - seen.keys())
        with closing(file.rows()) as rows:
            for row in rows:
                key = ""
                try:
                    values = row.values()
                    if missing:
                        found = missing & values.keys()
                        seen |= dict.fromkeys(found)
                        missing -= found
                    if columns.id_column:
                        key = key_of(values, columns.id_column)
                except BadRow as error:
                    # Which row this is cannot be told: whatever is missing may be it.
                    self._reject_row(row.number, error)
                    self.listing.uncertain.add(self.doc_id)
                    continue
                try:
                    content = content_of(values, columns)
                except BadRow as error:
                    self._reject_row(row.number, error)
                    if key:
                        self.listing.uncertain.add(f"{self.doc_id}#{key}")
                        self.taken.add(f"{self.doc_id}#{key}")
                    continue
                doc_id = f"{self.doc_id}#{key or content.key}"
                if doc_id in self.taken:
                    if key:
                        reason = f"repeats the id {key!r} of another row; make ids unique"
                        self._reject_row(row.number, BadRow(reason))
                    else:
                        self.listing.ignored[DUPLICATE_ROWS] += 1
                    continue
                self.taken.add(doc_id)
                yield RecordDocument(
                    doc_id=doc_id,
                    source=f"{self.source}#{key or content.key}",
                    root=self.listing.root,
                    format=columns.text_format,
                    size=len(content.text.encode()),
                    path=self.path,
                    modified=modified,
                    digest=content.digest,
                    title=content.title,
                    fields=content.fields,
                    file=file,
                    place=row.place,
                )

    def is_special(self) -> bool:
        """Whether it is a FIFO, socket or device."""
        return not stat.S_ISREG(self._status().st_mode)

    def _status(self) -> os.stat_result:
        try:
            return Path(self.path).stat()
        except OSError as error:
            raise DocumentRejected(reason_of(error)) from error

    def reject_file(self, reason: str) -> None:
        """Say why the file cannot be read wholly; what is stored of the rest stays."""
        self._reject(self.source, reason)
        self.listing.uncertain.add(self.doc_id)

    def _reject_row(self, number: int, error: BadRow) -> None:
        self.bad += 1
        if self.bad <= MAX_BAD_ROWS:
            self._reject(f"{self.source}:{number}", str(error))

    def _count_bad(self) -> None:
        if self.bad > MAX_BAD_ROWS:
            self._reject(self.source, f"{self.bad - MAX_BAD_ROWS} more of its rows are bad")

    def _reject(self, path: str, reason: str) -> None:
        self.listing.rejected.append(Unreadable(path=path, reason=reason))
