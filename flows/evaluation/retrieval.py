"""How well a collection would answer labelled queries: by vectors, by words, by both.

The documents are chunked, embedded and stored as an ingest does it of plain text, in a store of its
own that goes away again, and each query is asked as `sextant search` asks it.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from embedder.specification import EncoderSpecification, specify
from flows.documents.chunking import Chunk, Chunker
from flows.documents.parsed_document import ParsedDocument
from flows.encoders import Queries, encode_chunks, load_encoder
from flows.evaluation.ranking import DEPTH, MEASURES, measure
from flows.evaluation.retrieval_set import RetrievalSet
from flows.progress import Progress
from search.hybrid import Fusion, Mode
from search.options import MAX_QUERY_CHARACTERS, SearchOptions
from search.records import KIND, KIND_CHUNK, METADATA, PAGE_CONTENT, Point, chunk_id
from search.service import search
from search.stores.contract import Collection, Manifest
from search.stores.edge import EdgeStore

SLICE: Final = 512
"""Chunks embedded and stored between two signs of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalScores:
    """One set of queries, answered in several ways."""

    task: str
    queries: int
    documents: int
    chunks: int
    left_out: int
    """Queries without a relevant document."""
    modes: Mapping[Mode, Mapping[str, float]]
    """Mode -> `ndcg@10`, `recall@100` and `mrr`, each the mean over the queries."""
    rankings: Mapping[Mode, Mapping[str, tuple[str, ...]]]
    """Mode -> query -> ids of the documents found, best first, at most `DEPTH`."""

    def fields(self) -> dict[str, Any]:
        """For programs."""
        return {
            "task": self.task,
            "queries": self.queries,
            "modes": {mode: dict(scores) for mode, scores in self.modes.items()},
        }


def evaluate_retrieval(
    labelled: RetrievalSet,
    encoder_name: str | EncoderSpecification,
    *,
    modes: Sequence[Mode],
    fusion: Fusion,
    chunk_tokens: int,
    progress: Progress,
) -> RetrievalScores:
    """Store the documents, ask every query in every mode, and compare with what people judged.

    Args:
        labelled: The set.
        encoder_name: As in settings, or what `specify` made of it.
        modes: Which ones.
        fusion: Of hybrid.
        chunk_tokens: Hard bound on a chunk, in the encoder's tokens.
        progress: Told of stages and chunks.

    Raises:
        EmbedderError: the encoder cannot be used.
        SearchError: the store fails, for want of room perhaps.
    """
    specification = specify(encoder_name) if isinstance(encoder_name, str) else encoder_name
    encoder = load_encoder(specification)
    queries = Queries(encoder, specification)
    with (
        tempfile.TemporaryDirectory(prefix="sextant-evaluate-") as folder,
        closing(EdgeStore(Path(folder) / "store")) as store,
    ):
        collection = store.create(_manifest(specification))
        chunks = _fill(collection, labelled, encoder, chunk_tokens, progress)
        progress.stage("asking queries", len(labelled.queries) * len(modes))
        known = _Known(queries, [text[:MAX_QUERY_CHARACTERS] for text in labelled.queries.values()])
        options = SearchOptions(fusion=fusion, fold=False, depth=DEPTH)
        found: dict[Mode, Mapping[str, float]] = {}
        rankings: dict[Mode, dict[str, tuple[str, ...]]] = {mode: {} for mode in modes}
        for mode in modes:
            scores = []
            for name, text in labelled.queries.items():
                result = search(
                    collection,
                    known,
                    text[:MAX_QUERY_CHARACTERS],
                    limit=DEPTH,
                    mode=mode,
                    options=options,
                )
                ranking = tuple(hit.doc_id for hit in result.hits)
                rankings[mode][name] = ranking
                scores.append(measure(ranking, labelled.grades[name]))
                progress.advance()
            means = np.mean(np.array(scores), axis=0)
            found[mode] = dict(zip(MEASURES, (round(float(m), 4) for m in means), strict=True))
    return RetrievalScores(
        task=labelled.name,
        queries=len(labelled.queries),
        documents=len(labelled.documents),
        chunks=chunks,
        left_out=labelled.left_out,
        modes=found,
        rankings=rankings,
    )


def cut(
    labelled: RetrievalSet, tokenizer_json: str, *, chunk_tokens: int
) -> list[tuple[str, Chunk]]:
    """The chunks of all documents in their order, each with its document's id.

    Args:
        labelled: The set.
        tokenizer_json: The encoder's.
        chunk_tokens: Hard bound on a chunk, in its tokens.
    """
    chunker = Chunker(tokenizer_json, max_tokens=chunk_tokens)
    return [
        (name, chunk)
        for name, text in labelled.documents.items()
        for chunk in chunker.chunk(ParsedDocument(text=text, title="", encoding="utf-8")).chunks
    ]


class _Known:
    """An encoder whose queries are known before: all are encoded in one call."""

    def __init__(self, queries: Queries, texts: Sequence[str]) -> None:
        self.fingerprint = queries.fingerprint
        cleaned = list(dict.fromkeys(texts))
        self._vectors = dict(zip(cleaned, queries.encode_query(cleaned), strict=True))
        self._queries = queries

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        if all(text in self._vectors for text in sentences):
            return np.stack([self._vectors[text] for text in sentences])
        return self._queries.encode_query(sentences)


def _fill(
    collection: Collection,
    labelled: RetrievalSet,
    encoder: Any,
    chunk_tokens: int,
    progress: Progress,
) -> int:
    """Store every document's chunks; how many there are."""
    pieces = cut(labelled, encoder.tokenizer_json, chunk_tokens=chunk_tokens)
    progress.stage(f"embedding {labelled.name}", len(pieces))
    for start in range(0, len(pieces), SLICE):
        part = pieces[start : start + SLICE]
        vectors = encode_chunks(encoder, [chunk.text for _, chunk in part]).vectors
        collection.upsert(
            [
                Point(
                    id=chunk_id(name, ordinal=chunk.ordinal, content_hash=""),
                    vector=vector,
                    payload={
                        KIND: KIND_CHUNK,
                        PAGE_CONTENT: chunk.text,
                        METADATA: {
                            "doc_id": name,
                            "source": name,
                            "title": name,
                            "start": chunk.start,
                            "end": chunk.end,
                        },
                    },
                )
                for (name, chunk), vector in zip(part, vectors, strict=True)
            ]
        )
        progress.advance(len(part))
    return len(pieces)


def _manifest(specification: EncoderSpecification) -> Manifest:
    return Manifest(
        name="evaluation",
        dimension=specification.dimension,
        fingerprint=specification.fingerprint,
        encoder=specification.describe(),
        created_at="1970-01-01T00:00:00+00:00",
    )
