"""Files of sentence pairs with human scores: JSONL, CSV, TSV."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flows.console import one_line
from flows.errors import InvalidInput

if TYPE_CHECKING:
    from embedder.scored_pairs import ScoredPairs

COLUMNS: Final = ("sentence1", "sentence2", "score")
SUFFIXES: Final = (".jsonl", ".csv", ".tsv")


def read_pairs(file: str, *, option: str = "--pairs") -> "ScoredPairs":
    """Read every pair of a file; other columns are left alone, blank lines of JSONL too.

    CSV and TSV have their columns' names in the first line. In TSV quotes mean nothing.

    Args:
        file: the path, as the user wrote it.
        option: how it was given, for messages; empty: as an argument.

    Raises:
        InvalidInput: the file or one of its rows is wrong; the message names the line.
    """
    path = Path(file)
    given = f"{option} {file!r}".strip()
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"{given}: expected a file of type {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InvalidInput(f"{given}: no such file; check the path")
    rows = _json_lines(path) if path.suffix == ".jsonl" else _table(path)
    first: list[str] = []
    second: list[str] = []
    scores: list[float] = []
    try:
        for line, row in rows:
            where = f"{file!r} line {line}"
            first.append(_sentence(row, "sentence1", where))
            second.append(_sentence(row, "sentence2", where))
            scores.append(_score(row, where))
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file!r} is not UTF-8 at byte {error.start}; convert it first"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{given}: {error.strerror}; check its rights") from error
    if not scores:
        raise InvalidInput(f"{file!r} has no pairs; expected rows of {', '.join(COLUMNS)}")

    import numpy as np

    from embedder.scored_pairs import ScoredPairs

    return ScoredPairs(tuple(first), tuple(second), np.array(scores, dtype=np.float64))


def _json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{str(path)!r} line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidInput(
                    f"{where} is not JSON ({one_line(str(error), 80)}); correct it"
                ) from None
            if not isinstance(row, dict):
                raise InvalidInput(f"{where} is no JSON object; expected {', '.join(COLUMNS)}")
            yield number, row


def _table(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = (
            csv.DictReader(lines, strict=True)
            if path.suffix == ".csv"
            else csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        )
        try:
            for row in rows:
                yield rows.reader.line_num, row
        except csv.Error as error:
            raise InvalidInput(
                f"{str(path)!r} line {rows.reader.line_num} is no row ({error}); correct it"
            ) from None


def _column(row: Mapping[str, Any], name: str, where: str) -> Any:
    if row.get(name) is None:
        there = one_line(", ".join(str(key) for key in row), 80) or "none"
        raise InvalidInput(
            f"{where} has no {name!r}; expected {', '.join(COLUMNS)}, its columns are {there}"
        )
    return row[name]


def _sentence(row: Mapping[str, Any], name: str, where: str) -> str:
    value = _column(row, name, where)
    if not isinstance(value, str) or not value.strip():
        shown = one_line(repr(value), 60)
        raise InvalidInput(f"{where} has {name} {shown}; expected a sentence, leave the row out")
    return value


def _score(row: Mapping[str, Any], where: str) -> float:
    value = _column(row, "score", where)
    try:
        score = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        score = math.nan
    if isinstance(value, bool) or not math.isfinite(score):
        shown = one_line(repr(value), 60)
        raise InvalidInput(f"{where} has score {shown}; expected a number, leave the row out")
    return score
