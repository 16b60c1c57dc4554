"""What storing documents comes to, told from a small sample: chunks, tokens, bytes in the store.

The sample is drawn format by format, at equal steps along the documents laid end to end: a document
is met as often as its bytes weigh, so that the mean of what a byte becomes is the whole's, and the
same documents give the same sample.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from flows.documents.chunking import Chunker
from flows.documents.parsed_document import ParsedDocument
from flows.documents.parsing_process import Parsers
from flows.documents.source_document import SourceDocument
from flows.errors import DocumentRejected

SAMPLE_DOCUMENTS: Final = 16
"""Of each format, at most; where there are no more, all of them."""
SAMPLE_CHARACTERS: Final = 32 * 1024
"""Of a document, at most; the rest of it is taken to be alike."""

_CHUNK_BYTES: Final = 1200
"""A chunk's metadata and the engine's own structures, beside its vector and text: as measured on
5,000 chunks of python:stdlib in a folder, without the log of writes, which takes 10 MB or more."""
_COMPONENT_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """All figures are estimates, but what they are drawn from."""

    chunks: int
    tokens: int
    store_bytes: int
    sampled: int
    """Documents that were parsed and chunked for it."""
    unfit: int
    """Of these, documents that cannot be parsed or chunked, and would go to quarantine."""


@dataclass(frozen=True, slots=True)
class _Yield:
    """What one document becomes."""

    chunks: float
    tokens: float
    text_bytes: float


def forecast(
    documents: Sequence[SourceDocument],
    chunker: Chunker,
    parsers: Parsers,
    *,
    dimension: int,
    max_bytes: int,
    advance: Callable[[int], None] = lambda documents: None,
) -> Forecast:
    """Estimate what the documents come to; parses and chunks a sample of them.

    Args:
        documents: What would be stored; their sizes are those of what is read.
        chunker: As an ingest would use it.
        parsers: The processes that parse.
        dimension: Components of a vector.
        max_bytes: Larger documents are rejected.
        advance: Called with 1 for each document of the sample.
    """
    chunks = tokens = text_bytes = 0.0
    sampled = unfit = 0
    for file_format in sorted({document.format for document in documents}):
        alike = [document for document in documents if document.format == file_format]
        total = sum(document.size for document in alike)
        for document, weight in draw(alike, SAMPLE_DOCUMENTS):
            found = _yield_of(document, chunker, parsers, max_bytes=max_bytes)
            advance(1)
            sampled += 1
            if found is None:
                unfit += 1
                continue
            # A sample that is no sample counts each document as it is.
            share = 1.0 if len(alike) <= SAMPLE_DOCUMENTS else weight * total / document.size
            chunks += share * found.chunks
            tokens += share * found.tokens
            text_bytes += share * found.text_bytes
    return Forecast(
        chunks=round(chunks),
        tokens=round(tokens),
        store_bytes=round(text_bytes + chunks * (_CHUNK_BYTES + _COMPONENT_BYTES * dimension)),
        sampled=sampled,
        unfit=unfit,
    )


def draw(documents: Sequence[SourceDocument], count: int) -> list[tuple[SourceDocument, float]]:
    """At most `count` documents, each once, with the share of the steps that fell on it.

    The shares add up to 1. Where there are at most `count` documents, all come, with equal shares.

    Worked example: of documents of 1, 6 and 1 bytes, two steps (at bytes 2 and 6) draw the second
    one alone, with share 1.
    """
    if len(documents) <= count:
        return [(document, 1 / len(documents)) for document in documents]
    step = sum(document.size for document in documents) / count
    drawn: Counter[int] = Counter()
    index, end = 0, float(documents[0].size)
    for number in range(count):
        while end <= (number + 0.5) * step and index + 1 < len(documents):
            index += 1
            end += documents[index].size
        drawn[index] += 1
    return [(documents[index], hits / count) for index, hits in drawn.items()]


def _yield_of(
    document: SourceDocument, chunker: Chunker, parsers: Parsers, *, max_bytes: int
) -> _Yield | None:
    """What the document becomes, by its beginning; None if it cannot be stored."""
    try:
        data = document.read(max_bytes=max_bytes)
        document = document.settled()
        parsed = parsers.parse(data, format=document.format, name=document.name)
        begun = _beginning(parsed)
        chunks = chunker.chunk(begun).chunks
    except DocumentRejected:
        return None
    whole = len(parsed.text) / len(begun.text)
    return _Yield(
        chunks=whole * len(chunks),
        tokens=whole * sum(chunk.tokens for chunk in chunks),
        text_bytes=whole * sum(len(chunk.text.encode()) for chunk in chunks),
    )


def _beginning(parsed: ParsedDocument) -> ParsedDocument:
    """The document, cut after its first characters if it is long."""
    if len(parsed.text) <= SAMPLE_CHARACTERS:
        return parsed
    headings = tuple(heading for heading in parsed.headings if heading.start < SAMPLE_CHARACTERS)
    return replace(parsed, text=parsed.text[:SAMPLE_CHARACTERS], headings=headings)
