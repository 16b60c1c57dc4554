"""Chunks change the memory that a batch takes, and nothing else."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from embedder.specification import EncoderSpecification
from embedder.tuning.cached_gradients import CachedGradients, Outcome, seeded
from embedder.tuning.errors import TuningFailed
from embedder.tuning.loss import Loss
from embedder.tuning.objectives import PairObjective
from embedder.tuning.ranks import Ranks
from embedder.tuning.trainable import TrainableEncoder
from tests.embedder.tuning.conftest import settings_of, toy_pairs

CPU = torch.device("cpu")


class Model:
    """A tiny model with dropout, and a count of what went through it."""

    def __init__(self, dropout: float = 0.0, room: int = 1000) -> None:
        torch.manual_seed(1)
        self.layer = torch.nn.Linear(6, 5)
        self.dropout = torch.nn.Dropout(dropout)
        self.inputs = torch.randn(11, 6)
        self.room = room
        self.seen: list[tuple[tuple[int, ...], Tensor]] = []

    def embed(self, texts: Sequence[int]) -> Tensor:
        """A linear layer, if there is room."""
        if len(texts) > self.room:
            raise torch.OutOfMemoryError("no room")
        vectors: Tensor = self.layer(self.dropout(self.inputs[list(texts)]))
        self.seen.append((tuple(texts), vectors.detach()))
        return vectors

    def step(self, chunk: int, step: int = 0, scale: float = 1.0) -> tuple[Outcome, list[Tensor]]:
        """One step over all inputs, and the gradients that it leaves."""
        gradients = self.gradients(chunk)
        outcome = gradients.step(step, range(11), self.embed, lambda v: loss(v, scale))
        self.chunk = gradients.chunk
        return outcome, [p.grad.clone() for p in self.layer.parameters() if p.grad is not None]

    def gradients(self, chunk: int) -> CachedGradients:
        """Of the layer."""
        return CachedGradients(
            list(self.layer.parameters()), chunk=chunk, clip=1e9, seed=4, ranks=Ranks()
        )


def loss(vectors: Tensor, scale: float = 1.0) -> Loss:
    """No sum over texts: every vector's gradient depends on all others."""
    return Loss(scale * torch.logsumexp((vectors @ vectors.T).flatten(), 0), 0.5)


def test_the_gradient_of_chunks_is_that_of_the_whole_batch() -> None:
    model = Model()
    whole, expected = model.step(11)
    value = loss(model.embed(range(11))).value
    direct = torch.autograd.grad(value, list(model.layer.parameters()))
    for chunk in (1, 2, 4, 10, 11):
        outcome, got = model.step(chunk)
        assert outcome.loss == pytest.approx(float(value.detach()), abs=1e-6)
        assert outcome.norm == pytest.approx(whole.norm, rel=1e-5)
        for one, other, third in zip(got, expected, direct, strict=True):
            assert torch.allclose(one, other, atol=1e-5)
            assert torch.allclose(one, third, atol=1e-5)


def test_the_encoders_gradient_does_not_depend_on_chunks(
    base_of: Callable[..., EncoderSpecification],
) -> None:
    """The real model and the real loss, with TP and CP in the loop."""
    settings = settings_of(lora_dropout=0.0, temperature=0.05)
    base = base_of(token_prepending={"start": 1, "exit": 3}, contrastive_prompting={"layer": 1})
    encoder = TrainableEncoder(base, settings, device="cpu")
    with torch.no_grad():
        for parameter in encoder.trained.values():
            parameter += 0.02
    encoder.model.train()
    batch = PairObjective(toy_pairs(), settings).batch(range(9))
    prompted = encoder.prompted(batch.texts, batch.kinds)
    found = []
    for chunk in (3, 18):
        gradients = CachedGradients(
            list(encoder.trained.values()), chunk=chunk, clip=1e9, seed=0, ranks=Ranks()
        )
        outcome = gradients.step(
            0, prompted.costs, lambda texts: encoder.embed(prompted, texts), batch.loss
        )
        norms = [p.grad for p in encoder.trained.values()]
        found.append((outcome, torch.cat([g.flatten() for g in norms if g is not None])))
    (one, small), (other, large) = found
    assert one.loss == pytest.approx(other.loss, abs=1e-5)
    assert float(large.norm()) > 1e-3
    assert float((small - large).norm() / large.norm()) < 1e-4


def test_dropout_is_the_same_in_both_passes_and_another_at_each_step() -> None:
    model = Model(dropout=0.5)
    model.step(4)
    first = dict(model.seen[:3])
    for texts, vectors in model.seen[3:]:
        assert torch.equal(first[texts], vectors)
    assert len(model.seen) == 6
    again = Model(dropout=0.5)
    again.step(4)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(model.seen, again.seen, strict=True))
    other = Model(dropout=0.5)
    other.step(4, step=1)
    assert not any(torch.equal(a[1], b[1]) for a, b in zip(model.seen, other.seen, strict=True))


def test_random_numbers_outside_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = torch.rand(1)
    with seeded(9, CPU):
        torch.rand(7)
    assert torch.equal(torch.cat((first, torch.rand(1))), expected)


@pytest.mark.parametrize("room", [5, 1])
def test_chunks_are_halved_when_memory_lacks(room: int) -> None:
    """Nothing of the pass that failed is left in the gradient, and smaller chunks stay."""
    _, expected = Model().step(2)
    short = Model(room=room)
    _, got = short.step(11)
    assert short.chunk == (5 if room == 5 else 1)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(got, expected, strict=True))


def test_memory_that_lacks_on_the_way_back_is_no_wrong_gradient() -> None:
    """The first pass needs less: the failure comes when some chunks have given theirs."""
    _, expected = Model().step(2)

    class Short(Model):
        def embed(self, texts: Sequence[int]) -> Tensor:
            """The chunk with text 3 is too much on the way back."""
            if torch.is_grad_enabled() and len(texts) > 2 and 3 in texts:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")
            return super().embed(texts)

    short = Short()
    _, got = short.step(4)
    assert short.chunk == 2
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(got, expected, strict=True))


def test_no_memory_for_one_text_is_said() -> None:
    with pytest.raises(TuningFailed, match="step 8: out of memory with one text at a time; use"):
        Model(room=0).step(4, step=7)


def test_other_failures_are_not_taken_for_a_lack_of_memory() -> None:
    class Broken(Model):
        def embed(self, texts: Sequence[int]) -> Tensor:
            """Fail otherwise."""
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        Broken().step(4)


def test_a_loss_that_is_no_number_is_told_and_gives_no_gradient() -> None:
    model = Model()
    outcome, got = model.step(4, scale=float("nan"))
    assert not outcome.finite
    assert got == []


def test_the_gradient_is_clipped() -> None:
    model = Model()
    gradients: Any = CachedGradients(
        list(model.layer.parameters()), chunk=3, clip=0.25, seed=0, ranks=Ranks()
    )
    outcome = gradients.step(0, range(11), model.embed, loss)
    assert outcome.norm > 0.25
    squares = [float(p.grad.square().sum()) for p in model.layer.parameters() if p.grad is not None]
    assert sum(squares) ** 0.5 == pytest.approx(0.25, rel=1e-3)
