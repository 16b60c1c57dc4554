"""Made-up chunks to search: clustered unit vectors, texts whose words are as frequent as in prose.

The first words are English function words, which BM25 leaves out, as it does in prose; words of one
token follow, then compounds of two. Their frequencies follow Zipf and Mandelbrot. Any number of
chunks takes no memory: they are made again wherever they are read.
"""

import itertools
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from benchmarks.texts import single_token_words
from search.records import KIND, KIND_CHUNK, METADATA, PAGE_CONTENT, Point, chunk_id

DIMENSION: Final = 384
TOPICS: Final = 200
NOISE: Final = 1.2
"""Length of what parts a chunk from its topic's middle, whose own length is 1."""
QUERY_NOISE: Final = 0.8
"""Length of what parts a query from the chunk that it is about."""
VOCABULARY: Final = 50_000
SHIFT: Final = 2.7
"""Mandelbrot's: the first words are less frequent than Zipf alone has them."""
WORDS: Final = (70, 130)
"""Of a chunk, at least and at most: about a hundred, as the default 160 tokens hold."""
SENTENCE_WORDS: Final = 16
QUERY_WORDS: Final = (3, 9)
CHUNKS: Final = (1, 9)
"""Of a document, at least and at most."""
BLOCK: Final = 1000
"""Documents drawn from one seed."""
STOP_WORDS: Final = tuple(
    re.findall(
        r"\w+",
        "the of and to in a is that for it as was with be by on not he his but at are this have "
        "from or had an they which one you were all her she there would their we him been has",
    )
)

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Question:
    """A query: its text, and its vector, float32 of shape (D,), of length 1."""

    text: str
    vector_D: Float32


class SearchCorpus:
    """Chunks in the order of their documents; the same count and tokenizer give the same ones."""

    def __init__(self, count: int, tokenizer: Path) -> None:
        """Of so many chunks; `tokenizer` is the file of one whose words they are made of."""
        self.count = count
        self._tokenizer = tokenizer
        random = np.random.default_rng(0)
        self._topics_TD = _unit(random.normal(size=(TOPICS, DIMENSION)))

    def points(self) -> Iterator[Point]:
        """All chunks."""
        blocks = (self._block(number) for number in itertools.count())
        return itertools.islice(itertools.chain.from_iterable(blocks), self.count)

    def questions(self, count: int, *, seed: int = 1) -> list[Question]:
        """Queries, each about a chunk of the beginning: some of its words, a vector near to it."""
        random = np.random.default_rng(seed)
        reach = min(self.count, BLOCK * CHUNKS[0])
        chunks = list(itertools.islice(self.points(), reach))
        found = []
        for row in random.integers(reach, size=count):
            point = chunks[row]
            words = point.payload[PAGE_CONTENT].lower().replace(".", "").split()
            start = int(random.integers(len(words) - QUERY_WORDS[1]))
            length = int(random.integers(QUERY_WORDS[0], QUERY_WORDS[1] + 1))
            vector = point.vector + _noise(random, (DIMENSION,), QUERY_NOISE)
            found.append(Question(" ".join(words[start : start + length]), _unit(vector)))
        return found

    @cached_property
    def vocabulary(self) -> list[str]:
        """Words, the most frequent first."""
        singles = single_token_words(Tokenizer.from_file(str(self._tokenizer)))
        random = np.random.default_rng(2)
        random.shuffle(singles)
        pairs = (f"{a}{b}" for shift in itertools.count(1) for a, b in _shifted(singles, shift))
        words = dict.fromkeys(itertools.chain(STOP_WORDS, singles))
        for pair in pairs:
            if len(words) == VOCABULARY:
                return list(words)
            words[pair] = None
        raise AssertionError("pairs never end")

    @cached_property
    def _chances(self) -> npt.NDArray[np.float64]:
        """Part of all words that each and those before it have."""
        weights = 1 / (np.arange(VOCABULARY) + 1 + SHIFT)
        chances: npt.NDArray[np.float64] = np.cumsum(weights / weights.sum())
        return chances

    def _block(self, block: int) -> Iterator[Point]:
        random = np.random.default_rng((3, block))
        sizes = random.integers(CHUNKS[0], CHUNKS[1] + 1, size=BLOCK)
        total = int(sizes.sum())
        topics = self._topics_TD[np.repeat(random.integers(TOPICS, size=BLOCK), sizes)]
        vectors_ND = _unit(topics + _noise(random, (total, DIMENSION), NOISE))
        lengths = random.integers(WORDS[0], WORDS[1] + 1, size=total)
        ranks = np.searchsorted(self._chances, random.random(int(lengths.sum())))
        words = iter(np.minimum(ranks, VOCABULARY - 1).tolist())
        row = 0
        for document, chunks in enumerate(sizes.tolist(), start=block * BLOCK):
            start = 0
            for ordinal in range(chunks):
                text = self._text(list(itertools.islice(words, int(lengths[row]))))
                yield _point(document, ordinal, start, text, vectors_ND[row])
                start += len(text) + 1
                row += 1

    def _text(self, ranks: list[int]) -> str:
        words = [self.vocabulary[rank] for rank in ranks]
        return " ".join(
            f"{' '.join(sentence).capitalize()}."
            for start in range(0, len(words), SENTENCE_WORDS)
            for sentence in (words[start : start + SENTENCE_WORDS],)
        )


def _point(document: int, ordinal: int, start: int, text: str, vector_D: Float32) -> Point:
    """A chunk with the payload that an ingest writes."""
    doc_id = f"notes/folder-{document % 97}/document-{document}.md"
    content_hash = blake2b(doc_id.encode(), digest_size=16).hexdigest()
    metadata = {
        "doc_id": doc_id,
        "source": f"/srv/{doc_id}",
        "root": "/srv/notes",
        "title": f"Document {document}",
        "format": "markdown",
        "headings": [f"Document {document}", "Introduction"],
        "start": start,
        "end": start + len(text),
        "chunk": ordinal,
        "tokens": len(text) // 5,
        "content_hash": content_hash,
        "ingested_at": "2025-01-01T00:00:00+00:00",
        "run_id": str(uuid.UUID(int=0)),
        "language": "en",
        "modified": "2024-01-01T00:00:00+00:00",
    }
    return Point(
        id=chunk_id(doc_id, ordinal=ordinal, content_hash=content_hash),
        vector=vector_D,
        payload={KIND: KIND_CHUNK, PAGE_CONTENT: text, METADATA: metadata},
    )


def _shifted(words: list[str], shift: int) -> Iterator[tuple[str, str]]:
    return zip(words, words[shift:] + words[:shift], strict=True)


def _noise(random: np.random.Generator, shape: tuple[int, ...], length: float) -> Float32:
    noise: Float32 = (random.normal(size=shape) * (length / np.sqrt(DIMENSION))).astype(np.float32)
    return noise


def _unit(vectors: npt.NDArray[np.floating]) -> Float32:
    unit: Float32 = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return unit
