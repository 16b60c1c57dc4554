"""What stands beside ours in the tables: small rankings, worked out by hand."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import peers

DOCUMENTS = {
    "keys": "Keys are rotated monthly, and the old keys are kept.",
    "bread": "Bread is baked from flour.",
    "none": "",
    "lock": "The key of the lock.",
}


class Letters(peers.MiniLm):
    """Vectors that count a and b; how often they were made."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.made: list[list[str]] = []

    def _make(self, texts: list[str]) -> Any:
        self.made.append(texts)
        counts = np.array([[text.count("a"), text.count("b")] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_bm25_knows_endings_if_it_is_told() -> None:
    """The word is in one text as it stands, and in two without its ending."""
    plain = peers.bm25(DOCUMENTS, {"q": "keys", "r": "baking"}, endings=False)
    assert plain["q"] == ("keys", "bread", "none", "lock")
    assert plain["r"] == tuple(DOCUMENTS)  # nowhere: as they stand
    short = peers.bm25(DOCUMENTS, {"q": "keys", "r": "baking"}, endings=True)
    assert set(short["q"][:2]) == {"keys", "lock"}
    assert short["r"][0] == "bread"


def test_bm25_weighs_rare_words_and_leaves_stop_words_out() -> None:
    """A stop word alone ranks nothing; a query of unknown words neither."""
    queries = {"stop": "the of and", "unknown": "zebra"}
    found = peers.bm25(DOCUMENTS, queries, endings=True)
    assert found == dict.fromkeys(queries, tuple(DOCUMENTS))


def test_tfidf_is_the_cosine_of_weighted_counts() -> None:
    """One word of the query in two texts: the one with fewer others is nearer."""
    texts = {"long": "owl river sand sea", "short": "owl river", "other": "loaf"}
    found = peers.tfidf_rankings(texts, {"q": "owl"})
    assert found["q"] == ("short", "long", "other")
    _, vectors = peers.tfidf(texts.values())
    both, alone = math.log(4 / 3) + 1, math.log(4 / 2) + 1
    assert vectors[1].toarray().max() == pytest.approx(both / math.hypot(both, both))
    assert vectors[0].toarray().max() == pytest.approx(
        alone / math.sqrt(2 * both**2 + 2 * alone**2)
    )


def test_lsa_has_as_many_dimensions_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of one topic are nearer to each other than to the other's."""
    monkeypatch.setattr(peers, "LSA_DIMENSION", 2)
    found = peers.lsa(["owl night", "owl night hunt", "bread flour", "bread flour salt"])
    assert (found.shape, found.dtype) == ((4, 2), np.float32)
    assert found[0] @ found[1] > abs(found[0] @ found[2])


def test_vectors_are_made_once(tmp_path: Path) -> None:
    """A second run reads them; other texts are made anew; no half file is left."""
    first = Letters(tmp_path / "cache")
    found = first.encode(["aab", "b"])
    again = Letters(tmp_path / "cache")
    assert np.array_equal(again.encode(["aab", "b"]), found)
    assert (len(first.made), again.made) == (1, [])
    again.encode(["b", "aab"])
    assert again.made == [["b", "aab"]]
    assert not list((tmp_path / "cache").glob("*.part*"))


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([("x", "bbbb"), ("y", "ab"), ("x", "aaab")], ("x", "y", "z")),
        ([("y", "ab"), ("z", "aaab"), ("z", "b")], ("z", "y", "x")),
    ],
)
def test_a_document_ranks_as_its_best_piece(
    tmp_path: Path, pieces: Sequence[tuple[str, str]], expected: tuple[str, ...]
) -> None:
    """A worse piece does no harm; a document without pieces comes last."""
    documents = dict.fromkeys("xyz", "")
    found = peers.piece_rankings(pieces, documents, {"q": "a"}, Letters(tmp_path))
    assert found == {"q": expected}


def test_rankings_are_cut_and_ties_keep_their_order() -> None:
    """A hundred documents at most; equal scores as they stand."""
    names = [f"d{number}" for number in range(150)]
    scores = np.zeros((1, 150))
    scores[0, 140] = 1
    (ranking,) = peers.ranked(scores, names, ["q"]).values()
    assert ranking == ("d140", *names[:99])
