"""From SOURCE strings (folders, files, `python:packages`, addresses...) to documents."""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flows.documents.compression import compression_of, full_suffix, inner_name
from flows.documents.folders import list_folder
from flows.documents.formats import format_of, supported_suffixes
from flows.documents.globs import EVERYTHING, EXCLUDED, Selection
from flows.documents.listing import Listing, RootListing
from flows.documents.python_sources import (
    PYTHON_PACKAGES,
    PYTHON_STDLIB,
    list_packages,
    list_stdlib,
)
from flows.documents.records.columns import ANY_COLUMNS, RecordColumns
from flows.documents.records.record_document import RecordDocument
from flows.documents.records.record_file import record_kind_of
from flows.documents.records.record_listing import list_record_file
from flows.documents.remote.access import RemoteAccess
from flows.documents.remote.limits import NO_NETWORK, RemoteLimits
from flows.documents.remote.remote_sources import is_remote, list_remote, local_path
from flows.documents.source_document import (
    SourceDocument,
    kind_of,
    modified_of,
    printable,
    reason_of,
)
from flows.errors import InvalidInput


def discover(
    sources: Sequence[str],
    selection: Selection = EVERYTHING,
    columns: RecordColumns = ANY_COLUMNS,
    *,
    remote: RemoteLimits = NO_NETWORK,
) -> Listing:
    """Name every document of the sources; read none but record files, whose rows are documents.

    A source given twice counts once. What is left out is counted or listed with a reason, so that
    nothing is silent.

    Args:
        sources: Folders, files, `python:packages`, `python:stdlib`, pages and sitemaps on the web,
            `urls:FILE`, and objects and prefixes in stores that fsspec knows.
        selection: Which of their documents count; the others are not in the source.
        columns: Which columns of record files hold what.
        remote: What the sources that do not lie on this machine may do; nothing by default.

    Raises:
        InvalidInput: No source; a source that is missing, neither file nor folder, or a file
            without a parser; two documents with one id; one document from two sources; a
            record file without the columns that were named; a remote source that may not be
            reached, see `remote`.
        SourceUnavailable: A remote source does not answer, or is not there.
    """
    if not sources:
        raise InvalidInput("no source given; expected folders, files, or python:packages")
    roots: dict[str, RootListing] = {}
    access = RemoteAccess(remote)
    for source in sources:
        listing = _list(source, selection, columns, access)
        roots.setdefault(listing.root, listing)
    documents = [document for root in roots.values() for document in root.documents]
    _refuse_duplicates(documents)
    ignored: Counter[str] = Counter()
    for root in roots.values():
        ignored.update(root.ignored)
    return Listing(
        documents=tuple(sorted(documents, key=_order)),
        ignored=dict(sorted(ignored.items())),
        unreadable=tuple(entry for root in roots.values() for entry in root.unreadable),
        roots=tuple(roots),
        complete={name: root.complete for name, root in roots.items()},
        rejected=tuple(entry for root in roots.values() for entry in root.rejected),
        uncertain=frozenset().union(*(root.uncertain for root in roots.values())),
    )


def _order(document: SourceDocument) -> tuple[str, int]:
    """By id; rows of one file in their order, which is how they are read fastest."""
    if isinstance(document, RecordDocument):
        return document.file.doc_id, document.place
    return document.doc_id, 0


def _list(
    source: str, selection: Selection, columns: RecordColumns, access: RemoteAccess
) -> RootListing:
    if source == PYTHON_PACKAGES:
        return _selected(list_packages(), selection)
    if source == PYTHON_STDLIB:
        return _selected(list_stdlib(), selection)
    shown = printable(source)
    if source.startswith("python:"):
        raise InvalidInput(
            f"source {shown!r}: unknown; expected {PYTHON_PACKAGES} or {PYTHON_STDLIB}"
        )
    if not source or "\0" in source:
        raise InvalidInput(f"source {shown!r}: not a path; give a folder or a file")
    if is_remote(source):
        return list_remote(source, selection, access)
    source = local_path(source)
    # The link itself is the root's identity, not what it leads to: `docs -> docs-v2` stays `docs`.
    path = Path(os.path.abspath(source))  # noqa: PTH100 - Path.absolute keeps `..`
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInput(
            f"source {shown!r}: no such file or folder; "
            f"check the path (the working folder is {printable(str(Path.cwd()))})"
        ) from error
    except OSError as error:
        raise InvalidInput(f"source {shown!r}: {reason_of(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        if not path.name:
            raise InvalidInput(
                f"source {shown!r}: the whole file system is no source; give a folder in it"
            )
        return list_folder(str(path), selection, columns)
    if stat.S_ISREG(status.st_mode):
        if kind := record_kind_of(path.name):
            return list_record_file(path, kind, columns, selection)
        return _selected(_list_file(path, status), selection)
    raise InvalidInput(
        f"source {shown!r}: {kind_of(status.st_mode)}; expected a folder or a regular file"
    )


def _selected(listing: RootListing, selection: Selection) -> RootListing:
    """The listing without what does not count, by what follows the root in a document's id."""
    chosen = [d for d in listing.documents if selection.takes(d.doc_id.rpartition("/")[2])]
    if len(chosen) < len(listing.documents):
        listing.ignored[EXCLUDED] += len(listing.documents) - len(chosen)
        listing.documents = chosen
    return listing


def _list_file(path: Path, status: os.stat_result) -> RootListing:
    file_format = format_of(inner_name(path.name))
    if file_format is None:
        suffix = printable(full_suffix(path.name))
        raise InvalidInput(
            f"source {printable(str(path))!r}: no parser for {suffix!r} files; "
            f"expected one of {supported_suffixes()}"
        )
    shown = printable(str(path))
    document = SourceDocument(
        doc_id=printable(path.name),
        source=shown,
        root=shown,
        format=file_format,
        size=status.st_size,
        path=str(path),
        modified=modified_of(status),
        compression=compression_of(path.name),
        refusal="" if shown == str(path) else "its file or folder name is not UTF-8; rename it",
    )
    return RootListing(root=shown, documents=[document])


def _refuse_duplicates(documents: Sequence[SourceDocument]) -> None:
    by_id: dict[str, SourceDocument] = {}
    by_source: dict[str, SourceDocument] = {}
    for document in documents:
        twin = by_source.setdefault(document.source, document)
        if twin is not document:
            raise InvalidInput(
                f"{document.source!r} lies in two sources, {twin.root!r} and {document.root!r}; "
                "give only the outer one"
            )
        namesake = by_id.setdefault(document.doc_id, document)
        if namesake is not document:
            raise InvalidInput(
                f"{namesake.source!r} and {document.source!r} would both be {document.doc_id!r}; "
                "rename one of the two sources, or give the folder that holds both"
            )
