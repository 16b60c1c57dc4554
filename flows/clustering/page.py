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

from flows.clustering.markup import Child, Markup, element
from flows.clustering.page_cards import card, outlier_list
from flows.clustering.page_map import map_section
from flows.clustering.page_method import method, tree
from flows.clustering.page_overview import overview
from flows.clustering.page_parts import (
    count,
    shown,
)
from flows.clustering.report import ClusterReport
from flows.clustering.telling import algorithm_words, how_k

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
        "section", element("h2", "Overview"), *overview(report), id="overview", tabindex=-1
    )
    yield element("section", element("h2", "Map"), *map_section(report), id="map-section")
    yield element("section", element("h2", "Clusters"), *_cards(report), id="cards")
    if report.tree:
        yield element("section", element("h2", "Tree"), *tree(report), id="tree")
    yield element("section", element("h2", "Outliers"), *outlier_list(report), id="outliers")
    yield element("section", element("h2", "Method"), *method(report), id="method")


def _cards(report: ClusterReport) -> Iterator[Child]:
    if not report.clusters:
        yield element("p", "There is none.")
        return
    yield element(
        "div",
        element(
            "label",
            element("span", "Only those that say"),
            element("input", type="search", id="filter"),
        ),
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
