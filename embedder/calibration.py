"""Calibration: choose template, TP, CP, output layer and pooling for a model, on scored pairs.

The pairs are halved by seed. Settings are chosen by Spearman correlation of cosine and score on the
**choosing half**; what is reported is measured on the **checking half**, which chose nothing.

The search goes coordinate by coordinate, with a small beam. A *pass* reads the choosing half once
and yields every output layer and pooling (`embedder.pair_reader`):

1. every template x TP off, or from layer 1 to about 0.1, 0.2, 0.3, 0.5 of the depth, and the
   encoder's own template and TP. About 30 passes with the six templates that are tried by default.
2. the best `beam` of these, one of them without TP and one with, x CP at 6 layers over the first
   two thirds of their best output layer x {norm; scaled by 1/4, 1/2, 1, 2, 4}: 36 passes each, on
   top of one pass over the auxiliary prompt; and the encoder's own CP.
3. around the best of each number of interventions: TP one layer longer, shorter, from layer 2; CP
   one layer lower and higher, or twice and half as strong. At most 7 passes each.

With three in the beam that is about 150 passes over half of the pairs; shallow models have fewer
layers to try. The full product would have about 1,000.

**Simplicity rule.** Of all settings the chosen ones have the fewest interventions
(`embedder.calibration_grid.interventions`) whose best are within one standard error of the best of
all on the choosing half. The standard error is that of the difference between the two, by
bootstrap over the same pairs. Differences under 0.0001 count as none; then the fewer interventions,
the earlier stage and the lower output layer win.

Sentences are read as documents, and scored in float32 whatever the settings' `precision`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedder.calibration_grid import TEMPLATES_TRIED, Grid, Variant, require_layer_loop
from embedder.calibration_search import CalibrationRow, ProgressCallback, Search
from embedder.config import EncoderConfig
from embedder.correlation import Resampling, spearman
from embedder.encoder import Encoder
from embedder.errors import InvalidConfig, NonFiniteActivation
from embedder.pair_reader import PairReader
from embedder.precision import Float32
from embedder.presets import uncalibrated
from embedder.scored_pairs import ScoredPairs

RULE: Final = (
    "simplicity rule: the fewest interventions (TP, CP, further prompts, last_mean) whose best "
    "settings are within one standard error of the best on the choosing half"
)


@dataclass(frozen=True, slots=True)
class CheckedSettings:
    """Settings measured on the checking half."""

    name: str
    """`chosen`, `best` (if the simplicity rule passed it over), `given`, `uncalibrated`,
    `plain last` (eol, last token), `plain mean` (bare text)."""
    config: EncoderConfig
    spearman: float
    standard_error: float
    lead: float
    """How far the chosen settings are ahead of these; negative: behind."""
    lead_error: float
    """Standard error of the lead."""


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What was chosen, and how good it is."""

    chosen: EncoderConfig
    checked: tuple[CheckedSettings, ...]
    """The chosen settings first."""
    rows: tuple[CalibrationRow, ...]
    """By stage, the best first."""
    choosing_pairs: int
    checking_pairs: int
    passes: int
    notes: tuple[str, ...]
    """What the reader should know: settings left out, sentences cut."""


class Calibration:
    """Calibrates an encoder; the same pairs and seed give the same report.

    Args:
        encoder: the model. Its own settings are tried, too, and say what is not calibrated.
        templates: keys of `embedder.prompts`, or own templates with one slot.
        seed: of the halves and of the bootstrap.
        beam: how many variants CP is tried with.
        progress: is told of every pass.

    Raises:
        InvalidConfig: an unknown template, a beam below 1, or a negative seed.
        UnsupportedArchitecture: the model runs outside our own layer loop.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        templates: Sequence[str] = TEMPLATES_TRIED,
        seed: int = 0,
        beam: int = 3,
        progress: ProgressCallback = lambda stage, done, total: None,
    ) -> None:
        require_layer_loop(encoder.specification)
        if beam < 1 or seed < 0:
            raise InvalidConfig(f"beam {beam}, seed {seed}: use a beam from 1 and a seed from 0")
        files = encoder.specification.files
        self._encoder, self._layers = encoder, files.layers
        self._grid = Grid(
            encoder.config, layers=files.layers, dimension=files.dimension, templates=templates
        )
        self._seed, self._beam, self._progress = seed, beam, progress

    def run(self, pairs: ScoredPairs) -> CalibrationReport:
        """Search on one half, check on the other.

        Raises:
            InvalidConfig: too few pairs or scores that do not differ (`ScoredPairs.halves`), or a
                template that leaves no room for text.
            TextTooLong: a sentence does not fit and the settings say `on_overflow="error"`.
            NonFiniteActivation: no settings, or not the given ones, give finite vectors.
        """
        choosing, checking = pairs.halves(seed=self._seed)
        search = Search(
            PairReader(self._encoder, choosing), self._grid, choosing, self._seed, self._progress
        )
        best, chosen = search.run(self._beam)
        named = {"chosen": chosen.config, "best": best.config, **self._references()}
        if best is chosen:
            del named["best"]
        reader = PairReader(self._encoder, checking)
        notes = list(search.notes)
        if self._grid.leaves_out_own_contrast:
            notes.append(
                "the encoder's own CP was checked, not tried: its auxiliary prompt depends on the "
                "normal one (shared_context, or token_prepending.on_auxiliary)"
            )
        if cut := reader.texts_cut(chosen.config):
            notes.append(
                f"{cut} of {2 * len(checking)} sentences of the checking half are cut to "
                f"max_tokens {chosen.config.max_tokens}"
            )
        return CalibrationReport(
            chosen=chosen.config,
            checked=self._check(named, reader, checking),
            rows=search.rows(),
            choosing_pairs=len(choosing),
            checking_pairs=len(checking),
            passes=search.passes + len(set(named.values())),
            notes=tuple(notes),
        )

    def _references(self) -> dict[str, EncoderConfig]:
        """What the chosen settings are held against."""
        given, depth = self._encoder.config, uncalibrated(self._layers)
        plain = {
            "uncalibrated": self._grid.settings(
                Variant("eol", depth.token_prepending), "last", depth.output_layer
            ),
            "plain last": self._grid.settings(Variant("eol"), "last"),
            "plain mean": self._grid.settings(Variant("none"), "mean"),
        }
        named = {name: config for name, config in plain.items() if config is not None}
        return {"given": given.model_copy(update={"query_template": None}), **named}

    def _check(
        self, named: dict[str, EncoderConfig], reader: PairReader, checking: ScoredPairs
    ) -> tuple[CheckedSettings, ...]:
        cosines: dict[EncoderConfig, Float32] = {}
        distinct = list(dict.fromkeys(named.values()))
        self._progress("checking", 0, len(distinct))
        for done, config in enumerate(distinct, 1):
            cosines[config] = reader.cosines(config)
            if not np.isfinite(cosines[config]).all():
                index = int(np.flatnonzero(~np.isfinite(cosines[config]))[0])
                raise NonFiniteActivation(
                    f"pair {index} of the checking half gave NaN or infinity in {config.dtype}; "
                    "use another dtype",
                    index=index,
                )
            self._progress("checking", done, len(distinct))
        chances = Resampling(checking.score_N, seed=self._seed)
        values = {config: spearman(c, checking.score_N) for config, c in cosines.items()}
        errors = {config: chances.error(c) for config, c in cosines.items()}
        own = named["chosen"]
        leads = {c: chances.difference_error(cosines[own], cosines[c]) for c in distinct}
        return tuple(
            CheckedSettings(
                name, config, values[config], errors[config], values[own] - values[config],
                leads[config],
            )
            for name, config in named.items()
        )  # fmt: skip
