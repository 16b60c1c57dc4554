"""Batches by tokens: every text once, the budget kept, the longest first."""

from hypothesis import given
from hypothesis import strategies as st

from embedder.batching import by_token_budget


def test_worked_example() -> None:
    """A text longer than the budget comes alone and first; the others share a batch."""
    assert list(by_token_budget([3, 9, 4], budget=8)) == [[1], [2, 0]]


def test_nothing_gives_no_batch() -> None:
    """No text, no batch: an empty one would reach the model."""
    assert list(by_token_budget([], budget=8)) == []


@given(lengths=st.lists(st.integers(1, 50)), budget=st.integers(1, 120))
def test_every_index_once_within_the_budget(lengths: list[int], budget: int) -> None:
    """Batches partition the texts; only a text that is longer than the budget breaks it, alone."""
    batches = list(by_token_budget(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[i] for i in batch) <= budget
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(flat, reverse=True)


@given(lengths=st.lists(st.integers(1, 50)))
def test_same_lengths_same_batches(lengths: list[int]) -> None:
    """Ties keep the order given, so that a second run makes the same batches."""
    assert list(by_token_budget(lengths, 64)) == list(by_token_budget(tuple(lengths), 64))


@given(
    lengths=st.lists(st.integers(1, 50), max_size=60),
    budget=st.integers(1, 120),
    most=st.none() | st.integers(1, 9),
    multiple=st.sampled_from([1, 4]),
)
def test_batches_keep_to_their_bounds(
    lengths: list[int], budget: int, most: int | None, multiple: int
) -> None:
    """Every index once; no batch beyond the budget or `most` unless it is a single text."""
    batches = list(by_token_budget(lengths, budget, most=most, multiple=multiple))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[i] for i in batch) <= budget
        assert most is None or len(batch) <= most
    for batch in batches[:-1]:
        assert len(batch) < multiple or len(batch) % multiple == 0
