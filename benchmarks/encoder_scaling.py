"""Cost in the number of texts, and start-up: `python -m benchmarks.encoder_scaling`.

Texts are streamed through `Encoder.encode_iter` and their vectors dropped, so that what grows with
their number, in time or in memory, is the encoder's own. Each size is a process of its own.
Start-up is from the first import to the first vector, in a fresh process, with files in the
system's cache; the median of `--starts`. Texts are made-up words of the encoder's own vocabulary.
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
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from benchmarks.contenders import peak_mib
from benchmarks.encoder import OneLineParser, check_device, whole_number
from benchmarks.processes import Child, ChildFailed
from benchmarks.results_file import finish
from benchmarks.texts import SIGMA, TextPlan
from embedder.errors import EmbedderError
from embedder.specification import specify

WARM_UP: Final = 64
MOST_TEXTS: Final = 10**9
START_UP: Final = """
import json, sys, time
began = time.perf_counter()
from embedder.encoder import Encoder
Encoder.load(sys.argv[1], device=sys.argv[2]).encode_document("The first text.")
print(json.dumps({"milliseconds": 1000 * (time.perf_counter() - began)}))
"""
STREAM: Final = "from benchmarks.encoder_scaling import stream; stream()"


def stream() -> None:
    """The program of a child: encode as many texts as its line of standard input says."""
    import torch

    from embedder.encoder import Encoder

    asked = json.loads(sys.stdin.readline())
    torch.set_num_threads(asked["threads"])
    encoder = Encoder.load(asked["encoder"], device=asked["device"])
    tokenizer = Tokenizer.from_str(encoder.tokenizer_json)
    plan = TextPlan(**asked["plan"])
    first = TextPlan(**{**asked["plan"], "count": WARM_UP})
    for _ in encoder.encode_iter(first.texts(tokenizer)):
        pass
    began = time.perf_counter()
    done = sum(1 for _ in encoder.encode_iter(plan.texts(tokenizer)))
    seconds = time.perf_counter() - began
    print(json.dumps({"texts": done, "seconds": seconds, "peak_mib": peak_mib(asked["device"])}))


def streamed(options: argparse.Namespace, count: int, folder: Path) -> dict[str, Any]:
    """One size, as a row."""
    plan = TextPlan(count=count, mean_tokens=options.mean_tokens)
    name = f"the stream of {count:,} texts"
    with Child(name, ["-c", STREAM], threads=options.threads, log=folder / "stream.log") as child:
        child.tell(
            encoder=options.encoder,
            device=options.device,
            threads=options.threads,
            plan=asdict(plan),
        )
        heard = child.hear()
    tokens, seconds = sum(plan.lengths()), heard["seconds"]
    return {
        "texts": heard["texts"],
        "text_tokens": tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(tokens / seconds),
        "milliseconds_per_text": round(1000 * seconds / count, 3),
        "peak_mib": round(heard["peak_mib"]),
    }


def start_up(options: argparse.Namespace, folder: Path) -> list[float]:
    """Milliseconds from the first import to the first vector, start by start."""
    found = []
    for _ in range(options.starts):
        arguments = ["-c", START_UP, options.encoder, options.device]
        with Child("a start", arguments, threads=options.threads, log=folder / "s.log") as child:
            found.append(round(child.hear()["milliseconds"], 1))
    return found


def show(result: dict[str, Any], console: Console) -> None:
    """The result as a table."""
    table = Table(
        title=f"{result['encoder']}, {result['device']}, {result['threads']} threads; texts of "
        f"{result['mean_tokens']} tokens on average (log-normal, sigma {result['sigma']})"
    )
    for heading in ("texts", "seconds", "tokens/s", "ms a text", "peak MiB"):
        table.add_column(heading, justify="right")
    for row in result["rows"]:
        table.add_row(
            f"{row['texts']:,}",
            f"{row['seconds']:,}",
            f"{row['tokens_per_second']:,}",
            f"{row['milliseconds_per_text']:,}",
            f"{row['peak_mib']:,}",
        )
    console.print(table)
    console.print(
        f"Start-up, import to first vector: {result['start_up_ms']:,} ms "
        f"(median of {', '.join(f'{ms:,}' for ms in result['start_up_ms_by_start'])})."
    )


def sizes(value: str) -> list[int]:
    """Type of `--texts`: whole numbers with commas between."""
    return [whole_number(1, MOST_TEXTS)(part.strip()) for part in value.split(",")]


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for, checked."""
    parser = OneLineParser(prog="benchmarks.encoder_scaling", description=__doc__)
    parser.add_argument("--texts", type=sizes, default="1000,10000,100000", metavar="N,N,...")
    parser.add_argument("--mean-tokens", type=whole_number(1, 10**4), default=30, metavar="N")
    parser.add_argument("--encoder", default="starter", help="a preset or a model folder")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=whole_number(1, 1024), default=2, metavar="N")
    parser.add_argument("--starts", type=whole_number(1, 100), default=3, metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object, no table")
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args(arguments)
    check_device(parser, options.device)
    if Path(options.encoder).is_dir():
        options.encoder = str(Path(options.encoder).resolve())
    try:
        specify(options.encoder)
    except EmbedderError as error:
        parser.error(f"--encoder: {error}")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure; print a table or JSON."""
    options = options_of(arguments)
    try:
        with tempfile.TemporaryDirectory() as name:
            load = round(os.getloadavg()[0], 1)  # of others: a busy machine measures nothing
            rows = [streamed(options, count, Path(name)) for count in options.texts]
            # The streams have brought all files into the system's cache.
            starts = start_up(options, Path(name))
    except ChildFailed as error:
        sys.exit(f"benchmarks.encoder_scaling: {error}")
    result = {
        # Of a folder the name alone: where it lay says nothing to others.
        "encoder": Path(options.encoder).name,
        "device": options.device,
        "threads": options.threads,
        "mean_tokens": options.mean_tokens,
        "sigma": SIGMA,
        "load_average": load,
        "rows": rows,
        "start_up_ms": statistics.median(starts),
        "start_up_ms_by_start": starts,
    }
    show(result, Console(stderr=options.json))
    name = "encoder-scaling-cuda" if options.device == "cuda" else "encoder-scaling"
    with contextlib.nullcontext() if options.json else contextlib.redirect_stdout(io.StringIO()):
        finish(name, result, file=options.file)


if __name__ == "__main__":
    main()
