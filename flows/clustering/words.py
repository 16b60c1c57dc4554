"""The terms of a text that may name a cluster: words and phrases of two, without stop words."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Final

LONGEST_WORD: Final = 30
"""Longer runs of letters are hashes, or a script without spaces; none names a topic."""

_MARKS: Final = (
    "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f"
    "\u0962\u0963\u0980-\u0dff\u0e00-\u0eff"
)
"""Vowel signs and accents that are no letters to `re`, but stand inside words."""

_WORD: Final = re.compile(
    rf"([^\W\d_][\w{_MARKS}]*)(?:['\u2019](?:s|t|re|ve|ll|d|m)\b)?", flags=re.UNICODE
)

_ADDRESS: Final = re.compile(r"\b(?:[a-z][a-z+.-]{1,15}://|www\.)\S+|\S+@\S+\.\w+")
"""URLs and mail addresses: the words in them name hosts and folders, not topics."""

_SPACELESS: Final = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
"""Chinese and Japanese run words together; their terms are the pairs of neighbouring characters."""

_TOPICS_IN_THE_LIST: Final = (
    "amount bill computer cry describe detail empty fill fire interest mill serious sincere system "
    "thick thin"
)
"""In scikit-learn's English stop words, and yet what a text may be about."""

_MORE_STOP_WORDS: Final = (
    "ain aren couldn didn doesn don hadn hasn haven isn let mightn mustn needn shan shouldn wasn "
    "weren won wouldn does did doing done just like really use used uses using way want know make "
    "makes made need needs say said says got http https www"
)


@cache
def stop_words() -> frozenset[str]:
    """English words that name no topic: scikit-learn's list, less its topics, and some more."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    listed = set(ENGLISH_STOP_WORDS) - set(_TOPICS_IN_THE_LIST.split())
    return frozenset(listed | set(_MORE_STOP_WORDS.split()))


def terms(text: str) -> list[str]:
    """Lower-case words, each followed by the phrase it ends, if it follows a word at once.

    Left out: URLs, mail addresses, stop words, single letters, words of more digits than letters or
    above 30 characters. A phrase spans neither punctuation nor a stop word.

    >>> terms("The borrow checker's rules: no aliasing")
    ['borrow', 'checker', 'borrow checker', 'rules', 'checker rules', 'aliasing']
    """
    text = _ADDRESS.sub(" . ", unicodedata.normalize("NFKC", text).lower())
    stop = stop_words()
    found: list[str] = []
    previous, previous_end = "", 0
    for match in _WORD.finditer(text):
        word = match.group(1)
        if _SPACELESS.search(word):
            found += [word[i : i + 2] for i in range(max(1, len(word) - 1))]
            previous = ""
            continue
        digits = sum(map(str.isdigit, word))
        if word in stop or not 2 <= len(word) <= LONGEST_WORD or 2 * digits > len(word):
            previous = ""
            continue
        found.append(word)
        between = text[previous_end : match.start()]
        if previous and previous != word and between.strip(" \t\r\n-") == "":
            found.append(f"{previous} {word}")
        previous, previous_end = word, match.end()
    return found


def written_forms(texts: Iterable[str]) -> dict[str, str]:
    """How the texts mostly write each word that they do not mostly write in lower case.

    >>> written_forms(["NumPy and HTTP. Bread", "numpy? NumPy!", "no bread, bread"])
    {'numpy': 'NumPy', 'http': 'HTTP'}
    """
    counts: dict[str, Counter[str]] = {}
    for text in texts:
        for match in _WORD.finditer(_ADDRESS.sub(" . ", unicodedata.normalize("NFKC", text))):
            word = match.group(1)
            counts.setdefault(word.lower(), Counter())[word] += 1
    found: dict[str, str] = {}
    for word, forms in counts.items():
        # Of forms written equally often, the one with fewer capitals: "Bread" begins a sentence.
        best = min(forms, key=lambda form: (-forms[form], sum(map(str.isupper, form)), form))
        if best != word and best.lower() == word:
            found[word] = best
    return found


def same_word(a: str, b: str) -> bool:
    """Whether one is an English form of the other: plural, -ed or -ing. A rule of thumb.

    >>> same_word("query", "queries"), same_word("java", "javascript")
    (True, False)
    """
    short, long = sorted((a, b), key=len)
    if short == long:
        return True
    if len(short) < 3:
        return False
    endings = {"s", "es"} if len(short) == 3 else {"s", "es", "d", "ed", "ing"}
    if long.startswith(short) and long[len(short) :] in endings:
        return True
    if short.endswith("y") and long in (short[:-1] + "ies", short[:-1] + "ied"):
        return True
    return len(short) > 4 and short.endswith("e") and long == short[:-1] + "ing"
