"""What people read on the terminal of clusters."""

from typing import TYPE_CHECKING, Final

from flows.console import say, show_fields, table

if TYPE_CHECKING:
    from flows.clustering.report import Cluster, ClusterReport

CLUSTERS_SHOWN: Final = 20
CHANGES_SHOWN: Final = 10


def show_clusters(report: "ClusterReport") -> None:
    """A table of clusters, what has changed, and where the report is."""
    say(f"{report.k} clusters of {report.chunks} chunks, {report.outliers} outliers")
    show_table(report)
    if report.previous_run is not None:
        show_changes(report)
    for warning in report.warnings:
        say(f"warning: {warning}")
    say(f"report: {report.report}")
    say(f"page: {report.page}")


def show_table(report: "ClusterReport", *, limit: int | None = CLUSTERS_SHOWN) -> None:
    """Clusters, a row each."""
    rows = [
        [
            str(one.id),
            str(one.size),
            one.name,
            marks(one),
            _two(one.stability),
            _two(one.name_check.precision if one.name_check else None),
        ]
        for one in report.clusters
    ]
    if rows:
        header = ["id", "chunks", "name", "note", "stability", "name finds it"]
        table(header, rows[:limit])
    if limit is not None and len(rows) > limit:
        say(f"... and {len(rows) - limit} more (`sextant clusters list` shows all)")


def show_changes(report: "ClusterReport") -> None:
    """What became of the last run's clusters."""
    from flows.clustering.telling import change_lines

    lines = list(change_lines(report))
    say(f"since run {report.previous_run}: {len(lines) or 'no'} changes")
    for line in lines[:CHANGES_SHOWN]:
        say(f"  {line}")
    if len(lines) > CHANGES_SHOWN:
        say(f"  ... and {len(lines) - CHANGES_SHOWN} more in the report")


def show_cluster(cluster: "Cluster") -> None:
    """All that is known of one cluster."""
    check = cluster.name_check
    fields = {
        "id": cluster.id,
        "name": cluster.name + (" (named by hand)" if cluster.name_by_person else ""),
        "chunks": f"{cluster.size:,} ({cluster.share:.1%})",
        "documents": f"{cluster.documents:,}",
        "change": cluster.fate
        + (f", {cluster.size_before:,} before" if cluster.size_before is not None else ""),
        "keywords": ", ".join(cluster.keywords) or "none",
        "cohesion": f"{cluster.cohesion:.3f}",
        "stability": _two(cluster.stability) or "too small to judge",
        "outliers": f"{cluster.outliers:,}",
    }
    if check is not None:
        found = f"precision {check.precision:.2f} of {check.hits} hits"
        recall = "" if check.recall is None else f", recall {check.recall:.2f}"
        fields["name as query"] = f"{found}{recall}{' (weak)' if check.weak else ''}"
    show_fields(fields)
    for quote in cluster.sentences:
        say(f"sentence: {quote.text} ({quote.title or quote.source})")
    for one in cluster.exemplars:
        say(f"exemplar: {one.title or one.source}: {one.source}:{one.start}-{one.end}")
        say(f"    {one.snippet}")
    for query in cluster.queries:
        say(f"query: {query.query} ({query.precision:.0%} of {query.hits} hits)")


def marks(cluster: "Cluster") -> str:
    """What is to be known of a cluster at a glance."""
    found = []
    if cluster.unstable:
        found.append("unstable")
    if cluster.weak_name:
        found.append("weak name")
    if cluster.name_by_person:
        found.append("named by hand")
    return ", ".join(found)


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
