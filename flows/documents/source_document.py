"""One document that a listing has named: where it lies, what it is, and how to read its bytes."""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from flows.documents.compression import Compression, decompress, inner_name
from flows.documents.formats import Format
from flows.errors import DocumentRejected

MAX_DOCUMENT_BYTES: Final = 20 * 1024 * 1024
"""Default limit on a document's size, in bytes."""

_MIB: Final = 1024 * 1024

Scalar: TypeAlias = str | int | float
"""What a field of a document may hold; booleans are stored as the words `true` and `false`."""


@dataclass(frozen=True, kw_only=True)
class SourceDocument:
    """A document by name, not yet read.

    Attributes:
        doc_id: Identity across runs: `<root folder name>/<posix relative path>`, a single file's
            name, `python:packages/<name>` or `python:stdlib/<module>`. Always valid UTF-8.
        source: Absolute path of the file, or the `python:...` URI. Always valid UTF-8.
        root: Absolute path of the folder that was given, the single file itself, or
            `python:packages` / `python:stdlib`.
        format: Which parser takes it.
        size: Bytes when it was listed; 0 where that could not be told.
        path: The file that `read` opens, as the operating system knows it.
        refusal: Why `read` must refuse, where the listing knows already; otherwise empty.
        compression: How the file is compressed; `read` gives what it holds.
        modified: When the source says it was last changed: ISO 8601, UTC; empty if it does not.
        version: What its place says of its version (an ETag...): while it stays the same, so do
            the bytes, and nothing needs to be read. Empty where nothing so reliable is known.
        digest: Hash of its content, where the listing has made it already; otherwise empty.
        title: Title that its source gives it; empty: the parser finds one.
        fields: What its source says of it besides, by name; stored with each of its chunks.
    """

    doc_id: str
    source: str
    root: str
    format: Format
    size: int
    path: str = field(repr=False)
    refusal: str = field(default="", repr=False)
    compression: Compression | None = None
    modified: str = ""
    version: str = field(default="", repr=False)
    digest: str = field(default="", repr=False)
    title: str = field(default="", repr=False)
    fields: Mapping[str, Scalar] = field(default_factory=dict, repr=False, hash=False)

    @property
    def name(self) -> str:
        """The id, without the suffix of a compression: what a parser may take a title from."""
        return inner_name(self.doc_id) if self.compression else self.doc_id

    def read(self, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
        """The whole file, decompressed, at most `max_bytes` long.

        Only a regular file is ever read: a FIFO, device or socket that took the file's place
        after the listing is refused without blocking, and so is a symlink that leaves the root.

        Raises:
            DocumentRejected: Too large, vanished, no permission, not a regular file, I/O error;
                not compressed as its name says.
        """
        if self.refusal:
            raise DocumentRejected(self.refusal)
        self._refuse_escape()
        try:
            # O_NONBLOCK: opening a FIFO that nobody writes to would otherwise wait for ever.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise DocumentRejected(
                        f"is {kind_of(status.st_mode)}, not a regular file; remove it or skip it"
                    )
                if status.st_size > max_bytes:
                    raise too_large(status.st_size, max_bytes)
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise DocumentRejected(reason_of(error)) from error
        if len(data) > max_bytes:  # it grew between fstat and read
            raise too_large(len(data), max_bytes)
        if self.compression is None:
            return data
        return decompress(data, self.compression, max_bytes=max_bytes)

    def settled(self) -> "SourceDocument":
        """The document with what only its reading has told (format, version); mostly itself."""
        return self

    def is_still(self, version: str, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> bool:
        """Whether its bytes are those of a version that is known, so that it need not be read.

        Raises:
            DocumentRejected: Its place had to be asked, and does not answer.
        """
        return bool(version) and self.version == version

    def _refuse_escape(self) -> None:
        if self.root.startswith("python:") or self.root == self.source:
            return
        real = os.path.realpath(self.path)
        if not Path(real).is_relative_to(os.path.realpath(self.root)):
            raise DocumentRejected(
                f"now leads outside its source folder, to {printable(real)}; "
                "replace the link by the file, or give that folder as a source of its own"
            )


def reason_of(error: OSError) -> str:
    """One line on why a file or folder cannot be read, with the remedy."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission to read it; change its mode or owner"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "vanished after it was listed; run again"
    if error.errno == errno.ELOOP:
        return "is a symlink that leads in a circle; replace it by the file"
    if error.errno in (errno.ENXIO, errno.EISDIR):
        return "is not a regular file; remove it or skip it"
    return f"cannot be read: {error.strerror or error}; check the disk and run again"


def modified_of(status: os.stat_result) -> str:
    """When a file was last changed: ISO 8601, UTC; empty for a time that no calendar has."""
    try:
        return datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return ""


def kind_of(mode: int) -> str:
    """What an `st_mode` says a file is, with its article: `a FIFO`, `a socket`..."""
    for test, name in (
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISREG, "a regular file"),
    ):
        if test(mode):
            return name
    return "no file"


def printable(path: str) -> str:
    r"""A path as valid UTF-8: each byte of its name that is none becomes `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def too_large(size: int, limit: int) -> DocumentRejected:
    """The error for a document of so many bytes, where the limit is lower."""
    return DocumentRejected(
        f"{size / _MIB:.1f} MiB; the limit is {limit / _MIB:.1f} MiB; "
        "split it or raise --max-document-mb"
    )
