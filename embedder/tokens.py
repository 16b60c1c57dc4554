"""From texts to rows of token ids: the template around the text, the placeholder, the cut.

A text is data: nothing in it is ever read as a special token, a placeholder or a slot. What does
not fit is cut from the text's end, never from the template, and is reported per text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tokenizers import Encoding, Tokenizer

from embedder.errors import InvalidConfig, InvalidText
from embedder.prompts import Template

PLACEHOLDER_ID: Final = -1
"""Stands in a row for a placeholder token, which has no id in any vocabulary."""


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt as token ids; placeholder tokens are `PLACEHOLDER_ID`."""

    ids: tuple[int, ...]
    text_start: int = 0
    """Index of the first token that belongs to the text."""
    text_end: int = 0
    """Index after the last token that belongs to the text."""
    prefix: int = 0
    """How many leading tokens belong to the template alone: the same in every row of a prompt, so
    that their keys and values need computing once only. 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class Tokenized:
    """One text in its template."""

    row: Row
    text_tokens: int
    """Tokens of the text that were kept."""
    truncated: bool
    """Whether the text was cut."""


class PromptTokenizer:
    """Puts texts into one template and tokenises them.

    The template and the text are tokenised together, as the papers' code does, so that their
    borders merge the same way; only the placeholder stands between two separately tokenised parts.
    A placeholder that follows the text is followed by the template's tail.

    Args:
        tokenizer: the model's fast tokenizer; it is copied unless it is `plain` already.
        bos: ids of the special tokens that the model's tokenizer puts in front of every input.
        template: the template, cut at its slot and placeholder.
        placeholders: how many placeholder tokens to put in; 0 leaves them out.
        max_tokens: bound on the tokens of a whole row.

    Raises:
        InvalidConfig: the template alone fills `max_tokens`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        bos: Sequence[int],
        template: Template,
        placeholders: int,
        max_tokens: int,
    ) -> None:
        self._tokenizer = plain(tokenizer)
        self.max_tokens = max_tokens
        self._head: tuple[int, ...] = tuple(bos)
        self._tail: tuple[int, ...] = ()
        self._before, self._after = template.head + template.before, template.after + template.tail
        if placeholders and template.tail:
            self._after = template.after
            self._tail = (*[PLACEHOLDER_ID] * placeholders, *self._ids(template.tail))
        elif placeholders:
            head, self._before = self._cut_at_placeholder(template)
            self._head = (*bos, *head, *[PLACEHOLDER_ID] * placeholders)
        # What all rows begin with, up to the placeholder or to the text. The token before the text
        # can merge with its first characters: such a row's prefix is found to be shorter.
        opening = self._head if placeholders and not template.tail else ()
        self._prefix: tuple[int, ...] = (
            tuple(i for i in opening if i != PLACEHOLDER_ID)
            if opening
            else (*bos, *self._ids(self._before))
        )
        if self.template_tokens >= max_tokens:
            raise InvalidConfig(
                f"max_tokens {max_tokens} leaves no room for text: the template alone takes "
                f"{self.template_tokens}; raise max_tokens"
            )

    @property
    def template_tokens(self) -> int:
        """Tokens of the template around an empty text, special and placeholder tokens included."""
        return len(self._head) + len(self._ids(self._before + self._after)) + len(self._tail)

    def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        """Tokenise texts in one call of the Rust tokenizer, in the order given.

        Raises:
            InvalidText: an item is not a string, or holds a lone surrogate, or gives no token at
                all (an empty text in a bare template, where the model has no BOS).
        """
        check_texts(texts)
        prompts = [f"{self._before}{text}{self._after}" for text in texts]
        encodings = self._tokenizer.encode_batch(prompts, add_special_tokens=False)
        fitted = [self._fit(text, e) for text, e in zip(texts, encodings, strict=True)]
        for index, tokenized in enumerate(fitted):
            if not tokenized.row.ids:
                raise InvalidText(
                    f"text {index} ({texts[index]!r}) gives no token in this template and the "
                    "model has no BOS; leave it out, or use a template with words"
                )
        return fitted

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text by itself, without template.

        Raises:
            InvalidText: an item is not a string, or holds a lone surrogate.
        """
        check_texts(texts)
        return [len(e.ids) for e in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def _fit(self, text: str, encoding: Encoding) -> Tokenized:
        """Cut the text until its row fits; a cut can shift borders, hence the loop."""
        truncated = False
        room = self.max_tokens - len(self._head) - len(self._tail)
        while True:
            first, last = self._text_span(text, encoding)
            surplus = len(encoding.ids) - room
            if surplus <= 0:
                break
            kept = last - surplus
            low = len(self._before)
            end = encoding.offsets[kept - 1][1] - low if kept > first else 0
            text = text[: max(0, min(end, len(text) - 1))]
            truncated = True
            encoding = self._tokenizer.encode(
                f"{self._before}{text}{self._after}", add_special_tokens=False
            )
        shift = len(self._head)
        ids = (*self._head, *encoding.ids, *self._tail)
        prefix = len(self._prefix)
        if ids[:prefix] != self._prefix:
            pairs = enumerate(zip(ids, self._prefix, strict=False))
            prefix = next((i for i, (one, other) in pairs if one != other), 0)
        if first < last:
            prefix = min(prefix, shift + first)
        row = Row(ids, text_start=shift + first, text_end=shift + last, prefix=prefix)
        return Tokenized(row, last - first, truncated)

    def _text_span(self, text: str, encoding: Encoding) -> tuple[int, int]:
        """First and after-last index of the tokens that hold a character of the text."""
        low, high = len(self._before), len(self._before) + len(text)
        if low == high:
            return 0, 0
        first, last = encoding.char_to_token(low), encoding.char_to_token(high - 1)
        if first is not None and last is not None:
            # A character can take several tokens (an emoji is four bytes): up to its last one.
            while last + 1 < len(encoding.offsets) and encoding.offsets[last + 1][0] < high:
                last += 1
            return first, last + 1
        # Some tokenizers drop characters (blanks, unknown ones): look at every token instead.
        inside = [i for i, (start, end) in enumerate(encoding.offsets) if start < high > low < end]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _cut_at_placeholder(self, template: Template) -> tuple[list[int], str]:
        """Ids in front of the placeholder, and the string behind it.

        Some tokenizers (SentencePiece's) put a blank in front of whatever they are given. The part
        behind the placeholder keeps its own leading blank only if the two parts then add up to the
        tokens of the uncut template.
        """
        head = self._ids(template.head) if template.head else []
        whole = self._ids(template.head + template.before + "x" + template.after)
        stripped = template.before.removeprefix(" ")
        for before in (template.before, stripped):
            if head + self._ids(f"{before}x{template.after}") == whole:
                return head, before
        return head, template.before


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer that neither pads nor cuts, and to which special tokens in a text are text.

    The given one is never changed: it is returned if it is plain already, else copied.
    """
    if tokenizer.encode_special_tokens and not (tokenizer.padding or tokenizer.truncation):
        return tokenizer
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    copy.encode_special_tokens = True
    return copy


def check_texts(texts: Sequence[object], *, first_index: int = 0) -> None:
    """Check that all are texts; messages call the first one `first_index`.

    Raises:
        InvalidText: an item is not a string, or holds a lone surrogate.
    """
    for index, text in enumerate(texts, first_index):
        if not isinstance(text, str):
            raise InvalidText(f"text {index} is {type(text).__name__}; expected str")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidText(
                f"text {index} holds a lone surrogate at character {error.start}; "
                "decode it with errors='replace'"
            ) from None
