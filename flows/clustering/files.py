"""A report's files, each replaced whole: a reader sees the old report or the new one."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from flows.clustering.csv_files import write_clusters
from flows.clustering.markdown import render
from flows.clustering.page import render_page
from flows.clustering.report import ClusterReport
from flows.errors import FlowError

JSON_NAME: Final = "clusters.json"
MARKDOWN_NAME: Final = "clusters.md"
PAGE_NAME: Final = "clusters.html"
CSV_NAME: Final = "clusters.csv"
MAP_NAME: Final = "map.txt"
"""The map as the page holds it, so that a page can be made again with other names."""
_PACKED: Final = re.compile(r"[A-Za-z0-9+/=\s]*")


def prepare_folder(folder: Path) -> None:
    """Make the report folder, before the work whose report it is to hold.

    Raises:
        FlowError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_report(report: ClusterReport, folder: Path, packed_map: str = "") -> None:
    """Write page, Markdown, CSV, and JSON last, into an existing folder.

    Args:
        report: what was found.
        folder: where to.
        packed_map: see `map_points.PointMap.packed`.

    Raises:
        FlowError: the folder cannot be written to.
    """
    text = json.dumps(report.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=2)
    write_file(folder / MAP_NAME, lambda file: _say(file, packed_map))
    write_file(folder / PAGE_NAME, lambda file: _say(file, render_page(report, packed_map)))
    write_file(folder / CSV_NAME, lambda file: write_clusters(report, file))
    write_file(folder / MARKDOWN_NAME, lambda file: _say(file, render(report)))
    write_file(folder / JSON_NAME, lambda file: _say(file, text + "\n"))


def read_report(folder: Path) -> ClusterReport | None:
    """The report in a folder; None if there is none that can be read."""
    try:
        return ClusterReport.model_validate_json((folder / JSON_NAME).read_bytes())
    except (OSError, ValueError):
        return None


def read_map(folder: Path) -> str:
    """The packed map in a folder; empty if there is none that can be read."""
    try:
        text = (folder / MAP_NAME).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
    return text if _PACKED.fullmatch(text) else ""


def write_file(path: Path, write: Callable[[IO[str]], None]) -> None:
    """Replace a file by what is written, in one step.

    Raises:
        FlowError: it cannot be written; the old file stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            with partial.open("w", encoding="utf-8", newline="\n", errors="replace") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _say(file: IO[str], text: str) -> None:
    file.write(text)


def _unwritable(folder: Path, error: OSError) -> FlowError:
    return FlowError(
        f"cannot write the report into {folder}: {error.strerror}; give a writable folder"
    )
