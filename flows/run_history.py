"""Reading the run history: the newest runs, or one by its id, as far as they can be read."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from flows.clustering.snippet import one_line
from flows.errors import FlowError, InvalidInput
from flows.runs import FILE, KEPT, RunRecord, process_word, record_files

_NAMES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Runs that were read, the newest first, and what could not be read."""

    runs: tuple[RunRecord, ...]
    warnings: tuple[str, ...] = ()


def read_runs(folder: Path, *, limit: int = KEPT, store: str | None = None) -> History:
    """The newest runs, the newest first; a damaged file is a warning.

    Args:
        folder: See `runs_folder`; one that is not there holds no runs.
        limit: At most so many.
        store: Only runs on this one: all servers share a state folder.

    Raises:
        FlowError: the folder cannot be read.
    """
    runs: list[RunRecord] = []
    warnings: list[str] = []
    for path in _listed(folder):
        if len(runs) >= limit:
            break
        try:
            record = _read(path)
        except FileNotFoundError:  # deleted since, as it may be
            continue
        except (OSError, ValueError) as error:
            warnings.append(_damage(path, error))
            continue
        if store is None or record.store == store:
            runs.append(record)
    return History(runs=tuple(runs), warnings=tuple(warnings))


def find_run(folder: Path, prefix: str) -> RunRecord:
    """The run whose id is, or begins with, `prefix`.

    Raises:
        InvalidInput: there is none, or several begin so.
        FlowError: its record, or the folder, cannot be read.
    """
    paths = {match["run"]: path for path in _listed(folder) if (match := FILE.fullmatch(path.name))}
    found = [prefix] if prefix in paths else [run for run in paths if run.startswith(prefix)]
    if not prefix or not found:
        raise InvalidInput(f"no run {prefix!r} is recorded in {str(folder)!r}; see `sextant runs`")
    if len(found) > 1:
        named = ", ".join(found[:_NAMES_SHOWN])
        more = f" and {len(found) - _NAMES_SHOWN} more" if len(found) > _NAMES_SHOWN else ""
        raise InvalidInput(f"run {prefix!r} may be {named}{more}; give more of its id")
    try:
        return _read(paths[found[0]])
    except (OSError, ValueError) as error:
        raise FlowError(_damage(paths[found[0]], error)) from error


def _read(path: Path) -> RunRecord:
    record = RunRecord.model_validate_json(path.read_bytes())
    if record.state == "running" and record.host == platform.node() and _is_gone(record):
        return record.model_copy(update={"state": "interrupted"})
    return record


def _is_gone(record: RunRecord) -> bool:
    """Whether the process that ran here is no more; another one may have its number by now."""
    if record.pid <= 0:
        return True
    if record.process and process_word(os.getpid()):
        return process_word(record.pid) != record.process
    try:
        os.kill(record.pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False  # it is there, and somebody else's
    return False


def _damage(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        reason = error.strerror or "cannot be read"
    elif isinstance(error, ValidationError):
        first = error.errors()[0]
        reason = ": ".join((*map(str, first["loc"]), first["msg"]))
    else:
        reason = "not text"
    return f"run record {str(path)!r} is damaged ({one_line(reason)}); delete it"


def _listed(folder: Path) -> list[Path]:
    try:
        return record_files(folder)
    except OSError as error:
        raise FlowError(
            f"run history {str(folder)!r} cannot be read: {error.strerror}; check its mode, or "
            "delete it: it decides nothing"
        ) from error
