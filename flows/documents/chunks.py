"""Chunks of a document and the ledger that accounts for every character of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flows.errors import DocumentRejected


@dataclass(frozen=True, kw_only=True)
class Span:
    """Characters `text[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A piece of a document: `parsed.text[start:end] == text`.

    Attributes:
        ordinal: Its place in the document, from 0.
        start: Offset of its first character.
        end: Offset after its last character.
        text: The characters themselves.
        tokens: Their count by the chunker's tokenizer, without special tokens.
        headings: Titles of the headings that enclose its start, outermost first.
    """

    ordinal: int
    start: int
    end: int
    text: str
    tokens: int
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """All chunks of a document in order, and the white space that lies in none of them."""

    chunks: tuple[Chunk, ...]
    skipped: tuple[Span, ...]


def gaps(length: int, spans: Sequence[tuple[int, int]]) -> Iterator[Span]:
    """The stretches of `0..length` that no span covers; `spans` ascend by their start."""
    covered = 0
    for start, end in [*spans, (length, length)]:
        if start > covered:
            yield Span(start=covered, end=start)
        covered = max(covered, end)


def verify_coverage(text: str, chunking: Chunking) -> None:
    """Check the ledger: exact offsets, and each character in a chunk or in a skipped span.

    Raises:
        DocumentRejected: A chunk is not the text at its offsets, or text other than white space
            would be lost.
    """
    for ordinal, chunk in enumerate(chunking.chunks):
        if chunk.ordinal != ordinal or text[chunk.start : chunk.end] != chunk.text:
            raise DocumentRejected(
                f"chunk {ordinal} is not the text at {chunk.start}:{chunk.end}; "
                "this is a defect of the chunker, please report it"
            )
    spans = [(chunk.start, chunk.end) for chunk in chunking.chunks]
    if tuple(gaps(len(text), spans)) != chunking.skipped:
        raise DocumentRejected(
            "the skipped spans are not what the chunks leave out; "
            "this is a defect of the chunker, please report it"
        )
    for span in chunking.skipped:
        if not text[span.start : span.end].isspace():
            raise DocumentRejected(
                f"characters {span.start}:{span.end} would lie in no chunk; "
                "this is a defect of the chunker, please report it"
            )
