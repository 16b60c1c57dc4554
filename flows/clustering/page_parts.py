"""Small parts of a report's page: links, badges, numbers, tables."""

from collections.abc import Iterator, Sequence
from typing import Final

from flows.clustering.links import document_link
from flows.clustering.markup import Child, Markup, element
from flows.clustering.report import Cluster
from flows.clustering.snippet import one_line

LONGEST: Final = 400
"""Characters of any one text on the page."""


def shown(text: str) -> str:
    """Text of whatever origin on one line, without control characters."""
    return one_line(text, LONGEST)


def count(amount: int, noun: str) -> str:
    """A number and its noun.

    >>> count(1, "chunk"), count(1200, "chunk")
    ('1 chunk', '1,200 chunks')
    """
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def percent(share: float) -> str:
    """A share of 0 to 1 as per cent."""
    return f"{share:.1%}"


def number(value: float | None) -> str:
    """Two decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.2f}"  # noqa: RUF001 - a dash


def link(source: str) -> Markup:
    """A source, as a link where it can be opened."""
    address = document_link(source)
    if not address:
        return element("span", shown(source))
    return element("a", shown(source), href=address, rel="noreferrer")


def swatch(place: int) -> Markup:
    """The colour of the cluster at a place."""
    return element("span", class_=f"swatch k{place}", aria_hidden="true")


def badges(cluster: Cluster) -> list[Child]:
    """What is to be known of a cluster at a glance."""
    return list(_badges(cluster))


def _badges(cluster: Cluster) -> Iterator[Child]:
    if cluster.unstable:
        yield element("span", "unstable", class_="badge warn")
        yield " "
    if cluster.weak_name:
        yield element("span", "weak name", class_="badge warn")
        yield " "
    if cluster.name_by_person:
        yield element("span", "named by hand", class_="badge plain")


def change_word(cluster: Cluster) -> str:
    """What became of a cluster since the last run, in a word or two."""
    before = cluster.size_before
    words = {
        "born": "new",
        "steady": "steady",
        "split": "from a split",
        "merged": "merged",
        "grown": "grown",
        "shrunk": "shrunk",
    }
    word = words[cluster.fate]
    if before is None or before == cluster.size:
        return word
    return f"{word} ({cluster.size - before:+,})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table of numbers."""
    return element(
        "table",
        element(
            "thead",
            element("tr", [element("th", h, scope="col", class_="number") for h in header]),
        ),
        element(
            "tbody",
            [element("tr", [element("td", cell, class_="number") for cell in r]) for r in rows],
        ),
    )
