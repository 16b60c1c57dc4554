"""Files of texts alone: JSONL with `text` a line, or plain text, one a line."""

from pathlib import Path
from typing import Final

from flows.errors import InvalidInput
from flows.evaluation.json_rows import json_rows, text_lines, words_of

EXPECTED: Final = "JSONL with 'text' a line, or plain text, one a line"


def read_texts(file: str) -> tuple[str, ...]:
    """The texts of a file whose name ends in `.jsonl`, or of any other, a line each.

    Raises:
        InvalidInput: the file or one of its lines is wrong, or holds no text.
    """
    if Path(file).suffix == ".jsonl":
        texts = tuple(words_of(row, "text", where) for where, row in json_rows(file, EXPECTED))
    else:
        texts = tuple(line for _, line in text_lines(file, EXPECTED))
    if not texts:
        raise InvalidInput(f"{file!r} is empty; expected {EXPECTED}")
    return texts
