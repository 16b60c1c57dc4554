"""What each method gives and costs: `python -m benchmarks.methods --data DIR`.

DIR holds JSONL files of `sentence1`, `sentence2`, `score`. One row for each variation of the
encoder's settings: Spearman correlation by set, and the time to encode relative to the plain prompt
without TP and CP, from rounds that alternate between all variations in this one run.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.results_file import finish
from benchmarks.sts import spearman
from embedder.config import ContrastivePrompting, EncoderConfig, TokenPrepending
from embedder.encoder import Encoder
from embedder.specification import specify

SETS = ("stsb_dev", "sickr_trial", "sts13_test")
PLAIN = "plain prompt"


def variations(config: EncoderConfig) -> dict[str, dict[str, Any]]:
    """Changes to the settings, by what they are called; TP and CP are taken from the settings."""
    tp = config.token_prepending or TokenPrepending(start=1, exit=3)
    cp = config.contrastive_prompting or ContrastivePrompting(layer=1)
    neither: dict[str, Any] = {"token_prepending": None, "contrastive_prompting": None}

    def both(tp_changes: dict[str, Any], cp_changes: dict[str, Any]) -> dict[str, Any]:
        return {
            "token_prepending": tp.model_copy(update=tp_changes),
            "contrastive_prompting": cp.model_copy(update=cp_changes),
        }

    return {
        PLAIN: neither,
        "TP": {**neither, "token_prepending": tp},
        "TP, placeholder at the start": {
            **neither,
            "token_prepending": tp.model_copy(update={"position": "start"}),
        },
        "TP, placeholder in the quote": {
            **neither,
            "token_prepending": tp.model_copy(update={"position": "in_quote"}),
        },
        "TP, placeholder after the text": {
            **neither,
            "token_prepending": tp.model_copy(update={"position": "after_text"}),
        },
        "CP": {**neither, "contrastive_prompting": cp},
        "CP, shared context": {
            **neither,
            "contrastive_prompting": cp.model_copy(update={"shared_context": True}),
        },
        "CP, scaled by 0.5": {
            **neither,
            "contrastive_prompting": cp.model_copy(update={"mode": "scaled", "strength": 0.5}),
        },
        "CP, norm for each head": {
            **neither,
            "contrastive_prompting": cp.model_copy(update={"mode": "sub_head_norm"}),
        },
        "TP and CP": both({}, {}),
        "TP and CP, TP on both branches": both({"on_auxiliary": True}, {}),
        "TP and CP, shared context": both({}, {"shared_context": True}),
        "plain, mean over the text": {**neither, "pooling": "mean"},
        "plain, position-weighted mean": {**neither, "pooling": "position_weighted_mean"},
        "plain, attention-weighted mean": {**neither, "pooling": "attention_weighted_mean"},
        "plain, last and mean": {**neither, "pooling": "last_mean"},
        "bare text, mean": {**neither, "template": "none", "pooling": "mean"},
        "CK": {**neither, "template": "ck"},
        "MetaEOL": {**neither, "template": "meta"},
    }


def seconds(encoder: Encoder, texts: list[str]) -> float:
    """Wall-clock time of encoding these texts once."""
    began = time.perf_counter()
    encoder.encode_document(texts)
    return time.perf_counter() - began


def measure(name: str, data: Path, sets: list[str], rounds: int) -> dict[str, Any]:
    """Every variation on every set, and its cost."""
    config = specify(name).config
    encoders = {
        label: Encoder.load(name, config.model_copy(update=changes))
        for label, changes in variations(config).items()
    }
    lines = (data / f"{sets[0]}.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["sentence1"] for line in lines]
    times: dict[str, list[float]] = {label: [] for label in encoders}
    for _ in range(rounds + 1):
        for label, encoder in encoders.items():
            times[label].append(seconds(encoder, texts))
    cost = {label: statistics.median(own[1:]) for label, own in times.items()}  # the first warms up
    rows = [
        {
            "settings": label,
            "spearman": {s: round(spearman(e, data / f"{s}.jsonl")[0], 4) for s in sets},
            "time": round(cost[label] / cost[PLAIN], 3),
        }
        for label, e in encoders.items()
    ]
    return {"encoder": name, "texts": len(texts), "rounds": rounds, "rows": rows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="starter")
    parser.add_argument("--sets", default=",".join(SETS), help="names of files, without .jsonl")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sets = options.sets.split(",")
    if missing := [s for s in sets if not (options.data / f"{s}.jsonl").is_file()]:
        parser.error(f"--data {options.data}: there is no {missing[0]}.jsonl in it")
    result = measure(options.encoder, options.data, sets, options.rounds)
    finish("methods", result, file=options.file)


if __name__ == "__main__":
    main()
