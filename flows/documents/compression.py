"""Compressed files: told by their suffix, and decompressed within a bound, whatever they claim."""

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Final, Literal

from flows.documents.formats import NO_SUFFIX, suffix_of
from flows.errors import DocumentRejected

Compression = Literal["gzip", "zstd"]

COMPRESSION_OF_SUFFIX: Final[dict[str, Compression]] = {".gz": "gzip", ".zst": "zstd"}
"""Suffix in lower case -> compression."""

_STEP_BYTES: Final = 256
"""Of zstd at once: a block of four bytes can stand for 128 KiB, so that a step gives a few MiB."""
_WINDOW_BYTES: Final = 128 * 1024 * 1024
"""Most memory for zstd's window, which a frame demands as it likes; zstd's own default."""
_MIB: Final = 1024 * 1024


def compression_of(name: str) -> Compression | None:
    """How a file is compressed, by its name; None if it is not."""
    return next(
        (kind for suffix, kind in COMPRESSION_OF_SUFFIX.items() if name.lower().endswith(suffix)),
        None,
    )


def inner_name(name: str) -> str:
    """The name without the suffix of a compression.

    >>> inner_name("notes.md.GZ"), inner_name("notes.md")
    ('notes.md', 'notes.md')
    """
    kind = compression_of(name)
    return name if kind is None else name[: name.rindex(".")]


def full_suffix(name: str) -> str:
    """The suffix of a file name with that of its compression: `.tar.gz`, `.md`, `(no suffix)`."""
    kind = compression_of(name)
    inner = suffix_of(inner_name(name))
    if kind is None:
        return inner
    return ("" if inner == NO_SUFFIX else inner) + suffix_of(name)


def decompress(data: bytes, kind: Compression, *, max_bytes: int) -> bytes:
    """The content of a compressed file, at most `max_bytes` long; all its members or frames.

    Memory is bounded by `max_bytes` and a few MiB, however much the file would become.

    Raises:
        DocumentRejected: It becomes too large, breaks off, or is not of that compression.
    """
    content = bytearray()
    try:
        for part in _gzip(data) if kind == "gzip" else _zstd(data):
            content += part
            if len(content) > max_bytes:
                raise DocumentRejected(
                    f"more than {max_bytes / _MIB:.1f} MiB once decompressed; "
                    "split it or raise --max-document-mb"
                )
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error)[:1].lower() + str(error)[1:]
        raise DocumentRejected(
            f"cannot be decompressed as {kind} ({reason}); compress it again, or rename it"
        ) from error
    return bytes(content)


def _gzip(data: bytes) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        while part := file.read(_MIB):
            yield part


def _zstd(data: bytes) -> Iterator[bytes]:
    """Frame by frame; the library's own streams do not say that the last frame breaks off."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    frame = decompressor.decompressobj()
    begun = False
    try:
        for start in range(0, len(data), _STEP_BYTES):
            rest = data[start : start + _STEP_BYTES]
            while rest:
                begun = True
                yield frame.decompress(rest)
                rest = b""
                if frame.eof:
                    rest, begun = frame.unused_data, False
                    frame = decompressor.decompressobj()
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from error
    if begun or not data:
        raise EOFError("the file ends within a frame")
