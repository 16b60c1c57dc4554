"""Which written texts may stand beside their source, and why the others may not."""

import re
from dataclasses import dataclass
from typing import Final

from embedder.tuning.false_negatives import comparable
from embedder.tuning.passages import LanguageOf
from embedder.tuning.rewrite_prompts import QUESTION

FACTOR: Final = 4
"""An answer may have so many times the characters of its source..."""
MARGIN: Final = 400
"""...and so many more: short sources are meant to grow."""

_THOUGHT: Final = re.compile(r"<think>.*?</think>", re.DOTALL)
_PREAMBLE: Final = re.compile(
    r"\A(?:sure|certainly|of course|here(?:'s| is| are)|okay|ok|answer|rewritten text)\b"
    r"[^\n]{0,120}?:\s*",
    re.IGNORECASE,
)
_REFUSAL: Final = re.compile(
    r"\A\W*(?:(?:i['\u2019]?m|i am) (?:very |so |really )?(?:sorry|afraid|unable|not able)\b|"
    r"sorry\b|i (?:can(?:no|['\u2019])t|could not|won['\u2019]t) "
    r"(?:help|assist|do|write|rewrite|answer|provide|fulfil|comply)|"
    r"as an? (?:ai|artificial|large|language)|unfortunately,? i)",
    re.IGNORECASE,
)
_QUOTES: Final = ('""', "''", "“”", "\u2018\u2019", "«»", "„“")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model wrote; `finished` is False where it was stopped at its most tokens."""

    text: str
    finished: bool = True


def cleaned(text: str) -> str:
    """An answer without what models put around it: thoughts, a line of courtesy, quotes.

    >>> cleaned('Sure, here it is: "A cat sat."')
    'A cat sat.'
    """
    text = _THOUGHT.sub("", text).strip()
    text = _PREAMBLE.sub("", text).strip()
    if len(text) > 1 and text[0] + text[-1] in _QUOTES and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def objection_to(
    answer: Answer,
    source: str,
    *,
    kind: str,
    language_of: LanguageOf | None,
    language: str = "",
) -> str:
    """Why an answer cannot be the source's partner, in two or three words; empty: it can.

    Args:
        answer: its text is `cleaned` already.
        source: the text that was given.
        kind: what was asked for.
        language_of: tells a text's language; None: languages are not looked at.
        language: the one to be in; empty: that of the source, if it can be told.
    """
    text = answer.text
    if not text:
        return "empty"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "invalid Unicode"
    if not answer.finished or len(text) > FACTOR * len(source) + MARGIN:
        return "too long"
    if _REFUSAL.match(text) and not _REFUSAL.match(source):
        return "refusal"
    if comparable(text) == comparable(source):
        return "equal"
    if kind == QUESTION and not re.search("[?\uff1f\u061f]", text):
        return "no question"
    if language_of is not None:
        expected = language or language_of(source)
        if expected and language_of(text) not in ("", expected):
            return "other language"
    return ""
