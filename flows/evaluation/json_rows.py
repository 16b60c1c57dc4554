"""Rows of JSONL files, each with its place for messages."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flows.console import one_line
from flows.errors import InvalidInput


def json_rows(file: str, expected: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each line stands, and its object; blank lines are left out.

    Args:
        file: the path, as the user wrote it.
        expected: what a line should hold, for messages.

    Raises:
        InvalidInput: there is no such file, or it or a line is not what it should be.
    """
    for where, line in text_lines(file, expected):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                f"{where} is not JSON ({one_line(str(error), 80)}); correct it"
            ) from None
        if not isinstance(row, dict):
            raise InvalidInput(f"{where} is no JSON object; expected {expected}")
        yield where, row


def text_lines(file: str, expected: str) -> Iterator[tuple[str, str]]:
    """Where each line stands, and the line without its end; blank lines are left out.

    Raises:
        InvalidInput: there is no such file, it is not UTF-8, or it cannot be read.
    """
    path = Path(file)
    if not path.is_file():
        raise InvalidInput(f"{file!r}: no such file; expected {expected}")
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{file!r} line {number}", line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file!r} is not UTF-8 at byte {error.start}; convert it first"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{file!r}: {error.strerror}; check its rights") from error


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
