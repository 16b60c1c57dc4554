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
        f"{_count(report.k, 'cluster')} ({_how_k(report)}); {_count(report.outliers, 'outlier')}."
    )
    yield ""
    yield "| # | Name | Chunks | Share | Documents | Cohesion | Outliers |"
    yield "|--:|:-----|-------:|------:|----------:|---------:|---------:|"
    for cluster in report.clusters:
        yield (
            f"| {cluster.id} | {escape(cluster.name)} | {cluster.size:,} | {cluster.share:.1%} "
            f"| {cluster.documents:,} | {cluster.cohesion:.3f} | {cluster.outliers:,} |"
        )
    yield ""
    yield (
        "Cohesion is the mean cosine of a cluster's chunks to its centroid: 1 where all are alike. "
        "A search filtered by cluster=0 sees the chunks of cluster 0 alone."
    )
    for cluster in report.clusters:
        yield ""
        yield from _section(cluster)
    yield ""
    yield from _outliers(report)
    if report.criterion:
        yield ""
        yield from _criterion(report)
    yield ""
    yield "## This run"
    yield ""
    yield f"- Run: {escape(report.run_id)}"
    yield f"- Created at: {escape(report.created_at)}"
    yield f"- Encoder fingerprint: {escape(report.fingerprint)}"
    yield f"- Seed: {report.seed}"


def _section(cluster: Cluster) -> Iterator[str]:
    yield f"## Cluster {cluster.id}: {escape(cluster.name)}"
    yield ""
    yield (
        f"{_count(cluster.size, 'chunk')} of {_count(cluster.documents, 'document')}, "
        f"{cluster.share:.1%} of the collection."
    )
    yield ""
    yield f"Keywords: {', '.join(map(escape, cluster.keywords)) or 'none, its texts hold no words'}"
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


def _outliers(report: ClusterReport) -> Iterator[str]:
    yield "## Outliers"
    yield ""
    yield (
        "k-means puts every chunk into a cluster. An outlier is a chunk whose cosine to the "
        "centroid lies more than 3.5 robust standard deviations below its cluster's median; it "
        f"keeps its cluster, and is counted there. Here: {report.outliers:,} of {report.chunks:,}."
    )
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


def _how_k(report: ClusterReport) -> str:
    if report.requested_k is None:
        return (
            f"k chosen by silhouette among {len(report.criterion)}"
            if report.criterion
            else ("nothing to choose from")
        )
    if report.requested_k == report.k:
        return "k given"
    return f"k given as {report.requested_k}, but the vectors part into no more than {report.k}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
