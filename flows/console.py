"""What people read on the terminal: summaries, hits, clusters, and errors in one line."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from flows.progress import Lines, Live, Progress, Silent

if TYPE_CHECKING:
    from flows.catalogue import Listed
    from flows.ingestion import IngestReport, NearDuplicates
    from flows.preview import Preview
    from search.records import Hit

SNIPPET_CHARACTERS: Final = 240
QUARANTINE_SHOWN: Final = 20
NAMES_SHOWN: Final = 5


def say(text: str) -> None:
    """A line of a result, on standard output."""
    print(text, flush=True)  # noqa: T201 - this module is the only one that prints


def complain(text: str) -> None:
    """A line for the person at the terminal, on standard error."""
    print(f"sextant: {text}", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """A live bar on a terminal, plain lines elsewhere, nothing if quiet; on standard error."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with Live() as bar:
            yield bar
    else:
        yield Lines()


def show_outcome(found: "IngestReport | Preview") -> None:
    """What an ingest did, or what it would do."""
    from flows.preview import Preview

    if isinstance(found, Preview):
        show_preview(found)
    else:
        show_ingest(found)


def show_ingest(report: "IngestReport") -> None:
    """The summary of an ingest."""
    documents, chunks = report.documents, report.chunks
    say(
        f"{documents.seen} documents seen: {documents.stored} stored, "
        f"{documents.unchanged} unchanged, {documents.quarantined} quarantined; "
        f"{documents.removed} removed"
    )
    rate = ""
    if report.tokens and report.storing_seconds:  # without the start of the run
        rate = f" ({report.tokens / report.storing_seconds:,.0f} tokens/s)"
    reused = f" ({chunks.reused} of them embedded before)" if chunks.reused else ""
    say(
        f"{chunks.stored} chunks stored{reused}, {chunks.removed} removed; "
        f"{report.tokens:,} tokens in {report.seconds:.1f} s{rate}"
    )
    say(f"collection {report.collection!r}, encoder {report.encoder!r}")
    _show_left_out(report.ignored, report.warnings)
    _show_twins(report.near_duplicates)
    for entry in report.quarantine[:QUARANTINE_SHOWN]:
        held = " (not tried again)" if entry.held else ""
        say(f"quarantined: {entry.source}: {entry.reason}{held}")
    if len(report.quarantine) > QUARANTINE_SHOWN:
        say(f"... and {len(report.quarantine) - QUARANTINE_SHOWN} more (--json lists all)")


def _show_twins(twins: "NearDuplicates") -> None:
    """How many near-duplicates there are, and the first of them."""
    if not twins.found:
        return
    fate = f", {twins.collapsed} of them not stored twice" if twins.collapsed else ""
    say(f"{twins.found} documents nearly equal another{fate}")
    for twin in twins.documents[:NAMES_SHOWN]:
        say(f"near-duplicate: {twin.document} of {twin.of} ({twin.similarity:.0%})")
    if twins.found > NAMES_SHOWN:
        say(f"... and {twins.found - NAMES_SHOWN} more (--json lists {len(twins.documents)})")


def show_preview(found: "Preview") -> None:
    """What would become of the documents, and about how much would be stored."""
    counts, estimate = found.documents, found.estimate
    say(f"plan for collection {found.collection!r}, encoder {found.encoder!r}")
    table(["documents", ""], [[name, f"{count:,}"] for name, count in counts if name != "seen"])
    if estimate.chunks:
        say(
            f"about {estimate.chunks:,} chunks, {estimate.tokens:,} tokens, "
            f"{estimate.store_bytes / 1e6:,.1f} MB in the store; {_about(estimate.seconds)}"
        )
    elif counts.seen == counts.unchanged + counts.quarantined:
        say("nothing to store")
    _show_left_out(found.ignored, found.warnings)
    if found.refusal:
        say(f"an ingest would refuse: {found.refusal}")
    for what, sources in (
        ("added", found.added),
        ("changed", found.changed),
        ("renewed", found.renewed),
        ("moved", [f"{move.before} -> {move.now}" for move in found.moved]),
        ("removed", found.removed),
        ("quarantined", [f"{q.source}: {q.reason}" for q in found.quarantine]),
    ):
        for source in sources[:NAMES_SHOWN]:
            say(f"{what}: {source}")
        if len(sources) > NAMES_SHOWN:
            say(f"... and {len(sources) - NAMES_SHOWN} more {what} (--json lists all)")
    say("nothing was written")


def _about(seconds: float | None) -> str:
    """An estimated time, in words."""
    if seconds is None:
        return "time unknown until a first run has measured it"
    if seconds < 120:
        return f"{max(1.0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def _show_left_out(ignored: Mapping[str, int], warnings: Sequence[str]) -> None:
    if ignored:
        left_out = ", ".join(f"{count} {why}" for why, count in ignored.items())
        say(f"left out, not documents: {left_out}")
    for warning in warnings:
        say(f"warning: {warning}")


def show_hits(query: str, hits: "Sequence[Hit]", *, indent: str = "") -> None:
    """Hits, each with its score, title, exact place and the beginning of its text."""
    if not hits:
        say(f"{indent}nothing found for {query!r}")
    for hit in hits:
        say(f"{indent}{hit.rank:>2}. {hit.score:.3f}  {hit.title}")
        say(f"{indent}    {hit.source}:{hit.start}-{hit.end}")
        say(f"{indent}    {one_line(hit.text, SNIPPET_CHARACTERS)}")


def show_collections(listed: "Sequence[Listed]", location: str) -> None:
    """A table of collections."""
    if not listed:
        say(f"no collection in {location} yet; `sextant ingest SOURCE` makes one")
        return
    rows = []
    for one in listed:
        m = one.manifest
        version = m.name if one.in_use else f"{m.name} (not in use)"
        encoder = str(m.encoder.get("name", ""))
        rows.append([one.name, version, encoder, str(m.dimension), m.created_at])
    table(["name", "version", "encoder", "dimension", "created"], rows)


def show_fields(fields: dict[str, Any]) -> None:
    """Names and values, one a line."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
        say(f"{name:<{width}}  {shown}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns padded to their widest cell, at most 60 characters each."""
    cells = [[one_line(cell, 60) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def one_line(text: str, limit: int) -> str:
    r"""Text on one line, at most `limit` characters, control characters out.

    >>> one_line("a\n  b\x1b[31m", 60)
    'a b[31m'
    """
    flat = " ".join(text.split())
    flat = "".join(character for character in flat if character.isprintable())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"
