"""The cards of a report's page, one a cluster, and its outliers."""

from collections.abc import Iterator
from typing import Final

from flows.clustering.exemplars import Exemplar
from flows.clustering.links import document_link
from flows.clustering.markup import Child, Markup, element
from flows.clustering.page_parts import (
    badges,
    change_word,
    count,
    link,
    number,
    percent,
    shown,
    swatch,
)
from flows.clustering.report import Cluster, ClusterReport

KINDS: Final = {"nearest": "nearest to the centre", "diverse": "another side", "outlier": "far"}


def card(report: ClusterReport, cluster: Cluster, place: int) -> Markup:
    """One cluster: name, size, change, keywords, sentences, exemplars, stability, queries."""
    return element(
        "article",
        element(
            "div",
            element("h3", swatch(place), shown(cluster.name), id=f"h-{cluster.id}"),
            *badges(cluster),
            class_="head",
        ),
        element(
            "p",
            f"Cluster {cluster.id}: {count(cluster.size, 'chunk')} of "
            f"{count(cluster.documents, 'document')}, {percent(cluster.share)} of all; "
            f"{change_word(cluster)}.",
            class_="soft small",
        ),
        *_about(cluster),
        *_passages("Exemplars", cluster.exemplars),
        *_documents(cluster),
        *_queries(cluster),
        _measures(cluster),
        element(
            "p",
            element(
                "button",
                "Show on the map",
                type="button",
                data_label=str(place),
                aria_label=f"Show {shown(cluster.name)} on the map",
                data_script=True,
                hidden=True,
            ),
        ),
        class_=f"card k{place}" + (" unstable" if cluster.unstable else ""),
        id=f"c-{cluster.id}",
        aria_labelledby=f"h-{cluster.id}",
        tabindex=-1,
    )


def outlier_list(report: ClusterReport) -> Iterator[Child]:
    """What counts as an outlier here, and the farthest of them."""
    if report.algorithm == "hdbscan":
        said = "Chunks that no dense group takes in; a search filtered by cluster=-1 sees them."
    else:
        said = (
            "Every chunk is put into a cluster. An outlier lies unusually far from the centre of "
            "its own: more than 3.5 robust standard deviations below its cluster's median cosine."
        )
    yield element("p", f"{report.outliers:,} of {count(report.chunks, 'chunk')}. {said}")
    if report.outlier_examples:
        yield element(
            "ol",
            [
                element("li", _passage(one, cluster=report.name_of(one.cluster)))
                for one in report.outlier_examples
            ],
            class_="passages sheet",
        )


def _about(cluster: Cluster) -> Iterator[Child]:
    if cluster.keywords:
        yield element("h4", "Keywords")
        yield element("ul", [element("li", shown(w)) for w in cluster.keywords], class_="chips")
    if cluster.sentences:
        yield element("h4", "In its own words")
        for quote in cluster.sentences:
            yield element(
                "blockquote",
                shown(quote.text),
                " ",
                element("span", "— ", link_with(quote.title, quote.source), class_="soft small"),
            )


def _passages(title: str, passages: tuple[Exemplar, ...]) -> Iterator[Child]:
    if passages:
        yield element("h4", title)
        yield element("ol", [element("li", _passage(p)) for p in passages], class_="passages")


def _passage(passage: Exemplar, cluster: str = "") -> list[Child]:
    where = f"characters {passage.start:,} to {passage.end:,}, cosine {passage.similarity:.3f}"
    kind = f"nearest to {shown(cluster)}" if cluster else KINDS[passage.kind]
    return [
        element("strong", shown(passage.title or passage.source)),
        " ",
        element("span", kind, class_="badge plain"),
        element("br"),
        shown(passage.snippet),
        element("br"),
        element("span", link(passage.source), f", {where}", class_="soft small"),
    ]


def link_with(title: str, source: str) -> Markup:
    """A document's title, as a link where it can be opened."""
    address = document_link(source)
    name = shown(title or source)
    return element("a", name, href=address, rel="noreferrer") if address else element("span", name)


def _documents(cluster: Cluster) -> Iterator[Child]:
    several = [document for document in cluster.top_documents if document.chunks > 1]
    if several:
        yield element("h4", "Documents with most chunks")
        yield element(
            "ul",
            [
                element("li", link_with(one.title, one.source), f" ({one.chunks:,})")
                for one in several
            ],
            class_="passages",
        )


def _queries(cluster: Cluster) -> Iterator[Child]:
    if cluster.queries:
        yield element("h4", "Sample queries")
        yield element(
            "ul",
            [
                element(
                    "li",
                    element("code", shown(one.query)),
                    element(
                        "span",
                        f" {percent(one.precision)} of the first {one.hits} hits are of this "
                        "cluster",
                        class_="soft small",
                    ),
                )
                for one in cluster.queries
            ],
            class_="passages",
        )


def _measures(cluster: Cluster) -> Child:
    check = cluster.name_check
    rows: list[tuple[str, Child]] = [
        ("Stability", _metered(cluster.stability, "too small to judge", "Stability")),
        ("Cohesion", number(cluster.cohesion)),
    ]
    if check is not None:
        recall = "" if check.recall is None else f"; finds {percent(check.recall)} of it"
        said = f" of the first {check.hits} hits{recall}"
        rows.append(("Name as a query", [_metered(check.precision, "", "Precision"), said]))
    if cluster.outliers:
        rows.append(("Outliers", f"{cluster.outliers:,}"))
    return [
        element("h4", "How far to trust it"),
        element("dl", [[element("dt", name), element("dd", value)] for name, value in rows]),
    ]


def _metered(value: float | None, otherwise: str, label: str) -> Child:
    if value is None:
        return otherwise
    meter = element("meter", min=0, max=1, value=f"{value:.4f}", aria_label=label)
    return [meter, f" {value:.2f}"]
