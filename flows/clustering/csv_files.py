"""A report as tables: a row for each cluster, and a row for each chunk."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Final

from flows.clustering.fit import Clustering
from flows.clustering.members import Members
from flows.clustering.report import ClusterReport
from flows.clustering.snippet import one_line

CLUSTER_COLUMNS: Final = (
    *("id", "name", "name_by_person", "size", "share", "documents", "fate", "size_before"),
    *("stability", "cohesion", "name_precision", "name_recall", "outliers", "keywords"),
)
MEMBER_COLUMNS: Final = (
    *("chunk", "doc_id", "source", "title", "start", "end"),
    *("cluster", "cluster_name", "cosine", "outlier"),
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_LONGEST: Final = 2000


def write_clusters(report: ClusterReport, file: IO[str]) -> None:
    """A row for each cluster."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CLUSTER_COLUMNS)
    for cluster in report.clusters:
        check = cluster.name_check
        writer.writerow(
            [
                cluster.id,
                cell(cluster.name),
                int(cluster.name_by_person),
                cluster.size,
                cluster.share,
                cluster.documents,
                cluster.fate,
                _or_empty(cluster.size_before),
                _or_empty(cluster.stability),
                cluster.cohesion,
                _or_empty(check.precision if check else None),
                _or_empty(check.recall if check else None),
                cluster.outliers,
                cell(", ".join(cluster.keywords)),
            ]
        )


def write_members(
    members: Members,
    clustering: Clustering,
    file: IO[str],
    *,
    ids: Sequence[int],
    names: Mapping[int, str],
) -> None:
    """A row for each chunk, in the order of their ids.

    Args:
        members: the chunks.
        clustering: with labels in the same order.
        file: open for text.
        ids: the cluster of each label.
        names: of each cluster.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(MEMBER_COLUMNS)
    writer.writerows(_rows(members, clustering, ids, names))


def _rows(
    members: Members, clustering: Clustering, ids: Sequence[int], names: Mapping[int, str]
) -> Iterator[list[str | int]]:
    for row in range(len(members)):
        document = members.document(row)
        label = int(clustering.labels[row])
        cluster = ids[label] if label >= 0 else -1
        yield [
            members.id(row),
            document.doc_id,
            cell(document.source),
            cell(document.title),
            int(members.starts[row]),
            int(members.ends[row]),
            cluster,
            cell(names.get(cluster, "")),
            f"{clustering.cosines[row]:.4f}",
            int(clustering.outliers[row]),
        ]


def cell(text: str) -> str:
    """Text on one line that no spreadsheet takes for a formula.

    >>> cell("=1+1"), cell("plain")
    ("'=1+1", 'plain')
    """
    line = one_line(text, _LONGEST)
    return f"'{line}" if line.startswith(_FORMULA) else line


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value
