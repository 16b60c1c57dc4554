"""Back-translation: a text into another language and back is a second text that means the same."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from embedder.errors import InvalidConfig
from embedder.tuning.answers import Answer
from embedder.tuning.rewrite_prompts import TEMPERATURE, TOP_P
from embedder.tuning.text_models import TextModel

BACK_TRANSLATION: Final = "back-translation"
MAX_NEW_TOKENS: Final = 512
MAX_SOURCE_TOKENS: Final = 512


class Translator(Protocol):
    """Translates in one direction. Any object of this shape will do."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides its translations beside the seed, as JSON."""
        ...

    def translate(self, texts: Sequence[str], *, seed: int) -> list[Answer]:
        """Each text in the other language; equal arguments give equal answers."""
        ...


class BackTranslation:
    """Two translators, one there and one back: `synthesis.Writer`.

    A text whose translation was cut or is empty is answered by nothing, so that it is rejected.
    """

    kinds: Sequence[str] = (BACK_TRANSLATION,)

    def __init__(self, there: Translator, back: Translator) -> None:
        self._there = there
        self._back = back

    @property
    def identity(self) -> Mapping[str, Any]:
        """Both translators'."""
        return {"there": dict(self._there.identity), "back": dict(self._back.identity)}

    def write(self, texts: Sequence[str], kinds: Sequence[str], *, seed: int) -> list[Answer]:
        """See `synthesis.Writer`."""
        between = self._there.translate(texts, seed=seed)
        whole = [at for at, one in enumerate(between) if one.finished and one.text.strip()]
        answers = [
            Answer(text="", finished=one.finished or not one.text.strip()) for one in between
        ]
        if whole:
            back = self._back.translate([between[at].text for at in whole], seed=seed)
            for at, answer in zip(whole, back, strict=True):
                answers[at] = answer
        return answers


class Seq2SeqTranslator:
    """An encoder-decoder of transformers that translates.

    Args:
        model: loaded with `encoder_decoder=True`.
        source: token of the language that texts are in, for models of many languages.
        target: token that the translation begins with, for models of many languages
            (`deu_Latn`); empty: the model knows one.
        prefix: what is put before each text, for models that are told what to do in words.
        temperature: of the sampling; a retry has to differ from the last try.

    Raises:
        InvalidConfig: the tokenizer has no such token.
    """

    def __init__(
        self,
        model: TextModel,
        *,
        source: str = "",
        target: str = "",
        prefix: str = "",
        temperature: float = TEMPERATURE,
    ) -> None:
        self._model = model
        if source:
            _token(model, source)
            model.tokenizer.src_lang = source
        self._source = source
        self._prefix = prefix
        self._options: dict[str, Any] = {
            "do_sample": True,
            "temperature": temperature,
            "top_p": TOP_P,
            "top_k": 0,
            "max_new_tokens": MAX_NEW_TOKENS,
            "decoder_start_token_id": _start(model),
        }
        if target:
            self._options["forced_bos_token_id"] = _token(model, target)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model, prefix and sampling."""
        return {
            **self._model.identity,
            **self._options,
            "prefix": self._prefix,
            "from": self._source,
        }

    def translate(self, texts: Sequence[str], *, seed: int) -> list[Answer]:
        """See `Translator`; a text too long for the model is answered by nothing, unfinished."""
        rows = [list(self._model.tokenizer(self._prefix + text)["input_ids"]) for text in texts]
        fitting = [at for at, row in enumerate(rows) if 0 < len(row) <= MAX_SOURCE_TOKENS]
        answers = [Answer(text="", finished=False) for _ in rows]
        if fitting:
            chosen = [rows[at] for at in fitting]
            found = self._model.generate(chosen, seed=seed, options=self._options)
            for at, answer in zip(fitting, found, strict=True):
                answers[at] = answer
        return answers


def _token(model: TextModel, name: str) -> int:
    """The id of a language's token."""
    vocabulary = model.tokenizer.get_vocab()
    if name not in vocabulary:
        raise InvalidConfig(
            f"language token {name!r} is not in the tokenizer of {str(model.files.folder)!r}; "
            "expected one such as deu_Latn"
        )
    return int(vocabulary[name])


def _start(model: TextModel) -> int:
    """What the decoder begins with, as the model's files say."""
    for config in (model.model.generation_config, model.model.config):
        start = getattr(config, "decoder_start_token_id", None)
        if isinstance(start, int):
            return start
    raise InvalidConfig(
        f"the model in {str(model.files.folder)!r} does not say what a translation begins with; "
        "expected decoder_start_token_id in its config.json"
    )
