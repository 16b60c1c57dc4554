"""Files of texts with labels: JSONL, one object with `text` and `label` a line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flows.clustering.snippet import one_line
from flows.errors import InvalidInput

FEWEST_LABELS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTexts:
    """Texts, and the label of each as people gave it."""

    name: str
    """The file's name without its ending."""
    texts: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return len(set(self.labels))

    def sample(self, limit: int, *, seed: int) -> "LabelledTexts":
        """At most so many of them, drawn at random, in the file's order.

        Raises:
            InvalidInput: fewer than two labels are left.
        """
        import numpy as np

        if limit >= len(self.texts):
            return self
        drawn = np.random.default_rng(seed).choice(len(self.texts), limit, replace=False)
        rows = np.sort(drawn).tolist()
        return _checked(
            LabelledTexts(
                name=self.name,
                texts=tuple(self.texts[row] for row in rows),
                labels=tuple(self.labels[row] for row in rows),
            ),
            f"{limit} texts of {self.name!r}",
        )


def read_labelled_texts(file: str) -> LabelledTexts:
    """Read a file; other fields are left alone, blank lines too. A label is text or a whole number.

    Raises:
        InvalidInput: the file or one of its lines is wrong; the message names the line.
    """
    path = Path(file)
    if not path.is_file():
        raise InvalidInput(f"{file!r}: no such file; expected JSONL with 'text' and 'label'")
    texts: list[str] = []
    labels: list[str] = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    text, label = _row(line, f"{file!r} line {number}")
                    texts.append(text)
                    labels.append(label)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file!r} is not UTF-8 at byte {error.start}; convert it first"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{file!r}: {error.strerror}; check its rights") from error
    if not texts:
        raise InvalidInput(f"{file!r} is empty; expected lines with 'text' and 'label'")
    found = LabelledTexts(name=path.stem, texts=tuple(texts), labels=tuple(labels))
    return _checked(found, repr(file))


def _row(line: str, where: str) -> tuple[str, str]:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{where} is not JSON ({one_line(str(error), 80)}); correct it"
        ) from None
    if not isinstance(row, dict):
        raise InvalidInput(f"{where} is no JSON object; expected 'text' and 'label'")
    text, label = row.get("text"), row.get("label")
    if not isinstance(text, str) or not text.strip():
        shown = one_line(repr(text), 60)
        raise InvalidInput(f"{where} has text {shown}; expected words, leave the line out")
    if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
        shown = one_line(repr(label), 60)
        raise InvalidInput(f"{where} has label {shown}; expected text or a whole number")
    return text, str(label)


def _checked(found: LabelledTexts, what: str) -> LabelledTexts:
    if found.classes < FEWEST_LABELS:
        raise InvalidInput(
            f"{what} has {found.classes} label ({found.labels[0]!r}); "
            f"expected {FEWEST_LABELS} or more, to tell apart"
        )
    return found
