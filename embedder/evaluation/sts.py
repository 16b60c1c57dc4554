"""Semantic textual similarity: rank correlation of cosine and human score, and the papers' table.

Spearman's correlation over **all** pairs of a file at once: what SentEval calls the "all" setting,
in which the subsets of a year are laid together, not averaged. The table of the papers (PromptEOL,
Token Prepending, Contrastive Prompting) has seven columns, each one such correlation, and their
mean.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedder.correlation import Float64, spearman
from embedder.errors import InvalidConfig
from embedder.precision import Float32
from embedder.scored_pairs import ScoredPairs

Encode = Callable[[Sequence[str]], Float32]
"""Texts to unit vectors, float32 (N, D)."""

COLUMNS: Final = ("STS12", "STS13", "STS14", "STS15", "STS16", "STS-B", "SICK-R")
"""Of the papers' table."""
FEWEST_PAIRS: Final = 2

_SPLITS: Final = ("test", "dev", "trial", "train")
"""Where a column has several files, the first of these that is there; the papers have `test`."""
_NAME: Final = re.compile(
    r"(?:sts[-_ ]?(?P<year>1[2-6])|(?P<benchmark>sts[-_ ]?b(?:enchmark)?)"
    r"|(?P<sick>sick(?:[-_ ]?r)?))(?![a-z0-9])(?P<rest>.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StsScore:
    """One set of pairs."""

    name: str
    spearman: float
    """-1 to 1."""
    pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PapersTable:
    """The seven columns, as far as they were measured."""

    columns: Mapping[str, StsScore]
    """By column's name, in the papers' order; `name` says which file stands there."""

    @property
    def average(self) -> float:
        """Mean over the columns that are there; comparable with the papers' if all seven are."""
        return float(np.mean([score.spearman for score in self.columns.values()]))

    @property
    def is_complete(self) -> bool:
        """Whether all seven columns are there."""
        return len(self.columns) == len(COLUMNS)


def measure_sts(name: str, encode: Encode, pairs: ScoredPairs) -> StsScore:
    """Spearman's correlation of cosines and scores, over all pairs at once.

    A sentence that comes in several pairs is encoded once.

    Args:
        name: what to call the set.
        encode: makes the vectors.
        pairs: at least two.

    Raises:
        InvalidConfig: too few pairs, or their scores are all equal: nothing can be ranked.
    """
    require_ranks(name, pairs.score_N)
    texts = list(dict.fromkeys((*pairs.first, *pairs.second)))
    place = {text: index for index, text in enumerate(texts)}
    vectors_ND = encode(texts)
    first_ND = vectors_ND[[place[text] for text in pairs.first]]
    second_ND = vectors_ND[[place[text] for text in pairs.second]]
    cosine_N = (first_ND * second_ND).sum(axis=1, dtype=np.float64)
    return StsScore(name=name, spearman=spearman(cosine_N, pairs.score_N), pairs=len(pairs))


def require_ranks(name: str, score_N: Float64) -> None:
    """Check that scores can be ranked.

    Raises:
        InvalidConfig: they are too few, or all equal.
    """
    if len(score_N) < FEWEST_PAIRS:
        raise InvalidConfig(f"{name!r} has {len(score_N)} pair; expected {FEWEST_PAIRS} or more")
    if len(np.unique(score_N)) < 2:
        raise InvalidConfig(
            f"the scores of {name!r} are all {score_N[0]:g}; expected scores that differ"
        )


def papers_table(scores: Sequence[StsScore]) -> PapersTable | None:
    """The papers' table of the sets whose names belong in it; None if there are none.

    >>> found = papers_table([StsScore(name="sts12_test", spearman=0.5, pairs=9)])
    >>> (list(found.columns), found.average, found.is_complete)
    (['STS12'], 0.5, False)
    """
    best: dict[str, tuple[int, StsScore]] = {}
    for score in scores:
        found = column_of(score.name)
        if found is None:
            continue
        column, rank = found
        if column not in best or rank < best[column][0]:
            best[column] = (rank, score)
    if not best:
        return None
    return PapersTable(columns={c: best[c][1] for c in COLUMNS if c in best})


def column_of(name: str) -> tuple[str, int] | None:
    """The column of the papers' table that a set's name means, and how far it is from its test set.

    0 is the test set, or a name that says nothing of a split; None: the name is no column's.

    >>> [column_of(name) for name in ("sts12_test", "STSBenchmark", "stsb-dev", "sickr_train")]
    [('STS12', 0), ('STS-B', 0), ('STS-B', 1), ('SICK-R', 3)]
    >>> column_of("msts12")
    """
    matched = _NAME.match(name)
    if matched is None:
        return None
    year = matched["year"]
    column = f"STS{year}" if year else "STS-B" if matched["benchmark"] else "SICK-R"
    said = re.split(r"[^a-z]+", matched["rest"].lower().replace("validation", "dev"))
    return column, next((rank for rank, split in enumerate(_SPLITS) if split in said), 0)
