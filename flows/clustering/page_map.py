"""The map on a report's page: what the script draws on, and its controls."""

from collections.abc import Iterator

from flows.clustering.markup import Child, element
from flows.clustering.page_parts import (
    shown,
)
from flows.clustering.report import ClusterReport


def map_section(report: ClusterReport) -> Iterator[Child]:
    """The canvas, its controls, and where the picked dot is told."""
    how = (
        "the two principal components: the plane in which chunks differ most"
        if report.projection == "pca"
        else "UMAP: neighbours stay neighbours, distances between groups mean little"
    )
    some = (
        f"A sample of {report.mapped:,} of {report.chunks:,} chunks"
        if report.mapped < report.chunks
        else "Every chunk is a dot"
    )
    yield element("p", f"{some}. Drawn by {how}.", class_="soft")
    options = [element("option", "all clusters", value="")]
    options += [
        element("option", shown(cluster.name), value=str(place))
        for place, cluster in enumerate(report.clusters)
    ]
    if report.algorithm == "hdbscan":
        options.append(element("option", "outliers", value="none"))
    yield element(
        "div",
        element(
            "div",
            element("label", element("span", "Show"), element("select", options, id="highlight")),
            element("button", "+", type="button", id="zoom-in", aria_label="Zoom in"),
            element("button", "−", type="button", id="zoom-out", aria_label="Zoom out"),  # noqa: RUF001
            element("button", "Whole map", type="button", id="zoom-reset"),
            class_="tools",
            data_script=True,
            hidden=True,
        ),
        element(
            "canvas",
            id="map",
            tabindex=0,
            role="img",
            aria_label="Map of the chunks, coloured by cluster",
            aria_describedby="map-help",
        ),
        element("div", "The map needs JavaScript.", id="picked", aria_live="polite"),
        element(
            "p",
            "Drag to move. Ctrl and the wheel, two fingers or the buttons zoom. With the map "
            "chosen: arrow keys move, + and − zoom, 0 shows all, Enter picks the dot nearest to "  # noqa: RUF001
            "the cross.",
            id="map-help",
            class_="soft small",
        ),
        class_="sheet map",
    )
