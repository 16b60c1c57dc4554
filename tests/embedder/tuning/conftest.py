"""Small tunings: pairs that can be learnt, and everything between them and a trained encoder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedder.specification import EncoderSpecification, specify
from embedder.tuning.objectives import PairObjective
from embedder.tuning.pairs import Pair, PairSet
from embedder.tuning.ranks import Ranks
from embedder.tuning.settings import TuningSettings
from embedder.tuning.trainable import TrainableEncoder
from embedder.tuning.trainer import Trainer

WORDS = [
    *("lamp", "river", "bread", "owl", "cloud", "stone"),
    *("paper", "window", "harbour", "violin", "copper", "meadow"),
]


def toy_pairs(count: int = 24) -> PairSet:
    """Each pair shares two words that no other pair has together."""
    pairs = []
    for number in range(count):
        one, other = WORDS[number % 12], WORDS[(number * 5 + number // 12 + 1) % 12]
        pairs.append(Pair(a=f"The {one} and the {other}.", b=f"{other} {one}"))
    return PairSet(pairs=tuple(pairs), digest="0" * 64, rejected={})


@dataclass(frozen=True)
class Toy:
    """A trainer, and what it trains."""

    encoder: TrainableEncoder
    trainer: Trainer


@pytest.fixture
def base_of(folders: Mapping[str, Path]) -> Callable[..., EncoderSpecification]:
    """`base_of("qwen3", pooling="mean")`: an encoder before its weights are loaded."""

    def base(kind: str = "llama", **settings: Any) -> EncoderSpecification:
        return specify(str(folders[kind]), {"max_tokens": 64, **settings})

    return base


@pytest.fixture
def toy(base_of: Callable[..., EncoderSpecification], tmp_path: Path) -> Callable[..., Toy]:
    """`toy(rank=4, ...)`: a tuning of the tiny Llama into the test's own folder."""

    def make(
        *, pairs: PairSet | None = None, measure: Any = None, folder: Path | None = None, **own: Any
    ) -> Toy:
        settings = settings_of(**own)
        encoder = TrainableEncoder(base_of(), settings, device="cpu")
        place = folder or tmp_path / "run"
        place.mkdir(parents=True, exist_ok=True)
        objective = PairObjective(pairs or toy_pairs(), settings)
        trainer = Trainer(
            encoder, objective, settings, folder=place, ranks=Ranks(), measure=measure
        )
        return Toy(encoder, trainer)

    return make


def settings_of(**own: Any) -> TuningSettings:
    """Settings for a toy: a small adapter, float32, a rate at which it learns in few steps."""
    usual: dict[str, Any] = {
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "compute": "float32",
        "batch": 8,
        "chunk": 4,
        "rate": 5e-3,
    }
    return TuningSettings(**(usual | own))
