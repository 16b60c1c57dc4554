"""The commands: one JSON object when asked for, a table else, one line when asked wrongly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import encoder, encoder_scaling, results_file
from benchmarks.contenders import NAMES
from benchmarks.processes import Child, ChildFailed

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_whole_command_prints_one_object() -> None:
    """Every contender has a row, ratios are those of the rows, and each pair did the same work."""
    pytest.importorskip("sentence_transformers", reason="extra `recipe`")
    done = run(
        *("benchmarks.encoder", "--shape", "tiny", "--mean-tokens", "8", "--texts", "32"),
        *("--rounds", "2", "--threads", "1", "--dtype", "float32", "--json"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["benchmark"] == "encoder-tiny-8"
    assert {"commit", "hardware", "date", "versions", "sigma", "load_average"} <= result.keys()
    assert [row["key"] for row in result["rows"]] == list(NAMES)
    seconds = {row["key"]: row["seconds"] for row in result["rows"]}
    for pair in ("a/c", "b/c", "b/d"):
        ratio = seconds[pair[0]] / seconds[pair[2]]
        assert result["ratios"][pair] == pytest.approx(ratio, abs=0.01)
    for row in result["rows"]:
        assert len(row["seconds_by_round"]) == 2
        assert row["peak_mib"] > 50
    assert min(result["least_cosine"].values()) > 0.9999
    assert "contender" in done.stderr


@pytest.mark.slow
def test_scaling_prints_one_object(folder: Path) -> None:
    """A row for each size, and a start-up time."""
    done = run(
        *("benchmarks.encoder_scaling", "--texts", "70", "--mean-tokens", "8", "--starts", "1"),
        *("--encoder", str(folder), "--threads", "1", "--json"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["benchmark"] == "encoder-scaling"
    assert result["encoder"] == folder.name
    assert [row["texts"] for row in result["rows"]] == [70]
    assert result["rows"][0]["tokens_per_second"] > 0
    assert result["start_up_ms"] > 10


def test_a_result_is_filed_by_shape_length_and_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the table goes to standard output; the ceiling is named where there is one."""
    pytest.importorskip("sentence_transformers", reason="extra `recipe`")
    answers = {key: [{"seconds": 2.0, "peak_mib": 99.6}] for key in NAMES}
    result = {
        "shape": "tiny",
        "mean_tokens": 30,
        "sigma": 0.5,
        "texts": 4,
        "dtype": "bfloat16",
        "device": "A GPU",
        "threads": 2,
        "rounds": 1,
        "ratios": {"a/c": 2.5},
        "least_cosine": {"b/d": 1.0},
        "rows": encoder.summarise(answers, [10, 20, 30, 40]),
        "ceiling": {"matmul_tflops": 700.0, "c_tflops": 350.0, "share": 0.5},
    }
    monkeypatch.setattr(encoder, "run", lambda options: result)
    monkeypatch.setattr(encoder, "check_device", lambda parser, device: None)
    monkeypatch.setattr(results_file, "RESULTS", tmp_path)
    encoder.main(["--shape", "tiny", "--device", "cuda", "--file"])
    filed = json.loads((tmp_path / "encoder-tiny-30-cuda.json").read_text())
    assert filed["rows"][0]["tokens_per_second"] == 50
    said = capsys.readouterr().out
    assert "a/c 2.5" in said
    assert "50.0%" in said
    assert "{" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shape", "gpt-5"], "choose from 'tiny', 'smollm2-135m'"),
        (["--mean-tokens", "many"], "'many' is not a whole number, 1 to 500"),
        (["--mean-tokens", "501"], "'501' is not a whole number, 1 to 500"),
        (["--dtype", "int8"], "choose from 'float32', 'bfloat16'"),
        (["--rounds", "0"], "'0' is not a whole number"),
        (["--threads", "-1"], "'-1' is not a whole number"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the value and what is allowed; exit code 2."""
    with pytest.raises(SystemExit) as ended:
        encoder.main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert words in said


@pytest.mark.parametrize("command", [encoder.main, encoder_scaling.main])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_one_line(
    command: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not half an hour on the processor instead."""
    assert callable(command)
    with pytest.raises(SystemExit) as ended:
        command(["--device", "cuda"])
    assert ended.value.code == 2
    assert "no CUDA device here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--texts", "10,ten"], "'ten' is not a whole number"),
        (["--encoder", "no-such-encoder"], "unknown encoder 'no-such-encoder'"),
    ],
)
def test_bad_arguments_of_scaling_are_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the value and what is allowed; exit code 2."""
    with pytest.raises(SystemExit) as ended:
        encoder_scaling.main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert words in said


def test_a_child_that_fails_says_why(tmp_path: Path) -> None:
    """The last line of its standard error, instead of silence or a hang."""
    program = "import sys; sys.stdin.readline(); raise ValueError('no such texts')"
    with Child("the child", ["-c", program], threads=1, log=tmp_path / "log") as child:
        child.tell(command="go")
        with pytest.raises(ChildFailed, match="the child ended with code 1: ValueError: no such"):
            child.hear()
