"""What an encoder is, as data: checked when built, serialisable, and free of torch.

The fingerprint is a hash over this and over the model's files (`embedder.specification`).
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from embedder.errors import InvalidConfig
from embedder.prompts import find_auxiliary, find_template

Dtype = Literal["float32", "bfloat16", "float16"]
Pooling = Literal["last", "mean"]
ContrastMode = Literal["scaled", "norm", "scaled_norm", "sub_head_norm"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenPrepending(_Frozen):
    """Before each layer l, start <= l < exit: h[placeholder] := h[last] (arXiv 2412.11556)."""

    start: Annotated[int, Field(ge=1)] = 1
    """First layer, 0-based. Before layer 0 the last token has seen nothing, so at least 1."""
    exit: Annotated[int, Field(ge=2)]
    """First layer that is left alone again (exclusive)."""
    placeholders: Annotated[int, Field(ge=1, le=8)] = 1
    """How many placeholder tokens stand in the prompt."""
    on_auxiliary: bool = False
    """Whether the auxiliary prompt of Contrastive Prompting has placeholders, too."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.exit <= self.start:
            raise ValueError(f"exit {self.exit} is not above start {self.start}; raise exit")
        return self


class ContrastivePrompting(_Frozen):
    """At one layer, subtract what an auxiliary prompt puts into `o_proj` (arXiv 2505.12831).

    Modes, with v the `o_proj` input of the last token and d = v_normal - v_auxiliary:
    `scaled` (the paper's NS): strength * d; `norm` (NR): d * |v_normal| / |d|;
    `scaled_norm`: strength times NR; `sub_head_norm`: NR for each attention head.
    """

    layer: Annotated[int, Field(ge=0)]
    """0-based."""
    strength: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    mode: ContrastMode = "norm"
    auxiliary: str = "irrelevant"
    """A wording's key or a template with one slot."""

    @model_validator(mode="after")
    def _check_auxiliary(self) -> Self:
        find_auxiliary(self.auxiliary)
        return self


class EncoderConfig(_Frozen):
    """Everything that decides a vector besides the model's own files."""

    template: str = "eol"
    """Key of `embedder.prompts.TEMPLATES`, or a template of the user's."""
    query_template: str | None = None
    """Template of queries; None: the documents'."""
    token_prepending: TokenPrepending | None = None
    contrastive_prompting: ContrastivePrompting | None = None
    pooling: Pooling = "last"
    output_layer: int = -1
    """Index into hidden states: 0 is the embedding output, L (or -1) the final-normed output."""
    dtype: Dtype = "float32"
    max_tokens: Annotated[int, Field(ge=16)] = 512
    """Tokens of prompt and text together. The text is cut to fit, never the template."""
    normalise_text: Literal["none", "papers"] = "none"

    @model_validator(mode="after")
    def _check_templates(self) -> Self:
        for name in {self.template, self.query_template or self.template}:
            template = find_template(name)
            if self.token_prepending is not None and not template.has_placeholder:
                raise ValueError(
                    f"template {name!r} has no <PST>, which token_prepending needs; "
                    "add <PST> before the text or switch token_prepending off"
                )
        cp, tp = self.contrastive_prompting, self.token_prepending
        with_auxiliary = cp is not None and tp is not None and tp.on_auxiliary
        if cp and with_auxiliary and not find_auxiliary(cp.auxiliary).has_placeholder:
            raise ValueError(f"auxiliary prompt {cp.auxiliary!r} has no <PST>; add it")
        if cp is not None and self.pooling != "last":
            raise ValueError(
                f"contrastive_prompting acts on the last token, pooling is {self.pooling!r}; "
                "use pooling='last'"
            )
        return self

    def resolve_output_layer(self, layers: int) -> int:
        """The output layer as an index from 0 to `layers`.

        Raises:
            InvalidConfig: it lies beyond the model, or a TP or CP layer is not below it.
        """
        output = self.output_layer if self.output_layer >= 0 else layers + 1 + self.output_layer
        if not 1 <= output <= layers:
            raise InvalidConfig(
                f"output_layer {self.output_layer} is beyond this model of {layers} layers; "
                f"use 1 to {layers}, or -1 to -{layers}"
            )
        tp, cp = self.token_prepending, self.contrastive_prompting
        if tp is not None and tp.start >= output:
            raise InvalidConfig(
                f"token_prepending starts at layer {tp.start}, the output layer is {output}; "
                f"start below {output}"
            )
        if tp is not None and tp.exit > layers:
            raise InvalidConfig(
                f"token_prepending exits at layer {tp.exit}, this model has {layers} layers; "
                f"exit at {layers} or below"
            )
        if cp is not None and cp.layer >= output:
            raise InvalidConfig(
                f"contrastive_prompting acts at layer {cp.layer}, the output layer is {output}; "
                f"use a layer from 0 to {output - 1}"
            )
        return output
