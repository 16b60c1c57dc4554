"""The fallback for decoders whose layers the layer loop does not know: transformers' own forward.

The rows go through the model as it is, padded on the right into one batch, and hooks do the rest:
TP, CP and the early exit happen to the inputs of its modules, whatever is inside them. It is right
but slower than `embedder.backbone`: padding is computed, and the output layer for every token.

Legend: `S` rows, `L` the longest one, `T` = S * L cells, of which a row's token is `row * L +
column`; `H` heads, `E` head size, `X` = H * E, `D` hidden size, `P` placeholder tokens.
"""

import inspect
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from embedder.backbone import longest_row, seeded_placeholder
from embedder.config import EncoderConfig
from embedder.contrastive_prompting import contrast
from embedder.decoder_parts import (
    attention_of,
    check_causal,
    decoder_layers,
    final_states,
    projection_of,
    unsupported,
)
from embedder.pooling import needs_attention, pool
from embedder.token_prepending import prepend_last_state
from embedder.tokens import PLACEHOLDER_ID, Row

_log = logging.getLogger(__name__)
_Change = tuple[nn.Module, Callable[[Tensor], Tensor]]
"""A module, and what happens to its first input."""


class _Reached(Exception):
    """Raised by a hook, with the states that a pass was for."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows padded on the right, where the causal mask hides what is put in; indices are of cells.

    Placeholder p takes over the state of token `source_P[p]`.
    """

    ids_SL: Tensor
    mask_SL: Tensor
    last_S: Tensor
    placeholder_P: Tensor
    source_P: Tensor

    @classmethod
    def of(
        cls, rows: Sequence[Row], device: torch.device, *, normal: int | None = None
    ) -> "_Batch":
        """Lay rows side by side; of several times `normal` rows all listen to the first ones."""
        length_S = torch.tensor([len(row.ids) for row in rows], device=device)
        longest = int(length_S.max())
        padded = [[*row.ids, *[0] * (longest - len(row.ids))] for row in rows]
        ids_SL = torch.tensor(padded, dtype=torch.int64, device=device)
        last_S = torch.arange(len(rows), device=device) * longest + length_S - 1
        placeholder_P = (ids_SL == PLACEHOLDER_ID).flatten().nonzero().squeeze(1)
        source_P = last_S[placeholder_P // longest % (normal or len(rows))]
        mask_SL = (torch.arange(longest, device=device) < length_S[:, None]).long()
        return cls(ids_SL, mask_SL, last_S, placeholder_P, source_P)


class HookedBackbone:
    """A loaded decoder of any architecture. Threads may share it; it serves one at a time.

    Args:
        model: a transformers decoder, in eval mode; its head, if it has one, is left out.
        placeholder_D: initial embedding of the placeholder token, shape (D,); by default
            `seeded_placeholder`.

    Raises:
        UnsupportedArchitecture: the model is no decoder, or not built as decoders are.
    """

    def __init__(self, model: PreTrainedModel, *, placeholder_D: Tensor | None = None) -> None:
        decoder: Any = model
        self.model: Any = decoder.base_model
        config: Any = self.model.config
        takes = set(inspect.signature(self.model.forward).parameters)
        if config.is_encoder_decoder or not {"inputs_embeds", "attention_mask"} <= takes:
            problem = "is an encoder with a decoder, or takes no inputs_embeds and attention_mask"
            raise unsupported(self.model, problem)
        self.layers: list[Any] = decoder_layers(self.model)
        self.dimension: int = config.hidden_size
        self.heads: int = config.num_attention_heads
        self._embedding: Any = self.model.get_input_embeddings()
        if self._embedding.weight.shape[1] != self.dimension:
            raise unsupported(self.model, "has embeddings and layers of different sizes")
        check_causal(self.model)
        default_D = seeded_placeholder(self._embedding)
        self._placeholder_D = default_D if placeholder_D is None else placeholder_D
        # Hooks sit on the modules: without a lock, one thread's would steer another's rows.
        self._lock = threading.Lock()
        _log.warning(
            "model type %r is not covered by the layer loop; encoding through hooks: right, but "
            "slower",
            config.model_type,
        )

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self._embedding.weight.device
        return device

    @property
    def max_positions(self) -> int:
        """The longest row the model was made for, in tokens; `sys.maxsize` if it states none."""
        return longest_row(self.model.config)

    def placeholder(self) -> Tensor:
        """Initial embedding of the placeholder token, (D,)."""
        return self._placeholder_D

    def forward(
        self,
        rows: Sequence[Row],
        config: EncoderConfig,
        auxiliary: Sequence[Row] = (),
        *,
        prompts: int = 1,
    ) -> Tensor:
        """Encode rows; returns the pooled states, float32 (S, D) or (S, 2D), not normalised.

        The arguments mean what they mean to `Backbone.forward`.

        Raises:
            UnsupportedArchitecture: the settings need a part that the model does not have.
        """
        output = config.resolve_output_layer(len(self.layers))
        cp = config.contrastive_prompting
        wanted = 0 if cp is None else len(rows) // (1 if cp.shared_context else prompts)
        if len(auxiliary) != wanted:
            raise ValueError(f"{len(auxiliary)} auxiliary rows came, {wanted} are needed; CP: {cp}")
        batch = _Batch.of(rows, self.device)
        changes = self._prepend(batch, config, output)
        weights: list[Tensor] = []
        with self._lock, ExitStack() as undo:
            if needs_attention(config.pooling):
                # Fused kernels never form the weights. Not for good, lest a vector depend, by its
                # rounding, on what was encoded before it.
                used = self.model.config._attn_implementation
                undo.callback(self.model.set_attn_implementation, used)
                self.model.set_attn_implementation("eager")
                undo.enter_context(self._watch(output - 1, batch, weights))
            if cp is not None:
                changes.append(self._steer(rows, config, auxiliary, batch))
            if output < len(self.layers):
                changes.append((self.layers[output], _stop))
            hidden_SLD = self._run(batch, changes)
        whole = config.pool_prompt
        spans = [(0, len(r.ids)) if whole else (r.text_start, r.text_end) for r in rows]
        first_S = torch.arange(len(rows), device=self.device) * batch.ids_SL.shape[1]
        low_S, high_S = torch.tensor(spans, device=self.device).T + first_S
        attention_T = weights[0] if weights else None
        hidden_TD = hidden_SLD.flatten(0, 1)
        return pool(hidden_TD, batch.last_S, low_S, high_S, config.pooling, attention_T=attention_T)

    # -- passes and what happens in them -----------------------------------------------------

    def _run(self, batch: _Batch, changes: Sequence[_Change]) -> Tensor:
        """One forward with these changes: the states that stopped it, or the final-normed ones."""
        embedded_SLD: Tensor = self._embedding(batch.ids_SL.clamp_min(0))
        if len(batch.placeholder_P):
            embedded_TD = embedded_SLD.flatten(0, 1)
            vector_PD = self._placeholder_D.to(embedded_TD).expand(len(batch.placeholder_P), -1)
            embedded_TD = embedded_TD.index_copy(0, batch.placeholder_P, vector_PD)
            embedded_SLD = embedded_TD.view_as(embedded_SLD)
        with ExitStack() as hooks:
            for module, change in changes:
                hooks.enter_context(_before(module, change))
            try:
                final_SLD = final_states(self.model, embedded_SLD, batch.mask_SL)
            except _Reached as reached:
                states_SLD: Tensor = reached.args[0]
                return states_SLD
        if missed := [module for module, change in changes if change is _stop]:
            problem = f"does not call its {type(missed[0]).__name__} as a module"
            remedy = "switch contrastive_prompting off, and use output_layer -1"
            raise unsupported(self.model, problem, remedy)
        return final_SLD

    def _prepend(self, batch: _Batch, config: EncoderConfig, end: int) -> list[_Change]:
        """TP before the layers of its range that are below `end`."""
        tp = config.token_prepending
        if tp is None or not len(batch.placeholder_P):
            return []

        def prepend(hidden_SLD: Tensor) -> Tensor:
            hidden_TD = hidden_SLD.flatten(0, 1)
            copied_TD = prepend_last_state(hidden_TD, batch.placeholder_P, batch.source_P)
            return copied_TD.view_as(hidden_SLD)

        return [(self.layers[index], prepend) for index in range(tp.start, min(tp.exit, end))]

    def _steer(
        self, rows: Sequence[Row], config: EncoderConfig, auxiliary: Sequence[Row], batch: _Batch
    ) -> _Change:
        """CP in front of its layer's projection; runs the auxiliary rows up to there."""
        cp: Any = config.contrastive_prompting
        projection = projection_of(self.model, self.layers[cp.layer], cp.layer)
        if cp.shared_context and config.token_prepending is not None:
            # Their placeholder holds the normal prompt's last state, so normal rows come along.
            others = _Batch.of([*rows, *auxiliary], self.device, normal=len(rows))
        else:
            others = _Batch.of(auxiliary, self.device)
        changes = self._prepend(others, config, cp.layer + 1)
        mixed_SLX = self._run(others, [*changes, (projection, _stop)])
        last_S = others.last_S[-len(auxiliary) :]
        auxiliary_SHE = mixed_SLX.flatten(0, -2)[last_S].reshape(len(last_S), self.heads, -1)
        auxiliary_SHE = auxiliary_SHE.repeat(len(rows) // len(auxiliary), 1, 1)

        def steer(mixed_SLX: Tensor) -> Tensor:
            mixed_TX = mixed_SLX.flatten(0, -2)
            normal_SHE = mixed_TX[batch.last_S].reshape(auxiliary_SHE.shape)
            steered_SX = contrast(normal_SHE, auxiliary_SHE, cp).flatten(1)
            return mixed_TX.index_copy(0, batch.last_S, steered_SX).view_as(mixed_SLX)

        return projection, steer

    def _watch(self, index: int, batch: _Batch, weights: list[Tensor]) -> RemovableHandle:
        """Put the last tokens' attention in a layer, mean over heads, (T,), into `weights`."""
        rows, longest = batch.ids_SL.shape
        row_S, column_S = torch.arange(rows, device=self.device), batch.last_S % longest

        def watch(module: nn.Module, args: Any, outputs: Any) -> None:
            for part in outputs if isinstance(outputs, tuple) else ():
                if isinstance(part, Tensor) and part.shape == (rows, self.heads, longest, longest):
                    weights.append(part[row_S, :, column_S].mean(1).flatten())
                    return
            remedy = "use another pooling than attention_weighted_mean"
            raise unsupported(self.model, "does not give its attention weights", remedy)

        return attention_of(self.model, self.layers[index], index).register_forward_hook(watch)


def _before(module: nn.Module, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Put a change in front of a module, on its first input, however that is passed."""

    def hook(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _stop(states: Tensor) -> Tensor:
    raise _Reached(states)
