"""Cosines of sentence pairs under many settings of one loaded model: every output layer at once.

One pass over the texts is enough for all output layers and all poolings: an observer looks on while
the layers run. Both sentences of a pair stand in the same batch, so that only their cosines are
kept: a pass keeps layers x poolings x N numbers, and never the states of more than one batch.

What the auxiliary prompts of Contrastive Prompting feed into `o_proj` does not depend on the normal
prompts. It is recorded once, and serves every layer, mode and strength.

Legend: see `embedder.packing`; `O` output layers, `P` poolings, `N` pairs, `B` pairs of a batch,
`H` heads, `E` head size. Texts are numbered: the pairs' first sentences, then their second ones.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from embedder import batching
from embedder.backbone import Backbone
from embedder.calibration_grid import require_layer_loop
from embedder.config import EncoderConfig, Pooling
from embedder.encoder import Encoder
from embedder.errors import InvalidConfig
from embedder.loading import leading_special_ids
from embedder.memory import Shortage
from embedder.pair_observers import POOLINGS, Reading, Recording, pair_cosines
from embedder.precision import Float32
from embedder.prompting import PromptedTexts, Prompting, check_positions
from embedder.scored_pairs import ScoredPairs
from embedder.tokens import Tokenized, plain


class PairReader:
    """Reads pairs with an encoder's model under settings other than its own.

    Args:
        encoder: model and tokenizer.
        pairs: the pairs; both sentences are put into the documents' prompts.

    Raises:
        UnsupportedArchitecture: see `require_layer_loop`.
    """

    def __init__(self, encoder: Encoder, pairs: ScoredPairs) -> None:
        require_layer_loop(encoder.specification)
        backbone = encoder.backbone
        if not isinstance(backbone, Backbone):
            raise TypeError(f"{type(backbone).__name__} is not the layer loop")
        self._backbone = backbone
        self._tokenizer = plain(Tokenizer.from_str(encoder.tokenizer_json))
        self._bos = leading_special_ids(self._tokenizer)
        self._texts = [*pairs.first, *pairs.second]
        self._pairs = len(pairs)
        self._recorded_rows: list[Tokenized] = []
        self._recorded: dict[int, Tensor] = {}

    @property
    def layers(self) -> int:
        """How many layers the model has."""
        return len(self._backbone.layers)

    def fits(self, config: EncoderConfig) -> bool:
        """Whether the settings' prompts leave room for text and find positions in the model."""
        try:
            self._prompting(config)
        except InvalidConfig:
            return False
        return True

    def texts_cut(self, config: EncoderConfig) -> int:
        """How many sentences are too long for the settings' prompts."""
        return sum(self._prompting(config).tokenize(self._texts).truncated)

    def cosines(self, config: EncoderConfig) -> Float32:
        """Cosine of each pair (N,), as an `Encoder` with these settings gives it in float32.

        Raises:
            InvalidConfig, InvalidText, TextTooLong: see `Prompting`.
        """
        prompted = self._prompting(config).tokenize(self._texts)
        cosine_N = np.empty(self._pairs, dtype=np.float32)

        def read(pairs: list[int]) -> None:
            rows, auxiliary = prompted.rows(self._texts_of(pairs))
            prompts = len(prompted.normal)
            pooled_SD = self._backbone.forward(rows, config, auxiliary, prompts=prompts)
            cosine_N[pairs] = pair_cosines(pooled_SD, prompts, config.dimensions)

        self._in_batches(prompted.costs, read)
        return cosine_N

    def read(self, config: EncoderConfig) -> Float32:
        """Cosines at every output layer and with every pooling, in one pass: (O, P, N).

        Row o is output layer o + 1, column p is `POOLINGS[p]`. Which of these cells the settings
        allow is the caller's business: at and below CP's layer they are those without CP. The
        settings' own output layer and pooling do not matter.

        With CP the auxiliary prompts run only if their rows or the layer are not `record`ed yet.

        Raises:
            InvalidConfig, InvalidText, TextTooLong: see `Prompting`.
            ValueError: CP in a shared context, or TP on the auxiliary prompt, whose states do
                depend on the normal prompt.
        """
        cp = config.contrastive_prompting
        prompted = self._prompting(config).tokenize(self._texts)
        normal = PromptedTexts(prompted.normal, [])
        if cp is not None:
            _require_independent(config)
            self._ensure(prompted.auxiliary[0], {cp.layer})
        # A mean over whole rows shares no opening among rows: the pass must not either.
        pooling: Pooling = "mean" if config.pool_prompt else "last"
        whole = config.model_copy(update={"output_layer": -1, "pooling": pooling})
        cosine_OPN = np.empty((self.layers, len(POOLINGS), self._pairs), dtype=np.float32)

        def read(pairs: list[int]) -> None:
            texts = self._texts_of(pairs)
            rows, _ = normal.rows(texts)
            states_SHE = None
            if cp is not None:
                states_SHE = self._recorded[cp.layer][texts].to(self._backbone.device)
            observer = Reading(rows, config, len(normal.normal), pairs, cosine_OPN)
            self._backbone.forward(
                rows,
                whole,
                prompts=observer.prompts,
                observer=observer,
                auxiliary_SHE=states_SHE,
            )

        self._in_batches(normal.costs, read)
        return cosine_OPN

    def record(self, config: EncoderConfig, layers: Collection[int]) -> None:
        """Run the settings' auxiliary prompts once and keep what they say at these layers.

        It takes layers x 2N x hidden size numbers in the model's number format, in main memory: 12
        layers of 750 pairs at 4096 components in bfloat16 are 147 MB.

        Raises:
            ValueError: see `read`.
        """
        _require_independent(config)
        self._ensure(self._prompting(config).tokenize(self._texts).auxiliary[0], layers)

    # -- inside ------------------------------------------------------------------------------

    def _prompting(self, config: EncoderConfig) -> Prompting:
        prompting = Prompting(self._tokenizer, bos=self._bos, config=config, kind="document")
        check_positions(prompting.longest_row, config, self._backbone.max_positions)
        return prompting

    def _ensure(self, auxiliary: list[Tokenized], layers: Collection[int]) -> None:
        """Have the auxiliary rows' states at these layers.

        A template of another length may cut long texts elsewhere, which makes other rows.
        """
        if auxiliary != self._recorded_rows:
            self._recorded_rows, known = auxiliary, set(self._recorded)
            self._recorded = {}
            layers = known | set(layers)
        missing = set(layers) - set(self._recorded)
        if not missing:
            return
        prompted = PromptedTexts([auxiliary], [])
        plain_config = EncoderConfig(output_layer=max(missing) + 1)
        made: dict[int, Tensor] = {}

        def read(pairs: list[int]) -> None:
            texts = self._texts_of(pairs)
            rows, _ = prompted.rows(texts)
            observer = Recording(missing)
            self._backbone.forward(rows, plain_config, observer=observer)
            for layer, last_SHE in observer.states.items():
                if layer not in made:
                    made[layer] = last_SHE.new_empty(len(self._texts), *last_SHE.shape[1:])
                made[layer][texts] = last_SHE

        self._in_batches(prompted.costs, read)
        self._recorded |= made

    def _texts_of(self, pairs: Sequence[int]) -> list[int]:
        return [*pairs, *(self._pairs + i for i in pairs)]

    def _in_batches(self, costs: Sequence[int], read: Callable[[list[int]], None]) -> None:
        """Run over all pairs; a batch that is too much for the device is halved."""
        memory = Shortage()
        on_cuda = self._backbone.device.type == "cuda"
        budget = batching.CUDA_TOKEN_BUDGET if on_cuda else batching.TOKEN_BUDGET
        both = [costs[i] + costs[self._pairs + i] for i in range(self._pairs)]

        def halving(pairs: list[int]) -> None:
            done = False
            with memory.tolerated(len(pairs)):
                read(pairs)
                done = True
            if not done:
                halving(pairs[: len(pairs) // 2])
                halving(pairs[len(pairs) // 2 :])

        with torch.inference_mode():
            for batch in batching.by_token_budget(both, budget):
                halving(batch)


def _require_independent(config: EncoderConfig) -> None:
    tp, cp = config.token_prepending, config.contrastive_prompting
    if cp is None or cp.shared_context or (tp is not None and tp.on_auxiliary):
        raise ValueError(f"the auxiliary prompt's states cannot be recorded alone; CP: {cp}")
