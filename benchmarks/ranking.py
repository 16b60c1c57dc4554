"""Labelled retrieval sets, and how well scores rank their documents: nDCG, BM25, the bootstrap.

Legend: `Q` queries, `D` documents, `P` pieces of documents, `W` words.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import CountVectorizer


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSet:
    """Documents, queries and which of them belong together."""

    name: str
    documents: tuple[str, ...]
    """Title, line break, text."""
    queries: tuple[str, ...]
    relevant_QD: npt.NDArray[np.bool_]
    """Every query has a relevant document."""
    left_out: int
    """Queries that have none, and are left out."""


def load_set(folder: Path) -> RetrievalSet:
    """A folder of `corpus.jsonl` (id, title, text), `queries.jsonl` (id, text) and `qrels.tsv`."""
    corpus, queries = (read_jsonl(folder / f"{name}.jsonl") for name in ("corpus", "queries"))
    column = {row["id"]: i for i, row in enumerate(corpus)}
    line = {row["id"]: i for i, row in enumerate(queries)}
    relevant_QD = np.zeros((len(queries), len(corpus)), dtype=np.bool_)
    for judged in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = judged.split("\t")
        relevant_QD[line[query], column[document]] = int(score) > 0
    kept_Q: npt.NDArray[np.bool_] = np.asarray(relevant_QD.any(axis=1))
    return RetrievalSet(
        name=folder.name,
        documents=tuple(f"{row['title']}\n{row['text']}".strip() for row in corpus),
        queries=tuple(row["text"] for row, kept in zip(queries, kept_Q, strict=True) if kept),
        relevant_QD=relevant_QD[kept_Q],
        left_out=int((~kept_Q).sum()),
    )


def best_piece(
    similarity_QP: npt.NDArray[Any], document_P: npt.NDArray[np.int64], documents: int
) -> npt.NDArray[np.float64]:
    """Each document's score for each query, (Q, D): its best piece's; -inf without any piece."""
    score_DQ = np.full((documents, len(similarity_QP)), -np.inf)
    np.maximum.at(score_DQ, document_P, similarity_QP.T)
    return score_DQ.T


def ndcg(
    score_QD: npt.NDArray[Any], relevant_QD: npt.NDArray[np.bool_], *, top: int = 10
) -> npt.NDArray[np.float64]:
    """Normalised discounted cumulative gain at `top` of each query, (Q,); relevant or not.

    A relevant document at rank r gains 1 / log2(r + 1); the sum is divided by that of the best
    ranking. Of equal scores the document that stands first in the set comes first. With the
    relevant documents at ranks 1 and 3: (1 + 1/2) / (1 + 1/log2(3)) = 0.92.
    """
    rank_QD = np.argsort(-score_QD, axis=1, kind="stable")[:, :top]
    gain_R = 1 / np.log2(np.arange(rank_QD.shape[1]) + 2)
    gained_Q = np.take_along_axis(relevant_QD, rank_QD, axis=1) @ gain_R
    best_R = np.concatenate([[0.0], np.cumsum(gain_R)])
    best_Q = best_R[np.minimum(relevant_QD.sum(axis=1), len(gain_R))]
    scores_Q: npt.NDArray[np.float64] = gained_Q / best_Q
    return scores_Q


def bm25(
    queries: Sequence[str], pieces: Sequence[str], *, k1: float = 1.2, b: float = 0.75
) -> npt.NDArray[np.float64]:
    """Okapi BM25 as Lucene has it, (Q, P): lower-cased words, neither stems nor stop words."""
    counter = CountVectorizer(token_pattern=r"\w+")  # noqa: S106
    count_PW = counter.fit_transform(pieces).astype(np.float64).tocsr()
    length_P = np.asarray(count_PW.sum(axis=1)).ravel()
    within_W = np.asarray((count_PW > 0).sum(axis=0)).ravel()
    rarity_W = np.log1p((len(pieces) - within_W + 0.5) / (within_W + 0.5))
    damping_P = k1 * (1 - b + b * length_P / length_P.mean())
    count_PW.data /= count_PW.data + np.repeat(damping_P, np.diff(count_PW.indptr))
    score_QP = counter.transform(queries).multiply(rarity_W) @ count_PW.T
    scores: npt.NDArray[np.float64] = score_QP.toarray()
    return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Mean of paired differences and its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    differences: Sequence[npt.NDArray[np.float64]], *, resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Mean over sets of the mean over queries; queries are drawn anew within each set.

    Args:
        differences: of each set, for each query, (Q,).
        resamples: how many draws; the interval lies between their 2.5th and 97.5th percentiles.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    draws = [d[rng.integers(len(d), size=(resamples, len(d)))].mean(axis=1) for d in differences]
    low, high = np.percentile(np.mean(draws, axis=0), [2.5, 97.5])
    mean = np.mean([d.mean() for d in differences])
    return Difference(mean=float(mean), low=float(low), high=float(high))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """One object a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
