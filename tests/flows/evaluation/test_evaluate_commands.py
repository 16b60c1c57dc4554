"""`sextant evaluate sts|classification|clustering|retrieval|attention|mteb`: whole commands."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedder.errors import InvalidConfig, NonFiniteActivation
from embedder.specification import specify
from flows.errors import InvalidInput
from flows.evaluation.classification_set import read_classification_set
from flows.evaluation.evaluation_report import (
    EvaluationReport,
    check_results_place,
    require_distinct,
)
from flows.evaluation.overrides import Overrides
from flows.evaluation.sts_sets import read_sts_set
from flows.evaluation.text_file import read_texts
from tests.flows.conftest import CommandLine

PAIRS = [
    {"sentence1": f"bread {i}", "sentence2": f"a loaf {i * i}", "score": i % 5} for i in range(12)
]
LABELLED = [{"text": f"{w} number {i}", "label": w} for i in range(8) for w in ("owl", "bread")]


def _write(path: Path, rows: list[Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


# --- the report ------------------------------------------------------------------------------


def _report() -> EvaluationReport:
    return EvaluationReport(kind="sts", specification=specify("starter"), measure="spearman")


def test_a_task_that_failed_counts_nowhere() -> None:
    """Absent from the tasks, told with its reason, and no 0 in the average."""
    report = _report()
    report.attempt("good", lambda: {"spearman": 0.5, "n": 3})

    def bad() -> dict[str, float]:
        raise NonFiniteActivation("text 3 gave NaN\nand more", index=3)

    report.attempt("bad", bad)
    fields = report.fields()
    assert fields["tasks"] == [{"name": "good", "spearman": 0.5, "n": 3}]
    assert fields["average"] == 0.5
    assert fields["failed"] == [{"name": "bad", "reason": "text 3 gave NaN and more"}]
    assert _report().fields()["average"] is None


def test_what_is_no_failure_of_a_task_ends_the_run() -> None:
    """A mistake in the program must not look like a set that could not be measured."""
    with pytest.raises(ZeroDivisionError):
        _report().attempt("broken", lambda: {"spearman": 1 / 0})


def test_averages_of_nested_measures() -> None:
    """Each by itself, rounded once, at the end."""
    report = EvaluationReport(kind="retrieval", specification=specify("starter"), measure="modes")
    for value in (0.12344, 0.22344):
        report.attempt("t", lambda value=value: {"modes": {"dense": {"mrr": value}}})  # type: ignore[misc]
    assert report.fields()["average"] == {"dense": {"mrr": 0.1734}}


def test_results_are_filed(tmp_path: Path) -> None:
    """Into a folder under kind and fingerprint, or a file; with settings and versions."""
    report = _report()
    report.attempt("good", lambda: {"spearman": 0.25, "n": 3})
    check_results_place(str(tmp_path / "new"))
    path = report.file(str(tmp_path / "new"), {"limit": 7})
    assert path.name == f"sts-{specify('starter').fingerprint[:12]}.json"
    filed = json.loads(path.read_text())
    assert filed["fingerprint"] == specify("starter").fingerprint
    assert filed["config"]["template"] == specify("starter").describe()["config"]["template"]
    assert filed["options"] == {"limit": 7}
    assert {"python", "torch", "scikit-learn"} <= filed["versions"].keys()
    assert report.file(str(tmp_path / "own.json"), {}) == tmp_path / "own.json"


def test_places_for_results_are_checked_first(tmp_path: Path) -> None:
    """A folder that is not there, a file in a folder's place."""
    (tmp_path / "file").write_text("")
    for place in ("none/r.json", "file", "file/below"):
        with pytest.raises(InvalidInput, match="--file-results"):
            check_results_place(str(tmp_path / place))
    with pytest.raises(InvalidInput, match="two sets are called 'a'"):
        require_distinct(["a", "b", "a"])


# --- overrides -------------------------------------------------------------------------------


def test_overrides() -> None:
    """What is said is changed, the rest stays; nothing said is the same encoder."""
    starter = specify("starter")
    assert Overrides().apply(starter) is starter
    changed = Overrides(
        prompt="cot",
        token_prepending="1:2",  # noqa: S106
        contrastive_prompting="2:scaled:0.5",
        normalise=True,
    ).apply(starter)
    config = changed.config
    assert config.template == "cot"
    assert (config.token_prepending.start, config.token_prepending.exit) == (1, 2)  # type: ignore[union-attr]
    cp = config.contrastive_prompting
    assert cp is not None
    assert (cp.layer, cp.mode, cp.strength) == (2, "scaled", 0.5)
    assert config.normalise_text == "papers"
    assert changed.fingerprint != starter.fingerprint
    off = Overrides(token_prepending="off", contrastive_prompting="off", pooling="mean")  # noqa: S106
    bare = off.apply(starter).config
    assert (bare.token_prepending, bare.contrastive_prompting) == (None, None)
    assert bare.dtype == starter.config.dtype


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"token_prepending": "1-3"}, "--tp '1-3': expected off or START:EXIT"),
        ({"contrastive_prompting": "norm"}, "--cp 'norm': expected off or LAYER"),
        ({"contrastive_prompting": "1:loud"}, "--cp '1:loud': expected off or LAYER"),
        ({"contrastive_prompting": "1:norm:1.2.3"}, "strength '1.2.3' is no number"),
        ({"contrastive_prompting": "99"}, "acts at layer 99"),
        ({"token_prepending": "3:2"}, "exit 2 is not above start 3"),
        ({"prompt": "nonsense"}, "unknown template 'nonsense'"),
        ({"pooling": "median"}, "'median' is not allowed"),
        ({"output_layer": 99}, "output_layer 99 is beyond"),
    ],
)
def test_wrong_overrides_are_refused(overrides: dict[str, Any], message: str) -> None:
    """In one line, before any weight is loaded."""
    with pytest.raises((InvalidInput, InvalidConfig)) as refused:
        Overrides(**overrides).apply(specify("starter"))
    assert message in str(refused.value)


# --- files -----------------------------------------------------------------------------------


def test_classification_files(tmp_path: Path) -> None:
    """Texts or pairs, splits by their usual names, `all` as none."""
    rows = [{"text": f"t{i}", "label": i % 2, "split": "all"} for i in range(6)]
    found = read_classification_set(_write(tmp_path / "mr.jsonl", rows))
    assert (found.name, found.labels[:2], found.splits, found.others) == (
        *("mr", ("0", "1"), None, None),
    )
    named = ["train", "training", "validation", "trial", "test", "test"]
    rows = [
        {"text1": "a", "text2": "b", "label": str(i % 2), "split": split}
        for i, split in enumerate(named)
    ]
    found = read_classification_set(_write(tmp_path / "mrpc.jsonl", rows))
    assert found.splits == ("train", "train", "dev", "dev", "test", "test")
    assert found.others == ("b",) * 6


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is empty; expected lines with 'text'"),
        ([{"text": "x"}], "line 1 has label None"),
        ([{"label": "a"}], "line 1 has text None"),
        ([{"text1": "x", "label": "a"}], "line 1 has text2 None"),
        ([{"text": "x", "label": "a", "split": "later"}], "line 1 has split 'later'"),
        ([{"text": "x", "label": "a"}, {"text1": "x", "text2": "y", "label": "a"}], "line 2: some"),
        (
            [{"text": "x", "label": "a"}, {"text": "x", "label": "a", "split": "test"}],
            "line 2: some lines have a split",
        ),
        ([{"text": "x", "label": "a"}] * 3, "has 1 label"),
        ([7], "line 1 is no JSON object"),
    ],
)
def test_wrong_classification_files(tmp_path: Path, rows: list[Any], message: str) -> None:
    """With the line, and what was expected."""
    with pytest.raises(InvalidInput) as refused:
        read_classification_set(_write(tmp_path / "set.jsonl", rows))
    assert message in str(refused.value)


def test_a_folder_of_subsets_is_one_set(tmp_path: Path) -> None:
    """The "all" setting: laid together in the order of names; other files are left alone."""
    _write(tmp_path / "STS12" / "b.jsonl", PAIRS[:2])
    _write(tmp_path / "STS12" / "a.jsonl", PAIRS[2:5])
    (tmp_path / "STS12" / "readme.txt").write_text("no pairs")
    name, pairs = read_sts_set(str(tmp_path / "STS12"))
    assert (name, len(pairs), pairs.first[0]) == ("STS12", 5, "bread 2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="no pairs in it"):
        read_sts_set(str(tmp_path / "empty"))
    with pytest.raises(InvalidInput, match="are all 3; expected scores that differ"):
        read_sts_set(_write(tmp_path / "flat.jsonl", [row | {"score": 3} for row in PAIRS]))


def test_texts_alone(tmp_path: Path) -> None:
    """JSONL or lines; blank lines are left out."""
    (tmp_path / "plain.txt").write_text("one\n\n two\n")
    assert read_texts(str(tmp_path / "plain.txt")) == ("one", " two")
    assert read_texts(_write(tmp_path / "t.jsonl", [{"text": "x"}, {"text": "y"}])) == ("x", "y")
    (tmp_path / "none.txt").write_text("\n")
    for file, message in (("none.txt", "is empty"), ("nowhere", "no such file")):
        with pytest.raises(InvalidInput, match=message):
            read_texts(str(tmp_path / file))


# --- commands --------------------------------------------------------------------------------


def test_sts(sextant: CommandLine, encoder_folder: Path, tmp_path: Path) -> None:
    """JSON as agreed, the papers' table, and the result in a file."""
    files = [_write(tmp_path / f"{name}.jsonl", PAIRS) for name in ("sts12_test", "stsb_dev")]
    options = ("--encoder", encoder_folder, "--quiet")
    run = sextant("evaluate", "sts", *files, *options, "--json", "--file-results", "results")
    assert run.code == 0, run.err
    found = run.json
    assert [task["name"] for task in found["tasks"]] == ["sts12_test", "stsb_dev"]
    assert all(-1 <= task["spearman"] <= 1 and task["n"] == 12 for task in found["tasks"])
    assert found["average"] == found["tasks"][0]["spearman"]
    assert found["failed"] == []
    assert found["papers_table"]["columns"].keys() == {"STS12", "STS-B"}
    assert not found["papers_table"]["complete"]
    (filed,) = (sextant.folder / "results").iterdir()
    assert json.loads(filed.read_text())["tasks"] == found["tasks"]
    shown = sextant("evaluate", "sts", files[0], *options, "--tp", "off")
    assert shown.code == 0, shown.err
    assert "Spearman x 100" in shown.out
    assert "average of 1 of 7 columns" in shown.out


def test_a_failing_task_ends_with_1(
    sextant: CommandLine, encoder_folder: Path, tmp_path: Path
) -> None:
    """The other figures are printed all the same; the reason is one line."""
    files = [_write(tmp_path / f"{name}.jsonl", PAIRS) for name in ("good", "bad")]
    program = (
        "import embedder.evaluation.sts as sts\n"
        "from embedder.errors import NonFiniteActivation\n"
        "real = sts.measure_sts\n"
        "def failing(name, encode, pairs):\n"
        "    if name == 'bad':\n"
        "        raise NonFiniteActivation('text 3 gave NaN', index=3)\n"
        "    return real(name, encode, pairs)\n"
        "sts.measure_sts = failing\n"
    )
    run = sextant(
        *("evaluate", "sts", *files, "--encoder", encoder_folder, "--quiet", "--json"),
        program=program,
    )
    assert run.code == 1
    assert [task["name"] for task in run.json["tasks"]] == ["good"]
    assert run.json["average"] == run.json["tasks"][0]["spearman"]
    assert run.json["failed"] == [{"name": "bad", "reason": "text 3 gave NaN"}]
    assert "bad failed: text 3 gave NaN; it is in no average" in run.err


def test_classification(sextant: CommandLine, encoder_folder: Path, tmp_path: Path) -> None:
    """Accuracy, how many were tested, and the protocol."""
    file = _write(tmp_path / "topics.jsonl", LABELLED)
    options = ("--encoder", encoder_folder, "--quiet", "--folds", "2", "--json")
    run = sextant("evaluate", "classification", file, *options)
    assert run.code == 0, run.err
    (task,) = run.json["tasks"]
    assert (task["name"], task["n"], task["classes"]) == ("topics", 16, 2)
    assert 0 <= task["accuracy"] == run.json["average"] <= 1
    assert task["protocol"].startswith("2-fold")


def test_attention(sextant: CommandLine, encoder_folder: Path, tmp_path: Path) -> None:
    """Shares that sum to 1 in every layer, under two encoders in one call."""
    file = _write(tmp_path / "texts.jsonl", LABELLED)
    run = sextant(
        *("evaluate", "attention", file, "--encoder", encoder_folder, "--against", encoder_folder),
        *("--limit", "5", "--quiet", "--json"),
    )
    assert run.code == 0, run.err
    (task,) = run.json["tasks"]
    assert (task["n"], task["layer"], len(task["layers"])) == (5, 1, 2)
    assert run.json["against"]["tasks"] == [task]
    for layer in task["layers"]:
        roles = ("prompt", "placeholder", "content", "function", "punctuation")
        assert sum(layer[role] for role in roles) == pytest.approx(1, abs=1e-3)
    assert run.json["average"] == task["content"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sts", "nowhere.jsonl"], "'nowhere.jsonl': no such file"),
        (["sts", "SET", "--limit", "1"], "--limit 1: expected 2 or more"),
        (["sts", "SET"], "has no 'sentence1'"),
        (["sts", "SET", "--cp", "x"], "--cp 'x': expected off or LAYER"),
        (["sts", "SET", "--encoder", "nobody"], "unknown encoder 'nobody'"),
        (["classification", "SET", "--folds", "1"], "--folds 1: expected 2 or more"),
        (["classification", "SET", "SET"], "two sets are called 'set'"),
        (["classification", "SET", "--file-results", "no/r.json"], "its folder does not exist"),
        (
            ["clustering", "SET", "--protocol", "other"],
            "--protocol 'other': expected mteb or kmeans",
        ),
        (["clustering", "SET", "--prompt", "eol", "--prompts", "eol"], "do not go together"),
        (["attention", "SET", "--limit", "0"], "--limit 0: expected 1 or more"),
        (["retrieval", "nowhere"], "'nowhere': no corpus.jsonl in it"),
        (["mteb", "NoSuchTask"], "MTEB has no task 'NoSuchTask'"),
    ],
)
def test_wrong_usage(
    sextant: CommandLine, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """One line, exit code 2, before any model is loaded."""
    file = _write(tmp_path / "set.jsonl", LABELLED)
    run = sextant("evaluate", *[file if word == "SET" else word for word in arguments])
    assert run.code == 2
    assert message in run.complaint
