"""Rows of JSONL files as evaluations read them; a wrong one is refused with what was expected."""

from collections.abc import Iterator, Mapping
from typing import Any

from embedder.errors import InvalidConfig
from embedder.tuning import json_rows as rows
from flows.console import one_line
from flows.errors import InvalidInput


def json_rows(file: str, expected: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each line stands, and its object; blank lines are left out.

    Args:
        file: the path, as the user wrote it; plain or gzipped.
        expected: what a line should hold, for messages.

    Raises:
        InvalidInput: there is no such file, or it or a line is not what it should be.
    """
    try:
        for number, row in rows.json_rows(file):
            yield _place(file, number), row
    except InvalidConfig as error:
        raise InvalidInput(f"{error} (a line is to hold {expected})") from None


def text_lines(file: str, expected: str) -> Iterator[tuple[str, str]]:
    """Where each line stands, and the line without its end; blank lines are left out.

    Raises:
        InvalidInput: there is no such file, it is not UTF-8, or it cannot be read.
    """
    try:
        for number, line in rows.lines_of(file):
            yield _place(file, number), line
    except InvalidConfig as error:
        raise InvalidInput(f"{error} (a line is to hold {expected})") from None


def words_of(row: Mapping[str, Any], field: str, where: str) -> str:
    """A field that must be a text with something in it.

    Raises:
        InvalidInput: it is not.
    """
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        shown = one_line(repr(value), 60)
        raise InvalidInput(f"{where} has {field} {shown}; expected words, leave the line out")
    return value


def _place(file: str, number: int) -> str:
    return f"{file!r} line {number}"
