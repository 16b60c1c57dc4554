"""An encoder that is being tuned: texts to vectors by the encoder's own definition, with gradients.

Legend: `N` texts, `D` components.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from embedder import batching
from embedder.config import EncoderConfig, Kind
from embedder.encoder import Encoder
from embedder.errors import InvalidConfig
from embedder.memory import Shortage
from embedder.prompting import PromptedTexts, Prompting
from embedder.specification import EncoderSpecification
from embedder.tuning.lora import find_targets, put_lora
from embedder.tuning.ranks import Ranks
from embedder.tuning.settings import TuningSettings, training_config, tuned_config
from embedder.tuning.trained_backbone import trained_backbone


@dataclass(frozen=True, slots=True)
class Prompted:
    """Texts in their prompts, ready to go through the model: those of one batch, in its order."""

    parts: dict[Kind, PromptedTexts]
    place: list[tuple[Kind, int]]
    """For each text its kind, and its index among the texts of that kind."""
    config: EncoderConfig

    @property
    def costs(self) -> list[int]:
        """For each text the tokens that are computed."""
        costs = {kind: part.costs for kind, part in self.parts.items()}
        return [costs[kind][index] for kind, index in self.place]

    @property
    def tokens(self) -> int:
        """Tokens of all texts, without their prompts."""
        return sum(sum(part.tokens) for part in self.parts.values())

    @property
    def truncated(self) -> int:
        """How many texts were cut."""
        return sum(sum(part.truncated) for part in self.parts.values())


class TrainableEncoder:
    """A base encoder with what is trained on it: a LoRA adapter, or all of its weights.

    Args:
        base: the encoder to begin with.
        settings: what is trained, and how texts are read meanwhile.
        device: where to run; None takes CUDA if there is one, else the CPU.

    Raises:
        InvalidConfig: the settings do not fit the model.
        EmbedderError: see `Encoder`.
    """

    def __init__(
        self, base: EncoderSpecification, settings: TuningSettings, *, device: str | None = None
    ) -> None:
        lora = settings.method == "lora"
        if lora and base.config.adapter is not None:
            raise InvalidConfig(
                f"encoder {base.name!r} has an adapter already ({base.config.adapter}), and no "
                "encoder has two; tune its base model, or all weights (--full), into which the "
                "adapter is then added"
            )
        self.config = tuned_config(base.config, settings)
        """How the encoder that is made reads texts."""
        self.training = training_config(self.config, settings)
        """How texts are read in training."""
        self.layers = base.files.layers
        for config in (self.config, self.training):
            replace(base, config=config)  # which checks that they fit the model
        on_cuda = (device or ("cuda" if torch.cuda.is_available() else "cpu")).startswith("cuda")
        self.half = settings.compute == "bfloat16" or (
            settings.compute == "auto" and _pays(on_cuda)
        )
        """Whether products are computed in bfloat16."""
        frozen_half = lora and self.half and on_cuda
        loaded: dict[str, Any] = {"dtype": "bfloat16" if frozen_half else "float32"}
        if not lora and self.config.adapter is not None:
            loaded |= {"merge_adapter": True}
        encoder = Encoder(
            replace(base, config=self.config.model_copy(update=loaded)), device=device
        )
        self.model: Any = encoder.backbone.model
        self.lora: Any = None
        if lora:
            output = max(c.resolve_output_layer(self.layers) for c in (self.config, self.training))
            self.lora = put_lora(
                self.model,
                find_targets(self.model, output, settings.lora_modules),
                rank=settings.lora_rank,
                alpha=settings.lora_alpha,
                dropout=settings.lora_dropout,
                seed=settings.seed,
            )
        else:
            self.model.requires_grad_(True)
        self.backbone = trained_backbone(
            encoder.backbone, recompute=settings.gradient_checkpointing
        )
        self._settings = settings
        self._tokenizer_json = encoder.tokenizer_json
        self._encoder = encoder
        self._promptings: dict[tuple[bool, Kind], Prompting] = {}

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.backbone.device

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that are trained, by their names in the model."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def prompted(
        self, texts: Sequence[str], kinds: Sequence[Kind], *, training: bool = True
    ) -> Prompted:
        """Put texts into the prompts of their kinds.

        Raises:
            InvalidText: a text is no string, or not valid Unicode.
        """
        of_kind: dict[Kind, list[str]] = {}
        place = []
        for text, kind in zip(texts, kinds, strict=True):
            own = of_kind.setdefault(kind, [])
            place.append((kind, len(own)))
            own.append(text)
        parts = {
            kind: self._prompting(kind, training=training).tokenize(own)
            for kind, own in of_kind.items()
        }
        return Prompted(parts, place, self.training if training else self.config)

    def embed(self, prompted: Prompted, texts: Sequence[int]) -> Tensor:
        """Vectors of some of the texts, float32 (N, D), not normalised, in the order given."""
        done: list[Tensor] = []
        order: list[int] = []
        for kind, part in prompted.parts.items():
            own = [i for i in texts if prompted.place[i][0] == kind]
            if not own:
                continue
            rows, auxiliary = part.rows([prompted.place[i][1] for i in own])
            prompts = len(part.normal)
            with self._products():
                pooled = self.backbone.forward(rows, prompted.config, auxiliary, prompts=prompts)
            done.append(pooled.view(prompts, len(own), -1).mean(0))
            order += own
        vectors_ND = torch.cat(done)
        if order == list(texts):
            return vectors_ND
        at = {text: index for index, text in enumerate(order)}
        return vectors_ND[torch.tensor([at[i] for i in texts], device=vectors_ND.device)]

    def encode(self, texts: Sequence[str], kind: Kind = "document", *, ranks: Ranks) -> Tensor:
        """Vectors as the encoder that is made would give them now, float32 (N, D) on the device.

        Not normalised. The texts are shared among the processes; each gets all vectors.
        """
        prompted = self.prompted(texts, [kind] * len(texts), training=False)
        costs = prompted.costs
        order = sorted(range(len(texts)), key=lambda i: (-costs[i], i))
        own = ranks.share(order)
        budget = batching.CUDA_TOKEN_BUDGET if self.device.type == "cuda" else batching.TOKEN_BUDGET
        memory = Shortage()
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                parts = [
                    self._halving(prompted, [own[i] for i in batch], memory)
                    for batch in batching.by_token_budget([costs[i] for i in own], budget)
                ]
        finally:
            self.model.train(was_training)
        # By cost, then by index, is the order in which `by_token_budget` deals them out.
        return ranks.gather(torch.cat(parts), order)

    # -- inside ------------------------------------------------------------------------------

    def _halving(self, prompted: Prompted, texts: list[int], memory: Shortage) -> Tensor:
        done: list[Tensor] = []
        with memory.tolerated(len(texts)):
            done.append(self.embed(prompted, texts))
        if done:
            return done[0]
        half = len(texts) // 2
        parts = [self._halving(prompted, p, memory) for p in (texts[:half], texts[half:])]
        return torch.cat(parts)

    def _prompting(self, kind: Kind, *, training: bool) -> Prompting:
        if not training:
            return self._encoder.prompting(kind)
        key = (training, kind)
        if key not in self._promptings:
            from embedder.loading import leading_special_ids

            tokenizer = self._tokenizer()
            bos = leading_special_ids(tokenizer)
            self._promptings[key] = Prompting(tokenizer, bos=bos, config=self.training, kind=kind)
        return self._promptings[key]

    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        from embedder.tokens import plain

        return plain(Tokenizer.from_str(self._tokenizer_json))

    @contextmanager
    def _products(self) -> Iterator[None]:
        """Products in bfloat16, where that was chosen."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            yield


def _pays(on_cuda: bool) -> bool:
    """Whether this device multiplies bfloat16 faster than float32."""
    if on_cuda:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu: Any = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())
