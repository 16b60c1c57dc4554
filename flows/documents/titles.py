"""A document's title: one line, clipped."""

import re
from pathlib import PurePosixPath
from typing import Final

MAX_TITLE_CHARACTERS: Final = 200

_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def one_line(text: str) -> str:
    """Words on one line, single spaces between them, clipped to 200 characters."""
    line = " ".join(_CONTROLS.sub(" ", text[: 20 * MAX_TITLE_CHARACTERS]).split())
    if len(line) <= MAX_TITLE_CHARACTERS:
        return line
    return line[: MAX_TITLE_CHARACTERS - 1].rstrip() + "…"


def file_title(name: str) -> str:
    """The file's name without its folder: `sub/list.py` -> `list.py`."""
    return one_line(PurePosixPath(name).name or name) or "untitled"


def stem_title(name: str) -> str:
    """The title of last resort: the file's name without folder and suffix."""
    path = PurePosixPath(name)
    return one_line(path.stem or path.name or name) or "untitled"
