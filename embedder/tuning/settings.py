"""What a tuning is asked to do, as data: checked when made, comparable, free of torch."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from embedder.config import KINDS, EncoderConfig, Kind, Pooling
from embedder.errors import InvalidConfig

Method = Literal["lora", "full"]
Decay = Literal["linear", "cosine", "constant"]
Compute = Literal["auto", "float32", "bfloat16"]
Intervention = Literal["in", "out", "off"]

LORA_RATE: Final = 5e-5
"""Peak learning rate of arXiv 2507.22729."""
FULL_RATE: Final = 2e-5
WARM_UP: Final = 100
"""Steps of warm-up of arXiv 2507.22729; a short run takes a tenth of its steps."""
EVERY: Final = 100
"""Most steps between two checkpoints, unless told otherwise."""

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "method": get_args(Method),
    "decay": get_args(Decay),
    "compute": get_args(Compute),
    "tp": get_args(Intervention),
    "cp": get_args(Intervention),
    "first_as": KINDS,
}
_LEAST: Final[Mapping[str, float]] = {
    "lora_rank": 1,
    "lora_alpha": 1,
    "epochs": 1,
    "steps": 1,
    "batch": 2,
    "chunk": 1,
    "warm_up": 0,
    "every": 1,
    "patience": 1,
    "seed": 0,
    "max_tokens": 16,
    "weight_decay": 0,
    "similarity_weight": 0,
}
_POSITIVE: Final = ("rate", "temperature", "clip")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSettings:
    """How to tune. Everything here is compared when a run is taken up again.

    Raises:
        InvalidConfig: a value is out of range; the message names the setting.
    """

    method: Method = "lora"
    lora_rank: int = 64
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    lora_modules: tuple[str, ...] = ()
    """Last parts of modules' names; none: q, v, o, gate, up, down, by the names they have."""
    epochs: int | None = None
    """Passes over the data; with neither this nor `steps`, one."""
    steps: int | None = None
    """Optimiser steps in place of epochs."""
    batch: int = 128
    """Pairs (or texts) whose loss is one: every other pair of it is a negative."""
    chunk: int = 32
    """Texts that go through the model at once; halved when memory lacks."""
    rate: float | None = None
    """Peak learning rate; None: `LORA_RATE` or `FULL_RATE`."""
    warm_up: int | None = None
    """Steps; None: `WARM_UP`, or a tenth of a shorter run."""
    decay: Decay = "linear"
    weight_decay: float = 0.01
    """Of matrices alone, embeddings left out."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    temperature: float = 0.2
    symmetric: bool = False
    """Whether `b` has to find `a`, too."""
    hard_negatives: bool = True
    """Whether the pairs' own negatives are used."""
    matryoshka: tuple[tuple[int, float], ...] = ()
    """First components that have to do alone, and the weight of their loss beside the whole's."""
    similarity_weight: float = 5.0
    """Distillation: weight of the similarity matrix beside the cosine."""
    compute: Compute = "auto"
    """Number format of the products; weights that are trained are float32."""
    gradient_checkpointing: bool = False
    """Whether layers are computed again in the backward pass, which takes less memory."""
    tp: Intervention = "in"
    """Token Prepending, where the encoder has it: in training, only afterwards, or no more."""
    cp: Intervention = "in"
    """Contrastive Prompting, likewise."""
    template: str | tuple[str, ...] | None = None
    """In place of the encoder's."""
    pooling: Pooling | None = None
    """In place of the encoder's."""
    max_tokens: int | None = None
    """Tokens of a row in training alone; None: the encoder's."""
    first_as: Kind = "document"
    """Which prompt side `a` of a pair gets; side `b` is a document."""
    every: int | None = None
    """Steps between checkpoints, at which the dev measure is taken; None: a tenth, at most 100."""
    patience: int = 5
    """Dev measures without a new best before the run ends."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise _refusal(name, getattr(self, name), f"one of {', '.join(allowed)}")
        if self.pooling is not None and self.pooling not in get_args(Pooling):
            raise _refusal("pooling", self.pooling, f"one of {', '.join(get_args(Pooling))}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= least):
                raise _refusal(name, value, f"{least:g} or more")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise _refusal(name, value, "a number above 0")
        if not 0 <= self.lora_dropout < 1:
            raise _refusal("lora_dropout", self.lora_dropout, "0 or more, below 1")
        if self.epochs is not None and self.steps is not None:
            raise InvalidConfig(
                f"tuning: epochs {self.epochs} and steps {self.steps} were both given; give one"
            )
        sizes = [size for size, _ in self.matryoshka]
        if len(set(sizes)) < len(sizes) or any(size < 1 for size in sizes):
            raise _refusal("matryoshka", sizes, "different numbers of components, from 1")
        if bad := [w for _, w in self.matryoshka if not (math.isfinite(w) and w > 0)]:
            raise _refusal("matryoshka weight", bad[0], "a number above 0")

    @property
    def peak_rate(self) -> float:
        """The peak learning rate."""
        return self.rate or (LORA_RATE if self.method == "lora" else FULL_RATE)

    def fields(self) -> dict[str, Any]:
        """As JSON has it, for comparison with another run's."""
        return {k: _listed(v) for k, v in asdict(self).items()}


def tuned_config(config: EncoderConfig, settings: TuningSettings) -> EncoderConfig:
    """The settings of the encoder that is made: the base's, with what the tuning changes.

    Raises:
        InvalidConfig: they do not go together.
    """
    changes: dict[str, Any] = {}
    if settings.template is not None:
        changes |= {"template": settings.template}
    if settings.pooling is not None:
        changes |= {"pooling": settings.pooling}
    if settings.tp == "off":
        changes |= {"token_prepending": None}
    if settings.cp == "off":
        changes |= {"contrastive_prompting": None}
    return EncoderConfig(**(dict(config) | changes))


def training_config(config: EncoderConfig, settings: TuningSettings) -> EncoderConfig:
    """The settings inside the training loop, from those of the encoder that is made.

    A text that is too long is cut, whatever the encoder does with it later; the vector is whole.

    Raises:
        InvalidConfig: they do not go together.
    """
    changes: dict[str, Any] = {
        "on_overflow": "truncate",
        "dimensions": None,
        "precision": "float32",
        "max_tokens": min(settings.max_tokens or config.max_tokens, config.max_tokens),
    }
    if settings.tp == "out":
        changes |= {"token_prepending": None}
    if settings.cp == "out":
        changes |= {"contrastive_prompting": None}
    return EncoderConfig(**(dict(config) | changes))


def _listed(value: Any) -> Any:
    return [_listed(one) for one in value] if isinstance(value, tuple | list) else value


def _refusal(name: str, value: object, expected: str) -> InvalidConfig:
    return InvalidConfig(f"tuning: {name} {value!r} is not allowed; use {expected}")
