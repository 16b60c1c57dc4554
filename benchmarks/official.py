"""The official procedure of TP and CP, written anew on today's transformers, as the one to beat.

It does what the papers' published code does (github.com/fuyuchenIfyw/token_prepending and
zifengcheng/CP): an `AutoModelForCausalLM`, fixed batches of 16 in the order given, padded on the
left to the longest; TP by writing the last position's state into the placeholder before each layer
of its range; CP by an auxiliary pass first, and a swap in front of `o_proj` in the normal pass,
which runs all layers, the language-model head over all positions, the cache, and records every
hidden state.

Where the published code does more than the papers need, this one does less, so that it is never
slower for our own doing: the auxiliary pass ends in front of the CP layer's `o_proj` (theirs goes
through that layer, the final norm and the language-model head); logits are not copied to float32;
no gradients are recorded in the auxiliary pass; attention is the fused kernel; the placeholder
takes the blank before it into its own token (theirs leaves one token more). The placeholder's first
vector, random in theirs, is ours, so that the two can be compared.

Legend: `B` texts in the batch, `L` positions, `D` hidden size, `X` width of `o_proj`'s input.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from embedder.backbone import seeded_placeholder
from embedder.config import ContrastMode
from embedder.prompts import PLACEHOLDER, find_auxiliary, find_template

BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialSettings:
    """What the official scripts take as arguments."""

    output_layer: int
    """Index into hidden states; may count from the end."""
    tp: tuple[int, int] | None = None
    """Starting and exiting (exclusive) layer of TP."""
    cp_layer: int | None = None
    mode: ContrastMode = "norm"
    coefficient: float = 1.0


class OfficialModel:
    """A causal language model under the two interventions.

    Args:
        model: transformers' causal language model in eval mode.
        settings: layers and modes.
        placeholder: id of the placeholder token; not used without TP.
    """

    def __init__(self, model: Any, settings: OfficialSettings, *, placeholder: int = -1) -> None:
        self.model = model
        self.settings = settings
        self.placeholder = placeholder

    @torch.inference_mode()
    def embed(
        self,
        ids_BL: Tensor,
        mask_BL: Tensor,
        auxiliary: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Embeddings of one left-padded batch, (B, D), in the model's dtype, not normalised.

        Args:
            ids_BL: int64, the normal prompts.
            mask_BL: int64, 1 at tokens, 0 at padding.
            auxiliary: ids and mask of the auxiliary prompts; needed with CP.
        """
        hooks = []
        if self.settings.tp is not None:
            hooks += self._token_prepending(ids_BL)
        if self.settings.cp_layer is not None:
            if auxiliary is None:
                raise ValueError("CP needs the auxiliary prompts' ids and mask")
            hooks.append(self._contrast(self._at_output_projection(*auxiliary)))
        with _hooked(hooks):
            output = self.model(
                input_ids=ids_BL,
                attention_mask=mask_BL,
                use_cache=True,
                output_hidden_states=True,
                return_dict=True,
            )
        embeddings_BD: Tensor = output.hidden_states[self.settings.output_layer][:, -1]
        return embeddings_BD

    def _token_prepending(self, ids_BL: Tensor) -> list[tuple[Any, Any]]:
        row_P, column_P = (ids_BL == self.placeholder).nonzero(as_tuple=True)

        def prepend(module: Any, args: tuple[Tensor, ...]) -> None:
            # In place, as theirs is: it spares a copy, and nobody reads that position again.
            args[0][row_P, column_P] = args[0][row_P, -1]

        start, exit_layer = self.settings.tp or (0, 0)
        return [(layer, prepend) for layer in self.model.model.layers[start:exit_layer]]

    def _at_output_projection(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """What the auxiliary prompts feed into `o_proj` at their last position."""
        found: list[Tensor] = []

        def stop(module: Any, args: tuple[Tensor, ...]) -> None:
            found.append(args[0][:, -1].clone())
            raise _Reached

        with _hooked([(self._output_projection(), stop)]):
            try:
                self.model.model(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False)
            except _Reached:
                return found[0]
        raise RuntimeError(f"layer {self.settings.cp_layer} has not called its o_proj")

    def _contrast(self, auxiliary_BX: Tensor) -> tuple[Any, Any]:
        def swap(module: Any, args: tuple[Tensor, ...]) -> None:
            args[0][:, -1] = self._steer(args[0][:, -1].clone(), auxiliary_BX)

        return self._output_projection(), swap

    def _steer(self, normal_BX: Tensor, auxiliary_BX: Tensor) -> Tensor:
        mode, coefficient = self.settings.mode, self.settings.coefficient
        if mode == "sub_head_norm":
            heads = self.model.config.num_attention_heads
            normal_BX = normal_BX.reshape(len(normal_BX), heads, -1)
            auxiliary_BX = auxiliary_BX.reshape(len(auxiliary_BX), heads, -1)
        difference_BX = normal_BX - auxiliary_BX
        if mode == "scaled":
            return coefficient * difference_BX
        wanted = torch.linalg.vector_norm(normal_BX, dim=-1, keepdim=True)
        present = torch.linalg.vector_norm(difference_BX, dim=-1, keepdim=True)
        recovered_BX: Tensor = difference_BX * (wanted / (present + 1e-7))
        if mode == "sub_head_norm":
            return recovered_BX.flatten(1)
        return coefficient * recovered_BX if mode == "scaled_norm" else recovered_BX

    def _output_projection(self) -> Any:
        return self.model.model.layers[self.settings.cp_layer].self_attn.o_proj


class OfficialEncoder:
    """The official procedure from texts to vectors: eol prompt, batches of 16, left padding.

    Args:
        folder: a model folder whose vocabulary has room for one more token than its tokenizer has.
        settings: layers and modes.
        dtype: of weights and activations.
        device: where to run.
    """

    def __init__(
        self, folder: Path, settings: OfficialSettings, *, dtype: torch.dtype, device: str
    ) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.tokenizer.padding_side = "left"
        self.tokenizer.add_tokens([AddedToken(PLACEHOLDER, lstrip=True, normalized=False)])
        placeholder: Any = self.tokenizer.convert_tokens_to_ids(PLACEHOLDER)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        model = model.to(device).eval()
        if placeholder >= model.config.vocab_size:
            raise ValueError(
                f"the placeholder's id is {placeholder}, the model has {model.config.vocab_size} "
                "embeddings; use a model with a spare one"
            )
        embedding = model.get_input_embeddings()
        with torch.no_grad():
            embedding.weight[placeholder] = seeded_placeholder(embedding)
        self.model = OfficialModel(model, settings, placeholder=placeholder)
        self.device = device
        template, auxiliary = find_template("eol"), find_auxiliary("irrelevant")
        # Their prompts are strings with the placeholder in them.
        head = f"{template.head} {PLACEHOLDER}" if settings.tp else template.head
        self._around = (head + template.before, template.after)
        self._around_auxiliary = (auxiliary.head + auxiliary.before, auxiliary.after)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of unit length, float32 (N, D), on the CPU."""
        parts = []
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            auxiliary = None
            if self.model.settings.cp_layer is not None:
                auxiliary = self._tokens(batch, self._around_auxiliary)
            ids_BL, mask_BL = self._tokens(batch, self._around)
            parts.append(self.model.embed(ids_BL, mask_BL, auxiliary).float().cpu())
        return torch.nn.functional.normalize(torch.cat(parts), dim=-1)

    def _tokens(self, texts: Sequence[str], around: tuple[str, str]) -> tuple[Tensor, Tensor]:
        prompts = [f"{around[0]}{text}{around[1]}" for text in texts]
        batch = self.tokenizer(prompts, return_tensors="pt", padding=True)
        return batch["input_ids"].to(self.device), batch["attention_mask"].to(self.device)


class _Reached(Exception):
    """The auxiliary pass has given all that is asked of it."""


@contextmanager
def _hooked(hooks: list[tuple[Any, Any]]) -> Iterator[None]:
    """Forward pre-hooks for the time of one pass."""
    handles = [module.register_forward_pre_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
