"""Bytes that were fetched, kept on disk until the run is over: each page is fetched once."""

import os
import secrets
import shutil
import tempfile
import threading
import weakref
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Final

from flows.documents.remote.answers import Answer

SPOOL_BYTES: Final = 1024 * 1024 * 1024
"""Most bytes that one run keeps; what comes then is fetched again when it is needed again."""


class Spool:
    """Answers by key. Its folder is this user's alone, and goes with the object or the process."""

    def __init__(self, max_bytes: int = SPOOL_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._facts: dict[str, Answer] = {}
        self._sizes: dict[str, int] = {}
        self._salt = secrets.token_bytes(16)
        self._folder: Path | None = None
        self._lock = threading.Lock()

    def keep(self, key: str, answer: Answer) -> None:
        """Keep an answer, if there is room for it; what is known of it is kept in any case."""
        name = self._name(key)
        with self._lock:
            self._facts[name] = replace(answer, data=b"")
            self._held -= self._sizes.pop(name, 0)
            if self._held + len(answer.data) > self._max_bytes:
                return
            try:
                if self._folder is None:
                    self._folder = Path(tempfile.mkdtemp(prefix="sextant-"))
                    weakref.finalize(self, _remove, self._folder, os.getpid())
                (self._folder / name).write_bytes(answer.data)
            except OSError:  # no room, no right: then it is fetched again
                return
            self._sizes[name] = len(answer.data)
            self._held += len(answer.data)

    def get(self, key: str) -> Answer | None:
        """The answer that was kept; None if there is none, or its bytes are gone."""
        name = self._name(key)
        with self._lock:
            size = self._sizes.get(name)
            if size is None or self._folder is None:
                return None
            try:
                data = (self._folder / name).read_bytes()
            except OSError:
                return None
            return replace(self._facts[name], data=data) if len(data) == size else None

    def facts(self, key: str) -> Answer | None:
        """What is known of the last answer that was kept, without its bytes."""
        return self._facts.get(self._name(key))

    def _name(self, key: str) -> str:
        """A file name that says nothing: a key may hold a secret that could be guessed."""
        return blake2b(key.encode(), key=self._salt, digest_size=20).hexdigest()


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in a child that ends and has forked from it
        shutil.rmtree(folder, ignore_errors=True)
