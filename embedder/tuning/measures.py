"""How good the encoder is meanwhile, on data that it does not learn from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from embedder.correlation import spearman
from embedder.errors import InvalidConfig
from embedder.scored_pairs import ScoredPairs
from embedder.tuning.objectives import PairObjective
from embedder.tuning.pairs import PairSet
from embedder.tuning.ranks import Ranks
from embedder.tuning.settings import TuningSettings
from embedder.tuning.trainable import TrainableEncoder


class Measure(Protocol):
    """Something to hold a run against."""

    @property
    def name(self) -> str:
        """What is measured."""

    @property
    def rises(self) -> bool:
        """Whether more is better."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it is measured on, among others its `digest`."""

    def take(self, encoder: TrainableEncoder, ranks: Ranks) -> float:
        """The measure now."""


@dataclass(frozen=True)
class ScoreMeasure:
    """Spearman correlation of cosine and human scores.

    Raises:
        InvalidConfig: the scores are all equal, so that they rank nothing.
    """

    pairs: ScoredPairs
    name: str = "spearman"
    rises: bool = True

    def __post_init__(self) -> None:
        if len(set(self.pairs.score_N.tolist())) < 2:
            raise InvalidConfig(
                f"the scores of {len(self.pairs)} dev pairs are all equal; give others, or none"
            )

    @property
    def facts(self) -> Mapping[str, Any]:
        """Count and digest."""
        hasher = hashlib.sha256()
        for text in (*self.pairs.first, *self.pairs.second):
            hasher.update(text.encode() + b"\x1f")
        hasher.update(self.pairs.score_N.tobytes())
        return {"measure": self.name, "pairs": len(self.pairs), "digest": hasher.hexdigest()}

    def take(self, encoder: TrainableEncoder, ranks: Ranks) -> float:
        """-1 to 1."""
        texts = [*self.pairs.first, *self.pairs.second]
        vectors_ND = F.normalize(encoder.encode(texts, ranks=ranks), dim=-1)
        pairs = len(self.pairs)
        cosine_N = (vectors_ND[:pairs] * vectors_ND[pairs:]).sum(-1).double().cpu().numpy()
        return spearman(cosine_N, self.pairs.score_N)


@dataclass(frozen=True)
class LossMeasure:
    """Mean loss of further pairs, in batches like those of the training, in the order they stand.

    Raises:
        InvalidConfig: there are fewer than two.
    """

    pairs: PairSet
    settings: TuningSettings
    name: str = "loss"
    rises: bool = False

    def __post_init__(self) -> None:
        _ = PairObjective(self.pairs, self.settings)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Count and digest."""
        pairs = len(self.pairs.pairs)
        return {"measure": self.name, "pairs": pairs, "digest": self.pairs.digest}

    def take(self, encoder: TrainableEncoder, ranks: Ranks) -> float:
        """Above 0."""
        objective = PairObjective(self.pairs, self.settings)
        batches = max(1, round(objective.size / self.settings.batch))
        total = 0.0
        for part in torch.arange(objective.size).tensor_split(batches):
            batch = objective.batch(part.tolist())
            firsts = len(part)
            with torch.no_grad():
                a_ND = encoder.encode(batch.texts[:firsts], self.settings.first_as, ranks=ranks)
                b_ND = encoder.encode(batch.texts[firsts:], ranks=ranks)
                total += float(batch.loss(torch.cat((a_ND, b_ND))).value) * firsts
        return total / objective.size
