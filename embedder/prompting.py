"""The prompts of an encoder: for each text its normal rows, one a template, and its auxiliary ones.

All prompts of a text leave the same room for it, whatever their templates' lengths, so that a text
which is too long is cut at the same place in each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from embedder.config import EncoderConfig, Kind
from embedder.errors import InvalidConfig, TextTooLong
from embedder.prompts import Template, find_auxiliary, find_shared_auxiliary, find_template
from embedder.prompts import normalise_as_papers as normalise
from embedder.tokens import PromptTokenizer, Row, Tokenized, check_texts


@dataclass(frozen=True, slots=True)
class PromptedTexts:
    """Texts in their prompts, as token ids."""

    normal: list[list[Tokenized]]
    """For each template, for each text."""
    auxiliary: list[list[Tokenized]]
    """Without CP empty; else one list for each template that shares its context, or one for all."""

    def __len__(self) -> int:
        return len(self.normal[0])

    @property
    def costs(self) -> list[int]:
        """For each text the tokens that will be computed, all its rows together."""
        rows = [*self.normal, *self.auxiliary]
        return [sum(len(t.row.ids) - t.row.prefix for t in own) for own in zip(*rows, strict=True)]

    @property
    def tokens(self) -> list[int]:
        """For each text how many of its tokens every prompt holds."""
        return [min(t.text_tokens for t in own) for own in zip(*self.normal, strict=True)]

    @property
    def truncated(self) -> list[bool]:
        """For each text whether any prompt cut it."""
        return [any(t.truncated for t in own) for own in zip(*self.normal, strict=True)]

    def rows(self, texts: Sequence[int]) -> tuple[list[Row], list[Row]]:
        """Normal and auxiliary rows of some texts, template after template."""
        return (
            [prompt[i].row for prompt in self.normal for i in texts],
            [prompt[i].row for prompt in self.auxiliary for i in texts],
        )


class Prompting:
    """Puts texts of one kind (documents or queries) into the prompts that the settings name.

    Args:
        tokenizer: the model's fast tokenizer.
        bos: ids that the model's tokenizer puts in front of every input.
        config: templates, TP, CP, `max_tokens`.
        kind: documents or queries.

    Raises:
        InvalidConfig: the longest template alone fills `max_tokens`.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, bos: Sequence[int], config: EncoderConfig, kind: Kind
    ) -> None:
        self._config = config
        tp, cp = config.token_prepending, config.contrastive_prompting
        position = tp.position if tp else "template"

        def build(template: Template, placeholders: int, room: int | None) -> PromptTokenizer:
            limit = config.max_tokens if room is None else 10**9
            prompt = PromptTokenizer(
                tokenizer, bos=bos, template=template, placeholders=placeholders, max_tokens=limit
            )
            if room is not None:
                prompt.max_tokens = prompt.template_tokens + room
            return prompt

        pairs = []
        for index, source in enumerate(config.templates(kind)):
            count = config.placeholders(index)
            pairs.append((find_template(source, position if count else "template"), count))
        longest = max(build(template, count, None).template_tokens for template, count in pairs)
        self.room = config.max_tokens - longest
        """Tokens of text that a prompt has room for."""
        self._normal = [build(template, count, self.room) for template, count in pairs]
        self._auxiliary: list[PromptTokenizer] = []
        if cp is not None and cp.shared_context:
            self._auxiliary = [
                build(find_shared_auxiliary(cp.auxiliary, template), count, self.room)
                for template, count in pairs
            ]
        elif cp is not None:
            count = tp.placeholders if tp and tp.on_auxiliary else 0
            template = find_auxiliary(cp.auxiliary, position if count else "template")
            self._auxiliary = [build(template, count, self.room)]

    @property
    def prompts(self) -> int:
        """How many normal prompts a text has."""
        return len(self._normal)

    @property
    def template_tokens(self) -> int:
        """Tokens of the longest template around an empty text."""
        return self._config.max_tokens - self.room

    @property
    def longest_row(self) -> int:
        """Tokens of the longest row there can be, auxiliary rows included."""
        return max(prompt.max_tokens for prompt in [*self._normal, *self._auxiliary])

    def tokenize(self, texts: Sequence[str], *, first_index: int = 0) -> PromptedTexts:
        """Put texts into all prompts, each prompt in one call of the Rust tokenizer.

        Args:
            texts: the texts.
            first_index: what messages call the first of them.

        Raises:
            InvalidText: an item is not a string, or not valid Unicode.
            TextTooLong: a text does not fit and the settings say so.
        """
        check_texts(texts, first_index=first_index)
        if self._config.normalise_text == "papers":
            texts = [normalise(text) for text in texts]
        prompted = PromptedTexts(
            [prompt.tokenize(texts) for prompt in self._normal],
            [prompt.tokenize(texts) for prompt in self._auxiliary],
        )
        if self._config.on_overflow == "error" and any(prompted.truncated):
            index = prompted.truncated.index(True)
            tokens = self._normal[0].count([texts[index]])[0]
            raise TextTooLong(
                f"text {first_index + index} has {tokens} tokens, there is room for {self.room}; "
                "split it, raise max_tokens, or set on_overflow to 'truncate'",
                index=first_index + index,
            )
        return prompted


def check_positions(longest: int, config: EncoderConfig, limit: int) -> None:
    """Check that the longest row has positions.

    Raises:
        InvalidConfig: it has not.
    """
    if longest > limit:
        raise InvalidConfig(
            f"max_tokens {config.max_tokens} is beyond this model's {limit} positions; "
            f"use at most {limit - (longest - config.max_tokens)}"
        )
