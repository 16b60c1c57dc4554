"""Files that are whole after a crash, written aside and then put in place; and what files take."""

import os
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 512
"""The unit of `st_blocks`, whatever the file system's own."""


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


def allocated_bytes(folder: Path) -> int:
    """What a folder's files take on the disk: the engine's are sparse, and seem larger."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(place, name).lstat().st_blocks * BLOCK_BYTES
            except FileNotFoundError:  # the engine has cleared it away meanwhile
                continue
    return total
