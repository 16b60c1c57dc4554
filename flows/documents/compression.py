"""Compressed files: told by their suffix, and decompressed within a bound, whatever they claim."""

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final, Literal

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
MAX_RATIO: Final = 200
"""Of a file that is read piece by piece: what it becomes, to what it is. Text stays below 20."""
FREE_BYTES: Final = 64 * _MIB
"""Whatever the ratio, a file may become as large as this."""


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
    for part in _parts(io.BytesIO(data), kind):
        content += part
        if len(content) > max_bytes:
            raise DocumentRejected(
                f"more than {max_bytes / _MIB:.1f} MiB once decompressed; "
                "split it or raise --max-document-mb"
            )
    return bytes(content)


def decompressed(file: BinaryIO, kind: Compression, *, size: int) -> Iterator[bytes]:
    """The content of a compressed file of any length, part by part, in a few MiB of memory.

    Args:
        file: Open for reading, at its start.
        kind: How it is compressed.
        size: Its bytes as it lies there.

    Raises:
        DocumentRejected: It becomes more than `MAX_RATIO` times its size (and than `FREE_BYTES`),
            breaks off, or is not of that compression; what came before was good.
    """
    limit, content = max(FREE_BYTES, MAX_RATIO * size), 0
    for part in _parts(file, kind):
        content += len(part)
        if content > limit:
            raise DocumentRejected(
                f"becomes more than {limit / _MIB:.0f} MiB once decompressed, {MAX_RATIO} times "
                "its size; decompress it yourself if it is meant to be so"
            )
        yield part


def _parts(file: BinaryIO, kind: Compression) -> Iterator[bytes]:
    try:
        yield from _gzip(file) if kind == "gzip" else _zstd(file)
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error)[:1].lower() + str(error)[1:]
        raise DocumentRejected(
            f"cannot be decompressed as {kind} ({reason}); compress it again, or rename it"
        ) from error


def _gzip(compressed: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=compressed) as file:
        while part := file.read1(_MIB):  # unlike `read`, it gives what it has before it fails
            yield part


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    """Frame by frame; the library's own streams do not say that the last frame breaks off."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    frame = decompressor.decompressobj()
    begun, empty = False, True
    try:
        while rest := file.read(_STEP_BYTES):
            empty = False
            while rest:
                begun = True
                yield frame.decompress(rest)
                rest = b""
                if frame.eof:
                    rest, begun = frame.unused_data, False
                    frame = decompressor.decompressobj()
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from error
    if begun or empty:
        raise EOFError("the file ends within a frame")
