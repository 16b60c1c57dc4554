"""The two versions of a migration: opened with patience, compared, and the new one made.

An embedded collection is open in one process at a time: the old version is opened for moments, so
that searches and ingests go on, the new one, which nobody else wants, throughout.
"""

import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embedder.canary import canary_vectors, check_canary
from flows.encoders import in_encoder_thread
from flows.errors import FlowError
from flows.migration_documents import NewVersion
from flows.migration_index import (
    Difference,
    HeadDigest,
    difference,
    read_digests,
    read_left_out,
)
from flows.migration_request import Course
from flows.progress import Progress
from search.collections import create_version
from search.errors import StoreInUse
from search.filters import of_kind
from search.records import KIND_CHUNK
from search.stores.contract import Collection, Store

if TYPE_CHECKING:
    from embedder.encoder import Encoder

WAIT_SECONDS: Final = 120.0
"""For a collection that another process has open."""
POLL_SECONDS: Final = 0.5
_FLOAT_BYTES: Final = 4


class Versions:
    """The old version and the new one of one migration; `close` when done."""

    def __init__(self, store: Store, alias: str, course: Course, progress: Progress) -> None:
        """Opens nothing yet.

        Args:
            store: Where both are.
            alias: What people call them.
            course: Which they are.
            progress: Is told of waiting.
        """
        self.store = store
        self.course = course
        self.old_heads: Mapping[str, HeadDigest] = {}
        """The old version's, when last compared."""
        self._alias = alias
        self._progress = progress
        self._new: NewVersion | None = None
        self._bulk = ExitStack()

    @contextmanager
    def old(self) -> Iterator[Collection]:
        """The old version, open for as long as the block lasts: nobody else has it meanwhile.

        Raises:
            StoreInUse: another process has it open, and keeps it for `WAIT_SECONDS`.
        """
        collection = self._open(self.course.old.name)
        try:
            yield collection
        finally:
            collection.close()

    def existing(self) -> NewVersion | None:
        """The new version, opened once; None before it is made.

        Raises:
            StoreInUse: as for the old one.
        """
        if self._new is None and self.course.new is not None:
            self._new = _read(self._open(self.course.new))
        return self._new

    def ensure(self, encoder: "Encoder", *, created_at: str) -> NewVersion:
        """The new version, made with the encoder's canary if it is not there.

        Args:
            encoder: The new one.
            created_at: ISO 8601, UTC.

        Raises:
            CanaryDrift: the version is there, and the encoder no longer gives its vectors.
            InvalidConfig: the encoder gives no finite vectors.
        """
        version = self.existing()
        if version is not None:
            canary = version.collection.manifest.canary
            in_encoder_thread(lambda: check_canary(encoder, canary))
            return version
        specification = self.course.encoder
        manifest = self.course.old.model_copy(
            update={
                "dimension": specification.dimension,
                "fingerprint": specification.fingerprint,
                "encoder": specification.describe(),
                "created_at": created_at,
                "canary": in_encoder_thread(lambda: canary_vectors(encoder)),
            }
        )
        self._new = _read(create_version(self.store, self._alias, manifest))
        return self._new

    def begin_loading(self) -> None:
        """Many points are coming: the engine may put its index off until `end_loading`."""
        self.end_loading()
        if self._new is not None:
            self._bulk.enter_context(self._new.collection.bulk_load())

    def end_loading(self) -> None:
        """The points have come."""
        self._bulk.close()

    def compare(self, old: Collection) -> Difference:
        """Read both versions' heads, and find what the new one lacks."""
        self.old_heads = read_digests(old)
        version = self.existing()
        if version is not None:
            version.heads = read_digests(version.collection)
            version.left_out = read_left_out(version.collection)
        return difference(
            self.old_heads,
            version.heads if version else {},
            version.left_out if version else {},
        )

    def refuse_too_little_room(self, behind: Difference) -> None:
        """Check that the vectors alone, which is the least, find room on the disk.

        Raises:
            FlowError: they do not; nothing was written.
        """
        if "://" in self.store.location:
            return
        needed = behind.chunks * self.course.encoder.dimension * _FLOAT_BYTES
        free = shutil.disk_usage(Path(self.store.location)).free
        if needed > free:
            raise FlowError(
                f"{behind.chunks:,} vectors of {self.course.encoder.dimension} components take "
                f"{needed / 1e9:,.1f} GB, {self.store.location!r} has {free / 1e9:,.1f} GB free; "
                "make room, then run the same command again"
            )

    def refuse_miscounted(self, version: NewVersion) -> None:
        """Check that the new version holds as many chunks as its heads tell of.

        Raises:
            FlowError: it does not.
        """
        expected = sum(head.chunks for head in version.heads.values())
        there = version.collection.count(of_kind(KIND_CHUNK))
        if there != expected and all(head.whole for head in version.heads.values()):
            raise FlowError(
                f"version {version.collection.manifest.name!r} holds {there} chunks, its documents "
                f"tell of {expected}; begin anew after `sextant migrate --collection {self._alias} "
                "--abandon`"
            )

    def close(self) -> None:
        """Close the store and all that is open in it."""
        with suppress(Exception):  # the engine may be what failed; the next loading puts it right
            self.end_loading()
        self.store.close()

    def _open(self, name: str) -> Collection:
        deadline = time.monotonic() + WAIT_SECONDS
        told = False
        while True:
            try:
                return self.store.open(name)
            except StoreInUse as error:
                if time.monotonic() >= deadline:
                    raise StoreInUse(
                        f"{error} (waited {WAIT_SECONDS:.0f} s); what is done stays, the same "
                        "command goes on from there"
                    ) from error
                if not told:
                    self._progress.stage(f"waiting: {error}")
                    told = True
                _pause.wait(POLL_SECONDS)


_pause: Final = threading.Event()
"""Never set: what `_open` waits on between two tries."""


def _read(collection: Collection) -> NewVersion:
    return NewVersion(
        collection=collection,
        heads=read_digests(collection),
        left_out=read_left_out(collection),
    )
