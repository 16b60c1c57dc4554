"""The search of `embedder.calibration`: three stages of passes, then the simplicity rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, get_args

import numpy as np

from embedder.calibration_grid import Grid, Variant, interventions
from embedder.config import EncoderConfig
from embedder.correlation import Resampling, spearman
from embedder.errors import NonFiniteActivation
from embedder.pair_observers import POOLINGS
from embedder.pair_reader import PairReader
from embedder.precision import Float32
from embedder.scored_pairs import ScoredPairs

Stage = Literal["prompts", "contrasts", "neighbours"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)

ProgressCallback = Callable[[str, int, int], None]
"""Called with a stage, the passes done in it, and how many it has."""


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """The best output layer of one variant with one pooling, on the choosing half."""

    stage: Stage
    config: EncoderConfig
    spearman: float
    interventions: int


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Settings that were read on the choosing half."""

    stage: Stage
    config: EncoderConfig
    spearman: float
    cosine_N: Float32
    number: int

    @property
    def variant(self) -> Variant:
        """What it takes to read it again."""
        config = self.config
        return Variant(config.template, config.token_prepending, config.contrastive_prompting)

    @property
    def order(self) -> tuple[float, int, int]:
        """Best first."""
        return -round(self.spearman, 4), interventions(self.config), self.number


class Search:
    """The three stages on the choosing half."""

    def __init__(
        self,
        reader: PairReader,
        grid: Grid,
        pairs: ScoredPairs,
        seed: int,
        progress: ProgressCallback,
    ) -> None:
        self._reader, self._grid, self._progress = reader, grid, progress
        self._score_N, self._seed = pairs.score_N, seed
        self._candidates: list[Candidate] = []
        self._read: set[Variant] = set()
        self._seen: set[EncoderConfig] = set()
        self._left_out = 0
        self._unfitting: list[str] = []
        self.passes = 0

    def run(self, beam: int) -> tuple[Candidate, Candidate]:
        """The best settings, and those that the simplicity rule chooses."""
        self._stage("prompts", self._grid.prompts())
        self._stage("contrasts", self._contrasts(beam))
        around = [v for best in self._levels() for v in self._grid.neighbours(best.variant)]
        self._stage("neighbours", around)
        return self._choose()

    def rows(self) -> tuple[CalibrationRow, ...]:
        """All candidates, by stage, the best first."""
        ordered = sorted(self._candidates, key=lambda c: (STAGES.index(c.stage), c.order))
        return tuple(
            CalibrationRow(c.stage, c.config, c.spearman, interventions(c.config)) for c in ordered
        )

    @property
    def notes(self) -> list[str]:
        """What was left out, and why."""
        found = [
            f"CP was not tried with {what}: its prompts do not fit" for what in self._unfitting
        ]
        if self._left_out:
            found.append(f"{self._left_out} settings gave NaN or infinity and were left out")
        return found

    def _stage(self, stage: Stage, variants: Sequence[Variant]) -> None:
        new = [v for v in dict.fromkeys(variants) if v not in self._read]
        self._progress(stage, 0, len(new))
        for done, variant in enumerate(new, 1):
            self._read.add(variant)
            config = self._grid.settings(variant)
            if config is not None:
                self._keep_best(stage, variant, self._reader.read(config))
                self.passes += 1
            self._progress(stage, done, len(new))
        if not self._candidates:
            raise NonFiniteActivation(
                "no settings give finite vectors for all pairs; use another dtype", index=0
            )

    def _keep_best(self, stage: Stage, variant: Variant, cosine_OPN: Float32) -> None:
        """For each pooling, the best output layer at which it may be read."""
        for column, pooling in enumerate(POOLINGS):
            found: list[tuple[float, int]] = []
            for row, cosine_N in enumerate(cosine_OPN[:, column]):
                if np.isfinite(cosine_N).all():
                    found.append((spearman(cosine_N, self._score_N), row))
                else:
                    self._left_out += 1
            ordered = sorted(found, key=lambda f: (-round(f[0], 4), f[1]))
            settings = ((v, r, self._grid.settings(variant, pooling, r + 1)) for v, r in ordered)
            value, row, config = next((s for s in settings if s[2]), (0.0, 0, None))
            # Two TP ranges that both reach beyond the output layer are one.
            if config is not None and config not in self._seen:
                self._seen.add(config)
                cosine_N = cosine_OPN[row, column].copy()
                number = len(self._candidates)
                self._candidates.append(Candidate(stage, config, value, cosine_N, number))

    def _contrasts(self, beam: int) -> list[Variant]:
        """CP on the best variants; its auxiliary prompt is run once, for all layers and variants.

        The encoder's own settings are tried, whatever else is.
        """
        own = self._grid.own
        tried = [own] if own.contrastive_prompting and self._fits(own) else []
        for candidate in self._beam(beam):
            output = candidate.config.output_layer
            variants = self._grid.contrasts(candidate.variant, output)
            fitting = [v for v in variants if self._fits(v)]
            if len(fitting) < len(variants):
                self._unfitting.append(f"template {candidate.config.template!r}")
            tried += fitting
        config = self._grid.settings(tried[0]) if tried else None
        if config is not None:
            layers = {v.contrastive_prompting.layer for v in tried if v.contrastive_prompting}
            around = {near for layer in layers for near in (layer - 1, layer, layer + 1)}
            self._reader.record(config, around & set(range(self._reader.layers)))
            self.passes += 1
        return tried

    def _fits(self, variant: Variant) -> bool:
        config = self._grid.settings(variant)
        return config is not None and self._reader.fits(config)

    def _beam(self, beam: int) -> list[Candidate]:
        """The best candidate of each of the best variants, as far as CP can act on how it is read.

        One without TP and one with are among them.
        """
        best: dict[Variant, Candidate] = {}
        for candidate in sorted(self._candidates, key=lambda c: c.order):
            config, variant = candidate.config, candidate.variant
            if variant in best:
                continue
            steered = self._grid.contrasts(variant, config.output_layer)
            if any(self._grid.settings(v, config.pooling, config.output_layer) for v in steered):
                best[variant] = candidate
        ranked = list(best.values())
        kept = ranked[:beam]
        have = {c.variant.token_prepending is None for c in kept}
        other = [c for c in ranked[beam:] if (c.variant.token_prepending is None) not in have]
        return [*kept[: max(1, beam - 1)], *other[:1]] if other else kept

    def _levels(self) -> list[Candidate]:
        """The best candidate of each number of interventions, fewest first."""
        best: dict[int, Candidate] = {}
        for candidate in sorted(self._candidates, key=lambda c: c.order):
            best.setdefault(interventions(candidate.config), candidate)
        return [best[level] for level in sorted(best)]

    @cached_property
    def _chances(self) -> Resampling:
        return Resampling(self._score_N, seed=self._seed)

    def _choose(self) -> tuple[Candidate, Candidate]:
        """The best, and the simplest within one standard error of it."""
        best = min(self._candidates, key=lambda c: c.order)
        for simplest in self._levels():
            if simplest is best:
                break
            lead = best.spearman - simplest.spearman
            if lead <= self._chances.difference_error(best.cosine_N, simplest.cosine_N):
                return best, simplest
        return best, best
