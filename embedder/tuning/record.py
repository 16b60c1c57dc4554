"""What a run was asked to do, written beside it: no other run goes on from its checkpoints."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from embedder.errors import InvalidConfig
from embedder.tuning.checkpoints import flush

FOLDER: Final = "run"
"""Folder in a run's output that holds its record, checkpoints, metrics and report."""
ASKED: Final = "settings.json"
RESULT: Final = "result.json"

_NAMED: Final = {
    "base": "the base model's files",
    "encoder": "the base encoder's settings",
    "data": "the data",
    "dev": "the dev data",
    "processes": "the number of processes",
}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The folder of a run.

    Args:
        out: where its output goes.
    """

    out: Path

    @property
    def folder(self) -> Path:
        """Where record, checkpoints, metrics and report lie."""
        return self.out / FOLDER

    def lock(self) -> FileLock:
        """Held by one process at a time.

        Raises:
            InvalidConfig: another one holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InvalidConfig(
                f"another process is tuning into {str(self.out)!r}; wait for it, or use another "
                "folder"
            ) from None
        return lock

    def check(self, asked: Mapping[str, Any], *, resume: bool) -> None:
        """Check that a run of these settings may begin, or go on, here.

        Raises:
            InvalidConfig: there is a run and it was not to be taken up; there is none and it was;
                or it was asked to do something else, of which the message names the first.
        """
        path = self.folder / ASKED
        if not path.is_file():
            if resume:
                raise InvalidConfig(
                    f"there is no run in {str(self.out)!r} to resume; leave out --resume to begin "
                    "one"
                )
            if self.out.is_dir() and any(p.name != FOLDER for p in self.out.iterdir()):
                raise InvalidConfig(
                    f"{str(self.out)!r} is not empty and holds no run; use a new folder"
                )
            return
        if not resume:
            raise InvalidConfig(
                f"{str(self.out)!r} holds a run already; use --resume to go on with it, or another "
                "folder"
            )
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidConfig(
                f"{str(path)!r} cannot be read ({error}); begin anew in another folder"
            ) from error
        # As JSON has both: a tuple there is a list.
        for key, was, now in _differences(before, json.loads(json.dumps(asked))):
            raise InvalidConfig(
                f"resume: {key} is {now}, the run in {str(self.out)!r} was begun with {was}; give "
                "the same, or another folder"
            )

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Write down what is asked."""
        _write(self.folder / ASKED, asked)

    def result(self) -> dict[str, Any] | None:
        """What the run came to, if it has ended."""
        path = self.folder / RESULT
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def end(self, result: Mapping[str, Any]) -> None:
        """Write down what it came to."""
        _write(self.folder / RESULT, result)


def _differences(before: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """Settings that differ: their names, what they were, what they are."""
    found = []
    for part in dict.fromkeys([*before, *now]):
        was, wanted = before.get(part), now.get(part)
        if was == wanted:
            continue
        if part != "settings":
            found.append((_NAMED.get(part, part), _short(was), _short(wanted)))
            continue
        found += [
            (key, was.get(key), wanted.get(key))
            for key in dict.fromkeys([*was, *wanted])
            if was.get(key) != wanted.get(key)
        ]
    return found


def _short(value: Any) -> str:
    """A value as a message has it; a digest by its first digits."""
    if isinstance(value, dict):
        value = value.get("digest", value)
    text = str(value)
    return f"{text[:12]}..." if len(text) > 40 else text


def _write(path: Path, content: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    temporary.write_text(text, encoding="utf-8")
    flush(temporary)
    temporary.replace(path)
