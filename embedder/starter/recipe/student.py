"""The starter's shape, its start at a table of token vectors, and its forward pass for training.

The table (`table.py`) alone, averaged over a text, is a fair encoder. The network starts as exactly
that: the read-out is the mean over the text's tokens, every layer adds nothing yet, and RMSNorm,
which would undo the different lengths of the table's vectors, has an epsilon large enough to be
almost linear at their scale. So training can only add to the table.

Token Prepending carries the end of the prompt, which has seen the whole text, to its beginning,
where every token sees it: a causal decoder whose tokens know what follows them.

Legend: `S` rows, `L` columns, `D` hidden size, `H` heads, `E` head size; rows are padded on the
right, where causal attention never looks.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from embedder.backbone import seeded_placeholder
from embedder.blocks import rotate, signed
from embedder.config import EncoderConfig, TokenPrepending
from embedder.starter.recipe.corpus import Rows
from embedder.starter.recipe.tokenizer import BOS, EOS, PAD
from embedder.tokens import PLACEHOLDER_ID

HIDDEN: Final = 384
"""As wide as the teacher's vectors."""
LAYERS: Final = 3
HEADS: Final = 6
INTERMEDIATE: Final = 768
RMS_EPSILON: Final = 1e-2
MAX_POSITIONS: Final = 1024
SETTINGS: Final = EncoderConfig(
    template="<PST> {} means",
    token_prepending=TokenPrepending(start=1, exit=LAYERS),
    pooling="mean",
    dtype="bfloat16",
)
"""How the student is read, in training and afterwards."""


def student_config(tokenizer: Tokenizer) -> LlamaConfig:
    """The architecture."""
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        intermediate_size=INTERMEDIATE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=MAX_POSITIONS,
        rms_norm_eps=RMS_EPSILON,
        bos_token_id=tokenizer.token_to_id(BOS),
        eos_token_id=tokenizer.token_to_id(EOS),
        pad_token_id=tokenizer.token_to_id(PAD),
    )


def build_student(
    tokenizer: Tokenizer, table_VD: npt.NDArray[np.float32], *, seed: int = 0
) -> LlamaModel:
    """A float32 Llama that computes the mean of the table's vectors.

    Args:
        tokenizer: the starter's own.
        table_VD: one vector for each token of its vocabulary.
        seed: of the random matrices.
    """
    torch.manual_seed(seed)
    model: Any = LlamaModel(student_config(tokenizer))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.zero_()
            elif parameter.ndim == 2:
                parameter.normal_(std=HIDDEN**-0.5)
        model.embed_tokens.weight.copy_(torch.from_numpy(table_VD))
    built: LlamaModel = model
    return built


class Student:
    """The forward pass over dense rows: what `embedder.backbone` computes, to train on a CPU."""

    def __init__(self, model: LlamaModel, settings: EncoderConfig = SETTINGS) -> None:
        if settings.token_prepending is None or settings.pooling != "mean":
            raise ValueError("the student is trained with Token Prepending and mean pooling")
        self.model: Any = model
        self._tp = settings.token_prepending

    def vectors(self, rows: Rows, chosen: npt.NDArray[np.int64], *, groups: int = 4) -> Tensor:
        """Mean states of the chosen rows, (S, D) in float32, in the order chosen.

        The rows go through in groups of about equally many tokens, by length, to save padding.
        """
        length = rows.length[chosen]
        order = np.argsort(length, kind="stable")
        total = np.cumsum(length[order])
        edges = np.searchsorted(total, total[-1] * np.arange(1, groups) / groups)
        parts = [part for part in np.split(order, edges) if len(part)]
        placeholder_D = seeded_placeholder(self.model.embed_tokens)
        done_SD = torch.cat([self._dense(rows, chosen[part], placeholder_D) for part in parts])
        back = np.empty_like(order)
        back[np.concatenate(parts)] = np.arange(len(order))
        return done_SD[torch.from_numpy(back)]

    def _dense(self, rows: Rows, chosen: npt.NDArray[np.int64], placeholder_D: Tensor) -> Tensor:
        length = rows.length[chosen]
        columns = np.arange(int(length.max()))
        at = np.minimum(rows.start[chosen][:, None] + columns, len(rows.ids) - 1)
        ids_SL = torch.from_numpy(rows.ids[at].astype(np.int64))
        # It stands at the same place in all rows; past a row's end lie the next row's tokens.
        is_placeholder_L = (ids_SL[0] == PLACEHOLDER_ID) & torch.from_numpy(columns < length[0])
        hidden_SLD = self.model.embed_tokens(ids_SL.clamp_min(0))
        hidden_SLD = torch.where(is_placeholder_L[:, None], placeholder_D, hidden_SLD)
        last_S = torch.from_numpy(length - 1)
        each_S = torch.arange(len(chosen))
        cos_LE, sin_LE = self.model.rotary_emb(hidden_SLD, torch.from_numpy(columns)[None])
        rotary = (cos_LE[0][:, None], signed(sin_LE[0])[:, None])
        for index, layer in enumerate(self.model.layers):
            if self._tp.start <= index < self._tp.exit:
                last_S1D = hidden_SLD[each_S, last_S][:, None]
                hidden_SLD = torch.where(is_placeholder_L[:, None], last_S1D, hidden_SLD)
            hidden_SLD = hidden_SLD + self._attention(layer, hidden_SLD, rotary)
            hidden_SLD = hidden_SLD + layer.mlp(layer.post_attention_layernorm(hidden_SLD))
        hidden_SLD = self.model.norm(hidden_SLD).float()
        inside_SL = torch.from_numpy(
            (columns >= rows.text_start[chosen][:, None])
            & (columns < rows.text_end[chosen][:, None])
        )
        weight_SL = inside_SL / inside_SL.sum(1, keepdim=True).clamp_min(1)
        # A matrix product would be rounded to bfloat16 here.
        mean_SD: Tensor = (weight_SL[:, :, None] * hidden_SLD).sum(1)
        return mean_SD

    @staticmethod
    def _attention(layer: Any, hidden_SLD: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        attention = layer.self_attn
        input_SLD = layer.input_layernorm(hidden_SLD)
        shape = (*input_SLD.shape[:2], -1, attention.head_dim)
        q_SHLE, k_SHLE, v_SHLE = (
            heads_SLHE.transpose(1, 2)
            for heads_SLHE in (
                rotate(attention.q_proj(input_SLD).view(shape), rotary),
                rotate(attention.k_proj(input_SLD).view(shape), rotary),
                attention.v_proj(input_SLD).view(shape),
            )
        )
        mixed_SHLE = F.scaled_dot_product_attention(
            q_SHLE, k_SHLE, v_SHLE, is_causal=True, scale=attention.scaling
        )
        attended_SLD: Tensor = attention.o_proj(mixed_SHLE.transpose(1, 2).flatten(2))
        return attended_SLD
