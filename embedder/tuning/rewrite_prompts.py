"""What an instruct model is asked, and how it is sampled, for a text which means the same.

The five ways of arXiv 2507.22729, in words of our own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from embedder.errors import InvalidConfig

TEMPERATURE: Final = 0.6
TOP_P: Final = 0.9
MAX_NEW_TOKENS: Final = 100
"""All three of arXiv 2507.22729."""

_CLOSING: Final = (
    "Answer in the language of the text, with at most sixty words, and with nothing but the answer."
)
QUESTION: Final = "question"

REWRITES: Final[Mapping[str, str]] = {
    "detail": "Write the text below again with more detail. Keep what it says, and make every "
    "point of it more explicit.",
    "simple": "Write the text below again in simpler, everyday words and short sentences. Keep "
    "what it says.",
    "teacher": "You are a teacher. Explain to a pupil what the text below means.",
    "metaphor": "Express what the text below says by a metaphor or a comparison that carries its "
    "meaning.",
    QUESTION: "Write one question, as a person would naturally ask it, that the text below "
    "answers.",
}
"""Kind of rewriting -> what is asked for."""


def prompt_of(kind: str, text: str) -> str:
    """The request for one text.

    Raises:
        KeyError: there is no such kind in `REWRITES`.
    """
    return f"{REWRITES[kind]} {_CLOSING}\n\nText:\n{text}"


def prompts_digest() -> str:
    """SHA-256 over all requests in hexadecimal: a run does not go on with other ones."""
    asked = "\x1f".join(prompt_of(kind, "{}") for kind in REWRITES)
    return hashlib.sha256(asked.encode()).hexdigest()


def check_sampling(
    kinds: Sequence[str], temperature: float, top_p: float, max_new_tokens: int
) -> None:
    """Check settings before a model is loaded.

    Raises:
        InvalidConfig: a kind is unknown or twice there, or a number is out of range.
    """
    if unknown := [kind for kind in kinds if kind not in REWRITES]:
        raise InvalidConfig(
            f"kind of rewriting {unknown[0]!r} is unknown; expected some of {', '.join(REWRITES)}"
        )
    if not kinds or len(set(kinds)) < len(kinds):
        raise InvalidConfig(f"kinds {', '.join(kinds)!r}: expected each of them once")
    if not 0 < temperature <= 5:
        raise InvalidConfig(f"temperature {temperature}: expected more than 0, at most 5")
    if not 0 < top_p <= 1:
        raise InvalidConfig(f"top_p {top_p}: expected more than 0, at most 1")
    if not 1 <= max_new_tokens <= 4096:
        raise InvalidConfig(f"max_new_tokens {max_new_tokens}: expected 1 to 4096")
