"""Sentences of a cluster's texts that say what it is about.

Candidates are the sentences with most of the cluster's keywords for their length; with an encoder,
those of them stand that are nearest to the cluster's centroid.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from flows.clustering.snippet import one_line
from flows.clustering.words import terms

CANDIDATES: Final = 6
SENTENCES: Final = 2
FEWEST_CHARACTERS: Final = 25
MOST_CHARACTERS: Final = 240
MOST_OF_A_TEXT: Final = 40
"""Sentences looked at in one text."""

PROSE: Final = 0.85
"""Share of letters and blanks from which on a line is words rather than code or a table."""

_BEGINNING: Final = re.compile(r"^[\s#>*|+=~_-]+")
"""Marks of headings, quotes and lists."""

_END: Final = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])|\n\s*\n")  # noqa: RUF001 - full stops


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence on one line, and the row of the chunk that it is from."""

    text: str
    row: int


def _is_prose(line: str) -> bool:
    letters = sum(character.isalpha() or character == " " for character in line)
    return letters >= PROSE * len(line) and "```" not in line


def sentence_candidates(
    texts: Iterable[tuple[int, str]], keywords: Sequence[str], *, count: int = CANDIDATES
) -> list[Sentence]:
    """The sentences of 25 to 240 characters that hold most of the keywords, best first.

    A keyword weighs 1 / its rank; the sum is divided by the root of the number of terms, so that
    a list of all words does not win. Ties go to the earlier text. No sentence comes twice.

    Args:
        texts: row and text, in order of preference.
        keywords: of the cluster, best first.
        count: how many at most.
    """
    weights = {word: 1.0 / rank for rank, word in enumerate(keywords, 1)}
    scored: dict[str, tuple[float, Sentence]] = {}
    for row, text in texts:
        for part in _END.split(text)[:MOST_OF_A_TEXT]:
            line = one_line(_BEGINNING.sub("", part), MOST_CHARACTERS + 1)
            if (
                not _is_prose(line)
                or not FEWEST_CHARACTERS <= len(line) <= MOST_CHARACTERS
                or line in scored
            ):
                continue
            held = terms(line)
            weight = sum(weights.get(term, 0.0) for term in set(held))
            if weight:
                scored[line] = (weight / math.sqrt(len(held)), Sentence(line, row))
    best = sorted(scored.values(), key=lambda one: -one[0])  # stable: the earlier text stays first
    return [sentence for _, sentence in best[:count]]
