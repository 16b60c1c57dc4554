"""Two rankings made one, folded, spread, and frozen into pages."""

import base64
import random
import uuid
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from search import paging
from search.diversity import fold, spread
from search.errors import InvalidRequest
from search.findings import Finding, text_key
from search.grouping import Group
from search.hybrid import Candidate, Fusion, alone, as_mode, fuse
from search.records import Record


def identifier(number: int) -> str:
    return str(uuid.UUID(int=number))


def group(key: str, number: int, score: float, *more: int) -> Group:
    ids = {identifier(one) for one in (number, *more)}
    return Group(key, Finding(identifier(number), score, key, b""), ids)


def test_reciprocal_rank_fusion_by_hand() -> None:
    """Weight / (k + rank) of each side; the chunk of the side that adds more is shown."""
    dense = [group("a", 1, 0.9, 7), group("b", 2, 0.8), group("c", 3, 0.7)]
    words = [group("b", 20, 5.0), group("d", 4, 4.0), group("a", 1, 3.0, 8)]
    found = fuse(dense, words, Fusion(k=10, dense_weight=0.3))
    expected = {"b": 0.3 / 12 + 0.7 / 11, "a": 0.3 / 11 + 0.7 / 13, "d": 0.7 / 12, "c": 0.3 / 13}
    assert [one.key for one in found] == sorted(expected, key=lambda key: -expected[key])
    assert {one.key: one.score for one in found} == pytest.approx(expected)
    best, second, third, last = found
    assert (best.key, best.record.id, best.dense_rank, best.lexical_rank) == (
        "b",
        identifier(20),
        2,
        1,
    )
    assert (second.key, second.more, second.dense_score, second.lexical_score) == ("a", 2, 0.9, 3.0)
    assert (third.key, third.dense_rank, third.lexical_rank) == ("d", None, 2)
    assert (last.key, last.dense_rank, last.lexical_rank) == ("c", 3, None)


def test_scores_scaled_between_last_and_best() -> None:
    """minmax; a side whose scores are all equal gives each the whole weight."""
    dense = [group("a", 1, 0.9), group("b", 2, 0.5), group("c", 3, 0.4)]
    words = [group("c", 3, 4.0), group("b", 2, 4.0)]
    found = fuse(dense, words, Fusion(method="minmax", dense_weight=0.5))
    assert {one.key: one.score for one in found} == pytest.approx({"a": 0.5, "b": 0.6, "c": 0.5})
    assert [one.key for one in found] == ["b", "a", "c"]
    assert fuse([], [], Fusion(method="minmax")) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30), unique=True))
def test_fusing_is_deterministic_and_loses_nothing(first: list[int], second: list[int]) -> None:
    """Every group once, by (score descending, id), and the same whatever the dict order was."""
    dense = [group(str(i), i, 1 / (n + 1)) for n, i in enumerate(first)]
    words = [group(str(i), i, 9 - n / 9) for n, i in enumerate(second)]
    found = fuse(dense, words)
    assert {one.key for one in found} == {str(i) for i in {*first, *second}}
    order = [(-one.score, one.record.id) for one in found]
    assert order == sorted(order)


def test_one_side_alone_keeps_its_scores() -> None:
    """By vectors the cosine, by words BM25."""
    (one,) = alone([group("a", 1, 0.5, 2, 3)], "dense")
    assert (one.score, one.dense_rank, one.dense_score, one.lexical_rank, one.more) == (
        0.5,
        1,
        0.5,
        None,
        2,
    )
    (one,) = alone([group("a", 1, 7.5)], "lexical")
    assert (one.score, one.lexical_rank, one.lexical_score, one.dense_score) == (7.5, 1, 7.5, None)
    assert as_mode("dense") == "dense"
    with pytest.raises(ValueError, match="fuzzy"):
        as_mode("fuzzy")


@pytest.mark.parametrize(
    "wrong",
    [{"k": 0}, {"dense_weight": 1.1}, {"dense_weight": float("nan")}, {"method": "sum"}, {"x": 1}],
)
def test_a_fusion_out_of_range_is_refused(wrong: Any) -> None:
    """When it is made."""
    with pytest.raises(ValidationError):
        Fusion.model_validate(wrong)


# --- folding and spreading -------------------------------------------------------------------


def candidate(number: int, text: str = "", score: float = 0.0) -> Candidate:
    record = Record(id=identifier(number), payload={})
    key = text_key(text or f"text {number}")
    return Candidate(key=str(number), record=record, score=score, text_key=key)


def unit(*values: float) -> Any:
    vector = np.asarray(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def test_equal_texts_are_folded_into_the_best() -> None:
    """White space makes no difference; the others are named."""
    some = [candidate(1, "a b"), candidate(2, "c"), candidate(3, "a\n b "), candidate(4, "a b")]
    kept, folded = fold(some, None)
    assert [one.key for one in kept] == ["1", "2"]
    assert folded == {identifier(1): [identifier(3), identifier(4)]}


def test_near_vectors_are_folded_if_asked_for() -> None:
    """Each is held against those that stay: what is folded draws no others in."""
    some = [candidate(n) for n in (1, 2, 3)]
    vectors = {
        identifier(1): unit(1, 0),
        identifier(2): unit(1, 0.15),
        identifier(3): unit(1, 0.35),
    }
    kept, folded = fold(some, vectors, cosine=0.98)
    assert [one.key for one in kept] == ["1", "3"]
    assert folded == {identifier(1): [identifier(2)]}


def test_diversity_takes_the_far_before_the_near() -> None:
    """By hand: the second best says what the best says, so that the third comes first."""
    some = [candidate(1, score=1.0), candidate(2, score=0.9), candidate(3, score=0.5)]
    vectors = {identifier(1): unit(1, 0), identifier(2): unit(1, 0), identifier(3): unit(0, 1)}
    for diversity, expected in ((0.0, "123"), (0.2, "123"), (0.5, "132"), (1.0, "132")):
        found = spread(some, vectors, diversity=diversity, limit=3)
        assert "".join(one.key for one in found) == expected, diversity
    assert [one.key for one in spread(some, vectors, diversity=1.0, limit=1)] == ["1", "2", "3"]
    assert spread([], {}, diversity=1.0, limit=3) == []


# --- pages -----------------------------------------------------------------------------------

REQUEST = paging.digest("docs", "owl")


def token(count: int) -> str:
    some = [candidate(n, score=n / 3) for n in range(count)]
    for one in some:
        one.dense_rank, one.dense_score, one.more = 3, 0.25, 2
    return paging.freeze(some, mode="hybrid", request=REQUEST, shown=10)


def test_a_token_gives_back_what_it_froze() -> None:
    """Ids in order, scores as float32, ranks, and None where there was none."""
    page = paging.thaw(token(3), request=REQUEST)
    assert (page.mode, page.shown) == ("hybrid", 10)
    assert [one.record.id for one in page.candidates] == [identifier(n) for n in range(3)]
    assert [one.score for one in page.candidates] == pytest.approx([0, 1 / 3, 2 / 3])
    last = page.candidates[-1]
    assert (
        last.dense_rank,
        last.dense_score,
        last.lexical_rank,
        last.lexical_score,
        last.more,
    ) == (
        3,
        0.25,
        None,
        None,
        2,
    )


def test_a_token_is_compact() -> None:
    """Some 45 characters a hit still to come, safe in an address."""
    text = token(100)
    assert len(text) < 100 * 46
    assert text.replace("-", "").replace("_", "").isalnum()


def test_a_token_of_another_request_is_refused() -> None:
    """Its candidates would not answer."""
    with pytest.raises(InvalidRequest, match="belongs to another request"):
        paging.thaw(token(1), request=paging.digest("docs", "bread"))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "x",
        "é",
        "A" * 200_000,
        base64.urlsafe_b64encode(zlib.compress(b"")).decode(),
        base64.urlsafe_b64encode(zlib.compress(bytes(9_000_000))).decode(),
        base64.urlsafe_b64encode(zlib.compress(b"\x01\x09" + REQUEST + bytes(4))).decode(),
        base64.urlsafe_b64encode(zlib.compress(b"\x02\x00" + REQUEST + bytes(4))).decode(),
        base64.urlsafe_b64encode(zlib.compress(b"\x01\x00" + REQUEST + bytes(5))).decode(),
    ],
)
def test_what_is_no_token_is_refused(wrong: str) -> None:
    """Also one that would unpack to megabytes."""
    with pytest.raises(InvalidRequest, match="cursor"):
        paging.thaw(wrong, request=REQUEST)


def test_a_damaged_token_is_refused_or_harmless() -> None:
    """Any change of a character: a clear error, never another one."""
    whole, draws = token(5), random.Random(3)
    for _ in range(300):
        place = draws.randrange(len(whole))
        damaged = whole[:place] + draws.choice("AZaz09-_=!") + whole[place + 1 :]
        try:
            paging.thaw(damaged, request=REQUEST)
        except InvalidRequest:
            continue
