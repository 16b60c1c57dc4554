"""Keywords and names, on corpora small enough to check by hand."""

import math

import pytest

from flows.clustering.names import keywords, unique_names
from flows.clustering.words import same_word, terms

SPACE = ["The planet follows its orbit.", "An orbit of a planet, a moon", "planets have a moon"]
BREAD = ["Knead the dough.", "The dough rises with yeast", "yeast makes dough rise"]


def test_a_tiny_corpus_is_named_by_its_words():
    """Two topics: each one's own words, no stop word, one form of each word."""
    space, bread = keywords([SPACE, BREAD], count=3)
    assert set(space) == {"planet", "orbit", "moon"}
    assert bread[:2] == ["dough", "yeast"]


def test_the_weight_is_that_of_bertopic():
    """By hand: 4 terms a cluster, so A = 4. "tea" fills 3/4 of the first and f = 4 over both;
    "cup" 1/4 with f = 1: 3/4 log(1 + 4/4) = 0.52 > 1/4 log(1 + 4/1) = 0.40. In the second, "tea"
    1/4 log 2 = 0.17 is the last, behind "ink" 2/4 log 3 and "pen" 1/4 log 5 = 0.40.
    """
    assert 3 / 4 * math.log(2) > 1 / 4 * math.log(5) > 1 / 4 * math.log(2)
    first, second = keywords([["tea, tea, tea, cup"], ["ink, ink, pen, tea"]])
    # "tea" stands in every text of both clusters: it tells none apart.
    assert first == ["cup"]
    assert second == ["ink", "pen"]
    padding = ["oak, elm, ash, fir"] * 5
    first, second = keywords([["tea, tea, tea, cup"], ["ink, ink, pen, tea", *padding]])
    assert first == ["tea", "cup"]
    assert second[-1] == "tea"


def test_a_word_that_every_cluster_uses_names_none_in_any_language():
    """No list of German stop words is there, and none is needed for "und"."""
    words = keywords([["Hund und Katze", "Katze und Maus"], ["Brot und Butter", "Salz und Brot"]])
    assert "und" not in words[0] + words[1]
    assert words[0][0] == "katze"
    assert words[1][0] == "brot"


@pytest.mark.parametrize(
    "texts", [[], [""], ["1 2 3", "2024-01-01"], ["the and of"], ["!!! ???", "\x00"], ["a b c"]]
)
def test_texts_without_words_have_no_keywords(texts):
    """Alone or beside a cluster that has some; the name is then the cluster's number."""
    assert keywords([texts]) == [[]]
    beside = keywords([SPACE, texts])
    assert beside[0]
    assert beside[1] == []
    assert unique_names(beside)[1] == "Cluster 1"


def test_clusters_of_the_same_texts_still_have_keywords():
    """Where all terms are everywhere, a term is better than none."""
    first, second = keywords([SPACE, SPACE])
    assert first == second != []
    names = unique_names([first, second])
    assert names[1] == names[0] + " (2)" or names[0] != names[1]


def test_a_phrase_replaces_its_words():
    """The words of "borrow checker" occur together: the phrase says it; "rust" stands alone."""
    texts = ["the borrow checker of rust", "rust: a borrow checker", "rust"]
    assert keywords([texts])[0] == ["rust", "borrow checker"]


def test_the_order_of_texts_does_not_matter():
    """Ties go by the alphabet, not by what was read first."""
    assert keywords([SPACE[::-1], BREAD[::-1]]) == keywords([SPACE, BREAD])


def test_names_are_readable_and_unique():
    """A name grows by its next keywords before it takes a number."""
    words = ["alpha", "beta", "gamma", "delta"]
    names = unique_names([words, [*words, "epsilon"], words, []])
    assert names == [
        "Alpha, beta, gamma, delta",
        "Alpha, beta, gamma, delta, epsilon",
        "Alpha, beta, gamma, delta (2)",
        "Cluster 3",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't panic", ["panic"]),
        ("sha256 a1b2c3d4e5f60718 utf8", ["sha256", "utf8"]),
        ("x" * 40, []),
        ("see https://example.com/a/b.html or me@example.com, www.host.org", []),
        ("東京都", ["東京", "京都"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा", "हिन्दी भाषा"]),
        ("red, blue", ["red", "blue"]),
    ],
)
def test_terms(text, expected):
    """Words of any script are whole; phrases do not cross punctuation."""
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("box", "boxes", True),
        ("query", "queries", True),
        ("parse", "parsing", True),
        ("parse", "parsed", True),
        ("str", "string", False),
        ("java", "javascript", False),
        ("as", "ass", False),
    ],
)
def test_forms_of_one_word(a, b, same):
    """Plurals and endings are one word; words that merely begin alike are two."""
    assert same_word(a, b) is same
    assert same_word(b, a) is same
