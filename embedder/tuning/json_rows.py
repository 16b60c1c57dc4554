"""Rows of JSONL files, plain or gzipped, one by one; the line of what is no row is said."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from embedder.errors import InvalidConfig

MAX_LINE_BYTES: Final = 16 * 2**20
"""A longer line is no row of JSONL: most likely the whole file is one JSON array."""
_GZIP: Final = b"\x1f\x8b"


def json_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers, from 1, and objects; blank lines are passed over.

    Args:
        path: gzip is told from the first bytes, whatever the file is called.

    Raises:
        InvalidConfig: there is no such file, it cannot be read, or a line is no JSON object in
            UTF-8; the message names file and line.
    """
    for number, line in lines_of(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0]
            raise InvalidConfig(
                f"{str(path)!r} line {number} is not JSON ({reason[:80]}); correct or remove it"
            ) from None
        if not isinstance(row, dict):
            raise InvalidConfig(
                f"{str(path)!r} line {number} is no JSON object; expected one object a line"
            )
        yield number, row


def lines_of(path: str | Path) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and lines that are not blank, without their ends.

    Raises:
        InvalidConfig: see `json_rows`.
    """
    name, number = str(path), 0
    try:
        with _opened(Path(path)) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise InvalidConfig(
                        f"{name!r} line {number} is longer than {MAX_LINE_BYTES >> 20} MiB; "
                        "expected one row a line"
                    )
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise InvalidConfig(
                        f"{name!r} line {number} is not UTF-8 at byte {error.start}; "
                        "convert the file first"
                    ) from None
                if text.strip():
                    yield number, text.rstrip("\r\n")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidConfig(
            f"{name!r} is damaged after line {number} ({error}); fetch or make it again"
        ) from None
    except FileNotFoundError:
        raise InvalidConfig(f"{name!r}: no such file; check the path") from None
    except OSError as error:
        raise InvalidConfig(f"{name!r}: {error.strerror or error}; expected a file") from None


def _opened(path: Path) -> gzip.GzipFile | IO[bytes]:
    with path.open("rb") as file:
        compressed = file.read(len(_GZIP)) == _GZIP
    return gzip.open(path, "rb") if compressed else path.open("rb")
