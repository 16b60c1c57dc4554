"""What a run leaves: the report's files, and what the next run is held against."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flows.clustering.csv_files import write_members
from flows.clustering.files import write_file, write_report
from flows.clustering.fit import Clustering
from flows.clustering.lineage import Lineage
from flows.clustering.members import Members
from flows.clustering.report import ClusterReport
from flows.clustering.state import MEMBERS, Kept, Remembered, keep_report, remember


def leave(
    report: ClusterReport,
    members: Members,
    clustering: Clustering,
    lineage: Lineage,
    *,
    packed_map: str,
    folders: Sequence[Path],
) -> None:
    """Write the report into each folder; into the last, what the next run needs.

    Raises:
        FlowError: a folder cannot be written to.
    """
    ids = lineage.ids
    names = {cluster.id: cluster.name for cluster in report.clusters}
    for folder in dict.fromkeys(folders):
        write_file(
            folder / MEMBERS,
            lambda file: write_members(members, clustering, file, ids=ids, names=names),
        )
        write_report(report, folder, packed_map)
    keep_report(folders[-1], report)
    kept = tuple(
        Kept(
            id=cluster.id,
            name=cluster.name,
            by_person=cluster.name_by_person,
            size=cluster.size,
            centroid=_centroid(clustering.centroids[label]),
        )
        for label, cluster in enumerate(report.clusters)
    )
    remember(
        folders[-1],
        Remembered(
            run_id=report.run_id,
            fingerprint=report.fingerprint,
            next_id=lineage.next_id,
            clusters=kept,
        ),
    )


def _centroid(centroid_D: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """Five decimals: enough to know it again by."""
    return tuple(round(float(value), 5) for value in centroid_D)
