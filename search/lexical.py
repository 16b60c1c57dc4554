"""Words as sparse vectors: BM25, made by Qdrant's own code, alike for every store.

A chunk's vector holds, for each of its words, how much the word counts in it; the engine multiplies
by how rare the word is among all chunks (IDF) when it is asked. A query's vector has its words, and
how often each stands in it.

One way of reading words serves all languages. Text is cut by Unicode's rules, by dictionary where
a language writes no spaces (Chinese, Japanese, Thai), in lower case, and without accents. English
endings and stop words are taken off: on English text that finds much more, and elsewhere the same
rules meet both sides, so that words still find themselves.

This module imports the engine when the first word is read, and nothing heavy before.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qdrant_edge import Bm25

BM25: Final = "bm25"
"""Name of the sparse vector of every chunk."""

SATURATION: Final = 1.2
"""BM25's k1: how soon a further occurrence of a word stops counting."""
LENGTH_WEIGHT: Final = 0.75
"""BM25's b: how much a long chunk is held against it."""
AVERAGE_WORDS: Final = 100.0
"""BM25's avgdl, in words. It is fixed, since a chunk's vector is made before the others are known;
a chunk of the default 160 tokens has about a hundred. Twice as many or half change little."""

_NEVER: Final = 1e7
"""A saturation at which a word's weight is its count."""
_WORD: Final = re.compile(r"\w+")
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
)


def document_terms(text: str) -> tuple[list[int], list[float]]:
    """The sparse vector of a chunk: term numbers, ascending, and what each counts.

    Both lists are empty for a text without words.
    """
    vector = _model().embed_document(_encodable(text))
    return vector.indices, vector.values


def query_vector(text: str) -> tuple[list[int], list[float]]:
    """The sparse vector of a query: its terms, ascending, and how often each stands in it.

    Counting matters in long queries, a pasted paragraph say: what it is about comes more than once.
    """
    vector = _model(saturation=_NEVER, length_weight=0.0).embed_document(_encodable(text))
    return vector.indices, [float(round(count)) for count in vector.values]


def query_terms(text: str) -> list[int]:
    """The terms of a query, each once, ascending."""
    return list(_model().embed_query(_encodable(text)).indices)


def marks(text: str, terms: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where words of a query stand in a text, as character offsets in ascending order.

    Args:
        text: A hit's.
        terms: The query's, of `query_terms`.

    Yields:
        Start and end. In a script without spaces a whole run of letters is one mark.
    """
    wanted = frozenset(terms)
    spans: list[tuple[int, int]] = []
    # each different word is looked up once, and then those that were asked for are found again
    for word in set(_WORD.findall(text)):
        if not wanted.isdisjoint(_terms_of_word(word)):
            spans += _occurrences(text, word)
    yield from sorted(spans)


def is_unspaced(text: str) -> bool:
    """Whether a text has letters of a script that puts no spaces between words."""
    return _UNSPACED.search(text) is not None


def _occurrences(text: str, word: str) -> Iterator[tuple[int, int]]:
    """Where a word stands that is not part of a longer one."""
    end = 0
    while (start := text.find(word, end)) >= 0:
        end = start + len(word)
        is_whole = not (start and _is_letter(text[start - 1])) and not _is_letter(
            text[end : end + 1]
        )
        if is_whole:
            yield start, end


def _is_letter(character: str) -> bool:
    """Whether a character is one of those that `_WORD` is made of."""
    return _WORD.match(character) is not None


@lru_cache(maxsize=65_536)
def _terms_of_word(word: str) -> frozenset[int]:
    return frozenset(query_terms(word))


@cache
def _model(*, saturation: float = SATURATION, length_weight: float = LENGTH_WEIGHT) -> "Bm25":
    import qdrant_edge as qdrant

    return qdrant.Bm25(
        qdrant.Bm25Config(
            k=saturation,
            b=length_weight,
            avg_len=AVERAGE_WORDS,
            tokenizer=qdrant.TokenizerType.Multilingual,
            language="english",
            lowercase=True,
            ascii_folding=True,
        )
    )


def _encodable(text: str) -> str:
    """Text without lone surrogates, which the engine cannot take."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
