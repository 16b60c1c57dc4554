"""The decoder as a layer loop over packed rows: exact early exit, TP and CP as small interventions.

The modules are transformers' own; only the loop is ours. It computes no language-model head and
no cache, stops at the output layer, computes in the last layer only what is read, and the keys and
values of a template's opening once for all texts.

Legend: see `embedder.packing`, `embedder.attention`; `P` placeholder tokens in the batch.
"""

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from embedder.attention import causal_attention, last_token_attention
from embedder.blocks import Block, Rotary, signed
from embedder.config import ContrastivePrompting, EncoderConfig
from embedder.contrastive_prompting import contrast
from embedder.errors import UnsupportedArchitecture
from embedder.layout import branches, common_prefix, pooled_spans, spread
from embedder.model_files import ARCHITECTURES
from embedder.packing import FINE, Grain, Packing, Span, Strip
from embedder.pooling import LAST_ALONE, needs_attention, pool
from embedder.token_prepending import prepend_last_state
from embedder.tokens import PLACEHOLDER_ID, Row

PLACEHOLDER_SEED = 2412_11556

COARSE: Final = Grain(tokens=64, columns=8)
"""On CPUs oneDNN prepares, and keeps, code for every size that it meets; so there are few sizes."""

Prefix = list[tuple[Tensor, Tensor]]
"""Keys and values, (P, K, E), of a template's opening at each layer."""


def longest_row(config: Any) -> int:
    """The longest row, in tokens, that a model of this (transformers) config is exact for.

    Its positions (`sys.maxsize` where it states none, as with ALiBi); under LongRoPE the shorter of
    its two ranges, since above it the table depends on the longest row of the batch.
    """
    limits = [int(getattr(config, "max_position_embeddings", sys.maxsize))]
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        limits.append(int(rope["original_max_position_embeddings"]))
    return min(limits)


def seeded_placeholder(embedding: Any) -> Tensor:
    """Initial embedding of the placeholder token, (D,): fixed noise of the matrix' own scale.

    Its value hardly matters (arXiv 2412.11556, table 7), yet it must be the same every time.
    """
    weight_VD: Tensor = embedding.weight.detach()
    generator = torch.Generator().manual_seed(PLACEHOLDER_SEED)
    noise_D = torch.randn(weight_VD.shape[1], generator=generator)
    scale = weight_VD.float().square().mean().sqrt().cpu()
    return (noise_D * scale * float(getattr(embedding, "embed_scale", 1.0))).to(weight_VD)


class Observer(Protocol):
    """Looks on while the layers run; makes the loop compute every token of every layer."""

    def attention(self, layer: int, last_SHE: Tensor, weight_T: Tensor) -> None:
        """What the layer's `o_proj` is about to read at each normal row's last token.

        `weight_T` is that token's attention to the row's own tokens, mean over heads.
        """

    def hidden(self, output_layer: int, hidden_TD: Tensor, packing: Packing) -> None:
        """Hidden states at an output layer, from 1 to the model's; the last one is normed."""


@dataclass
class _Batch:
    """What goes through the layers."""

    hidden_TD: Tensor
    packing: Packing
    prefixes: list[Prefix]
    placeholder_P: Tensor
    source_P: Tensor
    rotaries: dict[str, Rotary]


class Backbone:
    """A loaded decoder and the loop over its layers. Several threads may use it at once.

    Args:
        model: transformers' base model (no head) of one of `ARCHITECTURES`, in eval mode.
        placeholder_D: initial embedding of the placeholder token, shape (D,); by default
            `seeded_placeholder`.

    Raises:
        UnsupportedArchitecture: the model's type is not in `ARCHITECTURES`.
    """

    def __init__(self, model: PreTrainedModel, *, placeholder_D: Tensor | None = None) -> None:
        decoder: Any = model
        config = decoder.config
        if config.model_type not in ARCHITECTURES:
            raise UnsupportedArchitecture(
                f"model type {config.model_type!r} is not covered by the layer loop; "
                f"use one of {', '.join(ARCHITECTURES)}"
            )
        self.model = decoder
        self.layers: list[Any] = list(decoder.layers)
        self.blocks = [Block(layer, config, i) for i, layer in enumerate(self.layers)]
        self.dimension: int = config.hidden_size
        self.heads: int = config.num_attention_heads
        self._fixed_placeholder_D = placeholder_D
        self._prefixes: dict[tuple[int, ...], Prefix] = {}
        self._lock = threading.Lock()

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self.model.embed_tokens.weight.device
        return device

    @property
    def max_positions(self) -> int:
        """The longest row the model was made for, in tokens."""
        return longest_row(self.model.config)

    def placeholder(self) -> Tensor:
        """Initial embedding of the placeholder token, (D,)."""
        if self._fixed_placeholder_D is not None:
            return self._fixed_placeholder_D
        vector_D = seeded_placeholder(self.model.embed_tokens)
        if not self._trains:  # while it is being trained, its scale moves
            self._fixed_placeholder_D = vector_D
        return vector_D

    def forward(
        self,
        rows: Sequence[Row],
        config: EncoderConfig,
        auxiliary: Sequence[Row] = (),
        *,
        prompts: int = 1,
        observer: Observer | None = None,
        auxiliary_SHE: Tensor | None = None,
    ) -> Tensor:
        """Encode rows; returns the pooled states, float32 (S, D) or (S, 2D), not normalised.

        Args:
            rows: the normal prompts; with several prompts a text, all texts of the first, then all
                of the second, ...
            config: output layer, TP, CP and pooling.
            auxiliary: the auxiliary prompts of CP, one a text; with `shared_context` one a row.
                Empty without CP.
            prompts: how many prompts a text has.
            observer: is shown every layer.
            auxiliary_SHE: what CP subtracts, if it is known already; then no rows are given.
        """
        cp = config.contrastive_prompting
        texts = len(rows) // prompts
        wanted = 0 if cp is None or auxiliary_SHE is not None else texts
        if cp is not None and cp.shared_context and wanted:
            wanted = len(rows)
        if len(auxiliary) != wanted:
            raise ValueError(f"{len(auxiliary)} auxiliary rows came, {wanted} are needed; CP: {cp}")
        output = config.resolve_output_layer(len(self.layers))
        batch, normal = self._lay_out(rows, auxiliary, config, prompts, output)
        return self._run(batch, normal, rows, config, output, observer, auxiliary_SHE)

    # -- the loop ----------------------------------------------------------------------------

    def _run(
        self,
        batch: _Batch,
        normal: Packing,
        rows: Sequence[Row],
        config: EncoderConfig,
        output: int,
        observer: Observer | None,
        auxiliary_SHE: Tensor | None,
    ) -> Tensor:
        tp, cp = config.token_prepending, config.contrastive_prompting
        read_all = config.pooling not in LAST_ALONE or observer is not None
        attention_T: Tensor | None = None
        for index in range(output):
            if cp is not None and index == cp.layer + 1 and batch.packing is not normal:
                _drop_auxiliary(batch, normal)
            if tp is not None and tp.start <= index < tp.exit and len(batch.placeholder_P):
                batch.hidden_TD = prepend_last_state(
                    batch.hidden_TD, batch.placeholder_P, batch.source_P
                )
            last_layer = index == output - 1
            steer = cp if cp is not None and index == cp.layer else None
            attend = observer is not None or (last_layer and needs_attention(config.pooling))
            batch.hidden_TD, seen_T = self._layer(
                index,
                batch,
                normal,
                steer=steer,
                auxiliary_SHE=auxiliary_SHE,
                last_only=last_layer and not read_all,
                attend=attend,
                observer=observer,
            )
            attention_T = seen_T if attend else attention_T
            if observer is not None and index + 1 < len(self.layers):
                observer.hidden(index + 1, batch.hidden_TD[: normal.tokens], normal)
        hidden_TD = batch.hidden_TD
        if output == len(self.layers):
            hidden_TD = self.model.norm(hidden_TD)
            if observer is not None:
                observer.hidden(output, hidden_TD, normal)
        if not read_all:
            return hidden_TD.float()
        low_S, high_S = pooled_spans(rows, normal, whole=config.pool_prompt)
        return pool(
            hidden_TD, normal.last_S, low_S, high_S, config.pooling, attention_T=attention_T
        )

    def _layer(
        self,
        index: int,
        batch: _Batch,
        normal: Packing,
        *,
        steer: ContrastivePrompting | None,
        auxiliary_SHE: Tensor | None,
        last_only: bool,
        attend: bool,
        observer: Observer | None,
    ) -> tuple[Tensor, Tensor | None]:
        """One decoder layer: its output, and the last queries' attention where asked for, (T,).

        With `last_only` the output is of the normal rows' last tokens, (S, D); in the layer where
        CP acts, of the normal rows alone: the auxiliary rows have said there the last thing that
        they ever say.
        """
        block, packing = self.blocks[index], batch.packing
        rotary = batch.rotaries[block.kind]
        input_TD = block.attention_input(batch.hidden_TD)
        k_XKE = self._with_prefixes(batch, index, 0, block.keys(input_TD, rotary))
        v_XKE = self._with_prefixes(batch, index, 1, block.values(input_TD))
        normal_strips = [s for s in packing.strips if s.first_row < normal.rows]
        other_strips = packing.strips[len(normal_strips) :]
        last_S = packing.last_S

        def last_tokens(strips: Sequence[Strip]) -> list[tuple[Tensor, Tensor]]:
            rows = slice(strips[0].first_row, strips[-1].first_row + strips[-1].rows)
            at_S = last_S[rows]
            q_SHE = block.queries(input_TD[at_S], (rotary[0][at_S], rotary[1][at_S]))
            parts = torch.split(q_SHE, [strip.rows for strip in strips])
            return [
                last_token_attention(q, k_XKE, v_XKE, strip, block.rule)
                for q, strip in zip(parts, strips, strict=True)
            ]

        weight_T: Tensor | None = None
        if attend:
            weight_T = spread([w.mean(1) for _, w in last_tokens(normal_strips)], normal)
        if steer is not None and auxiliary_SHE is None:
            auxiliary_SHE = torch.cat([mixed for mixed, _ in last_tokens(other_strips)])
        keep_all = steer is None and not last_only
        if last_only:
            mixed_XHE = torch.cat([mixed for mixed, _ in last_tokens(normal_strips)])
            residual_XD = batch.hidden_TD[normal.last_S]
            at_X = torch.arange(normal.rows, device=last_S.device)
        else:
            cut = packing.tokens if keep_all else normal.tokens
            q_THE = block.queries(input_TD[:cut], (rotary[0][:cut], rotary[1][:cut]))
            strips = packing.strips if keep_all else normal_strips
            mixed = [causal_attention(q_THE, k_XKE, v_XKE, s, block.rule) for s in strips]
            mixed_XHE = torch.cat(mixed) if len(mixed) > 1 else mixed[0]
            residual_XD = batch.hidden_TD[:cut]
            at_X = normal.last_S
        if observer is not None and weight_T is not None:
            observer.attention(index, mixed_XHE[at_X], weight_T)
        if steer is not None and auxiliary_SHE is not None:
            repeats = normal.rows // len(auxiliary_SHE)
            steered_SHE = contrast(mixed_XHE[at_X], auxiliary_SHE.repeat(repeats, 1, 1), steer)
            mixed_XHE = mixed_XHE.index_copy(0, at_X, steered_SHE.to(mixed_XHE.dtype))
        return block.output(residual_XD, mixed_XHE), weight_T

    # -- laying out --------------------------------------------------------------------------

    def _lay_out(
        self,
        rows: Sequence[Row],
        auxiliary: Sequence[Row],
        config: EncoderConfig,
        prompts: int,
        output: int,
    ) -> tuple[_Batch, Packing]:
        """The batch with its first hidden states, and the packing of its normal rows alone."""
        texts = len(rows) // prompts
        groups = [rows[i * texts : (i + 1) * texts] for i in range(prompts)]
        whole_rows = config.pool_prompt and config.pooling not in LAST_ALONE
        shares = not (self._trains or whole_rows)
        lengths = [common_prefix(group) if shares else 0 for group in groups]
        cp = config.contrastive_prompting
        shared = cp is not None and cp.shared_context
        if auxiliary and not shared:
            groups.append(auxiliary)
            lengths.append(common_prefix(auxiliary) if shares else 0)
        spans = [
            Span(tuple(len(row.ids) - n for row in group), n)
            for group, n in zip(groups, lengths, strict=True)
        ]
        own = [[row.ids[n:] for row in group] for group, n in zip(groups, lengths, strict=True)]
        grain = COARSE if self.device.type == "cpu" and not self._trains else FINE
        if auxiliary and shared:
            begin = 0
            for index, group in enumerate(list(groups)):
                others = auxiliary[index * texts : (index + 1) * texts]
                span, ids = branches(group, others, spans[index], index, begin)
                begin += spans[index].tokens(grain)
                spans.append(span)
                own.append(ids)
        packing = Packing.of(spans, self.device, grain=grain)
        prefixes = [
            self._prefix(group[0].ids[:n], output)
            for group, n in zip(groups, lengths, strict=True)
            if n
        ]
        parts = [
            torch.nn.functional.pad(
                torch.tensor(list(chain.from_iterable(ids)), dtype=torch.int64),
                (0, span.tokens(grain) - sum(span.lengths)),
            )
            for ids, span in zip(own, spans, strict=True)
        ]
        ids_T = torch.cat(parts)
        placeholder_P = (ids_T == PLACEHOLDER_ID).nonzero().squeeze(1).to(self.device)
        source_P = packing.last_S[torch.searchsorted(packing.last_S, placeholder_P)]
        hidden_TD: Tensor = self.model.embed_tokens(ids_T.clamp_min(0).to(self.device))
        if len(placeholder_P):
            vector_PD = self.placeholder().to(hidden_TD).expand(len(placeholder_P), -1)
            hidden_TD = hidden_TD.index_copy(0, placeholder_P, vector_PD)
        rotaries = self._rotaries(hidden_TD, packing)
        batch = _Batch(hidden_TD, packing, prefixes, placeholder_P, source_P, rotaries)
        return batch, packing.first(prompts)

    def _rotaries(self, hidden_TD: Tensor, packing: Packing) -> dict[str, Rotary]:
        """The rotary table of each kind of layer that the model has."""
        tables: dict[str, Rotary] = {}
        kinds = sorted({block.kind for block in self.blocks})
        by_kind = hasattr(self.model.rotary_emb, "layer_types")
        for kind in kinds:
            if by_kind or not tables:
                extra = (kind,) if by_kind else ()
                cos, sin = self.model.rotary_emb(hidden_TD, packing.position_T[None], *extra)
                table = (cos[0][:, None], signed(sin[0])[:, None])
            tables[kind] = table
        return tables

    def _with_prefixes(self, batch: _Batch, index: int, which: int, own_TKE: Tensor) -> Tensor:
        if not batch.prefixes:
            return own_TKE
        return torch.cat([*(prefix[index][which] for prefix in batch.prefixes), own_TKE])

    def _prefix(self, ids: tuple[int, ...], output: int) -> Prefix:
        """Keys and values of a template's opening for the first `output` layers; kept."""
        with self._lock:
            found = self._prefixes.get(ids, [])
            if len(found) >= output:
                return found
        packing = Packing.of([Span((len(ids),))], self.device)
        hidden_TD: Tensor = self.model.embed_tokens(torch.tensor(ids, device=self.device))
        rotaries = self._rotaries(hidden_TD, packing)
        made: Prefix = []
        for block in self.blocks[:output]:
            rotary = rotaries[block.kind]
            input_TD = block.attention_input(hidden_TD)
            k_TKE, v_TKE = block.keys(input_TD, rotary), block.values(input_TD)
            made.append((k_TKE, v_TKE))
            q_THE = block.queries(input_TD, rotary)
            mixed = causal_attention(q_THE, k_TKE, v_TKE, packing.strips[0], block.rule)
            hidden_TD = block.output(hidden_TD, mixed)
        with self._lock:
            self._prefixes[ids] = made
        return made

    @property
    def _trains(self) -> bool:
        return bool(self.model.embed_tokens.weight.requires_grad)


def _drop_auxiliary(batch: _Batch, normal: Packing) -> None:
    """Go on with the normal rows alone; the states were cut in the layer where CP acted."""
    cut = normal.tokens
    keep_P = batch.placeholder_P < cut
    batch.placeholder_P, batch.source_P = batch.placeholder_P[keep_P], batch.source_P[keep_P]
    batch.rotaries = {k: (cos[:cut], sin[:cut]) for k, (cos, sin) in batch.rotaries.items()}
    batch.packing = normal
