"""JSONL, also called NDJSON: one JSON object in each line."""

import codecs
import io
import json
from collections.abc import Generator
from functools import partial
from typing import Final

from flows.documents.compression import Compression
from flows.documents.records.row import (
    MAX_ROW_BYTES,
    NOT_UTF8,
    BadRow,
    Row,
    Values,
    failing,
    too_long,
)
from flows.documents.records.streams import open_stream, skip_to

STRIDE: Final = 64 * 1024
"""Bytes that are sooner read than skipped by opening the file anew."""


def rows(path: str, compression: Compression | None, start: int = 0) -> Generator[Row, None, None]:
    """Each line that is not blank, from the offset `start` on.

    Raises:
        DocumentRejected: See `open_stream`.
    """
    with open_stream(path, compression) as stream:
        skip_to(stream, start, now=0)
        end, number = start, 0
        while line := stream.readline(MAX_ROW_BYTES + 1):
            place, number = end, number + 1
            end += len(line)
            if len(line) > MAX_ROW_BYTES:
                end += rest_of_line(stream, line)
                yield Row(place, end, number, failing(too_long()))
                continue
            if place == 0:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield Row(place, end, number, partial(_object, line))


def rest_of_line(stream: io.BufferedReader, line: bytes) -> int:
    """Go to the end of a line that was read in part; the bytes that it still had."""
    count = 0
    while line and not line.endswith(b"\n"):
        line = stream.readline(STRIDE)
        count += len(line)
    return count


def _object(line: bytes) -> Values:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRow(NOT_UTF8) from error
    except (ValueError, RecursionError) as error:
        raise not_json(error) from error
    return object_of(value)


def object_of(value: object) -> Values:
    """The value as an object.

    Raises:
        BadRow: It is something else.
    """
    if not isinstance(value, dict):
        name = _NAMES.get(type(value), "a number")
        raise BadRow(f'is {name}; expected an object, as in {{"text": "..."}}')
    return value


def not_json(error: Exception) -> BadRow:
    """What the JSON decoder complains of, in our words."""
    if isinstance(error, RecursionError):
        return BadRow("is nested too deeply")
    if isinstance(error, json.JSONDecodeError):
        return BadRow(
            f"is not valid JSON ({error.msg.removesuffix(' at')} at character {error.pos + 1})"
        )
    return BadRow("is not valid JSON (a number of it is too long)")


_NAMES: Final = {list: "an array", str: "a string", type(None): "null", bool: "a truth value"}
