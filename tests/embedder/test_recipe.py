"""The starter's recipe at toy size: data, start, forward pass, resumption, end."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from embedder.backbone import Backbone
from embedder.encoder import Encoder
from embedder.starter.recipe import __main__ as recipe
from embedder.starter.recipe import stages as stages_module
from embedder.starter.recipe.corpus import Corpus, Rows, batches
from embedder.starter.recipe.measures import unit
from embedder.starter.recipe.objective import Objective
from embedder.starter.recipe.stages import Stages
from embedder.starter.recipe.student import SETTINGS, Student, build_student
from embedder.starter.recipe.table import first_table, text_means, train_table
from embedder.starter.recipe.texts import Mixture, pair_texts, single_texts, windows
from embedder.starter.recipe.tokenizer import train_tokenizer
from embedder.starter.recipe.training import Schedule, train
from embedder.tokens import Row

WORDS = [
    *("river", "stone", "orbit", "loaf", "engine", "harbour"),
    *("prism", "ledger", "meadow", "signal", "velvet", "quartz"),
]


def sentence(number: int, length: int = 12) -> str:
    """A sentence of its own for each number."""
    words = [WORDS[(number * 7 + i * i + number // 5) % len(WORDS)] for i in range(length)]
    return f"The {number} {' '.join(words)}."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of a few hundred texts."""
    folder = tmp_path_factory.mktemp("data")
    passages = [
        {"text": f"{sentence(i, 20)} {sentence(i + 500, 25)}", "doc": f"d{i // 6}", "i": i % 6}
        for i in range(120)
    ]
    pairs = [{"a": f"Title {sentence(i, 3)}", "b": sentence(i + 1000)} for i in range(60)]
    pairs += [pairs[0], {"a": "alone", "b": ""}, {"a": "same", "b": "same"}]
    for name, rows in (("passages", passages), ("pairs", pairs)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


def fake_vectors(texts: Any, folder: Path) -> npt.NDArray[np.float16]:
    """A teacher that sums a fixed vector for each word."""
    found = np.zeros((len(texts), 384), dtype=np.float32)
    for place, text in enumerate(texts):
        for word in text.lower().replace(".", "").split() or ["."]:
            seed = int.from_bytes(word.encode()[:8].ljust(8), "little")
            found[place] += np.random.default_rng(seed).normal(size=384)
    return unit(found).astype(np.float16)


@pytest.fixture(scope="module")
def toy(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Corpus]:
    """Tokenizer and corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages_module, "teacher_vectors", fake_vectors)
        stages = Stages(data, tmp_path_factory.mktemp("work"), Mixture(), 400)
        tokenizer = stages.tokenizer()
        return tokenizer, stages.corpus(tokenizer)


@pytest.fixture
def table(toy: tuple[Any, Corpus]) -> npt.NDArray[np.float32]:
    """An untrained table."""
    tokenizer, corpus = toy
    noise = np.random.default_rng(3).normal(size=(tokenizer.get_vocab_size(), 384))
    return first_table(noise.astype(np.float16), corpus.rows)


def shaken(student: Student) -> Student:
    """With weights at which every part of every layer shows."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in student.model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return student


def test_texts_are_drawn_alike_each_time(data: Path) -> None:
    """Pairs lose empty, equal and repeated sides; windows keep to their length and document."""
    pairs = pair_texts(data, Mixture())
    assert len(pairs) == 60
    assert len({side for pair in pairs for side in pair}) == 120
    assert pairs == pair_texts(data, Mixture())
    singles = single_texts(data, Mixture(sentences=50, passages=5, titles=7))
    assert len(singles) == len(set(singles)) == 62
    long = windows(data, Mixture())
    assert long
    assert all(100 <= len(text.split()) <= 260 and "\n\n" in text for text in long)
    assert len(windows(data, Mixture(windows=3))) == 3
    assert Mixture().times(0.5).sentences == Mixture().sentences // 2


def test_a_text_reads_the_same_however_it_is_typeset() -> None:
    """Case, accents, typographic marks and white space do not count."""
    tokenizer = train_tokenizer([sentence(i) for i in range(50)], vocabulary=400)
    plain = tokenizer.encode('the river\'s "stone" - cafe  orbit').ids
    assert (
        tokenizer.encode("The River\u2019s \u201cstone\u201d \u2013 caf\u00e9\n\torbit").ids
        == plain
    )


def test_an_epoch_reads_every_text_once_and_no_held_out_one(toy: tuple[Any, Corpus]) -> None:
    """Pairs stay whole within a batch; another seed gives another order."""
    corpus = toy[1]
    epoch = list(batches(corpus, token_budget=600, seed=0))
    seen = np.concatenate(epoch)
    assert sorted(seen) == sorted([*corpus.taught.ravel(), *corpus.singles])
    assert not set(seen) & set(corpus.held_out.ravel())
    for batch in epoch:
        left = batch[np.isin(batch, corpus.taught[:, 0])]
        assert set(left + 1) == set(batch[np.isin(batch, corpus.taught[:, 1])])
    assert not np.array_equal(seen, np.concatenate(list(batches(corpus, token_budget=600, seed=1))))


def test_the_student_begins_as_the_mean_of_the_table(
    toy: tuple[Any, Corpus], table: npt.NDArray[np.float32]
) -> None:
    """Before the first step the network adds nothing."""
    tokenizer, corpus = toy
    chosen = np.arange(20)
    with torch.no_grad():
        found = Student(build_student(tokenizer, table)).vectors(corpus.rows, chosen).numpy()
        expected = text_means(torch.from_numpy(table), corpus.rows, chosen).numpy()
    assert (unit(found) * unit(expected)).sum(1).min() > 0.99


def test_the_forward_pass_is_the_encoders(
    toy: tuple[Any, Corpus], table: npt.NDArray[np.float32]
) -> None:
    """Rows through the training pass and through `Backbone`, to rounding, in any grouping."""
    tokenizer, corpus = toy
    student = shaken(Student(build_student(tokenizer, table)))
    student.model.requires_grad_(False)
    chosen = np.array([5, 130, 2, 60, 150, 7, len(corpus.teacher) - 1])
    rows = corpus.rows
    wanted = [
        Row(
            tuple(rows.ids[rows.start[i] : rows.start[i + 1]].tolist()),
            text_start=int(rows.text_start[i]),
            text_end=int(rows.text_end[i]),
        )
        for i in chosen
    ]
    expected = Backbone(student.model).forward(wanted, SETTINGS)
    for groups in (1, 3, 50):
        found = student.vectors(rows, chosen, groups=groups)
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_table_learns(toy: tuple[Any, Corpus], table: npt.NDArray[np.float32]) -> None:
    """Its loss falls."""
    losses: list[float] = []
    train_table(
        table,
        toy[1],
        epochs=15,
        objective=Objective(),
        report=lambda step, loss: losses.append(loss),
    )
    assert losses[-1] < losses[0] - 0.05


def schedule(steps: int) -> Schedule:
    """A short one whose rates do not fall before step 6."""
    return Schedule(
        steps=steps, decay_share=0.1, token_budget=600, warm_up_steps=2, checkpoint_steps=2
    )


def test_an_interrupted_run_ends_where_a_whole_one_does(
    toy: tuple[Any, Corpus], table: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    """Two steps, then four more from the checkpoint: the weights of six in one go."""
    tokenizer, corpus = toy

    def run(folder: Path, steps: int) -> dict[str, torch.Tensor]:
        folder.mkdir(exist_ok=True)
        student = Student(build_student(tokenizer, table))
        train(student, corpus, schedule=schedule(steps), folder=folder, measure=dict)
        return dict(student.model.state_dict())

    whole = run(tmp_path / "whole", 6)
    run(tmp_path / "parts", 2)
    parts = run(tmp_path / "parts", 6)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    kept = torch.load(tmp_path / "parts/checkpoint.pt", weights_only=True)
    assert kept["step"] == 6


def test_one_command_makes_an_encoder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model folder loads as any encoder, at the settings that it brings."""
    monkeypatch.setattr(stages_module, "teacher_vectors", fake_vectors)
    dev = tmp_path / "dev.jsonl"
    dev.write_text(
        "".join(
            json.dumps(
                {"sentence1": sentence(i), "sentence2": sentence(i + i % 3), "score": -i % 3}
            )
            + "\n"
            for i in range(12)
        )
    )
    out, work = tmp_path / "model", tmp_path / "work"
    command = f"recipe --data {data} --work {work} --out {out} --dev {dev} --steps 20"
    monkeypatch.setattr(sys, "argv", [*command.split(), "--vocabulary", "400", "--threads", "1"])
    recipe.main()
    first, last = (json.loads(line) for line in capsys.readouterr().out.splitlines()[-2:])
    assert set(first["table"]) == {"cosine", "pairs_ndcg", "dev"}
    assert last["bytes"] == sum(p.stat().st_size for p in out.iterdir() if p.name != "preset.json")
    metrics = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["step"] == metrics[-1]["of"] == 20
    assert "dev" in metrics[-1]
    encoder = Encoder.load(str(out / "preset.json"), device="cpu")
    assert encoder.config == SETTINGS
    vectors = encoder.encode([sentence(1), "", "word " * 2000])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_loss_that_is_no_number_stops_the_run(
    toy: tuple[Any, Corpus],
    table: npt.NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the step; the last checkpoint stays."""
    tokenizer, corpus = toy
    whole: Callable[..., torch.Tensor] = Objective.loss
    steps: list[int] = []

    def loss(self: Objective, pooled: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        steps.append(1)
        return whole(self, pooled, teacher) * (float("nan") if len(steps) == 4 else 1)

    monkeypatch.setattr(Objective, "loss", loss)
    student = Student(build_student(tokenizer, table))
    with pytest.raises(FloatingPointError, match="at step 4"):
        train(student, corpus, schedule=schedule(6), folder=tmp_path, measure=dict)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2


def test_rows_are_the_encoders_own(toy: tuple[Any, Corpus]) -> None:
    """A text's tokens lie where the row says, after BOS and placeholder."""
    tokenizer, corpus = toy
    rows = corpus.rows
    assert isinstance(rows, Rows)
    ids = rows.ids[rows.start[0] : rows.start[1]]
    assert ids[0] == 0 and ids[1] == -1
    assert tokenizer.decode(rows.text(0).tolist()).strip().startswith("title")
