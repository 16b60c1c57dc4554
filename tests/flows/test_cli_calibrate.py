"""`sextant calibrate`: files of pairs, what is printed, and the preset that is written."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from embedder.presets import find_preset
from embedder.specification import specify
from flows import calibrate
from flows.errors import FlowError, InvalidInput
from flows.pair_files import read_pairs
from flows.progress import Silent

CommandLine = Any
WORDS = ["lighthouse", "keeper", "lamp", "dusk", "river", "sand", "sea", "owl", "bread", "salt"]

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""On decoders this small a second thread only waits."""


def rows(count: int) -> list[dict[str, Any]]:
    """Pairs that share more or fewer words; the score is how many."""
    random = np.random.default_rng(2)
    made = []
    for number in range(count):
        one = list(random.choice(WORDS, 5, replace=False))
        other = one[: number % 6] + list(random.choice(WORDS, 5 - number % 6))
        made.append({"sentence1": " ".join(one), "sentence2": " ".join(other), "score": number % 6})
    return made


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    """As JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


# -- files of pairs -----------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_all_formats_say_the_same(tmp_path: Path, suffix: str, delimiter: str) -> None:
    """Other columns are left alone, a byte order mark too; in TSV a quote is a character."""
    content = [{**row, "id": i} for i, row in enumerate(rows(6))]
    sentence = 'He said "no", twice' if suffix == ".csv" else 'A 3" pipe'
    content[0]["sentence1"] = sentence
    lines = io.StringIO(newline="")
    quoting = csv.QUOTE_MINIMAL if suffix == ".csv" else csv.QUOTE_NONE
    writer = csv.DictWriter(
        lines, list(content[0]), delimiter=delimiter, quoting=quoting, quotechar=None if
        quoting == csv.QUOTE_NONE else '"',
    )  # fmt: skip
    writer.writeheader()
    writer.writerows(content)
    (tmp_path / f"pairs{suffix}").write_bytes(b"\xef\xbb\xbf" + lines.getvalue().encode())
    jsonl = write(tmp_path / "pairs.jsonl", content)
    jsonl.write_text(jsonl.read_text() + "\n  \n")
    one, other = read_pairs(str(tmp_path / f"pairs{suffix}")), read_pairs(str(jsonl))
    assert one.first[0] == sentence
    assert (one.first, one.second) == (other.first, other.second)
    assert one.score_N.tolist() == other.score_N.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "", "--pairs 'x.txt': expected a file of type .jsonl, .csv, .tsv"),
        ("gone.csv", None, "--pairs 'gone.csv': no such file; check the path"),
        ("x.jsonl", "\n", "'x.jsonl' has no pairs; expected rows of sentence1, sentence2, score"),
        ("x.csv", "sentence1,sentence2,score\n", "'x.csv' has no pairs; expected rows of"),
        ("x.jsonl", "{}\n", "'x.jsonl' line 1 has no 'sentence1'; expected sentence1, sentence2, "),
        ("x.jsonl", "[1]\n", "'x.jsonl' line 1 is no JSON object; expected sentence1"),
        ("x.jsonl", "\n{", "'x.jsonl' line 2 is not JSON (Expecting property name"),
        ("x.csv", "a,b,score\n1,2,3\n", "its columns are a, b, score"),
        ("x.tsv", "sentence1\tsentence2\tscore\na\tb\n", "'x.tsv' line 2 has no 'score'; expect"),
        ("x.csv", 'sentence1,sentence2,score\n"a"b,c,1\n', "'x.csv' line 2 is no row ("),
        ("x.tsv", "sentence1\tsentence2\tscore\na\t \t1\n", "line 2 has sentence2 ' '; expected a"),
        ("x.tsv", "sentence1\tsentence2\tscore\na\tb\tc\n", "line 2 has score 'c'; expected a nu"),
        ("x.tsv", "sentence1\tsentence2\tscore\na\tb\tnan\n", "line 2 has score 'nan'; expected"),
        (
            "x.jsonl",
            '{"sentence1": "a", "sentence2": "b", "score": true}',
            "'x.jsonl' line 1 has score True; expected a number, leave the row out",
        ),
        (
            "x.jsonl",
            '{"sentence1": "a", "sentence2": 3, "score": 1}',
            "'x.jsonl' line 1 has sentence2 3; expected a sentence, leave the row out",
        ),
        ("x.jsonl", b'{"sentence1": "\xff"}', "'x.jsonl' is not UTF-8 at byte 15; convert it fir"),
    ],
)
def test_files_that_are_no_pairs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str | bytes | None,
    message: str,
) -> None:
    """One line: where, the value, what was expected, the remedy."""
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidInput) as raised:
        read_pairs(name)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


# -- the command --------------------------------------------------------------------------------


@pytest.fixture
def pairs(sextant: CommandLine) -> Path:
    """40 pairs in the working folder."""
    return write(sextant.folder / "pairs.jsonl", rows(40))


def test_calibrate_writes_a_preset_that_loads(
    sextant: CommandLine, pairs: Path, encoder_folder: Path
) -> None:
    """One JSON object on standard output; the preset holds the chosen settings."""
    run = sextant(
        *("calibrate", "--encoder", encoder_folder, "--pairs", "pairs.jsonl", "--limit", 30),
        *("--templates", "eol,none", "--out", "mine.json", "--json", "--quiet"),
        **ONE_THREAD,
    )
    assert (run.code, run.err) == (0, "")
    found = run.json
    assert found["encoder"] == str(encoder_folder)
    assert found["pairs"] == {"file": "pairs.jsonl", "choosing": 15, "checking": 15, "seed": 0}
    assert {"chosen", "given", "uncalibrated", "plain last", "plain mean"} <= set(found["spearman"])
    assert set(found["spearman"]["given"]) == {
        "spearman",
        "standard_error",
        "chosen_leads_by",
        "lead_error",
        "config",
    }
    assert found["spearman"]["chosen"]["config"] == found["chosen"]
    assert found["rule"].startswith("simplicity rule: the fewest interventions")
    assert {row["template"] for row in found["table"]} == {"eol", "none"}
    assert set(found["table"][0]) == {
        "stage",
        "spearman",
        "interventions",
        "template",
        "token_prepending",
        "contrastive_prompting",
        "pooling",
        "output_layer",
    }
    written = json.loads((sextant.folder / "mine.json").read_text())
    assert set(written) == {"model", "config", "source"}
    assert written["config"] == found["chosen"]
    assert written["source"].startswith("calibrated on pairs.jsonl (30 pairs, seed 0), Spearman ")
    assert [p.name for p in sextant.folder.glob("*mine*")] == ["mine.json"]
    loaded = specify(str(sextant.folder / "mine.json"))
    assert loaded.config.model_dump(mode="json") == found["chosen"]
    assert loaded.files.folder == encoder_folder
    assert loaded.source == written["source"]


def test_people_see_the_best_rows_the_check_and_the_rule(
    sextant: CommandLine, pairs: Path, encoder_folder: Path
) -> None:
    """Progress on standard error, results on standard output."""
    run = sextant(
        *("calibrate", "--encoder", encoder_folder, "--pairs", pairs),
        *("--templates", "none", "--template", 'In short, "{}":'),
        **ONE_THREAD,
    )
    assert run.code == 0
    assert [line for line in run.err.splitlines() if not line.endswith("left")] == [
        f"sextant: loading encoder {encoder_folder}",
        "sextant: templates and Token Prepending (4)",
        run.err.splitlines()[2],
        "sextant: neighbours of the best (" + run.err.split("neighbours of the best (")[1][0] + ")",
        run.err.splitlines()[-1],
    ]
    assert "sextant: Contrastive Prompting (" in run.err
    assert "sextant: checking half (" in run.err
    lines = run.out.splitlines()
    assert lines[0] == "choosing half, 20 pairs, best 5 of each stage:"
    assert lines[1].split()[:6] == ["stage", "template", "TP", "CP", "pooling", "layer"]
    assert sum(line.startswith("prompts ") for line in lines) == 5
    assert "checking half, 20 pairs that chose nothing:" in lines
    assert any(line.startswith("chosen ") and "±" in line for line in lines)
    assert any(line.startswith("simplicity rule: ") for line in lines)
    assert lines[-1] == "nothing was written; --out FILE.json makes a preset of it"
    assert [p.name for p in sextant.folder.iterdir() if p.suffix == ".json"] == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "missing option '--pairs'; see `sextant calibrate --help`"),
        ("--pairs gone.jsonl", "--pairs 'gone.jsonl': no such file; check the path"),
        ("--pairs pairs.jsonl --limit 19", "--limit 19: expected 20 or more"),
        ("--pairs pairs.jsonl --seed -1", "--seed -1: expected 0 or more"),
        ("--pairs pairs.jsonl --out x.txt", "--out 'x.txt': expected a file name that ends in .j"),
        ("--pairs pairs.jsonl --out no/x.json", "--out 'no/x.json': its folder does not exist; m"),
        ("--pairs pairs.jsonl --templates eol,nah", "unknown template 'nah'; choose one of eol, "),
        ("--pairs pairs.jsonl --templates ,", "--templates ',': expected keys such as eol,none"),
        ("--pairs pairs.jsonl --templates {}", "--templates '{}': expected keys; give your own "),
        ("--pairs pairs.jsonl --template A{}{}", "template 'A{}{}' has 2 slots; write {} exactly"),
        ("--pairs pairs.jsonl --encoder nope", "unknown encoder 'nope'; expected a preset (start"),
        ("--pairs few.jsonl", "19 pairs are too few to choose by and to check with; give at leas"),
        ("--pairs same.jsonl", "the scores of 15 pairs are all 3; expected scores that differ: g"),
    ],
)
def test_what_cannot_be_right_ends_with_2(
    sextant: CommandLine, pairs: Path, arguments: str, line: str
) -> None:
    """One line; no weight is loaded for it."""
    write(sextant.folder / "few.jsonl", rows(19))
    write(sextant.folder / "same.jsonl", [{**row, "score": 3} for row in rows(30)])
    run = sextant("calibrate", "--quiet", *arguments.split())
    assert (run.code, run.complaint[: len(line)]) == (2, line)


def test_other_architectures_end_with_1(sextant: CommandLine, pairs: Path) -> None:
    """They run, through hooks, but show none of their layers; known before weights are read."""
    folder = sextant.folder / "other"
    folder.mkdir()
    config = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 9}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"x": np.zeros(1, dtype=np.float32)}, folder / "model.safetensors")
    run = sextant("calibrate", "--quiet", "--pairs", pairs, "--encoder", "other")
    assert run.code == 1
    assert run.complaint.startswith("calibration looks at every layer, which models of type 'gpt2'")


def test_help_names_every_option(sextant: CommandLine) -> None:
    """On standard output, and no line of it cut off."""
    run = sextant("calibrate", "--help")
    assert (run.code, run.err) == (0, "")
    options = "--encoder --pairs --out --limit --templates --template --seed --json --quiet --debug"
    assert [option for option in options.split() if option not in run.out] == []
    assert "..." not in run.out


# -- the preset ---------------------------------------------------------------------------------


@pytest.fixture
def calibrated(encoder_folder: Path, tmp_path: Path) -> Iterator[Callable[[str | None], Any]]:
    """Calibrates the tiny encoder in this process, in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    write(tmp_path / "pairs.jsonl", rows(24))

    def run(out: str | None) -> Any:
        return calibrate.run_calibrate(
            str(encoder_folder),
            str(tmp_path / "pairs.jsonl"),
            Silent(),
            limit=None,
            templates=["none"],
            seed=0,
            out=out,
        )

    yield run
    torch.set_num_threads(threads)


def test_the_same_run_writes_the_same_bytes(
    calibrated: Callable[[str | None], Any], tmp_path: Path
) -> None:
    """No time, no path of the pairs stands in a preset; one that is there is replaced."""
    out = tmp_path / "mine.json"
    out.write_text("old")
    calibrated(str(out))
    first = out.read_bytes()
    calibrated(str(out))
    assert out.read_bytes() == first
    assert str(tmp_path).encode() not in json.dumps(json.loads(first)["source"]).encode()
    preset = find_preset(str(out))
    assert preset is not None
    assert preset.config.template == "none"


def test_a_preset_that_cannot_be_written_leaves_the_old_one(
    calibrated: Callable[[str | None], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is full: one line, the old file whole, nothing beside it."""
    out = tmp_path / "mine.json"
    out.write_text("old")

    def full(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FlowError, match=r"cannot write .*: No space left on device; check rights"):
        calibrated(str(out))
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.json", "pairs.jsonl"]
