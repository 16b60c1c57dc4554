"""The encoder: texts in, L2-normalised float32 vectors out, the same vector whatever the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from tqdm import tqdm

from embedder.backbone import Backbone, longest_row
from embedder.batching import TOKEN_BUDGET, by_token_budget
from embedder.config import EncoderConfig
from embedder.errors import InvalidConfig, InvalidText, NonFiniteActivation
from embedder.loading import (
    leading_special_ids,
    load_config,
    load_model,
    load_tokenizer,
    usable_device,
)
from embedder.prompts import Template, find_auxiliary, find_template, normalise_as_papers
from embedder.specification import EncoderSpecification, specify
from embedder.tokens import PromptTokenizer, Tokenized, check_texts

Kind = Literal["document", "query"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """Vectors, and what was seen of each text. Row i belongs to text i."""

    vectors: npt.NDArray[np.float32]
    """Shape (N, D), unit length."""
    tokens: npt.NDArray[np.int64]
    """Shape (N,): tokens of each text that were read, without template."""
    truncated: npt.NDArray[np.bool_]
    """Shape (N,): whether a text was cut to fit."""


class Encoder:
    """A decoder-only LLM as a text encoder: prompt, Token Prepending, Contrastive Prompting.

    Build one with `Encoder.load`. Several threads may encode at once.

    Args:
        specification: which model, which settings.
        device: where to run; None takes CUDA if there is one, else the CPU.

    Raises:
        InvalidConfig: the settings do not fit the model, or the device is not there.
        ModelUnavailable: the weights or the tokenizer cannot be read, or are not whole.
    """

    def __init__(self, specification: EncoderSpecification, *, device: str | None = None) -> None:
        self.specification = specification
        files, config = specification.files, specification.config
        chosen = usable_device(device)
        limit = longest_row(load_config(files.folder))
        self._tokenizer = load_tokenizer(files.folder)
        self._bos = leading_special_ids(self._tokenizer)
        tp, cp = config.token_prepending, config.contrastive_prompting
        placeholders = tp.placeholders if tp else 0
        document = self._prompt(find_template(config.template), placeholders, config.max_tokens)
        query = document
        if config.query_template is not None:
            template = find_template(config.query_template)
            query = self._prompt(template, placeholders, config.max_tokens)
        self._prompts: dict[Kind, PromptTokenizer] = {"document": document, "query": query}
        # The auxiliary row gets the same room for the text around its own template, so that both
        # rows of a text that is too long are cut at the same place.
        self._auxiliary: dict[Kind, PromptTokenizer] = {}
        longest = config.max_tokens
        if cp is not None:
            template = find_auxiliary(cp.auxiliary)
            on_auxiliary = placeholders if tp and tp.on_auxiliary else 0
            probe = self._prompt(template, on_auxiliary, limit)
            for name, prompt in self._prompts.items():
                room = config.max_tokens - prompt.template_tokens
                bound = probe.template_tokens + room
                longest = max(longest, bound)
                self._auxiliary[name] = self._prompt(template, on_auxiliary, bound)
        if longest > limit:
            raise InvalidConfig(
                f"max_tokens {config.max_tokens} is beyond this model's {limit} positions; "
                f"use at most {limit - (longest - config.max_tokens)}"
            )
        # The weights come last: by now all that is quick to check was found right.
        model = load_model(files.folder, dtype=getattr(torch, config.dtype))
        self._backbone = Backbone(model.to(chosen))

    @classmethod
    def load(
        cls,
        name: str = "starter",
        config: EncoderConfig | None = None,
        *,
        device: str | None = None,
    ) -> "Encoder":
        """Load an encoder by preset, folder or hub id, with its own settings or the given ones.

        Raises:
            InvalidConfig, ModelUnavailable, UnsupportedArchitecture: see `specify`.
        """
        return cls(specify(name, config), device=device)

    @property
    def config(self) -> EncoderConfig:
        """The settings in use."""
        return self.specification.config

    @property
    def fingerprint(self) -> str:
        """Hash over everything that changes a vector."""
        return self.specification.fingerprint

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""
        return self._backbone.dimension

    @property
    def max_text_tokens(self) -> int:
        """Tokens of text that always fit, whichever template surrounds it.

        Borders between template and text can merge differently than each part alone, by a token at
        either end; the bound leaves room for that.
        """
        longest = max(prompt.template_tokens for prompt in self._prompts.values())
        return self.config.max_tokens - longest - 2

    @property
    def tokenizer_json(self) -> str:
        """The model's tokenizer, serialised: chunkers count tokens with it."""
        return self._tokenizer.to_str()

    def encode_document(
        self, sentences: str | Sequence[str], *, show_progress_bar: bool = False
    ) -> npt.NDArray[np.float32]:
        """Encode texts to be stored; float32 (N, D), or (D,) for a single string."""
        return self.encode(sentences, prompt_name="document", show_progress_bar=show_progress_bar)

    def encode_query(
        self, sentences: str | Sequence[str], *, show_progress_bar: bool = False
    ) -> npt.NDArray[np.float32]:
        """Encode texts to search with; float32 (N, D), or (D,) for a single string."""
        return self.encode(sentences, prompt_name="query", show_progress_bar=show_progress_bar)

    def encode(
        self,
        sentences: str | Sequence[str],
        *,
        prompt_name: Kind = "document",
        show_progress_bar: bool = False,
    ) -> npt.NDArray[np.float32]:
        """Encode texts; argument names are sentence-transformers'.

        Returns:
            float32, unit length, (N, D) in the order given; (D,) for a single string.

        Raises:
            InvalidText: an item is not a string, or not valid Unicode.
            NonFiniteActivation: the model gave NaN or infinity; the message names the text's index.
        """
        if isinstance(sentences, str):
            vector_D: npt.NDArray[np.float32] = self.encode_with_counts(
                [sentences], prompt_name=prompt_name
            ).vectors[0]
            return vector_D
        return self.encode_with_counts(
            sentences, prompt_name=prompt_name, show_progress_bar=show_progress_bar
        ).vectors

    def encode_with_counts(
        self,
        sentences: Sequence[str],
        *,
        prompt_name: Kind = "document",
        show_progress_bar: bool = False,
    ) -> Encoding:
        """As `encode`, with the tokens read and the truncation of each text."""
        if prompt_name not in self._prompts:
            raise InvalidText(f"prompt_name {prompt_name!r} is unknown; use 'document' or 'query'")
        if isinstance(sentences, str):
            raise InvalidText("a single string came where a list of texts is read; put it in one")
        texts = list(sentences)
        check_texts(texts)
        if self.config.normalise_text == "papers":
            texts = [normalise_as_papers(text) for text in texts]
        normal = self._prompts[prompt_name].tokenize(texts)
        auxiliary = self._auxiliary[prompt_name].tokenize(texts) if self._auxiliary else []
        lengths = [len(t.row.ids) for t in normal]
        if auxiliary:
            lengths = [n + len(a.row.ids) for n, a in zip(lengths, auxiliary, strict=True)]

        vectors_ND = np.empty((len(texts), self.dimension), dtype=np.float32)
        with tqdm(total=len(texts), unit="text", disable=not show_progress_bar) as bar:
            for batch in by_token_budget(lengths, TOKEN_BUDGET):
                vectors_ND[batch] = self._encode_batch(batch, normal, auxiliary)
                bar.update(len(batch))
        return Encoding(
            vectors_ND,
            np.array([t.text_tokens for t in normal], dtype=np.int64),
            np.array([t.truncated for t in normal], dtype=np.bool_),
        )

    def similarity(
        self, first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Cosine of every row of `first` (N, D) with every row of `second` (M, D): (N, M)."""
        cosine: npt.NDArray[np.float32] = np.atleast_2d(first) @ np.atleast_2d(second).T
        return cosine

    @torch.inference_mode()
    def _encode_batch(
        self, batch: list[int], normal: list[Tokenized], auxiliary: list[Tokenized]
    ) -> npt.NDArray[np.float32]:
        """One batch; halves itself when the device runs out of memory."""
        pooled_SD: torch.Tensor | None = None
        try:
            pooled_SD = self._backbone.forward(
                [normal[i].row for i in batch],
                self.config,
                [auxiliary[i].row for i in batch] if auxiliary else (),
            )
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        if pooled_SD is None:  # out of the handler, whose traceback holds the failed tensors
            half = len(batch) // 2
            return np.concatenate(
                [
                    self._encode_batch(part, normal, auxiliary)
                    for part in (batch[:half], batch[half:])
                ]
            )
        pooled_SD = pooled_SD.float()
        finite_S = pooled_SD.isfinite().all(dim=1)
        if not bool(finite_S.all()):
            index = batch[int((~finite_S).nonzero()[0])]
            raise NonFiniteActivation(
                f"text {index} gave NaN or infinity in {self.config.dtype}; "
                "use dtype bfloat16 or float32",
                index=index,
            )
        vectors: npt.NDArray[np.float32] = F.normalize(pooled_SD, dim=-1).cpu().numpy()
        return vectors

    def _prompt(self, template: Template, placeholders: int, max_tokens: int) -> PromptTokenizer:
        return PromptTokenizer(
            self._tokenizer,
            bos=self._bos,
            template=template,
            placeholders=placeholders,
            max_tokens=max_tokens,
        )
