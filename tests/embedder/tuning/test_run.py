"""A tuning from request to output: what is written, what is refused, what goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from embedder.encoder import Encoder
from embedder.errors import InvalidConfig
from embedder.scored_pairs import ScoredPairs
from embedder.specification import EncoderSpecification, specify
from embedder.tuning.errors import TuningDiverged, TuningFailed
from embedder.tuning.measures import ScoreMeasure
from embedder.tuning.metrics import read_metrics
from embedder.tuning.objectives import PairObjective
from embedder.tuning.pairs import Pair, PairSet
from embedder.tuning.report import MOST_POINTS, page
from embedder.tuning.run import Tuning, tune
from embedder.tuning.trainer import StepDone
from tests.embedder.tuning.conftest import settings_of, toy_pairs
from tests.embedder.tuning.test_trainer import Breaking

BaseOf = Callable[..., EncoderSpecification]


@pytest.fixture
def tuning(base_of: BaseOf, tmp_path: Path) -> Callable[..., Tuning]:
    """`tuning(resume=True, steps=4)`: a request for a toy."""

    def make(
        *, base: EncoderSpecification | None = None, pairs: PairSet | None = None, **own: Any
    ) -> Tuning:
        ours = {key: own.pop(key) for key in ("out", "resume", "measure", "licence") if key in own}
        settings = settings_of(**({"steps": 4, "every": 2} | own))
        return Tuning(
            base=base or base_of(),
            objective=PairObjective(pairs or toy_pairs(), settings),
            settings=settings,
            device="cpu",
            **({"out": tmp_path / "out"} | ours),
        )

    return make


def scored() -> ScoreMeasure:
    pairs = toy_pairs().pairs
    scores = np.arange(len(pairs)) % 3 / 1.0
    return ScoreMeasure(ScoredPairs(tuple(p.a for p in pairs), tuple(p.b for p in pairs), scores))


def test_what_is_written_and_what_it_says(tuning: Callable[..., Tuning], base_of: BaseOf) -> None:
    told: list[StepDone] = []
    request = tuning(measure=scored(), licence="CC0 | for tests")
    report = tune(request, told=told.append)
    out = request.out
    assert [step.step for step in told] == [1, 2, 3, 4]
    assert json.loads((out / "run" / "result.json").read_text()) == report
    assert {p.name for p in out.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "encoder.json", "MODEL_CARD.md", "run",
    }  # fmt: skip
    assert all(p.stat().st_mode & 0o444 == 0o444 for p in out.iterdir())
    assert [row["step"] for row in read_metrics(out / "run")] == [0, 1, 2, 3, 4]
    tuned = specify(report["use"])
    assert tuned.fingerprint == report["fingerprint"] != base_of().fingerprint
    assert tuned.adapter is not None
    assert Encoder(tuned, device="cpu").encode("A lamp.").shape == (32,)
    assert report["dev"]["base"] is not None
    assert report["data"] == {
        "objective": "contrastive", "pairs": 24, "kinds": {"given": 24}, "hard_negatives": 0,
        "rejected": {}, "digest": "0" * 64,
    }  # fmt: skip
    card = (out / "MODEL_CARD.md").read_text()
    for said in (
        base_of().files.digest, tuned.fingerprint, "CC0 \\| for tests", "0" * 64, '"lora_rank": 4',
        f"{report['dev']['best']:.4f}", "finished", "24 given",
    ):  # fmt: skip
        assert said in card
    shown = (out / "run" / "report.html").read_text()
    assert shown.count("<svg") == 6
    assert "http" not in shown.replace("http-equiv", "")
    assert "<script" not in shown


def test_a_card_without_licence_or_dev_data_says_so(tuning: Callable[..., Tuning]) -> None:
    request = tuning(steps=1, every=1)
    tune(request)
    card = (request.out / "MODEL_CARD.md").read_text()
    assert "unknown; the base model's and the data's apply" in card
    assert "None: the run had no dev data" in card


def test_full_tuning_writes_a_model(tuning: Callable[..., Tuning], base_of: BaseOf) -> None:
    base = base_of(token_prepending={"start": 1, "exit": 3})
    request = tuning(method="full", base=base, pooling="mean")
    report = tune(request)
    assert report["use"] == str(request.out)
    tuned = specify(report["use"])
    assert tuned.source == "sextant.json of the model"
    assert tuned.config == base.config.model_copy(update={"pooling": "mean"})
    assert tuned.files.digest != base.files.digest
    again = tuning(out=request.out.parent / "further", method="full", base=tuned, steps=1)
    tune(again)


def test_a_run_goes_on_or_is_told_again(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(step: StepDone) -> None:
        if step.step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        tune(tuning(), told=stop)
    assert not (tmp_path / "out" / "encoder.json").exists()
    with pytest.raises(InvalidConfig, match="holds a run already; use --resume"):
        tune(tuning())
    told: list[int] = []
    report = tune(tuning(resume=True), told=lambda step: told.append(step.step))
    assert told == [3, 4]
    assert tune(tuning(resume=True)) == report
    steps = [row["step"] for row in read_metrics(tmp_path / "out" / "run")]
    assert steps == [1, 2, 3, 4]
    whole = tune(tuning(out=tmp_path / "whole"))
    assert whole["fingerprint"] == report["fingerprint"]


def test_a_run_that_had_no_checkpoint_yet_begins_again(tuning: Callable[..., Tuning]) -> None:
    class Stopped(Exception):
        pass

    def stop(step: StepDone) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        tune(tuning(measure=scored()), told=stop)
    request = tuning(measure=scored(), resume=True)
    tune(request)
    assert [row["step"] for row in read_metrics(request.out / "run")] == [0, 1, 2, 3, 4]


def test_a_folder_that_cannot_be_written(
    tuning: Callable[..., Tuning], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("embedder.tuning.run.write_report", full)
    with pytest.raises(TuningFailed, match=r"the run in .* stopped \(.*No space left.*--resume"):
        tune(tuning())
    monkeypatch.undo()
    assert tune(tuning(resume=True))["ending"] == "finished"


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"batch": 12}, "resume: batch is 12, the run in .* was begun with 8; give the same"),
        ({"lora_rank": 2}, "resume: lora_rank is 2"),
        ({"steps": None, "epochs": 2}, "resume: epochs is 2, .* begun with None"),
        ({"matryoshka": ((8, 1.0),)}, r"resume: matryoshka is \[\[8, 1.0\]\], .* with \[\]"),
        ({"measure": scored()}, "resume: the dev data is .*, .* begun with None"),
        ({"pairs": PairSet(pairs=toy_pairs().pairs, digest="1" * 64, rejected={})},
         "resume: the data is 111111111111..., .* with 000000000000"),
    ],
)  # fmt: skip
def test_a_run_goes_on_as_it_was_begun_or_not_at_all(
    own: dict[str, Any], message: str, tuning: Callable[..., Tuning]
) -> None:
    request = tuning(matryoshka=())
    tune(request)
    before = sorted(p.stat().st_mtime_ns for p in request.out.rglob("*.*"))
    with pytest.raises(InvalidConfig, match=message):
        tune(tuning(resume=True, **own))
    assert sorted(p.stat().st_mtime_ns for p in request.out.rglob("*.*")) == before


def test_a_run_goes_on_with_its_own_base_only(
    tuning: Callable[..., Tuning], base_of: BaseOf
) -> None:
    tune(tuning())
    with pytest.raises(InvalidConfig, match="resume: the base model's files is"):
        tune(tuning(resume=True, base=base_of("qwen3")))
    with pytest.raises(InvalidConfig, match="resume: the base encoder's settings is"):
        tune(tuning(resume=True, base=base_of(pooling="mean")))


def test_places_that_will_not_do(tuning: Callable[..., Tuning], tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"there is no run in .* to resume; leave out --resume"):
        tune(tuning(resume=True))
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidConfig, match="file' is a file; expected a folder"):
        tune(tuning(out=tmp_path / "file"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    with pytest.raises(InvalidConfig, match="full' is not empty and holds no run; use a new"):
        tune(tuning(out=tmp_path / "full"))
    (tmp_path / "held" / "run").mkdir(parents=True)
    with (
        FileLock(tmp_path / "held" / "run" / ".lock"),
        pytest.raises(InvalidConfig, match=r"another process is tuning into .*held"),
    ):
        tune(tuning(out=tmp_path / "held"))


def test_settings_that_do_not_fit_are_refused_before_the_folder_is_made(
    tuning: Callable[..., Tuning], tmp_path: Path
) -> None:
    for own, message in (
        ({"matryoshka": ((64, 1.0),)}, "matryoshka 64 is not below the vectors' 32"),
        ({"template": "no slot"}, "slot|{}"),
    ):
        with pytest.raises(InvalidConfig, match=message):
            tune(tuning(**own))
    assert not (tmp_path / "out").exists()


def test_one_pair_alone_is_refused(tuning: Callable[..., Tuning]) -> None:
    one = PairSet(pairs=(Pair(a="x", b="y"),), digest="x", rejected={})
    with pytest.raises(InvalidConfig, match=r"1 pair came; .* give at least 2"):
        tuning(pairs=one)


def test_a_run_that_breaks_leaves_what_was_good(
    tuning: Callable[..., Tuning], tmp_path: Path
) -> None:
    request = tuning(steps=8)
    objective = Breaking(toy_pairs(), request.settings)
    objective.good = 5
    broken = Tuning(
        base=request.base, objective=objective, settings=request.settings, out=request.out,
        device="cpu",
    )  # fmt: skip
    with pytest.raises(TuningDiverged, match="step 6: the loss is nan; the weights of step 4 are"):
        tune(broken)
    tuned = specify(str(request.out))
    assert "4 steps" in tuned.source
    assert "diverged" in (request.out / "MODEL_CARD.md").read_text()
    assert not (request.out / "run" / "result.json").exists()


def test_the_report_draws_what_there_is() -> None:
    rows: list[dict[str, Any]] = [{"step": i, "loss": 1 / i, "rate": 1e-5} for i in range(1, 3000)]
    rows[7]["loss"] = None
    rows += [{"step": 3000, "dev_spearman": 0.5}]
    shown = page("T <b>", {"base": "<i>"}, rows, best=100)
    assert "T &lt;b&gt;" in shown
    assert "&lt;i&gt;" in shown
    assert shown.count("<svg") == 2
    assert shown.count('class="mark"') == 2
    points = shown.split('points="')[1].split('"')[0].split()
    assert 100 < len(points) <= MOST_POINTS
    assert "No step was done yet" in page("T", {}, [], best=0)
