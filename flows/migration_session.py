"""The process's migration: its tasks, which run in threads of the flow's process, find it here."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flows.errors import FlowError
from flows.migration import Migration
from flows.migration_request import MigrationRequest
from flows.progress import Progress
from flows.settings import load_settings

_lock = threading.Lock()
_current: Migration | None = None
_depth = 0


@contextmanager
def migrating(request: MigrationRequest, progress: Progress | None = None) -> Iterator[Migration]:
    """The process's migration: opened by the outermost block, shared by inner ones.

    Raises:
        FlowError: another migration is open in this process.
        InvalidInput, SearchError, EmbedderError: see `Migration.open`.
    """
    global _current, _depth
    with _lock:
        if _current is None:
            settings = load_settings()
            _current = Migration.open(
                request,
                api_key=settings.api_key,
                server=settings.server_options,
                progress=progress,
            )
        elif _current.request != request:
            raise FlowError(
                f"this process migrates collection {_current.request.collection!r}; "
                "run one migration at a time, or use another process"
            )
        _depth += 1
        migration = _current
    try:
        yield migration
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _current = None
                migration.close()


def current() -> Migration:
    """The migration that the running flow has opened: for its tasks, in whatever thread.

    Raises:
        FlowError: none is running in this process.
    """
    if _current is None:
        raise FlowError("no migration is open in this process; tasks run inside their flow")
    return _current
