"""`sextant tune`: the command, what it refuses, kills, several processes, and the flow."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedder.specification import specify
from embedder.tuning.settings import TuningSettings
from flows.tuning import TuneRequest

CommandLine = Any
PrefectAPI = Any
ROOT = Path(__file__).parents[2]
WORDS = ["lamp", "river", "bread", "owl", "cloud", "stone", "paper", "window"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
SMALL = (
    *("--lora-rank", "4", "--lora-dropout", "0", "--batch", "8", "--chunk", "8", "--every", "2"),
    *("--lr", "0.005", "--compute", "float32", "--device", "cpu"),
)


def write_pairs(path: Path, count: int = 16) -> Path:
    """Pairs that share two words."""
    rows = []
    for number in range(count):
        one, other = WORDS[number % 8], WORDS[(number * 3 + number // 8 + 1) % 8]
        rows.append({"a": f"The {one} and the {other} {number}.", "b": f"{other} {one} {number}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_scored(path: Path) -> Path:
    rows = [
        {"sentence1": WORDS[i % 8], "sentence2": WORDS[(i + i % 3) % 8], "score": i % 3}
        for i in range(24)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_tuned_encoder_is_used_like_any_other(sextant: CommandLine, encoder_folder: Path) -> None:
    write_pairs(sextant.folder / "pairs.jsonl")
    write_scored(sextant.folder / "sts.jsonl")
    run = sextant(
        "tune", "--base", encoder_folder, "--pairs", "pairs.jsonl", "--out", "tuned", "--dev",
        "sts.jsonl", "--steps", "4", *SMALL, "--json", **ONE_THREAD,
    )  # fmt: skip
    assert run.code == 0, run.err
    assert run.json["use"] == "tuned"
    assert run.json["dev"]["measure"] == "spearman"
    assert "sextant: tuning: 4 of 4, loss " in run.err
    shown = sextant("encoders", "show", "tuned", "--json")
    assert shown.json["fingerprint"] == run.json["fingerprint"]
    assert shown.json["source"].startswith("sextant tune: ")
    encoded = sextant(
        "encode", "--encoder", "tuned", "--out", "x.npy", stdin="a lamp\n",
        **ONE_THREAD,
    )  # fmt: skip
    assert encoded.code == 0, encoded.err
    again = sextant(
        "tune", "--base", encoder_folder, "--pairs", "pairs.jsonl", "--out", "tuned", "--dev",
        "sts.jsonl", "--steps", "4", *SMALL, "--resume", "--quiet", **ONE_THREAD,
    )  # fmt: skip
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith("finished: 4 of 4 steps in ")
    assert again.out.endswith("use it with --encoder tuned\n")


def test_distillation_from_what_encode_writes(sextant: CommandLine, encoder_folder: Path) -> None:
    texts = "".join(f"{word} {i}\n" for i, word in enumerate(WORDS))
    (sextant.folder / "texts.txt").write_text(texts)
    np.save(sextant.folder / "t.npy", np.random.default_rng(1).standard_normal((8, 32)))
    run = sextant(
        "tune", "--base", encoder_folder, "--texts", "texts.txt", "--teacher", "t.npy", "--out",
        "tuned", "--full", "--epochs", "2", *SMALL, "--matryoshka", "16:0.5,8", "--json",
        "--quiet", **ONE_THREAD,
    )  # fmt: skip
    assert run.code == 0, run.err
    assert run.json["data"]["objective"] == "distillation"
    assert run.json["use"] == "tuned"
    assert specify(str(sextant.folder / "tuned")).fingerprint == run.json["fingerprint"]


BAD: list[tuple[list[str], str]] = [
    ([], "nothing to learn from (neither was given): give --pairs FILE, or both --texts"),
    (["--texts", "pairs.jsonl"], "nothing to learn from (--texts was given)"),
    (["--pairs", "pairs.jsonl", "--texts", "x"], "--pairs with --texts or --teacher: give pairs"),
    (["--pairs", "gone.jsonl"], "gone.jsonl"),
    (["--pairs", "columns.jsonl"], "'columns.jsonl' line 1 has no column 'b'; expected a and b"),
    (["--pairs", "one.jsonl"], "1 usable pairs"),
    (["--pairs", "empty.jsonl"], "1 usable pairs (left out: 1 empty side)"),
    (["--pairs", "pairs.jsonl", "--base", "no-such"], "unknown encoder 'no-such'; expected a"),
    (["--pairs", "pairs.jsonl", "--dev", "gone.csv"], "--dev 'gone.csv': no such file; check"),
    (["--pairs", "pairs.jsonl", "--dev", "x.csv", "--dev-pairs", "y"], "--dev with --dev-pairs: "),
    (["--pairs", "pairs.jsonl", "--lr", "-1"], "tuning: rate -1.0 is not allowed; use a number"),
    (["--pairs", "pairs.jsonl", "--tp", "maybe"], "tuning: tp 'maybe' is not allowed; use one of"),
    (["--pairs", "pairs.jsonl", "--matryoshka", "8:x"], "--matryoshka '8:x': expected sizes"),
    (["--pairs", "pairs.jsonl", "--lora-modules", ","], "--lora-modules ',': expected names"),
    (["--pairs", "pairs.jsonl", "--lora-modules", "x_proj"], "lora_modules names 'x_proj', which"),
    (["--pairs", "pairs.jsonl", "--pooling", "max"], "tuning: pooling 'max' is not allowed; use"),
    (["--pairs", "pairs.jsonl", "--device", "tpu9"], "device 'tpu9' cannot be used"),
    (["--pairs", "pairs.jsonl", "--resume"], "there is no run in 'out' to resume; leave out"),
    (["--texts", "latin.txt", "--teacher", "t.npy"], "--texts 'latin.txt' is not UTF-8 at byte 3"),
    (["--texts", "t.txt", "--teacher", "gone.npy"], "--teacher 'gone.npy': No such file"),
    (["--texts", "t.txt", "--teacher", "t.txt"], "--teacher 't.txt' is no .npy file of numbers"),
    (["--texts", "t.txt", "--teacher", "t.npy"], "tuning: 2 texts and 3 vectors of the teacher"),
]


def test_wrong_input_is_one_line(
    tmp_path: Path,
    encoder_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is refused with exit code 2, says what is wrong, and leaves no output."""
    from flows.cli import main

    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    write_pairs(tmp_path / "pairs.jsonl")
    (tmp_path / "columns.jsonl").write_text('{"a": "x", "text": "y"}\n')
    (tmp_path / "one.jsonl").write_text('{"a": "x", "b": "y"}\n')
    (tmp_path / "empty.jsonl").write_text('{"a": "x", "b": "y"}\n{"a": "x", "b": " "}\n')
    (tmp_path / "latin.txt").write_bytes("Caf\u00e9\n".encode("latin-1"))
    (tmp_path / "t.txt").write_text("x\ny\n")
    np.save(tmp_path / "t.npy", np.ones((3, 4), dtype=np.float32))
    try:
        for arguments, message in BAD:
            base = [] if "--base" in arguments else ["--base", str(encoder_folder)]
            monkeypatch.setattr(sys, "argv", ["sextant", "tune", *base, "--out", "out", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
            said = capsys.readouterr()
            assert (ended.value.code, said.out) == (2, ""), (arguments, said)
            assert said.err.count("\n") == 1, said.err
            assert message in said.err
            assert not (tmp_path / "out" / "run" / "settings.json").exists()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


KILL_AT = """
import os, signal
from flows import tuning_console
from contextlib import contextmanager

@contextmanager
def watched(*, quiet):
    def told(step):
        if step.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    yield told

tuning_console.watched = watched
"""


def test_a_killed_command_goes_on(sextant: CommandLine, encoder_folder: Path) -> None:
    """The adapter is, bit for bit, that of a run which nobody killed."""
    write_pairs(sextant.folder / "pairs.jsonl")

    def tune(out: str, *more: str, program: str = "") -> Any:
        return sextant(
            "tune", "--base", encoder_folder, "--pairs", "pairs.jsonl", "--out", out, "--steps",
            "5", *SMALL, *more, "--lora-dropout", "0.2", "--quiet", program=program, **ONE_THREAD,
        )  # fmt: skip

    assert tune("whole").code == 0
    assert tune("killed", program=KILL_AT).code == -signal.SIGKILL
    assert tune("killed").complaint == (
        "'killed' holds a run already; use --resume to go on with it, or another folder"
    )
    changed = tune("killed", "--resume", "--batch", "4")
    assert changed.complaint == (
        "resume: batch is 4, the run in 'killed' was begun with 8; give the same, or another folder"
    )
    assert tune("killed", "--resume").code == 0
    whole, killed = (
        load_file(sextant.folder / out / "adapter_model.safetensors") for out in ("whole", "killed")
    )
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_two_processes_tune_what_one_would(sextant: CommandLine, encoder_folder: Path) -> None:
    """Under torchrun the loss is that of the whole batch, and one process alone speaks."""
    write_pairs(sextant.folder / "pairs.jsonl", 15)
    options = [
        "tune", "--base", str(encoder_folder), "--pairs", "pairs.jsonl", "--dev-pairs",
        "pairs.jsonl", "--steps", "4", *SMALL, "--chunk", "3", "--json", "--quiet",
    ]  # fmt: skip
    alone = sextant(*options, "--out", "one", **ONE_THREAD)
    assert alone.code == 0, alone.err
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "flows", *options, "--out", "two",
    ]  # fmt: skip
    environment = {**sextant.environment, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
    environment.pop("http_proxy", None)
    done = subprocess.run(
        command, cwd=sextant.folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 1
    report = json.loads(lines[0])
    assert report["processes"] == 2
    for name in ("base", "best"):
        assert report["dev"][name] == pytest.approx(alone.json["dev"][name], abs=1e-5)
    one, two = (
        load_file(sextant.folder / out / "adapter_model.safetensors") for out in ("one", "two")
    )
    for name, weights in one.items():
        assert torch.allclose(weights, two[name], atol=1e-4), name
    assert any(bool(weights.abs().max() > 1e-3) for n, weights in one.items() if "lora_B" in n)


def test_processes_without_torchrun_are_refused(sextant: CommandLine, encoder_folder: Path) -> None:
    write_pairs(sextant.folder / "pairs.jsonl")
    run = sextant(
        "tune", "--base", encoder_folder, "--pairs", "pairs.jsonl", "--out", "out", "--quiet",
        WORLD_SIZE="2", **ONE_THREAD,
    )  # fmt: skip
    assert run.code == 2
    assert run.complaint == (
        "WORLD_SIZE is 2 and RANK is not set; start with torchrun, or unset it"
    )


def test_the_flow_does_what_the_command_does(
    prefect_api: PrefectAPI, encoder_folder: Path, tmp_path: Path
) -> None:
    from flows.tune import tune_flow

    request = TuneRequest(
        base=str(encoder_folder),
        out=str(tmp_path / "out"),
        pairs=(str(write_pairs(tmp_path / "pairs.jsonl")),),
        device="cpu",
        settings=TuningSettings(steps=2, batch=8, lora_rank=2, compute="float32"),
    )
    assert TuneRequest.model_validate_json(request.model_dump_json()) == request
    report = tune_flow(request)
    assert report["ending"] == "finished"
    assert specify(report["use"]).fingerprint == report["fingerprint"]


def test_the_command_line_stays_light() -> None:
    source = "import flows.cli, sys; print([m for m in ('torch', 'peft') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
