"""How far a vector moves with its surroundings: `python -m benchmarks.invariance`.

For each number format the same texts are encoded one by one, all at once, in small batches, in
reverse and with one thread; a text's vectors should be the same. The worst cosine is held against
the bound that `embedder.canary` publishes. Beside the starter a model of random weights is
measured, whose states lack the large common directions of trained ones: the hard case.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from benchmarks.results_file import finish
from benchmarks.shapes import SHAPES, write_model
from benchmarks.texts import TextPlan
from embedder.canary import LEAST_COSINE
from embedder.config import ContrastivePrompting, Dtype, EncoderConfig, TokenPrepending
from embedder.encoder import Encoder
from embedder.specification import specify

TEXTS = 48


def settings(name: str) -> EncoderConfig:
    """The encoder's own settings, with TP and CP where it has none."""
    found = specify(name)
    layers = found.files.layers
    both = {
        "token_prepending": TokenPrepending(start=1, exit=max(2, round(0.2 * layers))),
        "contrastive_prompting": ContrastivePrompting(layer=layers // 7),
    }
    return found.config if name == "starter" else found.config.model_copy(update=both)


def surroundings_of(encoder: Encoder, texts: list[str]) -> dict[str, np.ndarray]:
    """The texts' vectors (N, D), in each of the surroundings."""
    found = {
        "all at once": encoder.encode(texts),
        "one by one": np.stack([encoder.encode(text) for text in texts]),
        "batches of 5": encoder.encode(texts, batch_size=5),
        "in reverse": encoder.encode(texts[::-1])[::-1],
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found["one thread"] = encoder.encode(texts)
    torch.set_num_threads(threads)
    return found


def measure(label: str, name: str) -> list[dict[str, Any]]:
    """A row for each number format."""
    tokenizer = Tokenizer.from_file(str(specify(name).files.folder / "tokenizer.json"))
    texts = list(TextPlan(count=TEXTS, mean_tokens=30).texts(tokenizer))
    rows: list[dict[str, Any]] = []
    exact: np.ndarray | None = None
    dtypes: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")
    for dtype in dtypes:
        encoder = Encoder.load(name, settings(name).model_copy(update={"dtype": dtype}))
        found = surroundings_of(encoder, texts)
        found = {k: v.astype(np.float64) for k, v in found.items()}
        found = {k: v / np.linalg.norm(v, axis=1, keepdims=True) for k, v in found.items()}
        first = found["all at once"]
        exact = first if exact is None else exact
        cosines = {k: float((first * v).sum(1).min()) for k, v in found.items()}
        rows.append(
            {
                "model": label,
                "dtype": dtype,
                "least_cosine": round(min(cosines.values()), 9),
                "where": min(cosines, key=lambda k: cosines[k]),
                "largest_difference": float(max(np.abs(first - v).max() for v in found.values())),
                "to_float32": round(float((first * exact).sum(1).min()), 9),
                "bound": LEAST_COSINE[dtype],
            }
        )
    return rows


def main() -> None:
    """Measure and print; exit code 1 if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="smollm2-135m", choices=sorted(SHAPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = measure("starter", "starter")
    with tempfile.TemporaryDirectory() as folder:
        write_model(SHAPES[options.shape], Path(folder))
        rows += measure(f"random weights, {options.shape}", folder)
    finish("invariance", {"texts": TEXTS, "rows": rows}, file=options.file)
    raise SystemExit(0 if all(row["least_cosine"] >= row["bound"] for row in rows) else 1)


if __name__ == "__main__":
    main()
