"""Encoding speed against the official code and plain pooling: `python -m benchmarks.encoder`.

Four contenders in one run, taking turns on the same random model and the same made-up texts:
(a) the official procedure of TP and CP, (b) plain last-token pooling of the same prompt by
sentence-transformers, (c) ours with TP and CP, (d) ours with neither, which is the work of (b).
Each is a process of its own with the same threads and precision; they take turns (a b c d, a b c
d, ...) and never compute at once; the median over the rounds counts. A ratio x/y says how many
times faster y is than x.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from benchmarks.ceiling import matmul_flops_per_second, needed_flops
from benchmarks.contenders import NAMES, Assignment
from benchmarks.processes import Child, ChildFailed
from benchmarks.results_file import finish
from benchmarks.shapes import SHAPES, write_model
from benchmarks.texts import LONGEST, SIGMA, TextPlan

RATIOS: Final = ("a/c", "b/c", "b/d")
SETTLE_SECONDS: Final = 0.2
"""Pause before a measurement: the threads of the one before spin for a moment when it is done."""
MOST_MEAN_TOKENS: Final = 2000 // LONGEST
"""With more, the longest text would not fit into the contenders' 2,048 tokens."""
TEXT_TOKENS: Final = {"cpu": 8_000, "cuda": 400_000}
"""Tokens of all texts together, where their number is not given."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say it and exit with code 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def whole_number(low: int, high: int) -> Any:
    """Type of an option that is a whole number from `low` to `high`."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{value!r} is not a whole number, {low} to {high}")
        return number

    return parse


def check_device(parser: argparse.ArgumentParser, device: str) -> None:
    """End the program if there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device here; use --device cpu")


def measure(
    folder: Path, task: Assignment, *, rounds: int
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, np.ndarray], str | None]:
    """Let the contenders take turns.

    Returns:
        By contender the answers of its rounds, and vectors of some texts; the GPU's name.
    """
    answers: dict[str, list[dict[str, Any]]] = {key: [] for key in NAMES}
    with contextlib.ExitStack() as stack:
        children = {}
        for key, name in NAMES.items():
            child = Child(
                f"contender {key} ({name})",
                ["-m", "benchmarks.contenders", key, str(folder)],
                threads=task.threads,
                log=folder / f"{key}.log",
            )
            children[key] = stack.enter_context(child)
            child.tell(**asdict(task))
        # Only loading happens at the same time.
        ready = [child.hear() for child in children.values()]
        for child in children.values():
            child.ask("warm up")
        for _ in range(rounds):
            for key, child in children.items():
                time.sleep(SETTLE_SECONDS)
                answers[key].append(child.ask("measure"))
        vectors = {
            key: np.array(child.ask("vectors")["vectors"]) for key, child in children.items()
        }
    return answers, vectors, ready[0]["device_name"]


def least_cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The smallest cosine of a text's two vectors; some normalise in bfloat16, so again here."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return round(float(((one * other).sum(axis=1) / lengths).min()), 6)


def summarise(answers: dict[str, list[dict[str, Any]]], lengths: list[int]) -> list[dict[str, Any]]:
    """A row for each contender."""
    rows = []
    for key, rounds in answers.items():
        seconds = statistics.median(answer["seconds"] for answer in rounds)
        rows.append(
            {
                "key": key,
                "contender": NAMES[key],
                "texts_per_second": round(len(lengths) / seconds, 1),
                "tokens_per_second": round(sum(lengths) / seconds),
                "peak_mib": round(max(answer["peak_mib"] for answer in rounds)),
                "seconds": round(seconds, 3),
                "seconds_by_round": [round(answer["seconds"], 3) for answer in rounds],
            }
        )
    return rows


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Make the model and the texts, measure, and put the result together."""
    shape, cuda = SHAPES[options.shape], options.device == "cuda"
    count = options.texts or max(32, TEXT_TOKENS[options.device] // options.mean_tokens)
    plan = TextPlan(count=count, mean_tokens=options.mean_tokens)
    task = Assignment(dtype=options.dtype, device=options.device, threads=options.threads)
    torch.set_num_threads(options.threads)
    load = round(os.getloadavg()[0], 1)  # of others: a busy machine measures nothing
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(shape, folder)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        texts = list(plan.texts(tokenizer))
        (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        answers, vectors, device_name = measure(folder, task, rounds=options.rounds)
    lengths = plan.lengths()
    rows = summarise(answers, lengths)
    seconds = {row["key"]: row["seconds"] for row in rows}
    result: dict[str, Any] = {
        "shape": options.shape,
        "mean_tokens": options.mean_tokens,
        "sigma": SIGMA,
        "texts": count,
        "text_tokens": sum(lengths),
        "dtype": options.dtype,
        "device": device_name or options.device,
        "threads": options.threads,
        "rounds": options.rounds,
        "load_average": load,
        "versions": {p: version(p) for p in ("torch", "transformers", "sentence-transformers")},
        "ratios": {pair: round(seconds[pair[0]] / seconds[pair[2]], 2) for pair in RATIOS},
        "least_cosine": {
            pair: least_cosine(vectors[pair[0]], vectors[pair[2]]) for pair in ("a/c", "b/d")
        },
        "rows": rows,
    }
    if cuda:
        ceiling = matmul_flops_per_second(
            device="cuda", dtype=torch.bfloat16, size=8192, repeats=20
        )
        reached = needed_flops(shape, lengths) / seconds["c"]
        result["ceiling"] = {
            "matmul_tflops": round(ceiling / 1e12, 1),
            "c_tflops": round(reached / 1e12, 1),
            "share": round(reached / ceiling, 3),
        }
    return result


def show(result: dict[str, Any], console: Console) -> None:
    """The result as a table."""
    table = Table(
        title=f"{result['shape']}, {result['dtype']}, {result['device']}, {result['threads']} "
        f"threads; {result['texts']} texts of {result['mean_tokens']} tokens on average "
        f"(log-normal, sigma {result['sigma']}); median of {result['rounds']}"
    )
    table.add_column("contender")
    for heading in ("texts/s", "tokens/s", "peak MiB", "seconds"):
        table.add_column(heading, justify="right")
    for row in result["rows"]:
        table.add_row(
            f"{row['key']}  {row['contender']}",
            f"{row['texts_per_second']:,}",
            f"{row['tokens_per_second']:,}",
            f"{row['peak_mib']:,}",
            f"{row['seconds']:,}",
        )
    console.print(table)
    ratios = ", ".join(f"{pair} {ratio}" for pair, ratio in result["ratios"].items())
    cosines = ", ".join(f"{pair} {cosine}" for pair, cosine in result["least_cosine"].items())
    console.print(f"Times faster: {ratios}. Least cosine of a text's two vectors: {cosines}.")
    if ceiling := result.get("ceiling"):
        console.print(
            f"c does {ceiling['c_tflops']} TFLOP/s of needed work, {ceiling['share']:.1%} of a "
            f"large bfloat16 matrix product's {ceiling['matmul_tflops']}."
        )


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for, checked."""
    parser = OneLineParser(prog="benchmarks.encoder", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    parser.add_argument(
        "--mean-tokens",
        type=whole_number(1, MOST_MEAN_TOKENS),
        default=30,
        metavar="N",
        help="tokens of a text on average, without template: 30 sentences, 120 chunks, 400 pages",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=whole_number(1, 1024), default=2, metavar="N")
    parser.add_argument(
        "--texts",
        type=whole_number(1, 10**7),
        metavar="N",
        help="default: as many as have 8,000 tokens together; on CUDA 400,000",
    )
    parser.add_argument("--rounds", type=whole_number(1, 1000), default=5, metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object, no table")
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args(arguments)
    check_device(parser, options.device)
    if find_spec("sentence_transformers") is None:
        parser.error("sentence-transformers is not installed; pip install -e '.[recipe]'")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure; print a table or JSON."""
    options = options_of(arguments)
    try:
        result = run(options)
    except ChildFailed as error:
        sys.exit(f"benchmarks.encoder: {error}")
    suffix = "-cuda" if options.device == "cuda" else ""
    name = f"encoder-{options.shape}-{options.mean_tokens}{suffix}"
    show(result, Console(stderr=options.json))
    # Without --json the object is made for the file alone.
    with contextlib.nullcontext() if options.json else contextlib.redirect_stdout(io.StringIO()):
        finish(name, result, file=options.file)


if __name__ == "__main__":
    main()
