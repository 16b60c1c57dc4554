"""Compressed documents are what they hold; what they claim is bounded before it is believed."""

import gzip
import hashlib
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from flows.documents.compression import compression_of, decompress, inner_name
from flows.documents.sources import discover
from flows.errors import DocumentRejected, InvalidInput

TEXT = b"# Lamps\n\nA keeper trims the lamp at dusk.\n" * 50
MIB = 1024 * 1024

Compress = Callable[[bytes], bytes]
BOTH = pytest.mark.parametrize(
    ("kind", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)]
)


def test_names() -> None:
    """The last suffix tells, in any case."""
    assert [compression_of(name) for name in ("a.md.gz", "a.md.ZST", "a.md", "gz")] == [
        "gzip",
        "zstd",
        None,
        None,
    ]
    assert [inner_name(name) for name in ("a.md.gz", "A.MD.ZST", "a.md", "a.gz")] == [
        "a.md",
        "A.MD",
        "a.md",
        "a",
    ]


@BOTH
def test_what_was_compressed_comes_back(kind: str, compress: Compress) -> None:
    """Several members or frames are one content; an empty content is one too."""
    assert decompress(compress(TEXT), kind, max_bytes=MIB) == TEXT  # type: ignore[arg-type]
    twice = compress(TEXT) + compress(b"") + compress(TEXT)
    assert decompress(twice, kind, max_bytes=MIB) == 2 * TEXT  # type: ignore[arg-type]
    assert decompress(compress(b""), kind, max_bytes=MIB) == b""  # type: ignore[arg-type]


@BOTH
def test_a_bomb_is_rejected_within_the_bound(kind: str, compress: Compress) -> None:
    """A gigabyte of zeros in little: the limit is named, and the memory is not taken."""
    zeros = compress(b"\0" * (64 * MIB))
    bomb = zeros * 16
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DocumentRejected, match=r"more than 1\.0 MiB once decompressed; split it"):
        decompress(bomb, kind, max_bytes=MIB)  # type: ignore[arg-type]
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 * 1024
    exactly = compress(b"x" * MIB)
    assert len(decompress(exactly, kind, max_bytes=MIB)) == MIB  # type: ignore[arg-type]


@BOTH
def test_what_is_broken_is_rejected(kind: str, compress: Compress) -> None:
    """Cut off anywhere, nothing at all, another file, or with something behind it."""
    whole = compress(TEXT)
    cuts = [whole[:end] for end in range(0 if kind == "zstd" else 1, len(whole))]
    for data in (*cuts, b"plain text", whole + b"something else", whole[:20] + b"\xff" * 40):
        with pytest.raises(DocumentRejected, match=f"cannot be decompressed as {kind}"):
            decompress(data, kind, max_bytes=MIB)  # type: ignore[arg-type]


def test_a_window_beyond_reason_is_rejected() -> None:
    """A frame may demand gigabytes of memory for itself; it does not get them."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=30)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(TEXT) + compressor.flush()
    with pytest.raises(DocumentRejected, match="cannot be decompressed as zstd"):
        decompress(data, "zstd", max_bytes=MIB)


def test_compressed_documents_are_listed_and_read(tmp_path: Path) -> None:
    """By the format of what they hold; their bytes are the content's, so that a hash is too."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md.gz").write_bytes(gzip.compress(TEXT))
    (folder / "b.txt.zst").write_bytes(zstandard.compress(TEXT))
    (folder / "LICENSE.gz").write_bytes(gzip.compress(TEXT))
    (folder / "c.tar.gz").write_bytes(gzip.compress(b"tar"))
    (folder / "d.gz").write_bytes(gzip.compress(b"?"))
    listing = discover([str(folder)])
    assert [(d.doc_id, d.format) for d in listing.documents] == [
        ("notes/LICENSE.gz", "text"),
        ("notes/a.md.gz", "markdown"),
        ("notes/b.txt.zst", "text"),
    ]
    assert listing.ignored == {".tar.gz": 1, ".gz": 1}
    digests = {hashlib.sha256(d.read(max_bytes=MIB)).digest() for d in listing.documents}
    assert digests == {hashlib.sha256(TEXT).digest()}
    assert listing.documents[1].name == "notes/a.md"
    with pytest.raises(DocumentRejected, match="once decompressed"):
        listing.documents[1].read(max_bytes=len(TEXT) - 1)

    (single,) = discover([str(folder / "a.md.gz")]).documents
    assert (single.doc_id, single.format, single.read()) == ("a.md.gz", "markdown", TEXT)
    with pytest.raises(InvalidInput, match=r"no parser for '\.tar\.gz' files; expected one of"):
        discover([str(folder / "c.tar.gz")])
