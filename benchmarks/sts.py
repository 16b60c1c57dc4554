"""Spearman correlation with human scores: `python -m benchmarks.sts --data DIR`.

DIR holds JSONL files of `sentence1`, `sentence2`, `score`. Rows beside the encoder's own settings:
the same model with CP, with TP, and with both taken away, so that each part's share is seen.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr

from benchmarks.results_file import finish
from embedder.config import EncoderConfig
from embedder.encoder import Encoder
from embedder.specification import specify


def spearman(encoder: Encoder, path: Path) -> tuple[float, int]:
    """Rank correlation of cosine and score, and the number of pairs."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    first = encoder.encode_document([row["sentence1"] for row in rows])
    second = encoder.encode_document([row["sentence2"] for row in rows])
    cosine = (first * second).sum(axis=1)
    return float(spearmanr(cosine, [row["score"] for row in rows])[0]), len(rows)


def variants(config: EncoderConfig) -> dict[str, EncoderConfig]:
    """The settings as they are, and with one or both interventions off."""
    no_tp, no_cp = {"token_prepending": None}, {"contrastive_prompting": None}
    return {
        "as set": config,
        "without CP": config.model_copy(update=no_cp),
        "without TP": config.model_copy(update=no_tp),
        "without both": config.model_copy(update=no_tp | no_cp),
    }


def main() -> None:
    """Measure every file of the folder with every variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="starter")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    rows: list[dict[str, Any]] = []
    for name, config in variants(specify(options.encoder).config).items():
        encoder = Encoder.load(options.encoder, config)
        for path in sorted(options.data.glob("*.jsonl")):
            correlation, pairs = spearman(encoder, path)
            rows.append(
                {"settings": name, "set": path.stem, "n": pairs, "spearman": round(correlation, 4)}
            )
    finish("sts", {"encoder": options.encoder, "rows": rows}, file=options.file)


if __name__ == "__main__":
    main()
