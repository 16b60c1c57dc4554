"""The top of a report's page: counts, changes since the last run, and all clusters as a table."""

from collections.abc import Iterator

from flows.clustering.markup import Child, element
from flows.clustering.page_parts import (
    badges,
    change_word,
    number,
    percent,
    shown,
    swatch,
)
from flows.clustering.report import ClusterReport
from flows.clustering.telling import change_lines


def overview(report: ClusterReport) -> Iterator[Child]:
    """Counts, changes, and a row for each cluster."""
    unstable = sum(cluster.unstable for cluster in report.clusters)
    weak = sum(cluster.weak_name for cluster in report.clusters)
    tiles = [
        (report.chunks, "chunks"),
        (report.documents, "documents"),
        (report.k, "clusters"),
        (report.outliers, "outliers"),
        (unstable, "unstable clusters"),
        (weak, "weak names"),
    ]
    yield element(
        "ul",
        [element("li", element("b", f"{value:,}"), word) for value, word in tiles],
        class_="tiles",
    )
    for warning in report.warnings:
        yield element("p", element("span", "warning", class_="badge warn"), " ", shown(warning))
    lines = list(change_lines(report))
    if report.previous_run is None:
        said: Child = element("p", "This is the first run; the next will be held against it.")
    elif lines:
        said = element("ul", [element("li", shown(line)) for line in lines], class_="changes")
    else:
        said = element("p", "Every cluster is as it was, within a tenth of its size.")
    yield element(
        "div",
        element("h3", "Changes since the last run"),
        element("p", f"Run {shown(report.previous_run)}", class_="soft small")
        if report.previous_run
        else None,
        said,
        class_="sheet",
    )
    if not report.clusters:
        yield element(
            "p",
            "No group is dense enough to be a cluster: try a smaller --min-cluster-size, or "
            "the algorithm kmeans.",
        )
        return
    rows = [
        element(
            "tr",
            element(
                "th",
                swatch(place),
                element("a", shown(cluster.name), href=f"#c-{cluster.id}"),
                " ",
                badges(cluster),
                scope="row",
                class_="name",
            ),
            element("td", f"{cluster.id}", class_="number wide"),
            element("td", f"{cluster.size:,}", class_="number"),
            element("td", percent(cluster.share), class_="number wide"),
            element("td", f"{cluster.documents:,}", class_="number wide"),
            element("td", change_word(cluster)),
            element("td", number(cluster.stability), class_="number"),
            element(
                "td",
                number(cluster.name_check.precision if cluster.name_check else None),
                class_="number wide",
            ),
            class_="unstable" if cluster.unstable else None,
        )
        for place, cluster in enumerate(report.clusters)
    ]
    header = element(
        "tr",
        element("th", "Name", scope="col"),
        element("th", "Id", scope="col", class_="number wide"),
        element("th", "Chunks", scope="col", class_="number"),
        element("th", "Share", scope="col", class_="number wide"),
        element("th", "Documents", scope="col", class_="number wide"),
        element("th", "Change", scope="col"),
        element("th", "Stability", scope="col", class_="number"),
        element("th", "Name finds it", scope="col", class_="number wide"),
    )
    yield element("h3", "All clusters", class_="small soft")
    yield element(
        "div",
        element("table", element("thead", header), element("tbody", rows)),
        class_="sheet scroll",
        tabindex=0,
        role="region",
        aria_label="All clusters",
    )
