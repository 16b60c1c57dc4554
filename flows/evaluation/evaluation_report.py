"""What an evaluation says: tasks with their measures, those that failed with their reasons.

A task that failed is not among the tasks and does not count in the average, least of all as 0.
"""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from embedder.errors import EmbedderError
from embedder.specification import EncoderSpecification
from flows.clustering.files import write_file
from flows.clustering.snippet import one_line
from flows.errors import FlowError, InvalidInput

LIBRARIES: Final = ("sextant-pipeline", "torch", "transformers", "numpy", "scikit-learn", "mteb")
"""Whose versions are filed with a result, as far as they are installed."""
REASON_CHARACTERS: Final = 300
DIGITS: Final = 4


@dataclass(slots=True, kw_only=True)
class EvaluationReport:
    """The outcome of `sextant evaluate KIND`."""

    kind: str
    """`sts`, `classification`, ..."""
    specification: EncoderSpecification
    measure: str
    """The key under which each task has its figure."""
    tasks: list[dict[str, Any]] = field(default_factory=list)
    """Each with `name`, its measure, and `n`: what was scored. Told with four decimals."""
    failed: list[dict[str, str]] = field(default_factory=list)
    """Each with `name` and `reason`."""
    further: dict[str, Any] = field(default_factory=dict)
    """What one kind of evaluation says beside."""

    def attempt(self, name: str, task: Callable[[], Mapping[str, Any]]) -> None:
        """Run a task and keep what it says, or why it failed; the others go on.

        Only what the encoder or the data refuse is a failure of a task: mistakes in the program
        and a lack of memory end the run.
        """
        try:
            fields = task()
        except (EmbedderError, FlowError) as error:
            self.fail(name, error)
            return
        self.tasks.append({"name": name, **fields})

    def fail(self, name: str, error: Exception) -> None:
        """Note a task that gave no figure."""
        reason = one_line(str(error), REASON_CHARACTERS) or type(error).__name__
        self.failed.append({"name": name, "reason": reason})

    @property
    def average(self) -> Any:
        """Mean of the tasks that ran, of nested measures each by itself; None if none did."""
        return _mean([task[self.measure] for task in self.tasks]) if self.tasks else None

    def fields(self) -> dict[str, Any]:
        """For programs."""
        return {
            "tasks": _rounded(self.tasks),
            "average": _rounded(self.average),
            "encoder": self.specification.name,
            "fingerprint": self.specification.fingerprint,
            "failed": self.failed,
            **_rounded(self.further),
        }

    def file(self, place: str, options: Mapping[str, Any]) -> Path:
        """Write the result with all that is needed to get it again; returns the file.

        Args:
            place: a file that ends in `.json`, or a folder, in which the file is named after the
                kind of evaluation and the encoder's fingerprint.
            options: what else was asked for.

        Raises:
            FlowError: it cannot be written.
        """
        path = Path(place)
        if path.suffix != ".json":
            path = path / f"{self.kind}-{self.specification.fingerprint[:12]}.json"
        filed = {
            "evaluation": self.kind,
            **self.fields(),
            "config": self.specification.describe()["config"],
            "options": dict(options),
            "versions": versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        text = json.dumps(filed, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
        write_file(path, lambda file: _write(file, text))
        return path


def check_results_place(place: str | None) -> None:
    """Refuse, before any work, a place that results cannot be filed in; a folder is made.

    Raises:
        InvalidInput: its folder does not exist or cannot be made, or it is a file of another kind.
    """
    if place is None:
        return
    path = Path(place)
    if path.suffix == ".json":
        if path.is_dir():
            raise InvalidInput(f"--file-results {place!r}: is a folder; expected a file or folder")
        if not path.parent.is_dir():
            raise InvalidInput(
                f"--file-results {place!r}: its folder does not exist; make it first"
            )
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"--file-results {place!r}: {error.strerror}; expected a folder or a name that ends "
            "in .json"
        ) from None


def require_distinct(names: Sequence[str]) -> None:
    """Refuse sets of one name, whose figures nobody could tell apart.

    Raises:
        InvalidInput: a name comes twice.
    """
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidInput(f"two sets are called {name!r}; expected a name each, rename a file")


def versions() -> dict[str, str]:
    """Of Python and of the libraries that a figure may depend on."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _mean(values: Sequence[Any]) -> Any:
    """Of numbers, or of mappings with the same keys, key by key."""
    if isinstance(values[0], Mapping):
        return {key: _mean([value[key] for value in values]) for key in values[0]}
    return float(np.mean(values))


def _rounded(value: Any) -> Any:
    """The same with every fraction in it at `DIGITS` decimals."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Mapping):
        return {key: _rounded(own) for key, own in value.items()}
    return [_rounded(own) for own in value] if isinstance(value, list) else value


def _write(file: Any, text: str) -> None:
    file.write(text)
