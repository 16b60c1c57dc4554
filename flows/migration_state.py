"""What a migration remembers from one command to the next, in a small file beside the store.

The file saves work and remembers where a rollback leads; the store itself says which versions there
are and which one is in use. Lost, it is found out again, as far as the store tells.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from flows.errors import FlowError
from flows.state import state_folder

MIGRATION: Final = "migration"
STATE_FILE: Final = "state.json"
EVIDENCE_FILE: Final = "evidence.json"
LOCK_FILE: Final = "lock"


def utc_now() -> str:
    """Now, as states and reports write it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Switch(BaseModel):
    """The alias moved from one version to another."""

    model_config = ConfigDict(frozen=True)

    before: str
    after: str
    at: str
    """ISO 8601, UTC."""


class UnderWay(BaseModel):
    """A migration that has begun and has not ended in a switch."""

    model_config = ConfigDict(frozen=True)

    encoder: dict[str, Any]
    """Name and configuration of the new encoder, as `EncoderSpecification.describe` gives them."""
    fingerprint: str
    """Of the new encoder."""
    old: str
    """Version that was in use when it began."""
    new: str | None = None
    """Version that is being written; None before it is made."""
    made: bool = True
    """Whether this migration made `new`; one that was there before is not its own to delete."""
    documents: int = 0
    """In the old version, when last counted."""
    done: int = 0
    """Of them, those that the new version holds."""
    ready: bool = False
    """Whether both versions were equal and the evidence was taken."""
    started_at: str


class MigrationState(BaseModel):
    """The file's content."""

    model_config = ConfigDict(frozen=True)

    store: str
    """Location; a file that tells of another store says nothing of this one."""
    switches: tuple[Switch, ...] = ()
    """Oldest first; a rollback takes the last one off."""
    under_way: UnderWay | None = None

    def switched(self, before: str, after: str) -> "MigrationState":
        """The state after the alias has moved: nothing is under way."""
        switch = Switch(before=before, after=after, at=utc_now())
        return self.model_copy(update={"switches": (*self.switches, switch), "under_way": None})


class MigrationFolder:
    """The folder of one alias: state, spool, evidence, and a lock against a second migration."""

    def __init__(self, store: str, alias: str, *, location: str) -> None:
        """Nothing is read or made yet.

        Args:
            store: The store as the settings have it.
            alias: The collection.
            location: What the open store calls itself.
        """
        self.path = state_folder(store) / alias / MIGRATION
        self._location = location
        self._alias = alias
        self._lock = FileLock(self.path / LOCK_FILE)

    def acquire(self) -> None:
        """Keep other migrations of this alias out until `release`, or the process's end.

        Raises:
            FlowError: one is at work, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise FlowError(
                f"another process migrates collection {self._alias!r}; wait for it, or stop it"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error

    def release(self) -> None:
        """Let others in."""
        self._lock.release()

    def read(self) -> MigrationState:
        """The state; a file that is missing, damaged or another store's says nothing."""
        try:
            state = MigrationState.model_validate_json((self.path / STATE_FILE).read_bytes())
        except (OSError, ValidationError):
            state = MigrationState(store=self._location)
        return state if state.store == self._location else MigrationState(store=self._location)

    def write(self, state: MigrationState) -> None:
        """Replace the state in one step.

        Raises:
            FlowError: the file cannot be written.
        """
        self._write(STATE_FILE, state)

    def write_evidence(self, evidence: BaseModel) -> Path:
        """Keep the evidence of the last comparison; returns the file's path.

        Raises:
            FlowError: the file cannot be written.
        """
        return self._write(EVIDENCE_FILE, evidence)

    def _write(self, name: str, content: BaseModel) -> Path:
        """Replace a file of the folder in one step."""
        path, text = self.path / name, content.model_dump_json(indent=2) + "\n"
        temporary = path.with_name(f".{name}.{os.getpid()}.tmp")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise self._unwritable(error) from error
        return path

    def _unwritable(self, error: OSError) -> FlowError:
        return FlowError(
            f"{str(self.path)!r} cannot be written: {error.strerror}; check rights and space, "
            "then run the same command again: it goes on from there"
        )
