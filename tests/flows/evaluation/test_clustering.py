"""`sextant evaluate clustering`: labelled texts in, V-measure out."""

import json
from pathlib import Path

import numpy as np
import pytest

from embedder.errors import InvalidConfig
from embedder.specification import specify
from flows.errors import InvalidInput
from flows.evaluation.clustering import v_measures, variant
from flows.evaluation.labelled_texts import read_labelled_texts
from tests.flows.conftest import CommandLine

ROWS = [("bread and yeast", "food"), ("a loaf of bread", "food"), ("orbit of a planet", "space")]


def _write(path: Path, rows: list[object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _labelled(path: Path) -> str:
    return _write(path, [{"text": text, "label": label} for text, label in ROWS * 4])


def test_groups_that_are_the_labels_score_one() -> None:
    """Two directions, two labels: 1 under every seed; labels across the groups: 0."""
    vectors = np.repeat(np.eye(2, dtype=np.float32), 6, axis=0)
    vectors[::2] *= 3
    assert v_measures(vectors, ["a"] * 6 + ["b"] * 6, seeds=3) == pytest.approx((1.0,) * 3)
    assert v_measures(vectors, ["a", "b"] * 6, seeds=2) == pytest.approx((0.0,) * 2, abs=1e-9)


def test_identical_vectors_score_zero() -> None:
    """Nothing tells the labels apart; no error."""
    assert v_measures(np.ones((6, 3), np.float32), ["a", "b"] * 3, seeds=1) == (0.0,)


def test_a_file_is_read(tmp_path: Path) -> None:
    """Whole numbers are labels; other fields and blank lines are left alone; a sample is drawn."""
    path = tmp_path / "set.jsonl"
    path.write_text('{"text": "one", "label": 1, "id": 7}\n\n{"text": "two", "label": "b"}\n')
    found = read_labelled_texts(str(path))
    assert (found.name, found.texts, found.labels) == ("set", ("one", "two"), ("1", "b"))
    whole = read_labelled_texts(_labelled(tmp_path / "more.jsonl"))
    some = whole.sample(6, seed=0)
    assert (len(some.texts), some) == (6, whole.sample(6, seed=0))
    assert whole.sample(99, seed=0) is whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; expected lines with 'text' and 'label'"),
        ("{", "line 1 is not JSON"),
        ("[1]", "line 1 is no JSON object"),
        ('{"label": "a"}', "line 1 has text None"),
        ('{"text": " ", "label": "a"}', "line 1 has text ' '"),
        ('{"text": "x"}', "line 1 has label None"),
        ('{"text": "x", "label": true}', "line 1 has label True"),
        ('{"text": "x", "label": "a"}', "has 1 label ('a'); expected 2 or more"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    """With its line and what was expected there."""
    path = tmp_path / "set.jsonl"
    path.write_text(content)
    with pytest.raises(InvalidInput) as refused:
        read_labelled_texts(str(path))
    assert message in str(refused.value)


def test_a_file_that_is_not_there_or_not_utf8(tmp_path: Path) -> None:
    """Said so, not a traceback."""
    with pytest.raises(InvalidInput, match="no such file"):
        read_labelled_texts(str(tmp_path / "none.jsonl"))
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "caf\xe9", "label": "a"}')
    with pytest.raises(InvalidInput, match="is not UTF-8"):
        read_labelled_texts(str(tmp_path / "latin.jsonl"))


def test_settings_that_a_prompt_or_pooling_cannot_have_are_left_out() -> None:
    """No place for Token Prepending, no last token for Contrastive Prompting."""
    starter = specify("starter")
    assert variant(starter, prompt=None, pooling=None) == starter
    bare = variant(starter, prompt="none", pooling="mean").config
    assert (bare.token_prepending, bare.contrastive_prompting) == (None, None)
    other = variant(starter, prompt="cluster", pooling=None).config
    assert other.token_prepending == starter.config.token_prepending
    assert other.template == "cluster"
    for wrong in ({"prompt": "nonsense", "pooling": None}, {"prompt": None, "pooling": "median"}):
        with pytest.raises(InvalidConfig):
            variant(starter, **wrong)


def test_the_command(sextant: CommandLine, encoder_folder: Path, tmp_path: Path) -> None:
    """One task for each set, prompt and pooling; exactly one JSON object; a table for people."""
    file = _labelled(tmp_path / "topics.jsonl")
    options = ("--encoder", encoder_folder, "--seeds", "2", "--quiet")
    one = sextant("evaluate", "clustering", file, *options, "--json")
    assert one.code == 0, one.err
    (task,) = one.json["tasks"]
    assert (task["name"], task["texts"], task["clusters"], task["seeds"]) == ("topics", 12, 2, 2)
    assert 0 <= task["v_measure"] <= 1
    assert task["std"] >= 0
    several = sextant(
        *("evaluate", "clustering", file, *options),
        *("--prompts", "eol,none", "--poolings", "last,mean", "--limit", "9"),
    )
    assert several.code == 0, several.err
    assert several.out.count("topics") == 4
    assert "V-measure" in several.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "'nowhere.jsonl': no such file"),
        (["FILE", "--seeds", "0"], "--seeds 0: expected 1 or more"),
        (["FILE", "--limit", "1"], "--limit 1: expected 2 or more"),
        (["FILE", "--prompts", ","], "--prompts ',': expected names"),
        (["FILE", "--prompts", "nonsense"], "unknown template 'nonsense'"),
        (["FILE", "--poolings", "median"], "encoder.pooling: 'median' is not allowed"),
    ],
)
def test_wrong_usage(
    sextant: CommandLine, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Refused in one line before any model is loaded."""
    file = _labelled(tmp_path / "topics.jsonl")
    words = [file if word == "FILE" else word for word in arguments]
    run = sextant("evaluate", "clustering", *words)
    assert run.code == 2
    assert message in run.complaint
