"""Two rankings made one: by vectors and by words.

Fusing is done here and not by the engines, whose order of equal scores changes from call to call.
Documents (or chunks) are ranked by each side, then

- **rrf**, reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009), weighted: the sum of
  `weight / (k + rank)` over the sides that found it;
- **minmax**: the weighted sum of scores, each side's scaled so that its last found is 0 and its
  best 1.

Equal sums are ordered by the id of the chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

from search.grouping import Group
from search.records import Record

Mode: TypeAlias = Literal["hybrid", "dense", "lexical"]

RRF_K: Final = 10
"""A small k trusts the first ranks; the usual 60 was made for fusing many weak rankings."""
DENSE_WEIGHT: Final = 0.3
"""Weight of the vectors' side; the words' has the rest. Right for the starter, which is small: a
large encoder deserves more. How it was chosen: `docs/decisions`, on search."""


class Fusion(BaseModel):
    """How two rankings are made one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["rrf", "minmax"] = "rrf"
    k: Annotated[int, Field(ge=1, le=1000)] = RRF_K
    """Of `rrf`."""
    dense_weight: Annotated[float, Field(ge=0, le=1)] = DENSE_WEIGHT


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A chunk that may become a hit, and why."""

    key: str
    """What it was grouped by."""
    record: Record
    """Without its payload, until it is to be shown."""
    score: float
    """What it is ordered by: a cosine, a BM25 score, or a fused one."""
    dense_rank: int | None = None
    dense_score: float | None = None
    """Cosine of the group's best chunk by vectors."""
    lexical_rank: int | None = None
    lexical_score: float | None = None
    """BM25 of the group's best chunk by words."""
    text_key: bytes = b""
    """Equal for equal texts; see `search.findings`."""
    more: int = 0
    """Further chunks of the group among those that were looked at."""


def alone(groups: Sequence[Group], side: Literal["dense", "lexical"]) -> list[Candidate]:
    """One ranking as it is."""
    candidates = []
    for rank, group in enumerate(groups, start=1):
        best, score = group.best, group.best.score
        one = Candidate(
            key=group.key,
            record=Record(id=best.id, payload={}, score=score),
            score=score,
            text_key=best.text_key,
            more=len(group.ids) - 1,
        )
        if side == "dense":
            one.dense_rank, one.dense_score = rank, score
        else:
            one.lexical_rank, one.lexical_score = rank, score
        candidates.append(one)
    return candidates


def fuse(
    dense: Sequence[Group], lexical: Sequence[Group], fusion: Fusion | None = None
) -> list[Candidate]:
    """Both rankings as one, ordered by (score descending, id).

    Of a group that both sides found, the chunk is shown that adds more to its score.

    Args:
        dense: Best first.
        lexical: Best first.
        fusion: How; None: as the defaults say.
    """
    fusion = fusion or Fusion()
    weights = fusion.dense_weight, 1 - fusion.dense_weight
    parts = [
        {group.key: weight * value for group, value in zip(groups, values, strict=True)}
        for groups, weight in zip((dense, lexical), weights, strict=True)
        for values in (_values(groups, fusion),)
    ]
    found = {one.key: one for one in alone(dense, "dense")}
    ids = {group.key: group.ids for group in dense}
    for group, one in zip(lexical, alone(lexical, "lexical"), strict=True):
        other = found.setdefault(one.key, one)
        if other is not one:
            other.lexical_rank, other.lexical_score = one.lexical_rank, one.lexical_score
            other.more = len(ids[one.key] | group.ids) - 1
            if parts[1][one.key] >= parts[0][one.key]:
                other.record, other.text_key = one.record, one.text_key
    for one in found.values():
        one.score = sum(part.get(one.key, 0.0) for part in parts)
    return sorted(found.values(), key=lambda one: (-one.score, one.record.id))


def _values(groups: Sequence[Group], fusion: Fusion) -> list[float]:
    if fusion.method == "rrf":
        return [1 / (fusion.k + rank) for rank in range(1, len(groups) + 1)]
    scores = [group.best.score for group in groups]
    if not scores:
        return []
    low, high = min(scores), max(scores)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def as_mode(name: str) -> Mode:
    """A mode by its name.

    Raises:
        ValueError: there is no such mode.
    """
    for mode in get_args(Mode):
        if mode == name:
            found: Mode = mode
            return found
    raise ValueError(f"no mode {name!r}")
