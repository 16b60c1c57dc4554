"""Zip files that documents come in, opened with care: a few kilobytes can hold gigabytes."""

import io
import zipfile
import zlib
from typing import Final

from flows.errors import DocumentRejected

MAX_MEMBERS: Final = 10_000
MAX_UNPACKED_BYTES: Final = 512 * 1024 * 1024
MAX_RATIO: Final = 200
"""Of unpacked to packed bytes. Spreadsheets, all tags, reach some 30."""
_SMALL: Final = 16 * 1024 * 1024
"""Unpacked bytes at which the ratio does not matter yet."""
MAX_PART_BYTES: Final = 128 * 1024 * 1024
_OLE: Final = b"\xd0\xcf\x11\xe0"


class Archive:
    """The members of a zip file, by name, in memory; nothing is ever unpacked to a disk."""

    def __init__(self, data: bytes, *, kind: str) -> None:
        """Look through the table of contents; unpack nothing.

        Args:
            data: The whole file.
            kind: What it should be, for messages: `DOCX`.

        Raises:
            DocumentRejected: No zip file, encrypted, or one that would unpack to too much.
        """
        if data.startswith(_OLE):
            raise DocumentRejected(
                f"encrypted, or an Office file from before 2007, not {kind}; "
                f"save it as {kind} without a password"
            )
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise DocumentRejected(f"not {kind}: {error}; save it again") from error
        self._kind = kind
        infos = self._zip.infolist()
        unpacked = sum(info.file_size for info in infos)
        if len(infos) > MAX_MEMBERS:
            raise _bomb(f"{len(infos)} members", str(MAX_MEMBERS))
        if unpacked > MAX_UNPACKED_BYTES:
            raise _bomb(f"{unpacked} bytes once unpacked", str(MAX_UNPACKED_BYTES))
        # Of the file as a whole: members of a bomb may overlap, each of them with a fine ratio.
        if unpacked > max(_SMALL, MAX_RATIO * len(data)):
            raise _bomb(
                f"{unpacked} bytes once unpacked, {unpacked // max(1, len(data))} times its size",
                f"{MAX_RATIO} times",
            )
        if any(info.flag_bits & 1 for info in infos):
            raise DocumentRejected(f"encrypted {kind}; save it without a password")
        self.names: Final = frozenset(info.filename for info in infos)

    def read(self, name: str) -> bytes:
        """A member's bytes.

        Raises:
            DocumentRejected: not there, too large, or damaged.
        """
        try:
            size = self._zip.getinfo(name).file_size
            if size > MAX_PART_BYTES:
                raise _bomb(f"{size} bytes in {name!r}", str(MAX_PART_BYTES))
            # `zipfile` stops at the size that the table of contents says, whatever follows
            return self._zip.read(name)
        except KeyError:
            raise DocumentRejected(f"not {self._kind}: no {name!r} in it; save it again") from None
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            ValueError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise DocumentRejected(
                f"damaged {self._kind}: {name!r}: {error}; save it again"
            ) from error


def _bomb(found: str, limit: str) -> DocumentRejected:
    return DocumentRejected(f"{found}; the limit is {limit}; split it, or skip it as a zip bomb")
