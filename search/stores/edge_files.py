"""Files that are whole after a crash: written aside, flushed to the disk, then put in place."""

import os
from pathlib import Path


def write_durably(path: Path, text: str) -> None:
    """Replace a file in one step: after a crash it holds the old text or the new, whole."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
