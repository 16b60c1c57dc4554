"""An ingest's report as a page in Prefect's interface, beside the flow run that wrote it.

Names and reasons come from documents that anyone may have written: each is escaped, on one line
and within a table's cell, so that none can become a heading, a link, an image or HTML.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from flows.clustering.markdown import escape

if TYPE_CHECKING:
    from flows.ingest_report import IngestReport

ROWS: Final = 50
SEEN_AS: Final = ("stored", "unchanged", "quarantined")
"""What becomes of a document that was seen: these counts add up to `seen`."""
_DIGEST: Final = 6


def ingest_markdown(report: "IngestReport", *, rows: int = ROWS) -> str:
    """The report as GitHub-flavoured Markdown, ending in a newline.

    Args:
        report: What an ingest did.
        rows: Rows of each table of documents, warnings...; what goes beyond is counted.
    """
    return "\n".join(_lines(report, rows)) + "\n"


def count_rows(report: "IngestReport") -> list[dict[str, str | int]]:
    """The run's counts, a row each: what Prefect shows as a table."""
    documents = report.documents.model_dump()
    named = {f"documents {name}": documents.pop(name) for name in SEEN_AS}
    named["documents seen"] = documents.pop("seen")
    named |= {f"documents {name}": number for name, number in documents.items()}
    named |= {f"chunks {name}": number for name, number in report.chunks.model_dump().items()}
    named["tokens"] = report.tokens
    return [{"what": name, "count": number} for name, number in named.items()]


def artifact_key(collection: str, what: str, *, kind: str = "ingest") -> str:
    """The key under which Prefect files a collection's reports: lower case and dashes only.

    No two collections share one: a name with other characters, or with two dashes in a row, gets
    two dashes and a few characters of its digest.

    >>> artifact_key("docs", "report")
    'ingest-report-docs'
    """
    slug = re.sub(r"[^a-z0-9]+", "-", collection.lower()).strip("-")
    if slug != collection:
        slug += f"--{hashlib.sha256(collection.encode()).hexdigest()[:_DIGEST]}"
    return f"{kind}-{what}-{slug}"


def publish_artifact(report: "IngestReport") -> tuple[str, ...]:
    """File the report with Prefect, as a page and a table; for use inside the flow.

    Returns:
        Warnings, mostly none: a report that cannot be filed fails no run.
    """
    from prefect.artifacts import create_markdown_artifact, create_table_artifact
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return ("the report was not filed with Prefect: no flow is running here",)
    description = f"Ingest into collection {escape(report.collection)}, run {escape(report.run_id)}"
    try:
        create_markdown_artifact(
            ingest_markdown(report),
            key=artifact_key(report.collection, "report"),
            description=description,
        )
        create_table_artifact(
            count_rows(report),
            key=artifact_key(report.collection, "counts"),
            description=description,
        )
    except Exception as error:  # noqa: BLE001 - the documents are stored, whatever Prefect says
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = ": ".join((type(error).__name__, *lines[:1]))
        return (f"the report was not filed with Prefect: {reason}",)
    return ()


def _lines(report: "IngestReport", rows: int) -> Iterator[str]:
    documents = report.documents
    yield f"# Ingest into {escape(report.collection)}"
    yield ""
    yield (
        f"{documents.seen:,} documents seen: {documents.stored:,} stored, "
        f"{documents.unchanged:,} unchanged, {documents.quarantined:,} quarantined; "
        f"{documents.removed:,} removed. {report.tokens:,} tokens in {report.seconds:,.1f} s."
    )
    counts = [(str(row["what"]), f"{row['count']:,}") for row in count_rows(report)]
    yield from _table("", ("What", "Count"), counts, rows=len(counts))
    busy = [(escape(n), *_busy(s, report.storing_seconds)) for n, s in report.stages.items()]
    stages = ("Stage", "Seconds at work", "Of the storing")
    yield from _table("Stages", stages, busy, rows=rows)
    rejected = [
        (escape(e.source), e.stage, escape(e.reason), "no" if e.held else "yes")
        for e in report.quarantine[: rows + 1]
    ]
    columns = ("Document", "Stage", "Reason", "Tried")
    yield from _table("Quarantine", columns, rejected, rows=rows, number=len(report.quarantine))
    twins = [
        (escape(twin.document), escape(twin.of), f"{twin.similarity:.2f}")
        for twin in report.near_duplicates.documents
    ]
    found = report.near_duplicates.found
    yield from _table(
        "Near-duplicates",
        ("Document", "Nearly equals", "Similarity"),
        twins,
        rows=rows,
        number=found,
    )
    warnings = [(escape(warning),) for warning in report.warnings]
    yield from _table("Warnings", ("Warning",), warnings, rows=rows)
    ignored = [(escape(why), f"{number:,}") for why, number in report.ignored.items()]
    yield from _table("Left out, not documents", ("Why", "Count"), ignored, rows=rows)
    yield ""
    yield "## This run"
    yield ""
    yield f"- Run: {escape(report.run_id)}"
    yield f"- Encoder: {escape(report.encoder)}"


def _busy(seconds: float, of: float) -> tuple[str, str]:
    """How long a stage was at work, and its share, which two threads may bring beyond 100%."""
    return f"{seconds:,.1f}", f"{seconds / of:.0%}" if of > 0 else ""


def _table(
    title: str,
    header: Sequence[str],
    cells: Sequence[Sequence[str]],
    *,
    rows: int,
    number: int | None = None,
) -> Iterator[str]:
    """A heading and a table of cells that are escaped already, the first `rows` of `number`."""
    if not cells:
        return
    yield ""
    if title:
        yield f"## {title}"
        yield ""
    yield f"| {' | '.join(header)} |"
    yield "|:---" * len(header) + "|"
    for row in cells[:rows]:
        yield f"| {' | '.join(row)} |"
    more = (len(cells) if number is None else number) - min(rows, len(cells))
    if more > 0:
        yield ""
        yield f"and {more:,} more"
