"""Files of labelled texts with splits: JSONL of `text` (or `text1`, `text2`), `label`, `split`."""

from pathlib import Path
from typing import Any, Final

from embedder.errors import InvalidConfig
from embedder.evaluation.classification import ClassificationSet
from flows.console import one_line
from flows.errors import InvalidInput
from flows.evaluation.json_rows import json_rows, words_of

EXPECTED: Final = "'text' (or 'text1' and 'text2'), 'label', and perhaps 'split'"
_SPLITS: Final = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "trial": "dev",
    "test": "test",
}
_WHOLE: Final = "all"
"""A split that says that there are none."""


def read_classification_set(file: str) -> ClassificationSet:
    """Read a file; other fields are left alone. A label is text or a whole number.

    Raises:
        InvalidInput: the file or one of its lines is wrong, or nothing can be learnt from it.
    """
    texts: list[str] = []
    others: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    for where, row in json_rows(file, EXPECTED):
        if "text1" in row or "text2" in row:
            texts.append(words_of(row, "text1", where))
            others.append(words_of(row, "text2", where))
        else:
            texts.append(words_of(row, "text", where))
        if others and len(others) != len(texts):
            raise InvalidInput(f"{where}: some lines have a pair of texts, some one; expected one")
        labels.append(_label(row.get("label"), where))
        splits.append(_split(row.get("split", _WHOLE), where))
        if (splits[-1] == _WHOLE) != (splits[0] == _WHOLE):
            raise InvalidInput(
                f"{where}: some lines have a split and some none; expected it on all or on none"
            )
    if not texts:
        raise InvalidInput(f"{file!r} is empty; expected lines with {EXPECTED}")
    try:
        return ClassificationSet(
            name=Path(file).stem,
            texts=tuple(texts),
            others=tuple(others) or None,
            labels=tuple(labels),
            splits=None if splits[0] == _WHOLE else tuple(splits),
        )
    except InvalidConfig as error:
        raise InvalidInput(f"{file!r}: {error}") from None


def _label(label: Any, where: str) -> str:
    if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
        shown = one_line(repr(label), 60)
        raise InvalidInput(f"{where} has label {shown}; expected text or a whole number")
    return str(label)


def _split(split: Any, where: str) -> str:
    if split is None or split == _WHOLE:
        return _WHOLE
    if not isinstance(split, str) or split.lower() not in _SPLITS:
        shown = one_line(repr(split), 60)
        raise InvalidInput(f"{where} has split {shown}; expected train, dev, test, or none")
    return _SPLITS[split.lower()]
