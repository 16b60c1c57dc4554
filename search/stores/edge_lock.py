"""The lock on an embedded collection: one process at a time, and a readable word on who has it.

The lock is `flock`'s, held by the engine's worker process: the kernel releases it when that process
ends, however it ends. The file's text only serves the message, and stays behind.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, Final

ORPHAN_SECONDS: Final = 30.0


class LockHeldError(Exception):
    """Another process holds the lock; the message says which. Becomes `StoreInUse`."""


def acquire(path: Path, *, pid: int, command: str, since: str) -> int:
    """Take the lock, or fail: at once if its holder is alive.

    A process that was killed leaves its worker to flush and end; so long, and no longer than
    `ORPHAN_SECONDS`, its successor waits.

    Args:
        path: The lock file; made if need be, never removed.
        pid: The process on whose behalf the lock is taken.
        command: What that process runs.
        since: Now, ISO 8601.

    Returns:
        The file descriptor that holds the lock; closing it, or ending the process, releases it.

    Raises:
        LockHeldError: another process has it.
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    holder_text = json.dumps({"pid": pid, "command": command, "since": since}).encode()
    with contextlib.suppress(OSError):  # a full disk must not keep anyone from deleting
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder_text, 0)
    return descriptor


def release(descriptor: int) -> None:
    """Let the lock go; a descriptor already closed is no error."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _take(descriptor: int) -> None:
    deadline = time.monotonic() + ORPHAN_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(os.pread(descriptor, 4096, 0))
            if not _is_gone(holder) or time.monotonic() > deadline:
                raise LockHeldError(_describe(holder)) from None
            time.sleep(0.05)
        else:
            return


def _holder(text: bytes) -> dict[str, Any]:
    try:
        holder = json.loads(text)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_gone(holder: dict[str, Any]) -> bool:
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _describe(holder: dict[str, Any]) -> str:
    try:
        return f"pid {holder['pid']} ({holder['command']}), since {holder['since']}"
    except KeyError:
        return "another process"
