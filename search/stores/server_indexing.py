"""When a server builds a collection's vector index: put off while much is loaded, waited for after.

A server indexes by itself, again and again while a collection grows. `put_off` sets the threshold
for it to 0, which means never, and keeps the old one in the collection's metadata, in one request.
So the collection is in one of two states, each whole: its own threshold and no note, or no indexing
and the note of what to set. Whoever finds the note can put it right, after a kill as well.

Of two programs that load at once, the first to finish turns indexing on for both. That is harmless:
the other one's points are indexed as they come, which only takes the server more time.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

from qdrant_client import models

from search.errors import SearchError, StoreUnavailable
from search.filters import of_kind
from search.lexical import BM25
from search.records import KIND_CHUNK
from search.stores import server_wire
from search.stores.contract import Status
from search.stores.server_link import ServerLink

THRESHOLD_KEY: Final = "sextant_indexing_threshold"
"""Key of the collection's metadata: the threshold to set when loading ends; null when it has."""
DEFAULT_THRESHOLD: Final = 10_000
"""Qdrant's own, in kB of vectors of a segment; set where the server did not say what it had."""
NEVER: Final = 0

FIRST_POLL: Final = 0.25
LONGEST_POLL: Final = 2.0
STALLED_SECONDS: Final = 3600.0
"""After so long without one more vector indexed, waiting ends."""
GREENS: Final = 2
"""A server whose settings just changed may call itself ready before it has looked."""

Progress = Callable[[int, int], None]


class Indexing:
    """The index of one collection."""

    def __init__(self, link: ServerLink, name: str) -> None:
        self._link = link
        self._name = name
        self._subject = f"collection {name!r}"

    def status(self) -> Status:
        """Exact numbers of points and vectors; what is indexed, as the server estimates it."""
        vectors = self._count(KIND_CHUNK)
        indexed = self._info().indexed_vectors_count or 0
        return Status(
            points=self._count(),
            vectors=vectors,
            indexed=min(indexed, vectors),
            bytes=None,
            worded=self._count_worded(),
        )

    @contextlib.contextmanager
    def put_off(self) -> Iterator[None]:
        """While open, the server builds no index; see `contract.Collection.bulk_load`."""
        info = self._info()
        note, threshold = _note(info), info.config.optimizer_config.indexing_threshold
        if note is None and threshold == NEVER:
            yield  # somebody wants no index at all
            return
        self._set(info, threshold=NEVER, note=threshold or note or DEFAULT_THRESHOLD)
        try:
            yield
        except BaseException as error:
            try:
                self.restore()
            except SearchError as failure:
                error.add_note(f"indexing stays off until the next ingest or optimize: {failure}")
            raise
        self.restore()

    def restore(self) -> None:
        """Let the server index again, if a load put it off."""
        info = self._info()
        note, threshold = _note(info), info.config.optimizer_config.indexing_threshold
        if note is not None:
            self._set(info, threshold=threshold or note, note=None)

    def wait(self, progress: Progress | None = None) -> None:
        """Wait until the server has indexed what is worth it; see `Collection.optimize`.

        Raises:
            StoreUnavailable: the server reports an error, or makes no headway for an hour.
        """
        self.restore()
        vectors = self._count(KIND_CHUNK)
        greens, pause, furthest, moved, was_nudged = 0, FIRST_POLL, -1, time.monotonic(), False
        while True:
            info = self._info()
            indexed = min(info.indexed_vectors_count or 0, vectors)
            if progress is not None:
                progress(indexed, vectors)
            if info.status == models.CollectionStatus.RED:
                raise StoreUnavailable(
                    f"{self._subject} on {self._link.location} has status red "
                    f"({info.optimizer_status}); look into the server's log"
                )
            greens = greens + 1 if info.status == models.CollectionStatus.GREEN else 0
            if greens >= GREENS or (greens and self._link.is_local):
                return
            if info.status == models.CollectionStatus.GREY and not was_nudged:
                self._nudge()
                was_nudged = True
            if indexed != furthest:
                furthest, moved = indexed, time.monotonic()
            elif time.monotonic() - moved > STALLED_SECONDS:
                raise StoreUnavailable(
                    f"{self._subject} on {self._link.location} has indexed {indexed} of {vectors} "
                    f"vectors and none for {STALLED_SECONDS:g} s; searches work meanwhile, "
                    "look into the server's log and wait again later"
                )
            self._link.pause(pause)
            pause = min(2 * pause, LONGEST_POLL)

    def _nudge(self) -> None:
        """After its start a server indexes nothing until something happens; this is something."""
        self._link.call(
            self._subject,
            lambda: self._link.client.update_collection(
                self._name, optimizers_config=models.OptimizersConfigDiff()
            ),
        )

    def _set(self, info: models.CollectionInfo, *, threshold: int, note: int | None) -> None:
        # the whole metadata, whether the server merges or replaces it
        metadata = {**(info.config.metadata or {}), THRESHOLD_KEY: note}
        self._link.call(
            self._subject,
            lambda: self._link.client.update_collection(
                self._name,
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=threshold),
                metadata=metadata,
            ),
        )

    def _info(self) -> models.CollectionInfo:
        return self._link.call(self._subject, lambda: self._link.client.get_collection(self._name))

    def _count_worded(self) -> int:
        worded = models.Filter(must=[models.HasVectorCondition(has_vector=BM25)])
        return self._link.call(
            self._subject,
            lambda: self._link.client.count(self._name, count_filter=worded, exact=True).count,
        )

    def _count(self, kind: str | None = None) -> int:
        where = None if kind is None else server_wire.to_filter(of_kind(kind))
        return self._link.call(
            self._subject,
            lambda: self._link.client.count(self._name, count_filter=where, exact=True).count,
        )


def _note(info: models.CollectionInfo) -> int | None:
    """The threshold that a load left to be restored."""
    value = (info.config.metadata or {}).get(THRESHOLD_KEY)
    return value if isinstance(value, int) and value > NEVER else None
