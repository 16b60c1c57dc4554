"""What clusters are about and what to call them, from the texts nearest to their centroids.

Legend: `S` sentences, `D` dimensions.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from embedder.errors import EmbedderError
from flows.clustering.describe import Picks
from flows.clustering.fit import Clustering
from flows.clustering.members import Passage
from flows.clustering.names import keywords
from flows.clustering.naming import Earlier, Name, Search, choose_names
from flows.clustering.sentences import Sentence, sentence_candidates
from flows.clustering.verification import TextEncoder

NAMING_CHARACTERS: Final = 4000
"""Of each text that names a cluster, so much is read for words."""

QUOTED_TEXTS: Final = 50
"""Texts of a cluster that its sentences are taken from, the nearest to its centroid."""


def find_names(
    clustering: Clustering,
    picks: Picks,
    passages: Mapping[int, Passage],
    *,
    ids: Sequence[int],
    earlier: Mapping[int, Earlier],
    encoder: TextEncoder | None,
    search: Search | None,
) -> tuple[list[list[str]], list[list[Sentence]], list[Name], list[str]]:
    """Keywords, sentences and names by label, and warnings.

    What an encoder cannot do becomes a warning: names are then chosen without a search.

    Args:
        clustering: with the centroids that sentences are held against.
        picks: rows whose texts name each cluster.
        passages: texts by row.
        ids: of each label's cluster.
        earlier: names of the last run by id.
        encoder: the collection's own, if there is one.
        search: looks queries up with it.
    """
    texts = [
        [passages[row].text[:NAMING_CHARACTERS] for row in rows if row in passages]
        for rows in picks.naming
    ]
    words = keywords(texts) if texts else []
    sentences = [
        sentence_candidates(
            [(row, passages[row].text) for row in rows[:QUOTED_TEXTS] if row in passages],
            words[label],
        )
        for label, rows in enumerate(picks.naming)
    ]
    warnings: list[str] = []
    if encoder is not None and search is not None:
        try:
            nearest = _nearest_first(sentences, clustering, encoder)
            lines = [[one.text for one in some] for some in nearest]
            names = choose_names(words, texts, lines, ids=ids, earlier=earlier, search=search)
            return words, nearest, names, warnings
        except EmbedderError as error:
            warnings.append(f"names were not searched for: {str(error).splitlines()[0]}")
    none: list[list[str]] = [[] for _ in texts]
    names = choose_names(words, texts, none, ids=ids, earlier=earlier, search=None)
    return words, sentences, names, warnings


def _nearest_first(
    candidates: Sequence[Sequence[Sentence]], clustering: Clustering, encoder: TextEncoder
) -> list[list[Sentence]]:
    """Each cluster's sentences by descending cosine to its centroid."""
    flat = [sentence.text for some in candidates for sentence in some]
    if not flat:
        return [list(some) for some in candidates]
    vectors_SD = encoder.encode_document(flat)
    ordered: list[list[Sentence]] = []
    start = 0
    for label, some in enumerate(candidates):
        own_SD = vectors_SD[start : start + len(some)]
        start += len(some)
        order = np.argsort(-(own_SD @ clustering.centroids[label]), kind="stable")
        ordered.append([some[place] for place in order.tolist()])
    return ordered
