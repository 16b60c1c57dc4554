"""The end of a report's page: the tree of clusters, the method and its parameters."""

from collections.abc import Iterator

from flows.clustering.markup import Child, Markup, element, together
from flows.clustering.page_parts import (
    shown,
    swatch,
    table,
)
from flows.clustering.report import ClusterReport
from flows.clustering.telling import parameter_rows


def tree(report: ClusterReport) -> Iterator[Child]:
    """The groups that were parted, as lists within lists."""
    places = {cluster.id: place for place, cluster in enumerate(report.clusters)}
    children: dict[int, list[int]] = {}
    for place, node in enumerate(report.tree):
        if node.parent is not None:
            children.setdefault(node.parent, []).append(place)
    built: dict[int, Markup] = {}
    for place in range(len(report.tree) - 1, -1, -1):  # children stand behind their parents
        node = report.tree[place]
        size = element("span", f" {node.size:,}", class_="soft")
        if node.cluster is not None and node.cluster in places:
            label: Child = together(
                swatch(places[node.cluster]),
                element("a", shown(node.name), href=f"#c-{node.cluster}"),
            )
            built[place] = element("li", label, size)
        else:
            inner = element("ul", [built[child] for child in children.get(place, [])])
            built[place] = element("li", shown(node.name), size, inner)
    yield element("p", "Every group was parted in two, the one with most spread first.")
    yield element("ul", built[0], class_="tree sheet")


def method(report: ClusterReport) -> Iterator[Child]:
    """What was done, what the measures mean, and how k came about."""
    yield element(
        "dl",
        [
            together(element("dt", name), element("dd", shown(value)))
            for name, value in parameter_rows(report)
        ],
        class_="sheet",
    )
    yield element(
        "p",
        "Stability: clusters are made again of nested samples and under other seeds; it is how "
        "much of a cluster comes back (mean Jaccard likeness). Below 0.6 a cluster is grey: it may "
        "be an accident. “Name finds it”: the share of a cluster's chunks among the first hits of "
        "a search for its name; below 0.5 the name is weak. Cohesion: the mean cosine of its "
        "chunks to its centre.",
    )
    if report.criterion:
        yield element("h3", "How the number of clusters was chosen")
        yield element(
            "p",
            "The smallest k whose mean silhouette (cosine, on a sample) is within one standard "
            "error of the best; 1 is perfectly apart, 0 is no structure.",
        )
        yield element(
            "div",
            table(
                ["k", "Silhouette", "Standard error"],
                [
                    [str(s.k), f"{s.silhouette:.4f}", f"{s.standard_error:.4f}"]
                    for s in report.criterion
                ],
            ),
            class_="sheet scroll",
            tabindex=0,
            role="region",
            aria_label="Scores of the numbers of clusters tried",
        )
