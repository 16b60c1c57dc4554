"""A cluster report as Markdown, safe to render whatever the documents contain.

Titles, paths, names and passages come from documents that anyone may have written. Each goes on
one line without control characters (`snippet`), HTML and Markdown characters are escaped, and none
stands where a line or a list item begins, so that no text can start a heading, list, table or
quote. A bare URL stays: a viewer may link it, to the very address shown.
"""

import re
from collections.abc import Iterator
from typing import Final

from flows.clustering.exemplars import Exemplar
from flows.clustering.report import Cluster, ClusterReport
from flows.clustering.snippet import one_line
from flows.clustering.telling import algorithm_words, change_lines, how_k, parameter_rows

LONGEST_FIELD: Final = 300
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SPECIAL: Final = re.compile(r"[&<>\\`*_\[\]|~$]")


def escape(text: str) -> str:
    r"""Text of a document as one line of plain Markdown text, also within a table or emphasis.

    >>> escape("a|b <script>\n*x*")
    'a\\|b &lt;script&gt; \\*x\\*'
    """
    return _SPECIAL.sub(
        lambda match: _ENTITIES.get(match[0], "\\" + match[0]), one_line(text, LONGEST_FIELD)
    )


def render(report: ClusterReport) -> str:
    """The report as GitHub-flavoured Markdown, ending in a newline."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: ClusterReport) -> Iterator[str]:
    yield f"# Clusters of {escape(report.collection)}"
    yield ""
    yield (
        f"{_count(report.chunks, 'chunk')} of {_count(report.documents, 'document')} in "
        f"{_count(report.k, 'cluster')} by {algorithm_words(report)} ({how_k(report)}); "
        f"{_count(report.outliers, 'outlier')}."
    )
    yield from _changes(report)
    yield ""
    yield "| # | Name | Chunks | Share | Documents | Change | Stability | Name finds it |"
    yield "|--:|:-----|-------:|------:|----------:|:-------|----------:|--------------:|"
    for cluster in report.clusters:
        found = cluster.name_check
        yield (
            f"| {cluster.id} | {escape(cluster.name)}{_marks(cluster)} | {cluster.size:,} "
            f"| {cluster.share:.1%} | {cluster.documents:,} | {_fate(cluster)} "
            f"| {_two(cluster.stability)} | {_two(found.precision if found else None)} |"
        )
    yield ""
    yield (
        "Stability is how much of a cluster comes back from samples and other seeds; below 0.6 it "
        "may be an accident. “Name finds it” is the share of its chunks among the first hits of a "
        "search for its name; below 0.5 the name is weak. A search filtered by cluster=0 sees the "
        "chunks of cluster 0 alone."
    )
    for cluster in report.clusters:
        yield ""
        yield from _section(cluster)
    if report.tree:
        yield ""
        yield from _tree(report)
    yield ""
    yield from _outliers(report)
    if report.criterion:
        yield ""
        yield from _criterion(report)
    yield ""
    yield "## This run"
    yield ""
    for name, value in parameter_rows(report):
        yield f"- {name}: {escape(value)}"
    for warning in report.warnings:
        yield f"- Warning: {escape(warning)}"


def _changes(report: ClusterReport) -> Iterator[str]:
    if report.previous_run is None:
        return
    yield ""
    yield f"Since run {escape(report.previous_run)}:"
    yield ""
    lines = list(change_lines(report))
    for line in lines:
        yield f"- {escape(line)}"
    if not lines:
        yield "- every cluster is as it was, within a tenth of its size"


def _section(cluster: Cluster) -> Iterator[str]:
    yield f"## Cluster {cluster.id}: {escape(cluster.name)}"
    yield ""
    yield (
        f"{_count(cluster.size, 'chunk')} of {_count(cluster.documents, 'document')}, "
        f"{cluster.share:.1%} of the collection; {_fate(cluster)}; cohesion "
        f"{cluster.cohesion:.3f}{_marks(cluster)}."
    )
    yield ""
    yield f"Keywords: {', '.join(map(escape, cluster.keywords)) or 'none, its texts hold no words'}"
    if cluster.name_check is not None:
        check = cluster.name_check
        recall = "" if check.recall is None else f", recall {check.recall:.2f}"
        yield ""
        yield (
            f"A search for the name: precision {check.precision:.2f} of {check.hits} hits{recall}."
        )
    for quote in cluster.sentences:
        yield ""
        yield f"> “{escape(quote.text)}” — {escape(quote.title or quote.source)}"
    yield ""
    yield "Exemplars, nearest to the centroid and unlike each other:"
    yield ""
    for place, exemplar in enumerate(cluster.exemplars, start=1):
        yield f"{place}. {_passage(exemplar)}"
    several = [document for document in cluster.top_documents if document.chunks > 1]
    if several:
        yield ""
        yield "Documents with the most chunks:"
        yield ""
    for document in several:
        yield (
            f"- **{escape(document.title or document.source)}** — "
            f"{escape(document.source)}, {_count(document.chunks, 'chunk')}"
        )
    if cluster.queries:
        yield ""
        yield "Sample queries:"
        yield ""
    for query in cluster.queries:
        yield f"- {escape(query.query)} ({query.precision:.0%} of {query.hits} hits)"


def _tree(report: ClusterReport) -> Iterator[str]:
    yield "## Tree"
    yield ""
    depths: list[int] = []
    children: dict[int, list[int]] = {}
    for place, node in enumerate(report.tree):
        depths.append(0 if node.parent is None else depths[node.parent] + 1)
        if node.parent is not None:
            children.setdefault(node.parent, []).append(place)
    waiting = [0]
    while waiting:
        place = waiting.pop()
        node = report.tree[place]
        yield f"{'  ' * depths[place]}- {escape(node.name)} ({_count(node.size, 'chunk')})"
        waiting.extend(reversed(children.get(place, [])))


def _outliers(report: ClusterReport) -> Iterator[str]:
    yield "## Outliers"
    yield ""
    if report.algorithm == "hdbscan":
        said = "An outlier is a chunk that no dense group takes in; it belongs to no cluster."
    else:
        said = (
            "Every chunk is put into a cluster. An outlier is a chunk whose cosine to the "
            "centroid lies more than 3.5 robust standard deviations below its cluster's median; it "
            "keeps its cluster, and is counted there."
        )
    yield f"{said} Here: {report.outliers:,} of {report.chunks:,}."
    if report.outlier_examples:
        yield ""
        yield "The farthest:"
        yield ""
        for place, outlier in enumerate(report.outlier_examples, start=1):
            yield f"{place}. Cluster {outlier.cluster}: {_passage(outlier)}"


def _criterion(report: ClusterReport) -> Iterator[str]:
    yield "## How k was chosen"
    yield ""
    yield (
        "The smallest k whose mean silhouette (cosine, on a sample) is within one standard error "
        "of the best; 1 is perfectly apart, 0 is no structure. Where none is above 0, k is 1."
    )
    yield ""
    yield "| k | Silhouette | Standard error |"
    yield "|--:|-----------:|---------------:|"
    for score in report.criterion:
        yield f"| {score.k} | {score.silhouette:.4f} | {score.standard_error:.4f} |"


def _passage(exemplar: Exemplar) -> str:
    return (
        f"**{escape(exemplar.title or exemplar.source)}** — {escape(exemplar.source)}:"
        f"{exemplar.start}-{exemplar.end} (cosine {exemplar.similarity:.3f}): "
        f"“{escape(exemplar.snippet)}”"
    )


def _marks(cluster: Cluster) -> str:
    marks = []
    if cluster.unstable:
        marks.append("unstable")
    if cluster.weak_name:
        marks.append("weak name")
    return f" ({', '.join(marks)})" if marks else ""


def _fate(cluster: Cluster) -> str:
    before = cluster.size_before
    word = "new" if cluster.fate == "born" else cluster.fate
    if before is None or before == cluster.size:
        return word
    return f"{word} ({cluster.size - before:+,})"


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
