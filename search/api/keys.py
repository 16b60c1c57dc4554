"""API keys: made once, shown once, kept as hashes in a small file.

A key is 256 random bits, so that one round of SHA-256 keeps it: there is nothing to guess. Several
keys may have one name, as while an old one is replaced by a new one.
"""

import contextlib
import hmac
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from search.errors import InvalidRequest, SearchError

PREFIX: Final = "sextant_"
"""Of every key, so that scanners for leaked secrets can know one."""
MAX_KEYS: Final = 10_000
MAX_BYTES: Final = 16 * 2**20
MAX_DAYS: Final = 3650
MAX_RATE: Final = 1_000_000
LOOK_SECONDS: Final = 1.0
"""How often a server looks whether the file has changed."""
LOCK_SECONDS: Final = 10.0

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class KeysUnreadable(SearchError):
    """The file of keys cannot be read or written: then nobody is let in."""


class StoredKey(BaseModel):
    """A key as the file has it: the key itself is not in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Eight characters that tell it from others of its name."""
    name: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    created_at: datetime
    expires_at: datetime | None = None
    rate_per_minute: Annotated[int, Field(ge=1, le=MAX_RATE)] | None = None

    def is_live(self, now: datetime) -> bool:
        """Whether it is not over."""
        return self.expires_at is None or now < self.expires_at


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    keys: tuple[StoredKey, ...] = ()


class KeyFile:
    """The file of keys; changes are made by one process at a time, in one step."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet; a file that is not there holds no key."""
        self.path = path

    def read(self) -> tuple[StoredKey, ...]:
        """All keys, oldest first.

        Raises:
            KeysUnreadable: the file is there and cannot be read, or is damaged.
        """
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise KeysUnreadable(
                f"keys in {str(self.path)!r} cannot be read: {error.strerror}; check its mode"
            ) from None
        try:
            return _Content.model_validate_json(content).keys
        except (ValidationError, UnicodeDecodeError):
            raise KeysUnreadable(
                f"{str(self.path)!r} is no file of keys; restore it, or remove it and make new keys"
            ) from None

    def create(
        self, name: str, *, rate_per_minute: int | None = None, days: int | None = None
    ) -> tuple[str, StoredKey]:
        """Make a key.

        Args:
            name: Whose it is, for logs and metrics; others of this name stay.
            rate_per_minute: Most requests a minute; None: as the server is told.
            days: After so many it is over; None: never.

        Returns:
            The key, which cannot be had again, and what is kept of it.

        Raises:
            InvalidRequest: a name, rate or number of days that cannot be.
            KeysUnreadable: the file cannot be read or written.
        """
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"key name {name!r:.80}: expected 1 to 64 letters, digits or . _ @ -, beginning "
                "with a letter or digit"
            )
        if rate_per_minute is not None and not 1 <= rate_per_minute <= MAX_RATE:
            raise InvalidRequest(f"rate {rate_per_minute}: expected 1 to {MAX_RATE} a minute")
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise InvalidRequest(f"{days} days: expected 1 to {MAX_DAYS}")
        key = PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(UTC).replace(microsecond=0)
        stored = StoredKey(
            id=secrets.token_hex(4),
            name=name,
            sha256=_digest(key),
            created_at=now,
            expires_at=None if days is None else now + timedelta(days=days),
            rate_per_minute=rate_per_minute,
        )
        with self._changing():
            held = self.read()
            if len(held) >= MAX_KEYS:
                raise InvalidRequest(f"{MAX_KEYS} keys are kept already; revoke some")
            self._write((*held, stored))
        return key, stored

    def revoke(self, which: str) -> tuple[StoredKey, ...]:
        """Forget the key with an id, or all keys of a name.

        Raises:
            InvalidRequest: there is none.
            KeysUnreadable: the file cannot be read or written.
        """
        with self._changing():
            held = self.read()
            gone = tuple(one for one in held if which in (one.id, one.name))
            if not gone:
                names = ", ".join(sorted({one.name for one in held})) or "there are none"
                raise InvalidRequest(f"no key {which!r:.80}; keys are of: {names}")
            self._write(tuple(one for one in held if one not in gone))
        return gone

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock", timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise KeysUnreadable(
                f"keys in {str(self.path)!r} are being changed by another process; try again"
            ) from None
        except OSError as error:
            raise KeysUnreadable(
                f"keys in {str(self.path)!r} cannot be written: {error.strerror}; check the path"
            ) from None

    def _write(self, keys: tuple[StoredKey, ...]) -> None:
        temporary = self.path.with_name(f"{self.path.name}.partial")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_Content(keys=keys).model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)


class KeyRing:
    """The keys that a server accepts. Threads may share it.

    The file is looked at again once it has changed, so that a key that is made or revoked counts
    within `LOOK_SECONDS`.
    """

    def __init__(
        self,
        file: KeyFile,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Nothing is read yet."""
        self._file = file
        self._clock, self._now = clock, now
        self._lock = threading.Lock()
        self._looked: float | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._keys: tuple[StoredKey, ...] = ()

    def find(self, key: str) -> StoredKey | None:
        """What is kept of a key; None if it is none, or is over.

        Raises:
            KeysUnreadable: the file cannot be read.
        """
        digest = _digest(key)
        found = None
        for one in self._current():
            if hmac.compare_digest(one.sha256, digest):  # all are looked at, found or not
                found = one
        return found if found is not None and found.is_live(self._now()) else None

    def live(self) -> list[StoredKey]:
        """The keys that are accepted now.

        Raises:
            KeysUnreadable: the file cannot be read.
        """
        return [one for one in self._current() if one.is_live(self._now())]

    def _current(self) -> tuple[StoredKey, ...]:
        with self._lock:
            if self._looked is None or self._clock() - self._looked >= LOOK_SECONDS:
                stamp = self._stat()
                if self._looked is None or stamp != self._stamp:
                    self._looked = None  # a file that cannot be read is read again
                    self._keys = self._file.read()
                self._stamp = stamp
                self._looked = self._clock()
            return self._keys

    def _stat(self) -> tuple[int, int, int]:
        try:
            status = self._file.path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_mtime_ns, status.st_size, status.st_ino)


def _digest(key: str) -> str:
    return sha256(key.encode("utf-8", "replace")).hexdigest()
