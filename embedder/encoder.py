"""The encoder: texts in, L2-normalised vectors out, the same vector whatever the batch."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from embedder import batching
from embedder.backbone import Backbone, longest_row
from embedder.config import KINDS, EncoderConfig, Kind, Precision
from embedder.cpu_kernels import speed_up
from embedder.errors import InvalidConfig, InvalidText, NonFiniteActivation
from embedder.hooked import HookedBackbone
from embedder.loading import (
    leading_special_ids,
    load_config,
    load_model,
    load_tokenizer,
    usable_device,
)
from embedder.memory import Shortage, keep_freed_memory
from embedder.model_files import ARCHITECTURES
from embedder.precision import Float32, Stored, cosine, kept_dimension, quantise, truncate
from embedder.prompting import PromptedTexts, Prompting, check_positions
from embedder.specification import EncoderSpecification, specify
from embedder.tokens import plain


@dataclass(frozen=True, slots=True)
class Encoding:
    """Vectors, and what was seen of each text. Row i belongs to text i."""

    vectors: Stored
    """Shape (N, D), unit length, in the encoder's precision."""
    tokens: npt.NDArray[np.int64]
    """Shape (N,): tokens of each text that were read, without template."""
    truncated: npt.NDArray[np.bool_]
    """Shape (N,): whether a text was cut to fit."""
    halvings: int = 0
    """How often a batch was halved because the device ran out of memory."""


class Encoder:
    """A decoder-only LLM as a text encoder: prompt, Token Prepending, Contrastive Prompting.

    Build one with `Encoder.load`. Several threads may encode at once.

    Args:
        specification: which model, which settings.
        device: where to run; None takes CUDA if there is one, else the CPU.

    Raises:
        InvalidConfig: the settings do not fit the model, or the device is not there.
        ModelUnavailable: the weights or the tokenizer cannot be read, or are not whole.
        UnsupportedArchitecture: the model is no decoder.
    """

    def __init__(self, specification: EncoderSpecification, *, device: str | None = None) -> None:
        self.specification = specification
        files, config = specification.files, specification.config
        chosen = usable_device(device)
        limit = longest_row(load_config(files.folder))
        self._tokenizer = plain(load_tokenizer(files.folder))
        bos = leading_special_ids(self._tokenizer)
        document = Prompting(self._tokenizer, bos=bos, config=config, kind="document")
        query = document
        if config.query_template is not None:
            query = Prompting(self._tokenizer, bos=bos, config=config, kind="query")
        self._prompting: dict[Kind, Prompting] = {"document": document, "query": query}
        check_positions(max(document.longest_row, query.longest_row), config, limit)
        # The weights come last: by now all that is quick to check was found right.
        keep_freed_memory()
        model = load_model(files.folder, dtype=getattr(torch, config.dtype))
        if config.adapter is not None:
            from embedder.adapters import attach_adapter

            model = attach_adapter(model, Path(config.adapter), merge=config.merge_adapter)
        model = model.to(chosen)
        covered = files.architecture["model_type"] in ARCHITECTURES
        if covered:
            speed_up(model)
        self._backbone: Backbone | HookedBackbone = (
            Backbone(model) if covered else HookedBackbone(model)
        )
        self._budget = (
            batching.CUDA_TOKEN_BUDGET if chosen.type == "cuda" else batching.TOKEN_BUDGET
        )

    @classmethod
    def load(
        cls,
        name: str = "starter",
        config: EncoderConfig | dict[str, Any] | None = None,
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
        """D, how many components a vector has."""
        return self.specification.dimension

    @property
    def backbone(self) -> Backbone | HookedBackbone:
        """The model under the encoder: for calibration and training."""
        return self._backbone

    @property
    def max_text_tokens(self) -> int:
        """Tokens of text that always fit, whichever template surrounds it.

        Borders between template and text can merge differently than each part alone, by a token at
        either end; the bound leaves room for that.
        """
        return min(prompting.room for prompting in self._prompting.values()) - 2

    @property
    def tokenizer_json(self) -> str:
        """The model's tokenizer, serialised: chunkers count tokens with it."""
        return self._tokenizer.to_str()

    def prompting(self, kind: Kind = "document") -> Prompting:
        """How texts of a kind are put into prompts: for calibration and training."""
        return self._prompting[_checked(kind)]

    def encode_document(self, sentences: str | Sequence[str], **options: Any) -> Any:
        """Encode texts to be stored, (N, D) or (D,): `encode` with `prompt_name="document"`."""
        return self.encode(sentences, prompt_name="document", **options)

    def encode_query(self, sentences: str | Sequence[str], **options: Any) -> Any:
        """Encode texts to search with, (N, D) or (D,): `encode` with `prompt_name="query"`."""
        return self.encode(sentences, prompt_name="query", **options)

    @overload
    def encode(
        self,
        sentences: str | Sequence[str],
        *,
        prompt_name: Kind = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool = ...,
        convert_to_numpy: Literal[True] = ...,
        normalize_embeddings: bool = ...,
        precision: Precision | None = ...,
        dimensions: int | None = ...,
    ) -> Stored: ...

    @overload
    def encode(
        self,
        sentences: str | Sequence[str],
        *,
        prompt_name: Kind = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool = ...,
        convert_to_numpy: Literal[False],
        normalize_embeddings: bool = ...,
        precision: Precision | None = ...,
        dimensions: int | None = ...,
    ) -> torch.Tensor: ...

    def encode(
        self,
        sentences: str | Sequence[str],
        *,
        prompt_name: Kind = "document",
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = True,
        normalize_embeddings: bool = True,
        precision: Precision | None = None,
        dimensions: int | None = None,
    ) -> Stored | torch.Tensor:
        """Encode texts; argument names are sentence-transformers'.

        Args:
            sentences: one text or many.
            prompt_name: `document` or `query`.
            batch_size: at most so many texts at once; None: as many as the token budget takes.
                No vector depends on it.
            show_progress_bar: on standard error, in texts.
            convert_to_numpy: False gives a torch tensor on the CPU.
            normalize_embeddings: False gives the pooled states as they are, in float32.
            precision: number format; None: the settings'.
            dimensions: components to keep (Matryoshka); None: the settings'.

        Returns:
            (N, D) in the order given, unit length, float32 unless `precision` says otherwise (then
            dtype and shape are those of `embedder.precision.quantise`); (D,) for a single string.

        Raises:
            InvalidText: an item is not a string, or not valid Unicode.
            TextTooLong: a text does not fit and the settings say `on_overflow="error"`.
            NonFiniteActivation: the model gave NaN or infinity; the message names the text's index.
            InvalidConfig: an argument is out of range.
        """
        texts = [sentences] if isinstance(sentences, str) else sentences
        vectors = self.encode_with_counts(
            texts,
            prompt_name=prompt_name,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            normalize_embeddings=normalize_embeddings,
            precision=precision,
            dimensions=dimensions,
        ).vectors
        result = vectors[0] if isinstance(sentences, str) else vectors
        return result if convert_to_numpy else torch.from_numpy(np.ascontiguousarray(result))

    def encode_with_counts(
        self,
        sentences: Sequence[str],
        *,
        prompt_name: Kind = "document",
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        normalize_embeddings: bool = True,
        precision: Precision | None = None,
        dimensions: int | None = None,
    ) -> Encoding:
        """As `encode`, with the tokens read and the truncation of each text."""
        if isinstance(sentences, str):
            raise InvalidText("a single string came where a list of texts is read; put it in one")
        texts = list(sentences)
        form = _Form(normalize_embeddings, precision, dimensions)
        with tqdm(total=len(texts), unit="text", disable=not show_progress_bar) as bar:
            parts = list(self._windows(texts, prompt_name, batch_size, form, bar))
        return Encoding(
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([part.truncated for part in parts]),
            sum(part.halvings for part in parts),
        )

    def encode_iter(
        self,
        sentences: Iterable[str],
        *,
        prompt_name: Kind = "document",
        batch_size: int | None = None,
        show_progress_bar: bool = False,
        precision: Precision | None = None,
        dimensions: int | None = None,
    ) -> Iterator[Stored]:
        """Encode a stream of any length, one vector (D,) a text, in order, in bounded memory.

        Texts are taken `embedder.batching.WINDOW` at a time. Raises as `encode` does, at the
        window in which the text stands.
        """
        if isinstance(sentences, str):
            raise InvalidText("a single string came where a stream of texts is read; put it in one")
        form = _Form(True, precision, dimensions)
        with tqdm(unit="text", disable=not show_progress_bar) as bar:
            for part in self._windows(sentences, prompt_name, batch_size, form, bar):
                yield from part.vectors

    def similarity(self, first: Stored, second: Stored) -> Float32:
        """Cosine of every row of `first` (N, D) with every row of `second` (M, D): (N, M).

        Both in the encoder's precision; scored in float32.
        """
        return cosine(np.atleast_2d(first), np.atleast_2d(second), self.config.precision)

    # -- inside ------------------------------------------------------------------------------

    def _windows(
        self,
        texts: Iterable[str],
        prompt_name: Kind,
        batch_size: int | None,
        form: "_Form",
        bar: Any,
    ) -> Iterator[Encoding]:
        """Encode window after window; at least one, which may be empty."""
        prompting = self._prompting[_checked(prompt_name)]
        if batch_size is not None and batch_size < 1:
            raise InvalidConfig(f"batch_size {batch_size} is not allowed; use 1 or more, or None")
        form = form.filled(self.config)
        kept_dimension(
            self.specification.pooled_dimension,
            dimensions=form.dimensions,
            precision=form.precision or "float32",
        )
        for first_index, prompted in _ahead(prompting, iter(texts)):
            yield self._encode_window(prompted, first_index, batch_size, form, bar)

    def _encode_window(
        self,
        prompted: PromptedTexts,
        first_index: int,
        batch_size: int | None,
        form: "_Form",
        bar: Any,
    ) -> Encoding:
        pooled_ND = np.empty((len(prompted), self.specification.pooled_dimension), dtype=np.float32)
        memory = Shortage()
        multiple = batching.TEXTS_MULTIPLE
        for batch in batching.by_token_budget(
            prompted.costs, self._budget, most=batch_size, multiple=multiple
        ):
            pooled_ND[batch] = self._encode_batch(batch, prompted, memory)
            bar.update(len(batch))
        finite_N = np.isfinite(pooled_ND).all(axis=1)
        if not finite_N.all():
            index = first_index + int(np.flatnonzero(~finite_N)[0])
            raise NonFiniteActivation(
                f"text {index} gave NaN or infinity in {self.config.dtype}; {_remedy(self.config)}",
                index=index,
            )
        return Encoding(
            form.apply(pooled_ND),
            np.array(prompted.tokens, dtype=np.int64),
            np.array(prompted.truncated, dtype=np.bool_),
            memory.halvings,
        )

    @torch.inference_mode()
    def _encode_batch(self, batch: list[int], prompted: PromptedTexts, memory: Shortage) -> Float32:
        """One batch, (S, D) pooled; halves itself when the device runs out of memory."""
        rows, auxiliary = prompted.rows(batch)
        prompts = len(prompted.normal)
        done: list[torch.Tensor] = []
        with memory.tolerated(len(batch)):
            done.append(self._backbone.forward(rows, self.config, auxiliary, prompts=prompts))
        if not done:  # out of the handler, whose traceback holds the failed tensors
            half = len(batch) // 2
            parts = (batch[:half], batch[half:])
            return np.concatenate([self._encode_batch(p, prompted, memory) for p in parts])
        vectors: Float32 = done[0].view(prompts, len(batch), -1).mean(0).cpu().numpy()
        return vectors


@dataclass(frozen=True)
class _Form:
    """What is made of pooled states."""

    normalise: bool
    precision: Precision | None
    dimensions: int | None

    def filled(self, config: EncoderConfig) -> "_Form":
        """With the settings' where the call said nothing.

        Raises:
            InvalidConfig: states that are not normalised in a format made for unit vectors.
        """
        precision = config.precision if self.precision is None else self.precision
        dimensions = config.dimensions if self.dimensions is None else self.dimensions
        if not self.normalise and precision != "float32":
            raise InvalidConfig(
                f"precision {precision!r} is for unit vectors; use precision='float32' with "
                "normalize_embeddings=False"
            )
        return _Form(self.normalise, precision, dimensions)

    def apply(self, pooled_ND: Float32) -> Stored:
        """Shorten, normalise, quantise."""
        if not self.normalise:
            return pooled_ND[:, : self.dimensions]
        norms_N1 = np.linalg.norm(pooled_ND, axis=1, keepdims=True)
        unit_ND = pooled_ND / np.maximum(norms_N1, np.finfo(np.float32).tiny)
        return quantise(truncate(unit_ND, self.dimensions), self.precision or "float32")


def _ahead(prompting: Prompting, texts: Iterator[str]) -> Iterator[tuple[int, PromptedTexts]]:
    """Windows of tokenised texts, with the index of each one's first; the next one is made ahead.

    The Rust tokenizer works outside the GIL, so that it overlaps with the model. A stream of one
    window, such as a query, starts no thread.
    """
    size = batching.WINDOW
    window, following = list(islice(texts, size)), list(islice(texts, size))
    index, prompted = 0, prompting.tokenize(window)
    if not following:
        yield index, prompted
        return
    with ThreadPoolExecutor(1, thread_name_prefix="tokenize") as pool:
        while following:
            start = index + len(window)
            made: Future[PromptedTexts] = pool.submit(
                prompting.tokenize, following, first_index=start
            )
            yield index, prompted
            window, following = following, list(islice(texts, size))
            index, prompted = start, made.result()
        yield index, prompted


def _checked(kind: Kind) -> Kind:
    if kind not in KINDS:
        raise InvalidText(f"prompt_name {kind!r} is unknown; use 'document' or 'query'")
    return kind


def _remedy(config: EncoderConfig) -> str:
    if config.dtype == "float32":
        return "the model's weights or the text drive it beyond float32; leave the text out"
    return "use dtype bfloat16 or float32" if config.dtype == "float16" else "use dtype float32"
