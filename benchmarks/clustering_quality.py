"""How well clusters agree with people's labels, ours beside others.

`python -m benchmarks.clustering_quality --data DIR`, where DIR holds JSONL files of `text` and
`label`. Ours is `sextant evaluate clustering` under the encoder's own prompt, the cluster prompt
and none, each with two poolings. All rows are clustered by MTEB's protocol, on the same samples.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks import peers
from benchmarks.results_file import finish
from embedder.evaluation.clustering import EXPERIMENTS, mteb_v_measures
from embedder.specification import specify
from flows.clustering.spherical import unit_rows
from flows.evaluation.clustering import evaluate_clustering
from flows.evaluation.labelled_texts import LabelledTexts, read_labelled_texts
from flows.progress import Lines

POOLINGS: Final = ("last", "mean")
TFIDF, LSA, MINILM = "TF-IDF", f"LSA({peers.LSA_DIMENSION})", "all-MiniLM-L6-v2"


def ours(
    sets: Sequence[LabelledTexts], encoder: str, prompts: Sequence[str], *, experiments: int
) -> list[dict[str, Any]]:
    """A row for each prompt and pooling."""
    scores = evaluate_clustering(
        sets,
        encoder,
        seeds=experiments,
        prompts=prompts,
        poolings=POOLINGS,
        protocol="mteb",
        progress=Lines(),
    )
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for score in scores:
        row = rows.setdefault(
            (score.prompt, score.pooling),
            {
                "row": f"{score.prompt}, {score.pooling}",
                "prompt": score.prompt,
                "pooling": score.pooling,
                "token_prepending": score.token_prepending,
                "contrastive_prompting": score.contrastive_prompting,
                "sets": {},
            },
        )
        row["sets"][score.name] = _fields(score.by_seed)
    return list(rows.values())


def others(
    sets: Sequence[LabelledTexts], model: peers.MiniLm, *, experiments: int
) -> list[dict[str, Any]]:
    """TF-IDF, LSA and MiniLM."""
    rows: list[dict[str, Any]] = [{"row": name, "sets": {}} for name in (TFIDF, LSA, MINILM)]
    for one in sets:
        texts, labels = list(one.texts), one.labels
        vectors = (
            peers.tfidf(texts)[1],
            unit_rows(with_directions(peers.lsa(texts))),
            model.encode(texts),
        )
        found = [mteb_v_measures(some, labels, experiments=experiments) for some in vectors]
        for row, by_seed in zip(rows, found, strict=True):
            row["sets"][one.name] = _fields(by_seed)
    return rows


def with_directions(vectors_ND: peers.Floats) -> peers.Floats:
    """A text without a known word has a vector of length 0: it gets the mean of all."""
    empty_N = np.linalg.norm(vectors_ND, axis=1) == 0
    found_ND = vectors_ND.copy()
    found_ND[empty_N] = vectors_ND.mean(axis=0)
    return found_ND


def with_means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with the mean of its V-measures over the sets."""
    return [
        {**row, "mean": round(float(np.mean([s["v_measure"] for s in row["sets"].values()])), 4)}
        for row in rows
    ]


def _fields(by_seed: Sequence[float]) -> dict[str, float]:
    return {
        "v_measure": round(float(np.mean(by_seed)), 4),
        "std": round(float(np.std(by_seed)), 4),
    }


def main() -> None:
    """Cluster every file of the folder by every row's vectors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--encoder", default="starter")
    parser.add_argument("--prompts", nargs="+", help="[default: its own, cluster, none]")
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS)
    parser.add_argument("--limit", type=int, help="texts of each file, drawn [default: all]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "sextant-peers",
        help="where MiniLM's vectors are kept [default: in the system's temporary folder]",
    )
    parser.add_argument("--file", action="store_true", help="file the result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    files = sorted(options.data.glob("*.jsonl"))
    if not files:
        parser.error(f"--data {options.data}: expected JSONL files with 'text' and 'label'")

    began = time.perf_counter()
    sets = [read_labelled_texts(str(file)) for file in files]
    if options.limit is not None:
        sets = [one.sample(options.limit, seed=0) for one in sets]
    own = specify(options.encoder).config.template
    prompts = options.prompts or list(
        dict.fromkeys([*([own] if isinstance(own, str) else own), "cluster", "none"])
    )
    rows = ours(sets, options.encoder, prompts, experiments=options.experiments)
    rows += others(sets, peers.MiniLm(options.cache), experiments=options.experiments)
    finish(
        "clustering_quality",
        {
            "encoder": options.encoder,
            "fingerprint": specify(options.encoder).fingerprint,
            "own": {"prompt": own, "pooling": specify(options.encoder).config.pooling},
            "experiments": options.experiments,
            "limit": options.limit,
            "sets": [
                {"name": one.name, "texts": len(one.texts), "labels": one.classes} for one in sets
            ],
            "rows": with_means(rows),
            "seconds": round(time.perf_counter() - began),
        },
        file=options.file,
    )


if __name__ == "__main__":
    main()
