"""How well labelled queries are answered, ours beside others: `python -m benchmarks.retrieval`.

`--data DIR` holds a folder for each set, as `sextant evaluate retrieval` reads them. All rows are
measured by the same functions on the same queries. Ours go the whole way: chunks, vectors and words
in a store, questions asked as `sextant search` asks them.

How much each side counts in hybrid was once chosen on some of these sets, so one row does without
that: for each set, `k` and weight are taken that are best on the mean of the others.

Legend: `Q` queries.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import peers
from benchmarks.peers import Rankings
from benchmarks.ranking import paired_bootstrap
from benchmarks.results_file import finish
from embedder.specification import specify
from flows.encoders import load_encoder
from flows.evaluation.ranking import MEASURES, measure
from flows.evaluation.retrieval import cut, evaluate_retrieval
from flows.evaluation.retrieval_set import FILES, RetrievalSet, read_retrieval_set
from flows.progress import Lines
from flows.settings import Settings
from search.hybrid import Fusion

BM25, BM25_PLAIN, TFIDF, MINILM, MINILM_CHUNKS = (
    "BM25, endings off",
    "BM25",
    "TF-IDF",
    "all-MiniLM-L6-v2",
    "all-MiniLM-L6-v2 on our chunks",
)
DENSE, LEXICAL, HYBRID, HELD_OUT = (
    "ours, dense",
    "ours, lexical",
    "ours, hybrid",
    "ours, hybrid chosen on the other sets",
)
KS: Final = (1, 2, 5, 10, 20, 40, 60)
WEIGHTS: Final = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Of the vectors: what may be chosen on the other sets."""
COMPARED: Final = (
    (HYBRID, BM25), (HYBRID, DENSE), (HYBRID, LEXICAL), (HYBRID, MINILM), (HYBRID, MINILM_CHUNKS),
    (HELD_OUT, BM25), (HELD_OUT, DENSE), (DENSE, MINILM), (DENSE, MINILM_CHUNKS),
)  # fmt: skip

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One set: how every row ranked its documents."""

    labelled: RetrievalSet
    chunks: int
    rankings: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Row -> query -> documents."""

    def scores(self, row: str) -> Scores:
        """`MEASURES` of every query, (Q, 3)."""
        return scores_of(self.rankings[row], self.labelled)


def scores_of(rankings: Mapping[str, Sequence[str]], labelled: RetrievalSet) -> Scores:
    """`MEASURES` of every query, (Q, 3)."""
    return np.array([measure(rankings[name], labelled.grades[name]) for name in labelled.queries])


def rank_all(labelled: RetrievalSet, encoder_name: str, model: peers.MiniLm) -> Measured:
    """Rank a set's documents in every way but the held-out one."""
    settings = Settings()
    documents, queries = labelled.documents, labelled.queries
    encoder = load_encoder(specify(encoder_name))
    pieces = cut(labelled, encoder.tokenizer_json, chunk_tokens=settings.chunk_tokens)
    rankings: dict[str, Mapping[str, tuple[str, ...]]] = {
        BM25_PLAIN: peers.bm25(documents, queries, endings=False),
        BM25: peers.bm25(documents, queries, endings=True),
        TFIDF: peers.tfidf_rankings(documents, queries),
        MINILM: peers.piece_rankings(list(documents.items()), documents, queries, model),
        MINILM_CHUNKS: peers.piece_rankings(
            [(name, chunk.text) for name, chunk in pieces], documents, queries, model
        ),
    }
    ours = evaluate_retrieval(
        labelled,
        encoder_name,
        modes=["dense", "lexical", "hybrid"],
        fusion=Fusion(dense_weight=settings.dense_weight),
        chunk_tokens=settings.chunk_tokens,
        progress=Lines(),
    )
    rankings |= {
        DENSE: ours.rankings["dense"],
        LEXICAL: ours.rankings["lexical"],
        HYBRID: ours.rankings["hybrid"],
    }
    return Measured(labelled=labelled, chunks=ours.chunks, rankings=rankings)


def fused(one: Measured, *, k: int, dense_weight: float) -> Rankings:
    """Both sides' rankings of documents made one, as `search.hybrid` does it; ties by document."""
    found: Rankings = {}
    for query in one.labelled.queries:
        sums: dict[str, float] = {}
        for row, weight in ((DENSE, dense_weight), (LEXICAL, 1 - dense_weight)):
            for rank, document in enumerate(one.rankings[row][query], start=1):
                sums[document] = sums.get(document, 0.0) + weight / (k + rank)
        found[query] = tuple(sorted(sums, key=lambda name: (-sums[name], name)))
    return found


def choose_without(sets: Sequence[Measured]) -> list[tuple[int, float]]:
    """For each set, the `k` and weight that give the best mean nDCG@10 over the other sets.

    Of equal ones the first: the smaller `k`, then the smaller weight. One set alone has no others.
    """
    choices = list(product(KS, WEIGHTS))
    means = np.array(
        [
            [
                scores_of(fused(one, k=k, dense_weight=weight), one.labelled)[:, 0].mean()
                for one in sets
            ]
            for k, weight in choices
        ]
    )
    others = means.sum(axis=1, keepdims=True) - means
    return [choices[int(place)] for place in np.argmax(others, axis=0)]


def with_held_out(sets: Sequence[Measured]) -> tuple[list[Measured], dict[str, Any]]:
    """The sets with the row `HELD_OUT`, and what was chosen for each."""
    done, chosen = [], {}
    for one, (k, weight) in zip(sets, choose_without(sets), strict=True):
        rankings = {**one.rankings, HELD_OUT: fused(one, k=k, dense_weight=weight)}
        done.append(Measured(labelled=one.labelled, chunks=one.chunks, rankings=rankings))
        chosen[one.labelled.name] = {"k": k, "dense_weight": weight}
    return done, chosen


def table(sets: Sequence[Measured]) -> list[dict[str, Any]]:
    """Every row: the measures of each set, and their mean over the sets."""
    rows = []
    for row in sets[0].rankings:
        by_set = np.stack([one.scores(row).mean(axis=0) for one in sets])
        rows.append(
            {
                "row": row,
                "sets": {
                    one.labelled.name: _fields(values)
                    for one, values in zip(sets, by_set, strict=True)
                },
                "mean": _fields(by_set.mean(axis=0)),
            }
        )
    return rows


def differences(sets: Sequence[Measured]) -> list[dict[str, Any]]:
    """By how much nDCG@10 of one row is above another's, with a 95 % interval over the queries."""
    found = []
    for above, below in COMPARED:
        if above not in sets[0].rankings:
            continue
        by_set = [one.scores(above)[:, 0] - one.scores(below)[:, 0] for one in sets]
        difference = paired_bootstrap(by_set)
        found.append(
            {
                "row": above,
                "over": below,
                "mean": round(difference.mean, 4),
                "low": round(difference.low, 4),
                "high": round(difference.high, 4),
            }
        )
    return found


def _fields(values: Scores) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in zip(MEASURES, values, strict=True)}


def main() -> None:
    """Rank every set of the folder in every way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--encoder", default="starter")
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
    folders = sorted(
        folder
        for folder in (options.data.iterdir() if options.data.is_dir() else ())
        if all((folder / name).is_file() for name in FILES)
    )
    if not folders:
        parser.error(f"--data {options.data}: expected folders with {', '.join(FILES)}")

    began = time.perf_counter()
    model = peers.MiniLm(options.cache)
    sets = [rank_all(read_retrieval_set(str(folder)), options.encoder, model) for folder in folders]
    chosen: dict[str, Any] = {}
    if len(sets) > 1:
        sets, chosen = with_held_out(sets)
    settings = Settings()
    finish(
        "retrieval",
        {
            "encoder": options.encoder,
            "fingerprint": specify(options.encoder).fingerprint,
            "chunk_tokens": settings.chunk_tokens,
            "fusion": Fusion(dense_weight=settings.dense_weight).model_dump(),
            "sets": [
                {
                    "name": one.labelled.name,
                    "queries": len(one.labelled.queries),
                    "left_out": one.labelled.left_out,
                    "documents": len(one.labelled.documents),
                    "chunks": one.chunks,
                }
                for one in sets
            ],
            "rows": table(sets),
            "differences": differences(sets),
            "chosen_on_the_others": chosen,
            "seconds": round(time.perf_counter() - began),
        },
        file=options.file,
    )


if __name__ == "__main__":
    main()
