"""A report's two files, each replaced whole: a reader sees the old report or the new one."""

import json
import os
from pathlib import Path
from typing import Final

from flows.clustering.markdown import render
from flows.clustering.report import ClusterReport
from flows.errors import FlowError

JSON_NAME: Final = "clusters.json"
MARKDOWN_NAME: Final = "clusters.md"


def prepare_folder(folder: Path) -> None:
    """Make the report folder, before the work whose report it is to hold.

    Raises:
        FlowError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_report(report: ClusterReport, folder: Path) -> None:
    """Write `clusters.md`, then `clusters.json`, into an existing folder.

    Raises:
        FlowError: the folder cannot be written to.
    """
    text = json.dumps(report.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=2)
    try:
        _replace(folder / MARKDOWN_NAME, render(report))
        _replace(folder / JSON_NAME, text + "\n")
    except OSError as error:
        raise _unwritable(folder, error) from error


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> FlowError:
    return FlowError(
        f"cannot write the report into {folder}: {error.strerror}; give a writable folder"
    )
