"""Tuning does what it is for, ends when it should, and loses nothing."""

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from embedder.errors import InvalidConfig, ModelUnavailable
from embedder.scored_pairs import ScoredPairs
from embedder.tuning.batches import Plan
from embedder.tuning.checkpoints import Checkpoints, Progress
from embedder.tuning.errors import TuningDiverged, TuningFailed
from embedder.tuning.loss import Loss
from embedder.tuning.measures import LossMeasure, ScoreMeasure
from embedder.tuning.metrics import read_metrics
from embedder.tuning.objectives import PairObjective, TeacherObjective
from embedder.tuning.pairs import PairSet
from embedder.tuning.ranks import Ranks
from embedder.tuning.trainable import TrainableEncoder
from embedder.tuning.trainer import StepDone, Trainer
from tests.embedder.tuning.conftest import Toy, settings_of, toy_pairs

ToyOf = Callable[..., Toy]
ROOT = Path(__file__).parents[3]


def mates_found(encoder: TrainableEncoder, pairs: PairSet) -> float:
    """Share of the pairs whose second text is the nearest of all second texts."""
    first = F.normalize(encoder.encode([p.a for p in pairs.pairs], ranks=Ranks()), dim=-1)
    second = F.normalize(encoder.encode([p.b for p in pairs.pairs], ranks=Ranks()), dim=-1)
    nearest = (first @ second.T).argmax(1)
    return float((nearest == torch.arange(len(nearest))).float().mean())


@pytest.mark.parametrize("method", ["lora", "full"])
def test_tuning_lowers_the_loss_and_brings_mates_together(method: str, toy: ToyOf) -> None:
    pairs = toy_pairs()
    made = toy(
        method=method, steps=40, batch=24, chunk=12, temperature=0.1, rate=1e-2, lora_dropout=0.0
    )
    before = mates_found(made.encoder, pairs)
    ended = made.trainer.run()
    rows = read_metrics(made.trainer._folder)
    losses = [row["loss"] for row in rows]
    assert ended.ending == "finished"
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])
    assert mates_found(made.encoder, pairs) >= before + 0.3
    assert not made.encoder.model.training


def test_a_teachers_geometry_is_learnt(base_of: Any, tmp_path: Path) -> None:
    texts = [pair.a for pair in toy_pairs().pairs]
    teacher = np.random.default_rng(1).standard_normal((24, 20)).astype(np.float16)
    settings = settings_of(steps=30, batch=24, chunk=24, rate=1e-2, matryoshka=((16, 1.0),))
    encoder = TrainableEncoder(base_of(), settings, device="cpu")
    objective = TeacherObjective(texts, teacher, digest="x", settings=settings)
    objective.check(32)
    Trainer(encoder, objective, settings, folder=tmp_path, ranks=Ranks()).run()
    losses = [row["loss"] for row in read_metrics(tmp_path)]
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])
    assert read_metrics(tmp_path)[0]["accuracy"] is None


def test_the_plan_follows_from_the_step_alone() -> None:
    settings = settings_of(batch=8, epochs=3, warm_up=2, decay="cosine", rate=1.0, every=None)
    plan, again = Plan(21, settings), Plan(21, settings)
    assert (plan.batches, plan.steps, plan.smallest, plan.every) == (3, 9, 7, 1)
    seen = [plan.batch(step).tolist() for step in range(9)]
    assert [again.batch(step).tolist() for step in reversed(range(9))] == seen[::-1]
    for epoch in range(3):
        assert sorted(chain(*seen[3 * epoch : 3 * epoch + 3])) == list(range(21))
    assert seen[:3] != seen[3:6]
    rates = [plan.rate(step) for step in range(9)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.06
    linear = Plan(21, dataclasses.replace(settings, decay="linear"))
    assert linear.rate(8) == pytest.approx(1 / 7)
    assert Plan(21, dataclasses.replace(settings, decay="constant")).rate(8) == 1.0
    assert Plan(3, settings).batches == 1
    assert Plan(5, settings_of(batch=2)).smallest == 2
    assert (Plan(10**6, settings_of(batch=100)).warm_up, Plan(40, settings).every) == (100, 2)


# -- taken up again -------------------------------------------------------------------------------

RUN = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from embedder.specification import specify
from embedder.tuning.objectives import PairObjective
from embedder.tuning.ranks import Ranks
from embedder.tuning.trainable import TrainableEncoder
from embedder.tuning.trainer import Trainer
from tests.embedder.tuning.conftest import settings_of, toy_pairs

base, folder, die = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
settings = settings_of(steps=9, every=3, seed=2, lora_dropout=0.2)
base = specify(base, {"max_tokens": 64, "token_prepending": {"start": 1, "exit": 3}})
encoder = TrainableEncoder(base, settings, device="cpu")
objective = PairObjective(toy_pairs(), settings)
trainer = Trainer(encoder, objective, settings, folder=folder, ranks=Ranks())
if die < 0:  # in the middle of writing the second checkpoint
    from embedder.tuning import checkpoints
    flush = checkpoints.flush
    def dying(path):
        if "00000006" in str(path):
            os.kill(os.getpid(), signal.SIGKILL)
        flush(path)
    checkpoints.flush = dying

def told(step):
    if step.step == die:
        os.kill(os.getpid(), signal.SIGKILL)

trainer.run(told)
"""


def run(base: Path, folder: Path, die: int) -> int:
    folder.mkdir(exist_ok=True)
    arguments = [sys.executable, "-c", RUN, str(base), str(folder), str(die)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode > 0:
        raise AssertionError(done.stderr)
    return done.returncode


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    folders: Mapping[str, Path], tmp_path: Path
) -> None:
    """SIGKILL between checkpoints, and while one is written: the same weights, bit for bit."""
    base = folders["llama"]
    assert run(base, tmp_path / "whole", 0) == 0
    assert run(base, tmp_path / "killed", 5) == -signal.SIGKILL
    assert Checkpoints(tmp_path / "killed").steps() == [3]
    assert run(base, tmp_path / "killed", -1) == -signal.SIGKILL
    assert Checkpoints(tmp_path / "killed").steps() == [3]
    assert list((tmp_path / "killed").glob(".*.tmp"))
    assert run(base, tmp_path / "killed", 0) == 0
    assert not list((tmp_path / "killed").glob(".*.tmp"))
    names = ("trained.safetensors", "optimizer.safetensors")
    for name in names:
        one, other = (
            load_file(tmp_path / which / "checkpoint-00000009" / name)
            for which in ("whole", "killed")
        )
        assert set(one) == set(other)
        assert all(torch.equal(one[key], other[key]) for key in one)
    whole, killed = (read_metrics(tmp_path / which) for which in ("whole", "killed"))
    assert [row["step"] for row in killed] == list(range(1, 10))
    assert [row["loss"] for row in killed] == [row["loss"] for row in whole]


def test_damaged_checkpoints_are_named(toy: ToyOf, tmp_path: Path) -> None:
    made = toy(steps=2, every=1)
    made.trainer.run()
    place = tmp_path / "run" / "checkpoint-00000002"
    whole = (place / "trained.safetensors").read_bytes()
    (place / "trained.safetensors").write_bytes(whole[:-20])
    with pytest.raises(ModelUnavailable, match=r"trained.safetensors' cannot be used .* remove"):
        toy(steps=2, every=1).trainer.run()
    (place / "trained.safetensors").write_bytes(whole)
    (place / "state.json").write_text("{")
    with pytest.raises(ModelUnavailable, match=r"state.json' cannot be used"):
        toy(steps=2, every=1).trainer.run()
    with pytest.raises(ModelUnavailable, match=r"another shape|in one of the two"):
        toy(steps=2, every=1, lora_rank=8).trainer.run()


def test_a_disk_without_room_is_said_and_earlier_checkpoints_stay(
    toy: ToyOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        if "00000002" in str(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("embedder.tuning.checkpoints.flush", full)
    with pytest.raises(TuningFailed, match=r"step 2 cannot be written .*No space left.*--resume"):
        toy(steps=3, every=1).trainer.run()
    assert Checkpoints(tmp_path / "run").steps() == [1]
    assert not list((tmp_path / "run").glob(".*.tmp"))


# -- how it ends ----------------------------------------------------------------------------------


class Scripted:
    """A measure whose values are known beforehand."""

    name = "spearman"
    rises = True

    def __init__(self, values: list[float]) -> None:
        self.values = values
        self.taken: list[torch.Tensor] = []
        self.facts: Mapping[str, Any] = {"measure": self.name, "pairs": 1, "digest": "x"}

    def take(self, encoder: TrainableEncoder, ranks: Ranks) -> float:
        """The next value; keeps some weights as they are now."""
        name = next(n for n in encoder.trained if "lora_B" in n)
        self.taken.append(encoder.trained[name].detach().clone())
        return self.values[len(self.taken) - 1]


def test_the_best_step_is_taken_and_the_run_ends_early(toy: ToyOf, tmp_path: Path) -> None:
    measure = Scripted([0.1, 0.5, 0.7, 0.6, 0.65, 0.9])
    told: list[StepDone] = []
    made = toy(steps=20, every=2, patience=2, measure=measure)
    ended = made.trainer.run(told.append)
    assert (ended.ending, ended.step, ended.done) == ("stopped early", 4, 8)
    assert (ended.progress.base, ended.progress.best) == (0.1, 0.7)
    name = next(n for n in made.encoder.trained if "lora_B" in n)
    assert torch.equal(made.encoder.trained[name], measure.taken[2])
    assert Checkpoints(tmp_path / "run").steps() == [4, 6, 8]
    assert [row["dev_spearman"] for row in read_metrics(tmp_path / "run") if "dev_spearman" in row
            ] == measure.values[:5]  # fmt: skip
    assert [step.measure for step in told if step.saved] == [0.5, 0.7, 0.6, 0.65]
    again = toy(steps=20, every=2, patience=2, measure=Scripted([]))
    ended = again.trainer.run()
    assert (ended.ending, ended.step, ended.first_step) == ("stopped early", 4, 8)
    assert torch.equal(again.encoder.trained[name], measure.taken[2])


class Breaking(PairObjective):
    """Pairs whose loss is NaN from some batch on."""

    batches = 0
    good = 10**9

    def batch(self, indices: Any) -> Any:
        """The pairs, with a loss that may be broken."""
        self.batches += 1
        made = super().batch(indices)
        if self.batches <= self.good:
            return made
        return dataclasses.replace(made, loss=lambda vectors: Loss(vectors.sum() * float("nan")))


def breaking(toy: ToyOf, good: int, **own: Any) -> Toy:
    made = toy(**own)
    objective = Breaking(toy_pairs(), made.trainer._settings)
    objective.good = good
    made.trainer._objective = objective
    return made


@pytest.mark.parametrize(("good", "kept"), [(5, 4), (4, 2)])
def test_a_loss_that_is_no_number_ends_the_run_with_good_weights(
    good: int, kept: int, toy: ToyOf, tmp_path: Path
) -> None:
    """A checkpoint whose weights gave NaN at the next step is none to go back to."""
    made = breaking(toy, good, steps=9, every=2)
    ended = made.trainer.run()
    assert (ended.ending, ended.step, ended.done) == ("diverged", kept, good)
    assert isinstance(ended.failure, TuningDiverged)
    assert ended.failure.step == good + 1
    assert str(ended.failure) == (
        f"step {good + 1}: the loss is nan; the weights of step {kept} are kept; use a lower "
        "learning rate"
    )
    assert Checkpoints(tmp_path / "run").steps()[-1] == kept
    saved = load_file(tmp_path / "run" / f"checkpoint-{kept:08d}" / "trained.safetensors")
    assert all(torch.equal(saved[name], p) for name, p in made.encoder.trained.items())


def test_a_loss_that_never_was_a_number(toy: ToyOf) -> None:
    with pytest.raises(TuningDiverged, match="step 1: the loss is nan; no checkpoint was made"):
        breaking(toy, 0, steps=9, every=2).trainer.run()


# -- dev measures ---------------------------------------------------------------------------------


def test_measures_are_those_of_the_encoder(toy: ToyOf, encoder_of: Callable[..., Any]) -> None:
    pairs = toy_pairs().pairs
    scores = np.arange(24) % 5 / 1.0
    scored = ScoredPairs(tuple(p.a for p in pairs), tuple(p.b for p in pairs), scores)
    made = toy(batch=24)
    encoder = encoder_of("llama")
    cosine = (encoder.encode(scored.first) * encoder.encode(scored.second)).sum(1)
    from scipy.stats import spearmanr

    measured = ScoreMeasure(scored).take(made.encoder, Ranks())
    assert measured == pytest.approx(spearmanr(cosine, scores).statistic, abs=1e-6)
    settings = made.trainer._settings
    loss = LossMeasure(toy_pairs(), settings).take(made.encoder, Ranks())
    batch = PairObjective(toy_pairs(), settings).batch(range(24))
    vectors = torch.from_numpy(encoder.encode(batch.texts))
    assert loss == pytest.approx(float(batch.loss(vectors).value), abs=1e-5)


def test_equal_scores_and_too_few_pairs_are_refused() -> None:
    with pytest.raises(InvalidConfig, match="scores of 2 dev pairs are all equal"):
        ScoreMeasure(ScoredPairs(("a", "b"), ("c", "d"), np.array([1.0, 1.0])))
    one = toy_pairs(1)
    with pytest.raises(InvalidConfig, match="1 pair came"):
        LossMeasure(one, settings_of())


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros(3, dtype=np.float32), "float32 of shape"),
        (np.zeros((3, 2), dtype=np.int64), "int64 of shape"),
        (np.ones((2, 2), dtype=np.float32), "3 texts and 2 vectors"),
        (np.array([[1, 1], [1, np.nan], [1, 1]], dtype=np.float32), "vector 1 is NaN"),
        (np.array([[1, 1], [1, 1], [0, 0]], dtype=np.float32), "vector 2 is NaN, infinite or all"),
    ],
)
def test_a_teachers_vectors_must_fit(vectors: Any, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        TeacherObjective(["a", "b", "c"], vectors, digest="x", settings=settings_of())


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"rate": 0.0}, "rate 0.0 is not allowed; use a number above 0"),
        ({"temperature": float("nan")}, "temperature nan is not allowed"),
        ({"batch": 1}, "batch 1 is not allowed; use 2 or more"),
        ({"epochs": 1, "steps": 2}, "epochs 1 and steps 2 were both given"),
        ({"lora_dropout": 1.0}, "lora_dropout 1.0 is not allowed"),
        ({"decay": "sudden"}, "decay 'sudden' is not allowed; use one of linear, cosine"),
        ({"pooling": "max"}, "pooling 'max' is not allowed; use one of last, mean"),
        ({"matryoshka": ((4, 1.0), (4, 2.0))}, "matryoshka"),
        ({"matryoshka": ((4, 0.0),)}, "matryoshka weight 0.0 is not allowed"),
        ({"max_tokens": 3}, "max_tokens 3 is not allowed; use 16 or more"),
        ({"patience": 0}, "patience 0 is not allowed"),
    ],
)
def test_settings_out_of_range(own: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        settings_of(**own)


def test_nested_sizes_below_the_vectors_and_batches_for_all_processes(
    toy: ToyOf, tmp_path: Path
) -> None:
    settings = settings_of(matryoshka=((32, 1.0),))
    with pytest.raises(InvalidConfig, match="matryoshka 32 is not below the vectors' 32 comp"):
        PairObjective(toy_pairs(), settings).check(32)
    made = toy(batch=4)
    objective = PairObjective(toy_pairs(), settings_of(batch=4))
    with pytest.raises(InvalidConfig, match="batches of 4 examples cannot be shared by 5 proc"):
        Trainer(made.encoder, objective, settings_of(batch=4), folder=tmp_path, ranks=Ranks(0, 5))


def test_progress_survives_as_json() -> None:
    progress = Progress(step=3, chunk=2, seconds=1.5, base=0.2, best=0.3, best_step=2)
    assert Progress(**json.loads(json.dumps(dataclasses.asdict(progress)))) == progress
