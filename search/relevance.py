"""Whether a hit is better than what any query would find: scores held against meaningless queries.

A nearest chunk there always is. How near it is by chance depends on the encoder, on the texts and
on how many there are; so it is measured, per collection: queries of a few words, each drawn from
another chunk, mean nothing, and the cosine of the best chunk that each finds is what chance gives.
A hit's **percentile** is the part of these queries that found nothing so near.

On three labelled sets with the starter, the best hits of 95 of 100 of a set's own queries lie above
the 0.19 percentile; of the queries of another set, half lie below 0.01 to 0.16, but 0.41 where both
sets are about science and engineering.
"""

import random
import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from search.filters import of_kind
from search.protocols import QueryEncoder
from search.records import KIND_CHUNK, PAGE_CONTENT
from search.stores.contract import Collection

QUERIES: Final = 128
SAMPLE: Final = 512
"""Chunks that words are drawn from."""
WORDS: Final = (3, 9)
"""Words of a meaningless query, at least and at most."""
FEWEST_CHUNKS: Final = 20
"""In a smaller collection chance says nothing."""
NOTHING_GOOD: Final = 0.15
"""If the best hit lies below this percentile, and not most of the query's words are in it, there
is nothing good."""
MOST_WORDS: Final = 2 / 3
GROWTH: Final = 1.5
"""Once a collection has so many times the chunks it had, or the other way round, it is measured
again."""

_WORD: Final = re.compile(r"\w{2,24}")


class Chance(BaseModel):
    """What meaningless queries find in a collection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: str
    fingerprint: str
    chunks: Annotated[int, Field(ge=0)]
    """When it was measured."""
    best: tuple[Annotated[float, Field(ge=-1.01, le=1.01)], ...]
    """Cosine of the best chunk of each query, ascending."""

    def percentile(self, cosine: float) -> float:
        """Part of the queries whose best chunk has a lower cosine, 0 to 1."""
        return bisect_left(self.best, cosine) / len(self.best) if self.best else 1.0

    def fits(self, collection: Collection, *, chunks: int) -> bool:
        """Whether it still tells about a collection that now has so many chunks."""
        manifest = collection.manifest
        same = self.collection == manifest.name and self.fingerprint == manifest.fingerprint
        low, high = sorted((max(1, self.chunks), max(1, chunks)))
        return same and high <= GROWTH * low


def measure(
    collection: Collection, encoder: QueryEncoder, *, queries: int = QUERIES, seed: int = 0
) -> Chance | None:
    """Ask a collection what nobody would ask.

    Args:
        collection: Where.
        encoder: The one that built it.
        queries: How many; all are encoded in one call.
        seed: Of the draws: the same chunks give the same queries.

    Returns:
        None for a collection of fewer than `FEWEST_CHUNKS` chunks, or one without words.
    """
    chunks = collection.count(of_kind(KIND_CHUNK))
    sample = islice(collection.scroll(where=of_kind(KIND_CHUNK), batch_size=SAMPLE), SAMPLE)
    texts = [words for one in sample if (words := _WORD.findall(one.payload[PAGE_CONTENT]))]
    if chunks < FEWEST_CHUNKS or not texts:
        return None
    vectors = encoder.encode_query(_meaningless(texts, queries, seed))
    best = [
        record.score
        for vector in vectors
        for record in collection.search(vector, limit=1)
        if record.score is not None
    ]
    return Chance(
        collection=collection.manifest.name,
        fingerprint=collection.manifest.fingerprint,
        chunks=chunks,
        best=tuple(sorted(round(min(1.0, max(-1.0, score)), 6) for score in best)),
    )


def _meaningless(texts: Sequence[Sequence[str]], count: int, seed: int) -> list[str]:
    draws = random.Random(seed)
    return [
        " ".join(draws.choice(draws.choice(texts)) for _ in range(draws.randint(*WORDS)))
        for _ in range(count)
    ]
