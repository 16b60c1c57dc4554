"""What a report says in words, whichever form it takes: how k came about, what changed."""

from collections.abc import Iterator
from typing import Final

from flows.clustering.lineage import Change
from flows.clustering.report import ClusterReport

_ALGORITHMS: Final = {
    "kmeans": "k-means on directions",
    "bisecting": "bisecting k-means",
    "hdbscan": "HDBSCAN",
}


def algorithm_words(report: ClusterReport) -> str:
    """The algorithm, as people call it."""
    return _ALGORITHMS[report.algorithm]


def how_k(report: ClusterReport) -> str:
    """How the number of clusters came about."""
    if report.algorithm == "hdbscan":
        return "as many as are dense enough"
    if report.requested_k is None:
        return (
            f"k chosen by silhouette among {len(report.criterion)} tried"
            if report.criterion
            else "nothing to choose from"
        )
    if report.requested_k == report.k:
        return "k given"
    return f"k given as {report.requested_k}, but the vectors part into no more than {report.k}"


def change_lines(report: ClusterReport) -> Iterator[str]:
    """What became of the last run's clusters, a line each; their names are as documents have them.

    Cluster names in it are raw: whoever prints a line escapes it.
    """
    sizes = {cluster.id: cluster.size for cluster in report.clusters}
    before = {cluster.id: cluster.size_before for cluster in report.clusters}
    before |= {one.id: one.size for one in report.gone}
    for change in report.changes:
        yield _line(change, report, sizes, before)


def _line(
    change: Change,
    report: ClusterReport,
    sizes: dict[int, int],
    before: dict[int, int | None],
) -> str:
    def named(ids: tuple[int, ...]) -> str:
        return ", ".join(f"{one} {report.name_of(one)!r}" for one in ids)

    if change.kind == "born":
        return f"born: {named(change.after)}, {_chunks(sizes.get(change.after[0], 0))}"
    if change.kind == "died":
        return f"died: {named(change.before)}, which had {_chunks(before[change.before[0]] or 0)}"
    if change.kind == "split":
        return f"split: {named(change.before)} into {named(change.after)}"
    if change.kind == "merged":
        return f"merged: {named(change.before)} into {named(change.after)}"
    (own,) = change.after
    return f"{change.kind}: {named((own,))}, from {before[own] or 0:,} to {_chunks(sizes[own])}"


def _chunks(count: int) -> str:
    return f"{count:,} chunk" if count == 1 else f"{count:,} chunks"


def parameter_rows(report: ClusterReport) -> list[tuple[str, str]]:
    """Method and parameters, as names and values."""
    rows = [("Algorithm", f"{algorithm_words(report)} ({report.algorithm})")]
    if report.algorithm == "hdbscan":
        size = report.min_cluster_size
        rows.append(
            ("Smallest cluster", "half the square root of all" if size is None else f"{size:,}")
        )
    else:
        rows.append(("Clusters", f"{report.k:,}; {how_k(report)}"))
    rows += [
        ("Seed", str(report.seed)),
        ("Map", f"{report.projection}, {report.mapped:,} chunks"),
        ("Collection", report.collection),
        ("Encoder fingerprint", report.fingerprint),
        ("Run", report.run_id),
        ("Created at", report.created_at),
    ]
    return rows
