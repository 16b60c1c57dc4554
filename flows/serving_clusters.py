"""The clusters of a collection's last run, for requests: the report, and counts of today."""

import threading
from pathlib import Path
from typing import Any, Final

from flows.clustering.files import JSON_NAME, read_report
from flows.clustering.report import ClusterReport
from search.api.backend import NotClustered
from search.filters import of_kind
from search.records import KIND_CHUNK, METADATA
from search.stores.contract import Collection
from search.stores.filter_checks import MAX_FACETS

CLUSTER: Final = f"{METADATA}.cluster"


class ClusterListing:
    """The report in a folder, read when it has changed. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self._folder = folder
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int, int], ClusterReport] | None = None

    def of(self, collection: Collection, name: str) -> dict[str, Any]:
        """What `sextant clusters list --json` prints.

        Args:
            collection: Whose chunks are counted.
            name: What people call it.

        Raises:
            NotClustered: there is no report that can be read.
            SearchError: the collection cannot be asked.
        """
        report = self._report()
        if report is None:
            raise NotClustered(
                f"collection {name!r} has no clusters yet; `sextant cluster` makes them"
            )
        chunks = of_kind(KIND_CHUNK)
        now = dict(collection.facet(CLUSTER, limit=MAX_FACETS, where=chunks))
        return {
            "collection": report.collection,
            "run_id": report.run_id,
            "created_at": report.created_at,
            "algorithm": report.algorithm,
            "chunks": collection.count(chunks),
            "clusters": [
                one.model_dump(mode="json") | {"now": now.get(one.id, 0)} for one in report.clusters
            ],
        }

    def _report(self) -> ClusterReport | None:
        with self._lock:
            try:
                status = (self._folder / JSON_NAME).stat()
            except OSError:
                return None
            stamp = status.st_ino, status.st_size, status.st_mtime_ns
            if self._read is None or self._read[0] != stamp:
                found = read_report(self._folder)
                if found is None:
                    return None
                self._read = stamp, found
            return self._read[1]
