"""Text of a document on one clean line: what a report may show of it, whatever it contains."""

import unicodedata
from typing import Final

SNIPPET_CHARACTERS: Final = 200
_CONTROL: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})
_JOINERS: Final = frozenset("\u200c\u200d")
"""Persian, Indic scripts and emoji are misspelt without them."""


def one_line(text: str, limit: int = SNIPPET_CHARACTERS) -> str:
    r"""The text with every run of white space as one space, without control characters, clipped.

    Removed are escape sequences' lead-ins, marks that reverse the reading direction, and the
    invisible: they could make a line read as something else. Half a surrogate pair becomes U+FFFD,
    so that the line is valid UTF-8. Clipped at a word's end where one is near, with an ellipsis
    within `limit` characters.

    >>> one_line("two\nlines \x1b[31mred")
    'two lines [31mred'
    """
    # A clipped line needs only the beginning: a passage of a megabyte is not cleaned to its end.
    text = " ".join(text[: 20 * limit].split())
    kept = "".join(_visible(character) for character in text)
    kept = " ".join(kept.split())
    if len(kept) <= limit:
        return kept
    clipped = kept[: limit - 1]
    space = clipped.rfind(" ")
    if space > limit * 0.7:
        clipped = clipped[:space]
    return clipped.rstrip() + "…"


def valid_text(text: str) -> str:
    """The text as it is, half surrogates replaced by U+FFFD: what JSON and UTF-8 can carry."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category in _CONTROL and character not in _JOINERS:
        return ""
    return "\ufffd" if category == "Cs" else character
