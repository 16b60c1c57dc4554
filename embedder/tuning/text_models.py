"""Models that write: loaded from checked folders, sampled batch by batch. The only room with torch.

Safetensors only, no code that a model brings along, nothing missing; what fails is one line.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.utils import logging as transformers_logging

from embedder.errors import InvalidConfig, ModelUnavailable
from embedder.loading import load_config, usable_device
from embedder.memory import Shortage
from embedder.model_files import HUB_ID, ModelFiles
from embedder.tuning.answers import Answer
from embedder.tuning.errors import TuningFailed
from embedder.tuning.rewrite_prompts import (
    MAX_NEW_TOKENS,
    REWRITES,
    TEMPERATURE,
    TOP_P,
    check_sampling,
    prompt_of,
    prompts_digest,
)


class TextModel:
    """A model with its tokenizer, for sampling.

    Args:
        name: a folder, or `owner/name` on a model hub.
        device: see `embedder.loading.usable_device`.
        encoder_decoder: whether it is a translator; else it is a decoder.

    Raises:
        ModelUnavailable, UnsupportedArchitecture, InvalidConfig: see `embedder.model_files` and
            `embedder.loading`.
    """

    def __init__(self, name: str, *, device: str | None, encoder_decoder: bool = False) -> None:
        folder = Path(name)
        is_hub_id = HUB_ID.fullmatch(name) and not folder.exists()
        self.files = ModelFiles.from_hub(name) if is_hub_id else ModelFiles.in_folder(folder)
        config = load_config(self.files.folder)
        if not encoder_decoder:
            self.files.check_architecture()
        elif not config.is_encoder_decoder:
            raise InvalidConfig(
                f"{name!r} is of type {config.model_type!r}, which is no translator; expected an "
                "encoder-decoder"
            )
        self.device = usable_device(device)
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.tokenizer = _tokenizer(self.files.folder)
        auto = AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
        self.model = _model(auto, self.files.folder, self.dtype).to(self.device)
        self._encoder_decoder = encoder_decoder
        self._shortage = Shortage()

    @property
    def identity(self) -> dict[str, str]:
        """What decides its answers: files, number format, kind of device."""
        return {
            "digest": self.files.digest,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
        }

    def generate(
        self, rows: Sequence[Sequence[int]], *, seed: int, options: Mapping[str, Any]
    ) -> list[Answer]:
        """What the model writes after each row of token ids; a batch too large is halved.

        The global random state is left as it was.

        Raises:
            TuningFailed: not even one row fits into memory.
        """
        answers: list[Answer] = []
        try:
            with self._shortage.tolerated(len(rows)):
                answers = self._generate(rows, seed, options)
        except RuntimeError as error:
            raise TuningFailed(
                f"the model cannot write ({_one_line(error)}); take a smaller one, or another "
                "--device"
            ) from error
        if answers:
            return answers
        middle = len(rows) // 2
        return [
            *self.generate(rows[:middle], seed=seed, options=options),
            *self.generate(rows[middle:], seed=seed, options=options),
        ]

    def _generate(
        self, rows: Sequence[Sequence[int]], seed: int, options: Mapping[str, Any]
    ) -> list[Answer]:
        ends = self._ends()
        pad = self.tokenizer.pad_token_id
        pad = pad if pad is not None else (ends[0] if ends else 0)
        length = max(len(row) for row in rows)
        ids_BT = torch.full((len(rows), length), pad)
        mask_BT = torch.zeros_like(ids_BT)
        for at, row in enumerate(rows):
            # A decoder goes on at the right end; an encoder's positions begin at the left one.
            span = slice(0, len(row)) if self._encoder_decoder else slice(length - len(row), length)
            ids_BT[at, span] = torch.tensor(row)
            mask_BT[at, span] = 1
        generation: Any = GenerationConfig
        config = generation(eos_token_id=ends or None, pad_token_id=pad, **options)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.inference_mode():
            torch.manual_seed(seed)
            written_BT = self.model.generate(
                ids_BT.to(self.device),
                attention_mask=mask_BT.to(self.device),
                generation_config=config,
            )
        begin = 0 if self._encoder_decoder else length
        return [self._answer(row[begin:], ends) for row in written_BT.tolist()]

    def _answer(self, ids: list[int], ends: Sequence[int]) -> Answer:
        end = next((at for at, token in enumerate(ids) if token in ends and at > 0), None)
        if ids and ids[0] in ends and not self._encoder_decoder:
            end = 0  # a translator may begin with it
        text = self.tokenizer.decode(ids[:end], skip_special_tokens=True)
        return Answer(text=text, finished=end is not None)

    def _ends(self) -> list[int]:
        """Ids that end an answer: the model's own list, else the tokenizer's."""
        own = self.model.generation_config.eos_token_id
        if own is None:
            own = self.tokenizer.eos_token_id
        return [] if own is None else [own] if isinstance(own, int) else list(own)


class InstructWriter:
    """An instruct model that rewrites texts: `synthesis.Writer`.

    Args:
        model: a decoder; a tokenizer with a chat template is asked through it.
        kinds: which of `rewrite_prompts.REWRITES`; all by default.
        temperature, top_p, max_new_tokens: of the sampling.

    Raises:
        InvalidConfig: a kind is unknown, or a number is out of range.
    """

    def __init__(
        self,
        model: TextModel,
        *,
        kinds: Sequence[str] = tuple(REWRITES),
        temperature: float = TEMPERATURE,
        top_p: float = TOP_P,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        check_sampling(kinds, temperature, top_p, max_new_tokens)
        self.kinds = tuple(kinds)
        self._model = model
        self._options = {
            "do_sample": True,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": 0,
            "max_new_tokens": max_new_tokens,
        }

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model, prompts and sampling."""
        return {**self._model.identity, **self._options, "prompts": prompts_digest()}

    def write(self, texts: Sequence[str], kinds: Sequence[str], *, seed: int) -> list[Answer]:
        """See `synthesis.Writer`."""
        pairs = zip(kinds, texts, strict=True)
        rows = [self._ids(prompt_of(kind, text)) for kind, text in pairs]
        return self._model.generate(rows, seed=seed, options=self._options)

    def _ids(self, prompt: str) -> list[int]:
        tokenizer = self._model.tokenizer
        if tokenizer.chat_template is None:
            return list(tokenizer(f"{prompt}\n\nAnswer:\n")["input_ids"])
        try:
            chat = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # templates that know no thoughts do not look at it
            )
        except Exception as error:  # a template is a program, and raises what it likes
            raise ModelUnavailable(
                f"the chat template in {str(self._model.files.folder)!r} fails "
                f"({_one_line(error)}); use another model"
            ) from error
        return list(tokenizer(chat, add_special_tokens=False)["input_ids"])


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the Rust side raises nothing narrower
        raise ModelUnavailable(
            f"the tokenizer in {str(folder)!r} cannot be read ({_one_line(error)}); save it again"
        ) from error


def _model(auto: Any, folder: Path, dtype: torch.dtype) -> Any:
    log: Any = transformers_logging
    bars, verbosity = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        model, loading = auto.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, SafetensorError, ValueError, KeyError) as error:
        raise ModelUnavailable(
            f"the model in {str(folder)!r} cannot be loaded ({_one_line(error)}); "
            "fetch or save it again"
        ) from error
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
    if missing := sorted(loading["missing_keys"]):
        raise ModelUnavailable(
            f"the weights in {str(folder)!r} lack {len(missing)} tensors ({missing[0]}, ...), so "
            "that it cannot write; use an instruct model saved whole"
        )
    return model.eval().requires_grad_(requires_grad=False)


def _one_line(error: BaseException) -> str:
    return shorten(str(error), 200, placeholder=" ...") or type(error).__name__
