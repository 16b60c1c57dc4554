"""In which language a document is written, told from a sample of its letters."""

import threading
from functools import cache
from itertools import islice
from typing import Any, Final

SAMPLE_CHARACTERS: Final = 4000
"""From the middle of the text: beginnings are licences, menus and tables of contents."""
FEWEST_LETTERS: Final = 40
"""Of a shorter text any guess is one of chance."""
LEAST_CONFIDENCE: Final = 0.9
_NO_LANGUAGE: Final = {"zxx", "und"}

_lock = threading.Lock()


def language_of(text: str) -> str:
    """ISO 639-1 code (or 639-3, where there is none), empty where the text does not tell.

    >>> language_of("Der Hund läuft am Abend durch den Wald und bellt den Mond an.")
    'de'
    >>> language_of("x = 1")
    ''

    Args:
        text: The document's; of a long one the middle is read.
    """
    begin = max(0, (len(text) - SAMPLE_CHARACTERS) // 2)
    sample = text[begin : begin + SAMPLE_CHARACTERS]
    letters = islice(filter(str.isalpha, sample), FEWEST_LETTERS)
    if len(list(letters)) < FEWEST_LETTERS:
        return ""
    with _lock:
        language, confidence = _identifier().classify(sample)
    if confidence < LEAST_CONFIDENCE or language in _NO_LANGUAGE:
        return ""
    return str(language)


@cache
def _identifier() -> Any:
    """The model: a third of a second to load and a hundred megabytes, so once, when first asked."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
