"""Walking one folder source: every file named, nothing opened, no link followed out of it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from flows.documents.compression import compression_of, full_suffix, inner_name
from flows.documents.formats import Format, format_of
from flows.documents.globs import EVERYTHING, EXCLUDED, Selection
from flows.documents.listing import RootListing, Unreadable
from flows.documents.records.columns import ANY_COLUMNS, RecordColumns
from flows.documents.records.record_file import record_kind_of
from flows.documents.records.record_listing import RecordFolder
from flows.documents.source_document import (
    SourceDocument,
    modified_of,
    printable,
    reason_of,
)


def list_folder(
    root: str, selection: Selection = EVERYTHING, columns: RecordColumns = ANY_COLUMNS
) -> RootListing:
    """All documents below the folder `root` (an absolute path), recursively.

    Hidden files and folders, symlinked folders, symlinks to files outside the root, FIFOs,
    sockets and devices are left out and counted, and so is what the selection leaves out. A file
    that has a parser but cannot be examined stays a document, whose `read` gives the reason. Each
    row of a record file is a document, where the text's column was named.

    Raises:
        InvalidInput: No record file has a title or metadata column that was named.
    """
    listing = RootListing(root=printable(root))
    real_root = Path(os.path.realpath(root))
    records = RecordFolder(listing, columns)
    for entry in _files(root, listing, selection):
        file_format = format_of(inner_name(entry.name))
        record_kind = record_kind_of(entry.name)
        if entry.is_symlink() and not _stays_inside(entry, real_root):
            listing.ignored["symlink"] += 1
        elif file_format is None and record_kind is None:
            listing.ignored[printable(full_suffix(entry.name))] += 1
        elif not selection.takes(_below(entry, root)):
            listing.ignored[EXCLUDED] += 1
        elif file_format is not None:
            _add(entry, file_format, listing, root=root)
        elif record_kind is not None:
            records.add(entry.path, doc_id=_doc_id(entry, root), kind=record_kind)
    records.check()
    return listing


def _files(root: str, listing: RootListing, selection: Selection) -> Iterator[os.DirEntry[str]]:
    """Entries that are no folders, and not hidden; an explicit stack, as trees may be deep."""
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            listing.unreadable.append(Unreadable(path=printable(folder), reason=reason_of(error)))
            continue
        for entry in entries:
            try:
                is_folder = entry.is_dir(follow_symlinks=False)
            except OSError as error:
                reason = reason_of(error)
                listing.unreadable.append(Unreadable(path=printable(entry.path), reason=reason))
                continue
            if entry.name.startswith("."):
                listing.ignored["hidden"] += 1
            elif is_folder and selection.skips_folder(_below(entry, root)):
                listing.ignored[EXCLUDED] += 1
            elif is_folder:
                pending.append(entry.path)
            else:
                yield entry


def _stays_inside(link: os.DirEntry[str], real_root: Path) -> bool:
    """Whether a symlink leads to a file below the root; a loop or a dangling link does not."""
    try:
        target = Path(link.path).resolve(strict=True)
        return target.is_relative_to(real_root) and not target.is_dir()
    except (OSError, RuntimeError):  # RuntimeError: a symlink loop, up to Python 3.12
        return False


def _add(entry: os.DirEntry[str], file_format: Format, listing: RootListing, *, root: str) -> None:
    size, refusal, modified = 0, "", ""
    try:
        status = entry.stat()
    except OSError as error:
        refusal = reason_of(error)
    else:
        if not stat.S_ISREG(status.st_mode):
            listing.ignored["special"] += 1
            return
        size, modified = status.st_size, modified_of(status)
    if printable(entry.path) != entry.path:
        refusal = refusal or "its file or folder name is not valid UTF-8; rename it"
    listing.documents.append(
        SourceDocument(
            doc_id=_doc_id(entry, root),
            source=printable(entry.path),
            root=listing.root,
            format=file_format,
            size=size,
            path=entry.path,
            refusal=refusal,
            compression=compression_of(entry.name),
            modified=modified,
        )
    )


def _doc_id(entry: os.DirEntry[str], root: str) -> str:
    return f"{printable(Path(root).name)}/{_below(entry, root)}"


def _below(entry: os.DirEntry[str], root: str) -> str:
    """The path of an entry below the root, with forward slashes."""
    return printable(Path(entry.path).relative_to(root).as_posix())
