"""`metrics.jsonl`: a JSON object a line, as the run goes; the report's curves are drawn of it."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

FILE: Final = "metrics.jsonl"

Row = Mapping[str, Any]


class Metrics:
    """The file, open for writing.

    Args:
        folder: where it lies.
        after: rows of later steps are removed first: they were written by a process that was
            killed, and are about to be written again.
    """

    def __init__(self, folder: Path, *, after: int) -> None:
        path = folder / FILE
        kept = [row for row in read_metrics(folder) if row["step"] <= after]
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text("".join(_line(row) for row in kept))
        temporary.replace(path)
        self._file: TextIO = path.open("a")

    def add(self, row: Row) -> None:
        """Write a row, which has a `step`, so that others can read it at once."""
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(folder: Path) -> Sequence[Row]:
    """All whole rows there are; a line that a killed process left unfinished is left out."""
    path = folder / FILE
    rows: list[Row] = []
    if not path.is_file():
        return rows
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def _line(row: Row) -> str:
    """As JSON, in which NaN and infinity are null."""
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
    return json.dumps(plain, allow_nan=False) + "\n"
