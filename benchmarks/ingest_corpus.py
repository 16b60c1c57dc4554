"""Corpora for measurements, made from a folder of documents: parts of it, and changed copies."""

import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flows.documents.formats import format_of

_WORD: Final = re.compile(r"[A-Za-z]{3,}")
CHANGED_SHARE: Final = 0.3
"""Of the words: two copies have one run of five words in thirty in common, and hardly a chunk."""
TEXT_FORMATS: Final = ("text", "markdown", "html", "restructuredtext", "code")


class NothingToMeasure(Exception):
    """A folder does not hold what is to be measured; the message says what is missing."""


def documents(folder: Path) -> list[Path]:
    """Its files that have a parser, in the order of their names.

    Raises:
        NothingToMeasure: there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.is_file() and format_of(path.name))
    if not found:
        raise NothingToMeasure(f"{str(folder)!r} holds no document; give a folder of documents")
    return found


def every_nth(folder: Path, count: int, target: Path) -> Path:
    """A copy of so many of its documents, spread over all of them; returns `target`."""
    found = documents(folder)
    step = max(1.0, len(found) / count)
    chosen = [found[int(i * step)] for i in range(min(count, len(found)))]
    return copy(chosen, folder, target)


def short_ones(folder: Path, count: int, target: Path, *, least_bytes: int = 1000) -> Path:
    """A copy of its shortest documents of at least so many bytes; returns `target`.

    Raises:
        NothingToMeasure: there are not so many.
    """
    sizes = {path: path.stat().st_size for path in documents(folder)}
    chosen = sorted((p for p in sizes if sizes[p] >= least_bytes), key=lambda p: (sizes[p], p))
    if len(chosen) < count:
        raise NothingToMeasure(
            f"{str(folder)!r} holds {len(chosen)} documents of {least_bytes} bytes or more; "
            f"expected {count}"
        )
    return copy(chosen[:count], folder, target)


def copy(chosen: Sequence[Path], folder: Path, target: Path) -> Path:
    """Copy some of a folder's files, each to its own place below `target`."""
    for path in chosen:
        place = target / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return target


def changed_copies(folder: Path, copies: int, target: Path) -> Path:
    """Copies of a folder's texts, each changed in every line; returns `target`.

    Chunks that are equal would be embedded once, and documents that are nearly equal be compared:
    here neither happens. Words change places within their document, so that lengths, lines and
    markup stay as they are. Formats that are no plain text are left out.

    Raises:
        NothingToMeasure: there is no text.
    """
    texts = [path for path in documents(folder) if format_of(path.name) in TEXT_FORMATS]
    if not texts:
        raise NothingToMeasure(f"{str(folder)!r} holds no text that could be changed")
    for path in texts:
        text = path.read_text(encoding="utf-8", errors="replace")
        for number in range(copies):
            place = target / f"copy-{number:02}" / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(changed(text, seed=f"{number} {path.name}"), encoding="utf-8")
    return target


def changed(text: str, *, seed: str) -> str:
    """The text with some of its words in place of others."""
    words = _WORD.findall(text)
    rng = random.Random(seed)
    return _WORD.sub(
        lambda word: rng.choice(words) if rng.random() < CHANGED_SHARE else word[0], text
    )
