"""The losses, held against sums written out."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from embedder.tuning.false_negatives import hidden_candidates
from embedder.tuning.loss import Loss, distillation, info_nce, nested
from embedder.tuning.pairs import Pair


def random(rows: int, size: int, seed: int) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def unit(vectors: Tensor) -> np.ndarray:  # type: ignore[type-arg]
    array = vectors.double().numpy()
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def by_hand(first: Tensor, others: Tensor, hidden: Tensor, temperature: float) -> float:
    cosine = unit(first) @ unit(others).T / temperature
    losses = []
    for i, row in enumerate(cosine):
        kept = [math.exp(x) for j, x in enumerate(row) if not hidden[i, j]]
        losses.append(-math.log(math.exp(row[i]) / sum(kept)))
    return float(np.mean(losses))


def test_info_nce_is_the_cross_entropy_of_the_own_second_text() -> None:
    first, second, negative = random(5, 8, 1), random(5, 8, 2), random(3, 8, 3)
    hidden = torch.zeros(5, 8, dtype=torch.bool)
    hidden[0, 3] = hidden[4, 6] = hidden[2, 1] = True
    got = info_nce(first, second, negative, hidden, temperature=0.2)
    assert float(got.value) == pytest.approx(
        by_hand(first, torch.cat((second, negative)), hidden, 0.2), abs=1e-5
    )
    both = info_nce(first, second, negative, hidden, temperature=0.2, symmetric=True)
    back = by_hand(second, first, hidden[:, :5].T, 0.2)
    assert float(both.value) == pytest.approx((float(got.value) + back) / 2, abs=1e-5)


def test_a_hidden_candidate_has_no_gradient_and_is_never_found() -> None:
    first, second = random(3, 4, 1), random(3, 4, 2)
    negative = (10 * first[:1]).clone().requires_grad_()
    hidden = torch.zeros(3, 4, dtype=torch.bool)
    near = info_nce(first, first.clone(), negative, hidden, temperature=0.2)
    hidden[:, 3] = True
    got = info_nce(first, second, negative, hidden, temperature=0.2)
    got.value.backward()  # type: ignore[no-untyped-call]
    assert negative.grad is not None
    assert negative.grad.abs().max() == 0
    assert near.accuracy == pytest.approx(1.0)


def test_a_pair_whose_negatives_are_all_hidden_costs_nothing() -> None:
    hidden = ~torch.eye(3, dtype=torch.bool)
    empty = torch.zeros(0, 4)
    got = info_nce(random(3, 4, 1), random(3, 4, 2), empty, hidden, temperature=0.1)
    assert float(got.value) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("wide", [6, 9])
def test_distillation_compares_directions_and_similarities(wide: int) -> None:
    """Where the teacher has other components there is no cosine, and the matrix is all."""
    student, teacher = random(4, 6, 1), random(4, wide, 2)
    one, other = unit(student), unit(teacher)
    expected = 3 * float(np.square(one @ one.T - other @ other.T).mean())
    if wide == 6:
        expected += 1 - float((one * other).sum(1).mean())
    got = distillation(student, teacher, similarity_weight=3)
    assert float(got.value) == pytest.approx(expected, abs=1e-5)
    same = distillation(5 * teacher, teacher, similarity_weight=3)
    assert float(same.value) == pytest.approx(0, abs=1e-5)


def test_nested_losses_are_weighted() -> None:
    def loss(vectors: Tensor) -> Loss:
        return Loss(vectors.sum(), float(vectors.shape[1]))

    got = nested(loss, torch.ones(2, 8), [(4, 0.5), (2, 2.0)])
    assert float(got.value) == pytest.approx((16 + 0.5 * 8 + 2 * 4) / 3.5)
    assert got.accuracy == 8


def test_pairs_of_a_group_and_equal_texts_are_no_negatives() -> None:
    pairs = [
        Pair(a="one", b="first", group="d1"),
        Pair(a="two", b="second", group="d1"),
        Pair(a=" ONE ", b="third"),
        Pair(a="four", b="Second"),
        Pair(a="first", b="fifth"),
        Pair(a="six", b="sixth", group="d2"),
    ]
    negatives = [(0, "Sixth"), (2, "third"), (5, "other"), (1, "of two")]
    hidden = hidden_candidates(pairs, negatives)
    assert hidden.shape == (6, 10)
    alike = {(0, 1), (0, 2), (1, 3), (0, 4)}
    expected = np.zeros((6, 6), dtype=bool)
    for i, j in alike:
        expected[i, j] = expected[j, i] = True
    assert (hidden[:, :6] == expected).all()
    # Equal to one of the pair's texts; or of a pair that is itself no negative.
    assert hidden[:, 6].tolist() == [False, True, True, False, True, True]
    assert hidden[:, 7].tolist() == [True, False, True, False, False, False]
    assert hidden[:, 8].tolist() == [False] * 6
    assert hidden[:, 9].tolist() == [True, False, False, True, False, False]
    assert not hidden_candidates(pairs[:1], []).any()
