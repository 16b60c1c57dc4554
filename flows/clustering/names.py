"""Keywords and a readable name for every cluster: c-TF-IDF over its texts.

The weight of term t in cluster c is `tf(t, c) * log(1 + A / f(t))` (Grootendorst 2022, "BERTopic:
Neural topic modeling with a class-based TF-IDF procedure", section 3.3): `tf` the term's share of
the cluster's terms, `f` its count over all clusters, `A` the mean count of terms per cluster.

Legend: `N` texts, `V` terms.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from flows.clustering.words import same_word, terms, written_forms

KEYWORDS: Final = 10
NAME_KEYWORDS: Final = 3
NAME_CHARACTERS: Final = 40
"""A fourth keyword joins the name where it stays this short."""

EVERYWHERE: Final = 0.2
"""A term in this share of the texts of nearly every cluster tells none apart, in any language."""

NEARLY_EVERY: Final = 0.8

RARE: Final = 0.02
"""In a cluster of 10 texts or more, a keyword stands in two of them and in this share of them."""

PHRASE_SHARE: Final = 0.5
"""A word gives way to a phrase that holds this share of its occurrences: "borrow checker"."""

RANKED: Final = 8
"""Terms looked at for each keyword wanted, as many are forms of a better one."""


def keywords(
    texts_by_cluster: Sequence[Sequence[str]], *, count: int = KEYWORDS
) -> list[list[str]]:
    """Up to `count` lower-case keywords (words, or phrases of two) for every cluster, best first.

    A cluster without a word in it (no texts, numbers or stop words only) has none. No two keywords
    share a word or forms of one. Ties go by the alphabet, so that the order of a cluster's texts
    does not matter. Memory grows with the texts: give a sample of a large cluster.

    >>> keywords([["a red apple", "red apples"], ["the blue sky", "blue boats"]], count=1)
    [['red'], ['blue']]
    """
    from sklearn.feature_extraction.text import CountVectorizer

    texts = [text for cluster in texts_by_cluster for text in cluster]
    if not any(terms(text) for text in texts):
        return [[] for _ in texts_by_cluster]
    vectorizer = CountVectorizer(analyzer=terms, dtype=np.int64)
    counts_NV = vectorizer.fit_transform(texts).tocsr()
    vocabulary_V = vectorizer.get_feature_names_out()

    ends = np.cumsum([len(cluster) for cluster in texts_by_cluster]).tolist()
    rows = [slice(start, end) for start, end in pairwise([0, *ends])]
    total_V = np.asarray(counts_NV.sum(axis=0)).ravel()
    with_words = 0
    spread_V = np.zeros(len(vocabulary_V), dtype=np.int64)
    for own in rows:
        held_V = counts_NV[own].getnnz(axis=0)
        with_words += bool(held_V.any())
        spread_V += held_V >= max(1.0, EVERYWHERE * (own.stop - own.start))
    everywhere_V = (
        spread_V >= NEARLY_EVERY * with_words if with_words > 1 else np.zeros_like(spread_V, bool)
    )
    idf_V = np.log1p(total_V.sum() / with_words / total_V)

    found: list[list[str]] = []
    for own in rows:
        counts_V = np.asarray(counts_NV[own].sum(axis=0)).ravel()
        held_V = counts_NV[own].getnnz(axis=0)
        allowed_V = (held_V >= _needed(own.stop - own.start)) & ~everywhere_V
        candidates = np.flatnonzero(allowed_V if allowed_V.any() else counts_V)
        score = counts_V[candidates] / max(1, counts_V.sum()) * idf_V[candidates]
        # The vocabulary is sorted, so that a stable sort breaks ties by the alphabet.
        ranked = candidates[np.argsort(-score, kind="stable")][: RANKED * count]
        occurrences = {str(vocabulary_V[v]): int(counts_V[v]) for v in ranked}
        found.append(_distinct(occurrences)[:count])
    return found


def unique_names(keywords_by_cluster: Sequence[Sequence[str]]) -> list[str]:
    """A name for every cluster from its first three or four keywords; no two names are alike.

    A name that is taken grows by further keywords, then by a number; without keywords it is
    `Cluster` and the cluster's number.

    >>> unique_names([["orbit", "planet"], [], ["orbit", "planet"]])
    ['Orbit, planet', 'Cluster 1', 'Orbit, planet (2)']
    """
    names: list[str] = []
    for number, words in enumerate(keywords_by_cluster):
        length = NAME_KEYWORDS
        if len(", ".join(words[: length + 1])) <= NAME_CHARACTERS:
            length += 1
        name = _name(words[:length]) if words else f"Cluster {number}"
        while name in names and length < len(words):
            length += 1
            name = _name(words[:length])
        plain, attempt = name, 2
        while name in names:
            name, attempt = f"{plain} ({attempt})", attempt + 1
        names.append(name)
    return names


def name_candidates(keywords: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Titles that a cluster may have, by its best two to five keywords, the usual length first.

    Words stand as its texts mostly write them: "HTTP", "NumPy".

    >>> name_candidates(["numpy", "array"], ["A NumPy array", "NumPy arrays"])
    ['NumPy, array']
    """
    forms = written_forms(texts)
    written = [" ".join(forms.get(word, word) for word in term.split()) for term in keywords]
    usual = NAME_KEYWORDS
    if len(", ".join(written[: usual + 1])) <= NAME_CHARACTERS:
        usual += 1
    lengths = [min(usual, len(written)), 2, 3, 4, 5]
    found = [_name(written[:length]) for length in lengths if 0 < length <= len(written)]
    return list(dict.fromkeys(found))


def still_fits(name: str, keywords: Sequence[str]) -> bool:
    """Whether at least half of a name's keywords are keywords of its cluster still.

    >>> still_fits("NumPy, array", ["array", "matrix"]), still_fits("Bread", ["orbit"])
    (True, False)
    """
    named = [part.strip().lower() for part in name.split(",") if part.strip()]
    kept = [part for part in named if any(_share_a_word(part, word) for word in keywords)]
    return bool(named) and 2 * len(kept) >= len(named)


def distinct_name(name: str, taken: Collection[str]) -> str:
    """The name, with a number behind it where another cluster has it."""
    found, attempt = name, 2
    while found in taken:
        found, attempt = f"{name} ({attempt})", attempt + 1
    return found


def _name(words: Sequence[str]) -> str:
    joined = ", ".join(words)
    return joined[:1].upper() + joined[1:]


def _needed(texts: int) -> int:
    """In how many of a cluster's texts a keyword has to stand."""
    return 1 if texts < 10 else max(2, math.ceil(RARE * texts))


def _distinct(occurrences: Mapping[str, int]) -> list[str]:
    """The terms, best first, less those that share a word with a better one.

    A phrase replaces better words of its own where it makes up most of their occurrences; a phrase
    that occurs once is an accident of wording.
    """
    chosen: list[str] = []
    for term, occurs in occurrences.items():
        akin = [better for better in chosen if _share_a_word(term, better)]
        if " " not in term:
            if not akin:
                chosen.append(term)
        elif occurs >= 2 and all(
            " " not in word and occurs >= PHRASE_SHARE * occurrences[word] for word in akin
        ):
            place = chosen.index(akin[0]) if akin else len(chosen)
            chosen.insert(place, term)
            chosen = [kept for kept in chosen if kept not in akin]
    return chosen


def _share_a_word(a: str, b: str) -> bool:
    return any(same_word(one, other) for one in a.split() for other in b.split())
