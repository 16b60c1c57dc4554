"""Which settings calibration tries: templates, TP ranges, CP layers and strengths, and neighbours.

What is not tried stays as the encoder has it: adapter, dtype, `max_tokens`, `pool_prompt`,
`normalise_text`, `dimensions`, `precision`, TP's placeholders and position, CP's wording. No torch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from embedder.config import (
    ContrastivePrompting,
    ContrastMode,
    EncoderConfig,
    Pooling,
    TokenPrepending,
)
from embedder.errors import InvalidConfig, UnsupportedArchitecture
from embedder.model_files import ARCHITECTURES
from embedder.precision import kept_dimension
from embedder.prompts import expand
from embedder.specification import EncoderSpecification

TEMPLATES_TRIED: Final = ("eol", "cot", "ke", "cluster", "summarise", "none")
EXIT_SHARES: Final = (0.1, 0.2, 0.3, 0.5)
"""Of the model's depth, where TP stops. The official settings lie between 0.09 and 0.22."""
STRENGTHS: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
STEERED_LAYERS: Final = 6
"""How many layers CP is tried at, spread over the first two thirds of the output layer."""


def require_layer_loop(specification: EncoderSpecification) -> None:
    """Check that every layer of the model can be looked at; needs no weights.

    Raises:
        UnsupportedArchitecture: the model runs outside our own layer loop.
    """
    kind = specification.files.architecture["model_type"]
    if kind not in ARCHITECTURES:
        raise UnsupportedArchitecture(
            f"calibration looks at every layer, which models of type {kind!r} do not allow; "
            f"use one of {', '.join(ARCHITECTURES)}, or set the encoder's settings by hand"
        )


@dataclass(frozen=True, slots=True)
class Variant:
    """What one pass over the texts has: prompt and interventions."""

    template: str | tuple[str, ...]
    token_prepending: TokenPrepending | None = None
    contrastive_prompting: ContrastivePrompting | None = None


class Grid:
    """Variants around an encoder's own settings; only such that `EncoderConfig` allows.

    Args:
        given: the encoder's settings, which are tried, too.
        layers: of the model.
        dimension: the model's hidden size.
        templates: keys, or the user's own templates.

    Raises:
        InvalidConfig: no template, or an unknown or wrong one.
    """

    def __init__(
        self, given: EncoderConfig, *, layers: int, dimension: int, templates: Sequence[str]
    ) -> None:
        expand(tuple(templates))
        self._layers, self._dimension = layers, dimension
        self._templates = templates
        tp, cp = given.token_prepending, given.contrastive_prompting
        self.leaves_out_own_contrast = cp is not None and (
            cp.shared_context or (tp is not None and tp.on_auxiliary)
        )
        """Whether the encoder has a CP that is not among the variants."""
        if tp is not None:  # it would make the auxiliary states depend on the normal prompt
            tp = tp.model_copy(update={"on_auxiliary": False})
        if cp is not None and cp.shared_context:
            cp = None
        self._tp_style = tp or TokenPrepending(exit=2)
        self._auxiliary = cp.auxiliary if cp else "irrelevant"
        self.own = Variant(given.template, tp, cp)
        """The encoder's own settings, as far as they can be tried."""
        kept: dict[str, Any] = given.model_dump()
        self._kept = kept | {"query_template": None}

    def settings(
        self, variant: Variant, pooling: Pooling = "last", output_layer: int = -1
    ) -> EncoderConfig | None:
        """The settings of a variant read in one way; None where they are not allowed.

        A TP range that reaches beyond the output layer is written as ending there.
        """
        tp = variant.token_prepending
        if tp is not None and tp.start < output_layer < tp.exit:
            tp = tp.model_copy(update={"exit": output_layer})
        try:
            config = EncoderConfig(
                **self._kept
                | {
                    "template": variant.template,
                    "token_prepending": tp,
                    "contrastive_prompting": variant.contrastive_prompting,
                    "pooling": pooling,
                    "output_layer": output_layer,
                }
            )
            config.resolve_output_layer(self._layers)
            kept_dimension(
                self._dimension * (2 if pooling == "last_mean" else 1),
                dimensions=config.dimensions,
                precision=config.precision,
            )
        except InvalidConfig:
            return None
        return config

    def prompts(self) -> list[Variant]:
        """Every template without TP, with TP up to some depths, and the encoder's own; no CP."""
        exits = sorted({max(2, round(share * self._layers)) for share in EXIT_SHARES})
        ranges = [None, *(self._prepending(1, last) for last in exits)]
        own = self.own.token_prepending
        names = [self.own.template, *self._templates]
        return self._allowed(Variant(name, tp) for name in names for tp in (*ranges, own))

    def contrasts(self, variant: Variant, output_layer: int) -> list[Variant]:
        """A variant with CP at some layers below two thirds of an output layer, in each strength.

        The encoder's own CP is among them.
        """
        deepest = min(output_layer - 1, output_layer * 2 // 3)
        step = deepest / (STEERED_LAYERS - 1)
        layers = sorted({round(step * i) for i in range(STEERED_LAYERS)})
        own = self.own.contrastive_prompting
        tried = [cp for layer in layers for cp in self._modes(layer)] + ([own] if own else [])
        return self._allowed(replace(variant, contrastive_prompting=cp) for cp in tried)

    def neighbours(self, variant: Variant) -> list[Variant]:
        """The same with one thing changed by a step.

        TP one layer longer, shorter, or from layer 2 (1); CP a layer off, or twice or half as
        strong.
        """
        tp, cp = variant.token_prepending, variant.contrastive_prompting
        found: list[Variant] = []
        if tp is not None:
            start = 1 if tp.start == 2 else 2
            ends = [(tp.start, tp.exit - 1), (tp.start, tp.exit + 1), (start, tp.exit)]
            found += [
                replace(variant, token_prepending=tp.model_copy(update={"start": s, "exit": e}))
                for s, e in ends
                if s < e
            ]
        if cp is not None:
            steps: list[dict[str, Any]] = [{"layer": cp.layer + 1}]
            if cp.layer > 0:
                steps.append({"layer": cp.layer - 1})
            if cp.mode in ("scaled", "scaled_norm"):
                steps += [{"strength": cp.strength * 2}, {"strength": cp.strength / 2}]
            found += [
                replace(variant, contrastive_prompting=cp.model_copy(update=step)) for step in steps
            ]
        return self._allowed(found)

    def _prepending(self, start: int, last: int) -> TokenPrepending:
        return self._tp_style.model_copy(update={"start": start, "exit": last, "prompts": None})

    def _modes(self, layer: int) -> Iterator[ContrastivePrompting]:
        tried: list[tuple[ContrastMode, float]] = [("norm", 1.0)]
        tried += [("scaled", strength) for strength in STRENGTHS]
        for mode, strength in tried:
            yield ContrastivePrompting(
                layer=layer, mode=mode, strength=strength, auxiliary=self._auxiliary
            )

    def _allowed(self, variants: Iterable[Variant]) -> list[Variant]:
        """Each variant once, if there is any output layer at which it may be read."""
        distinct = dict.fromkeys(variants)
        return [v for v in distinct if self.settings(v) is not None]


def interventions(config: EncoderConfig) -> int:
    """How far settings are from plain prompt encoding: what the simplicity rule counts.

    TP and CP count one each, and so does every further prompt of a multi-prompt, and pooling
    `last_mean`, which doubles the vector.
    """
    return (
        (config.token_prepending is not None)
        + (config.contrastive_prompting is not None)
        + len(config.templates("document"))
        - 1
        + (config.pooling == "last_mean")
    )
