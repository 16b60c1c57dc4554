"""A cluster report as one HTML file: it opens offline, and runs nothing but its own script.

Every text of a document goes through `markup.element`, which escapes it, and through `one_line`,
which takes control and reversing characters out. The page's policy allows the one script and the
one style sheet whose hashes it names, and no request to anywhere.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from flows.clustering.markup import Child, Markup, element, together
from flows.clustering.page_cards import card, outlier_list
from flows.clustering.page_parts import (
    badges,
    change_word,
    count,
    number,
    percent,
    shown,
    swatch,
    table,
)
from flows.clustering.report import ClusterReport
from flows.clustering.telling import algorithm_words, change_lines, how_k, parameter_rows

FILES: Final = Path(__file__).parent / "page"
GOLDEN_ANGLE: Final = 137.508
"""Between neighbouring hues, in degrees: any number of them lie well apart."""


def render_page(report: ClusterReport, packed_map: str) -> str:
    """The whole file.

    Args:
        report: what it shows.
        packed_map: see `map_points.PointMap.packed`.
    """
    script = _file("report.js")
    style = _file("report.css") + "".join(
        f".k{place} {{ --hue: {hue(place)}; }}\n" for place in range(len(report.clusters))
    )
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"Clusters of {shown(report.collection)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(style)),
    )
    body = element(
        "body",
        element("a", "To the overview", href="#overview", class_="skip"),
        _header(report, title),
        element("main", *_sections(report)),
        element(
            "footer",
            f"Made by Sextant, run {shown(report.run_id)}, {shown(report.created_at)}. "
            "The page is whole in itself: nothing is fetched.",
        ),
        _data("clusters-data", _clusters_data(report)),
        element("script", packed_map and Markup(packed_map), type="text/plain", id="map-data"),
        element("script", Markup(script)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def hue(place: int) -> int:
    """The hue of the cluster at a place, in degrees."""
    return round(210 + place * GOLDEN_ANGLE) % 360


def _header(report: ClusterReport, title: str) -> Markup:
    parts = [("overview", "Overview"), ("map-section", "Map"), ("cards", "Clusters")]
    if report.tree:
        parts.append(("tree", "Tree"))
    parts += [("outliers", "Outliers"), ("method", "Method")]
    return element(
        "header",
        element("h1", title),
        element(
            "p",
            f"{count(report.chunks, 'chunk')} of {count(report.documents, 'document')} in "
            f"{count(report.k, 'cluster')} by {algorithm_words(report)}; {how_k(report)}.",
            class_="soft",
        ),
        element(
            "nav",
            element("ul", [element("li", element("a", word, href=f"#{at}")) for at, word in parts]),
            aria_label="Parts of the report",
        ),
    )


def _sections(report: ClusterReport) -> Iterator[Markup]:
    yield element(
        "section", element("h2", "Overview"), *_overview(report), id="overview", tabindex=-1
    )
    yield element("section", element("h2", "Map"), *_map(report), id="map-section")
    yield element("section", element("h2", "Clusters"), *_cards(report), id="cards")
    if report.tree:
        yield element("section", element("h2", "Tree"), *_tree(report), id="tree")
    yield element("section", element("h2", "Outliers"), *outlier_list(report), id="outliers")
    yield element("section", element("h2", "Method"), *_method(report), id="method")


def _overview(report: ClusterReport) -> Iterator[Child]:
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


def _map(report: ClusterReport) -> Iterator[Child]:
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
            element("label", "Show ", element("select", options, id="highlight")),
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


def _cards(report: ClusterReport) -> Iterator[Child]:
    if not report.clusters:
        yield element("p", "There is none.")
        return
    yield element(
        "div",
        element("label", "Only those that say ", element("input", type="search", id="filter")),
        element("span", id="filtered", class_="soft", aria_live="polite"),
        class_="tools",
        data_script=True,
        hidden=True,
    )
    yield element(
        "div",
        [card(report, cluster, place) for place, cluster in enumerate(report.clusters)],
        class_="cards",
    )


def _tree(report: ClusterReport) -> Iterator[Child]:
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


def _method(report: ClusterReport) -> Iterator[Child]:
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


def _clusters_data(report: ClusterReport) -> str:
    return json.dumps(
        [
            {
                "id": cluster.id,
                "name": shown(cluster.name),
                "hue": hue(place),
                "unstable": cluster.unstable,
            }
            for place, cluster in enumerate(report.clusters)
        ]
    )


def _data(identifier: str, text: str) -> Markup:
    """Data for the script: `<` is written so that it can end no element."""
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return element("script", Markup(safe), type="application/json", id=identifier)


@cache
def _file(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
