"""How well a ranking puts what is relevant first: nDCG, recall, reciprocal rank.

As trec_eval has them. Worked example, three relevant documents (each of grade 1) at ranks 1, 3 and
not at all: nDCG@10 is (1 + 1/2) / (1 + 1/log2(3) + 1/2) = 0.704, recall 2/3, reciprocal rank 1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

MEASURES: Final = ("ndcg@10", "recall@100", "mrr")
"""What is told of a ranking, in the order of `measure`."""
DEPTH: Final = 100
"""Documents of a ranking that are looked at."""


def measure(ranking: Sequence[str], grades: Mapping[str, int]) -> tuple[float, float, float]:
    """`MEASURES` of one query's ranking, of which the first `DEPTH` count."""
    seen = ranking[:DEPTH]
    return (
        ndcg(seen, grades, top=10),
        recall(seen, grades, top=DEPTH),
        reciprocal_rank(seen, grades),
    )


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], *, top: int) -> float:
    """Normalised discounted cumulative gain, 0 to 1.

    A document of grade g at rank r gains g / log2(r + 1); the sum is divided by that of the best
    ranking there could be.

    Args:
        ranking: Ids, best first, each once.
        grades: Of the documents that are judged; 0 and less count as not relevant.
        top: Ranks that count.
    """
    gained = _gain([grades.get(document, 0) for document in ranking[:top]])
    best = _gain(sorted(grades.values(), reverse=True)[:top])
    return gained / best if best else 0.0


def recall(ranking: Sequence[str], grades: Mapping[str, int], *, top: int) -> float:
    """Part of the relevant documents among the first `top`."""
    relevant = {document for document, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ranking[:top])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Sequence[str], grades: Mapping[str, int]) -> float:
    """1 / the rank of the first relevant document; 0 if there is none."""
    for rank, document in enumerate(ranking, start=1):
        if grades.get(document, 0) > 0:
            return 1 / rank
    return 0.0


def _gain(grades: Sequence[int]) -> float:
    return sum(max(0, grade) / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))
