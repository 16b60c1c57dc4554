"""Where the last token looks: its attention, shared out on prompt, content and function words.

The last token's state is the vector, so its attention says what the vector is made of. In a model
that was never tuned most of it goes to the first token and to the prompt; contrastive tuning moves
it to the words that carry the meaning (arXiv 2507.22729, attention analysis). The measure is that
paper's: last query, mean over heads, without BOS, so that all other shares sum to 1.

Weights are read off the layer loop while it encodes, Token Prepending and Contrastive Prompting
included, in every layer that the encoder runs: "the last layer" is the one below its output layer.
Rows are laid out whole here, as the openings that rows share otherwise lie outside of them.

Legend: see `embedder.packing`; `N` tokens of one row, `L` layers that run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from embedder import batching
from embedder.backbone import Backbone
from embedder.config import Kind
from embedder.encoder import Encoder
from embedder.errors import InvalidText, UnsupportedArchitecture
from embedder.evaluation.function_words import is_function_word
from embedder.evaluation.surfaces import surfaces, words
from embedder.loading import leading_special_ids
from embedder.memory import Shortage
from embedder.model_files import ARCHITECTURES
from embedder.packing import Packing
from embedder.precision import Float32
from embedder.prompting import PromptedTexts
from embedder.specification import EncoderSpecification
from embedder.tokens import PLACEHOLDER_ID, Row, plain

Role = Literal["bos", "prompt", "placeholder", "content", "function", "punctuation"]
"""What a token is: the model's own first token, the template, Token Prepending's placeholder, or
of the text a content word, a function word, or neither letter nor digit."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)
SHARED: Final[tuple[Role, ...]] = ROLES[1:]
"""The roles among which attention without BOS is shared out."""
PLACEHOLDER_SHOWN: Final = "<PST>"


@dataclass(frozen=True, slots=True, eq=False)
class RowAttention:
    """One prompt of one text: its tokens, and how the last of them looks at each."""

    tokens: tuple[str, ...]
    """As people read them."""
    ids: tuple[int, ...]
    """Token ids; the placeholder's is `PLACEHOLDER_ID`."""
    roles: tuple[Role, ...]
    weight_LN: Float32
    """Attention of the last token, mean over heads; each layer's sums to 1, BOS included."""

    @property
    def without_bos(self) -> Float32:
        """The same without BOS: its column is 0, the others of a layer sum to 1."""
        kept_N = np.array([role != "bos" for role in self.roles])
        kept_LN = self.weight_LN * kept_N
        total_L1 = kept_LN.sum(axis=1, keepdims=True)
        share_LN: Float32 = kept_LN / np.maximum(total_L1, np.finfo(np.float32).tiny)
        return share_LN

    def by_role(self) -> dict[Role, Float32]:
        """For each role the share of its tokens in each layer, (L,): BOS's of all, others' without.

        The shares of `SHARED` sum to 1.
        """
        share_LN = self.without_bos
        found: dict[Role, Float32] = {}
        for role in ROLES:
            its_N = np.array([own == role for own in self.roles])
            found[role] = (self.weight_LN if role == "bos" else share_LN)[:, its_N].sum(axis=1)
        return found


@dataclass(frozen=True, slots=True)
class AttentionShares:
    """Means over many texts."""

    texts: int
    by_layer: tuple[dict[Role, float], ...]
    """For each layer that runs, from layer 0: the mean share of each role."""

    @property
    def last(self) -> dict[Role, float]:
        """The last layer's: the measure of the paper is its `content`."""
        return self.by_layer[-1]


def require_attention(specification: EncoderSpecification) -> None:
    """Check that a model's attention can be read; needs no weights.

    Raises:
        UnsupportedArchitecture: the model runs outside our own layer loop.
    """
    kind = specification.files.architecture["model_type"]
    if kind not in ARCHITECTURES:
        raise UnsupportedArchitecture(
            f"the attention of a {kind!r} model cannot be read; use one of "
            f"{', '.join(ARCHITECTURES)}"
        )


def read_attention(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    kind: Kind = "document",
    progress: Callable[[int], None] = lambda texts: None,
) -> list[tuple[RowAttention, ...]]:
    """The last token's attention in every prompt of every text, in the order given.

    Args:
        encoder: any that `require_attention` accepts.
        texts: what to encode.
        kind: which prompts to put them in.
        progress: is told how many texts were read, batch by batch.

    Raises:
        UnsupportedArchitecture: see `require_attention`.
        InvalidText, TextTooLong: see `Encoder.encode`.
    """
    require_attention(encoder.specification)
    backbone = encoder.backbone
    if not isinstance(backbone, Backbone):
        raise TypeError(f"{type(backbone).__name__} is not the layer loop")
    tokenizer = plain(Tokenizer.from_str(encoder.tokenizer_json))
    bos = tuple(leading_special_ids(tokenizer))
    prompted = encoder.prompting(kind).tokenize(texts)
    found: list[tuple[RowAttention, ...]] = [()] * len(prompted)
    memory = Shortage()

    def read(batch: list[int]) -> None:
        """One batch; halves itself when the device runs out of memory."""
        rows, auxiliary = prompted.rows(batch)
        whole = [replace(row, prefix=0) for row in rows]
        observer = _Watching([len(row.ids) for row in whole])
        prompts = len(prompted.normal)
        done = False
        with memory.tolerated(len(batch)):
            backbone.forward(whole, encoder.config, auxiliary, prompts=prompts, observer=observer)
            done = True
        if not done:
            read(batch[: len(batch) // 2])
            read(batch[len(batch) // 2 :])
            return
        made = [
            _described(row, weight_LN, tokenizer, bos)
            for row, weight_LN in zip(whole, observer.weights(), strict=True)
        ]
        for place, index in enumerate(batch):
            found[index] = tuple(made[place :: len(batch)])
        progress(len(batch))

    budget = batching.CUDA_TOKEN_BUDGET if backbone.device.type == "cuda" else batching.TOKEN_BUDGET
    with torch.inference_mode():
        for batch in batching.by_token_budget(_whole_costs(prompted), budget):
            read(batch)
    return found


def attention_shares(read: Sequence[tuple[RowAttention, ...]]) -> AttentionShares:
    """Mean shares by layer and role: over the prompts of a text, then over the texts.

    Raises:
        InvalidText: there is no text.
    """
    if not read:
        raise InvalidText("no texts came to share attention out on; give at least one")
    by_text = [
        {role: np.mean([row.by_role()[role] for row in rows], axis=0) for role in ROLES}
        for rows in read
    ]
    means = {role: np.mean([own[role] for own in by_text], axis=0) for role in ROLES}
    layers = len(means["content"])
    return AttentionShares(
        len(read),
        tuple({role: float(means[role][layer]) for role in ROLES} for layer in range(layers)),
    )


# -- inside ----------------------------------------------------------------------------------


class _Watching:
    """An observer of the layer loop that keeps every layer's weights, in main memory."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self._lengths = lengths
        self._weight_T: Tensor | None = None
        self._layers: list[list[Float32]] = []

    def attention(self, layer: int, last_SHE: Tensor, weight_T: Tensor) -> None:
        """Keep the weights until it is known where each row lies."""
        self._weight_T = weight_T

    def hidden(self, output_layer: int, hidden_TD: Tensor, packing: Packing) -> None:
        """Cut them into rows."""
        if self._weight_T is None:
            raise RuntimeError(f"layer {output_layer - 1} showed no attention")
        weight_T = self._weight_T.float().cpu().numpy()
        starts = packing.start_S.tolist()
        self._layers.append(
            [weight_T[at : at + n] for at, n in zip(starts, self._lengths, strict=True)]
        )

    def weights(self) -> list[Float32]:
        """For each row its weights, (L, N)."""
        return [np.stack(layers) for layers in zip(*self._layers, strict=True)]


def _whole_costs(prompted: PromptedTexts) -> list[int]:
    """For each text the tokens of all its rows, openings included."""
    rows = [*prompted.normal, *prompted.auxiliary]
    return [sum(len(t.row.ids) for t in own) for own in zip(*rows, strict=True)]


def _described(
    row: Row, weight_LN: Float32, tokenizer: Tokenizer, bos: tuple[int, ...]
) -> RowAttention:
    """A row's tokens with their texts and roles."""
    leading = len(bos) if row.ids[: len(bos)] == bos else 0
    ids = row.ids
    real = [i for i in ids if i != PLACEHOLDER_ID]
    pieces = iter(surfaces(tokenizer, real))
    own = [PLACEHOLDER_SHOWN if i == PLACEHOLDER_ID else next(pieces) for i in ids]
    # The placeholder stands in no word; words are those of what is read around it.
    of_real = iter(words([p for p, i in zip(own, ids, strict=True) if i != PLACEHOLDER_ID]))
    roles: list[Role] = []
    for place, identifier in enumerate(ids):
        if identifier == PLACEHOLDER_ID:
            roles.append("placeholder")
            continue
        word = next(of_real)
        if place < leading:
            roles.append("bos")
        elif not row.text_start <= place < row.text_end:
            roles.append("prompt")
        elif word is None:
            roles.append("punctuation")
        else:
            roles.append("function" if is_function_word(word) else "content")
    shown = [
        str(tokenizer.id_to_token(identifier)) if place < leading else piece
        for place, (identifier, piece) in enumerate(zip(ids, own, strict=True))
    ]
    return RowAttention(tuple(shown), ids, tuple(roles), weight_LN)
