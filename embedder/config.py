"""What an encoder is, as data: checked when built, serialisable, and free of torch.

The fingerprint is a hash over this and over the model's files (`embedder.specification`).
"""

from textwrap import shorten
from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from embedder.errors import InvalidConfig
from embedder.prompts import (
    Position,
    Template,
    expand,
    find_auxiliary,
    find_shared_auxiliary,
    find_template,
)

Dtype = Literal["float32", "bfloat16", "float16"]
Pooling = Literal["last", "mean", "position_weighted_mean", "attention_weighted_mean", "last_mean"]
Precision = Literal["float32", "float16", "int8", "binary"]
ContrastMode = Literal["scaled", "norm", "scaled_norm", "sub_head_norm"]
Kind = Literal["document", "query"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class _Settings(BaseModel):
    """Frozen settings; what is wrong with them is said in one line, as `InvalidConfig`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    where: ClassVar[str]
    """How messages name these settings."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InvalidConfig(_one_line(type(self), error.errors()[0])) from None


class TokenPrepending(_Settings):
    """Before each layer l, start <= l < exit: h[placeholder] := h[last] (arXiv 2412.11556)."""

    where = "encoder.token_prepending"

    start: Annotated[StrictInt, Field(ge=1)] = 1
    """First layer, 0-based. Before layer 0 the last token has seen nothing, so at least 1."""
    exit: Annotated[StrictInt, Field(ge=2)]
    """First layer that is left alone again (exclusive)."""
    placeholders: Annotated[StrictInt, Field(ge=1, le=8)] = 1
    """How many placeholder tokens stand in the prompt."""
    position: Position = "template"
    """Where they stand; `template`: where the template has its <PST>."""
    prompts: tuple[Annotated[StrictInt, Field(ge=0)], ...] | None = None
    """Which prompts of a multi-prompt have placeholders, by index from 0; None: all."""
    on_auxiliary: StrictBool = False
    """Whether the auxiliary prompt of Contrastive Prompting has placeholders, too."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.exit <= self.start:
            raise ValueError(f"exit {self.exit} is not above start {self.start}; raise exit")
        if self.prompts is not None and not self.prompts:
            raise ValueError("prompts is empty; name at least one, or switch token_prepending off")
        return self


class ContrastivePrompting(_Settings):
    """At one layer, subtract what an auxiliary prompt puts into `o_proj` (arXiv 2505.12831).

    Modes, with v the `o_proj` input of the last token and d = v_normal - v_auxiliary:
    `scaled` (the paper's NS): strength * d; `norm` (NR): d * |v_normal| / |d|;
    `scaled_norm`: strength times NR; `sub_head_norm`: NR for each attention head.
    """

    where = "encoder.contrastive_prompting"

    layer: Annotated[StrictInt, Field(ge=0)]
    """0-based."""
    strength: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    mode: ContrastMode = "norm"
    auxiliary: str = "irrelevant"
    """A wording's key or a template with one slot."""
    shared_context: StrictBool = False
    """Ours: the auxiliary prompt is another ending after the same quoted text, which is then
    computed once for both. With TP the shared placeholder holds the normal prompt's last state."""

    @model_validator(mode="after")
    def _check_auxiliary(self) -> Self:
        if self.shared_context:
            find_shared_auxiliary(self.auxiliary, Template("", "", "", has_placeholder=False))
        else:
            find_auxiliary(self.auxiliary)
        return self


class EncoderConfig(_Settings):
    """Everything that decides a vector besides the model's own files."""

    where = "encoder"

    template: str | tuple[str, ...] = "eol"
    """Key of `embedder.prompts.TEMPLATES` or `MULTI_PROMPTS`, a template of the user's, or several
    of these, whose embeddings are averaged before they are normalised."""
    query_template: str | tuple[str, ...] | None = None
    """Template of queries; None: the documents'."""
    token_prepending: TokenPrepending | None = None
    contrastive_prompting: ContrastivePrompting | None = None
    pooling: Pooling = "last"
    pool_prompt: StrictBool = False
    """Whether means are taken over the prompt's tokens, too, or over the text's alone."""
    output_layer: StrictInt = -1
    """Index into hidden states: 0 is the embedding output, L (or -1) the final-normed output."""
    adapter: str | None = None
    """Folder of a LoRA adapter (peft) to put on the model."""
    merge_adapter: StrictBool = False
    """Whether the adapter is added into the weights: faster, and rounded once to `dtype`."""
    dtype: Dtype = "float32"
    max_tokens: Annotated[StrictInt, Field(ge=16)] = 512
    """Tokens of prompt and text together. The text is cut to fit, never the template."""
    on_overflow: Literal["truncate", "error"] = "truncate"
    """What happens to a text that does not fit: cut and reported, or refused."""
    normalise_text: Literal["none", "papers"] = "none"
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = None
    """Keep the first so many components and normalise again (Matryoshka, arXiv 2205.13147)."""
    precision: Precision = "float32"
    """Number format of the vectors that `encode` returns: `embedder.precision`."""

    @model_validator(mode="after")
    def _check_templates(self) -> Self:
        tp = self.token_prepending
        for kind in KINDS:
            sources = self.templates(kind)
            if tp is None:
                continue
            if beyond := [i for i in tp.prompts or () if i >= len(sources)]:
                raise ValueError(
                    f"token_prepending.prompts names prompt {beyond[0]}, there are {len(sources)} "
                    f"{kind} templates; use 0 to {len(sources) - 1}"
                )
            for index, source in enumerate(sources):
                if tp.prompts is not None and index not in tp.prompts:
                    continue
                if not find_template(source, tp.position).has_placeholder:
                    raise ValueError(
                        f"template {source!r} has no <PST>, which token_prepending needs; "
                        "add <PST>, set token_prepending.position, or switch it off"
                    )
        return self

    @model_validator(mode="after")
    def _check_contrast(self) -> Self:
        tp, cp = self.token_prepending, self.contrastive_prompting
        if cp is None:
            return self
        if tp is not None and tp.on_auxiliary:
            if cp.shared_context:
                raise ValueError(
                    "token_prepending.on_auxiliary has no meaning with shared_context, whose "
                    "placeholder both prompts share; set it to false"
                )
            if tp.position == "template" and not find_auxiliary(cp.auxiliary).has_placeholder:
                raise ValueError(f"auxiliary prompt {cp.auxiliary!r} has no <PST>; add it")
        if cp.shared_context and tp is not None and tp.position == "after_text":
            raise ValueError(
                "token_prepending.position 'after_text' cannot be shared with the auxiliary "
                "prompt; choose another position, or set shared_context to false"
            )
        carried = tp is not None and tp.exit > cp.layer + 1
        if self.pooling in ("mean", "position_weighted_mean") and not (carried or self.pool_prompt):
            raise ValueError(
                f"contrastive_prompting changes the last token alone, which pooling "
                f"{self.pooling!r} does not read; use pooling 'last', or switch it off"
            )
        return self

    def templates(self, kind: Kind) -> tuple[str, ...]:
        """Sources of the templates for documents or queries, in the order they are averaged."""
        if kind == "query" and self.query_template is not None:
            return expand(self.query_template)
        return expand(self.template)

    def placeholders(self, prompt: int) -> int:
        """How many placeholder tokens the prompt of that index has."""
        tp = self.token_prepending
        if tp is None or (tp.prompts is not None and prompt not in tp.prompts):
            return 0
        return tp.placeholders

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


def _one_line(settings: type[_Settings], problem: ErrorDetails) -> str:
    """What pydantic found, as one line: the setting, its value, what is allowed."""
    # A setting of several types has the type that was tried as a last part.
    path = [str(p) for p in problem["loc"] if p != "str" and not str(p).startswith("tuple[")]
    where = ".".join([settings.where, *path])
    reason = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":  # our own wording, which has the value and the remedy
        return f"{where}: {reason}"
    if problem["type"] == "extra_forbidden":
        fields = ", ".join(settings.model_fields)
        return f"{where}: unknown setting {path[-1]!r}; choose from {fields}"
    if problem["type"] == "missing":
        return f"{where}: not given; set it"
    value = shorten(repr(problem["input"]), 80, placeholder=" ...")
    return f"{where}: {value} is not allowed, {reason[:1].lower()}{reason[1:]}; change it"
