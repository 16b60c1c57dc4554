"""An ingest's report as Markdown, safe whatever documents are called, and filed with Prefect."""

import re
from typing import Any

import pytest
from markdown_it import MarkdownIt

from flows.ingest_report import (
    ChunkCounts,
    DocumentCounts,
    IngestReport,
    NearDuplicate,
    NearDuplicates,
    Quarantined,
)
from flows.run_report import ROWS, artifact_key, count_rows, ingest_markdown, publish_artifact

HOSTILE = (
    "a|b.md",
    "# heading",
    "<script>alert(1)</script>",
    "![x](http://evil.example/pixel.png)",
    "[click](javascript:alert(1))",
    "two\nlines\n\n# heading\n| a | b |",
    "`code` *bold* __bold__ ~~gone~~ $x$",
    "\u202ereversed \x1b[31m",
    "\\| &amp; <!-- -->",
)


def report_of(**changes: Any) -> IngestReport:
    """An ingest with a bit of everything."""
    fields: dict[str, Any] = {
        "collection": "docs",
        "encoder": "tiny",
        "documents": DocumentCounts(seen=1234, stored=1200, unchanged=30, removed=7, quarantined=4),
        "chunks": ChunkCounts(stored=5000, reused=40, removed=9),
        "tokens": 100_000,
        "seconds": 25.0,
        "storing_seconds": 20.0,
        "stages": {"parse": 5.0, "embed": 19.0},
        "near_duplicates": NearDuplicates(
            found=3,
            collapsed=1,
            documents=(NearDuplicate(document="a.md", of="b.md", similarity=0.97),),
        ),
        "quarantine": (
            Quarantined(source="/data/junk.md", reason="binary", stage="parse", held=True),
        ),
        "ignored": {".png": 3},
        "warnings": ("look here",),
        "run_id": "abc123",
    }
    return IngestReport(**fields | changes)


def test_the_counts_add_up() -> None:
    """What was seen was stored, unchanged or quarantined; every count is in the page."""
    rows = {str(row["what"]): row["count"] for row in count_rows(report_of())}
    seen = [rows[f"documents {name}"] for name in ("stored", "unchanged", "quarantined")]
    assert sum(map(int, seen)) == rows["documents seen"] == 1234
    assert rows["documents removed"] == 7
    assert (rows["chunks stored"], rows["chunks removed"], rows["tokens"]) == (5000, 9, 100_000)
    page = ingest_markdown(report_of()).splitlines()
    for what, count in rows.items():
        assert f"| {what} | {int(count):,} |" in page


def test_all_of_a_report_is_shown() -> None:
    """Stages with their part of the run, quarantine, near-duplicates, warnings, what was left."""
    page = ingest_markdown(report_of()).splitlines()
    assert page[0] == "# Ingest into docs"
    for line in (
        "| embed | 19.0 | 95% |",
        "| /data/junk.md | parse | binary | no |",
        "| a.md | b.md | 0.97 |",
        "and 2 more",
        "| look here |",
        "| .png | 3 |",
        "- Run: abc123",
    ):
        assert line in page


def test_a_run_that_found_nothing_to_do() -> None:
    """No empty tables, and no division by nothing."""
    page = ingest_markdown(
        report_of(
            stages={},
            quarantine=(),
            warnings=(),
            ignored={},
            near_duplicates=NearDuplicates(found=0, collapsed=0, documents=()),
        )
    )
    assert re.findall("^## .*", page, re.MULTILINE) == ["## This run"]
    assert "| parse | 5.0 |  |" in ingest_markdown(report_of(storing_seconds=0.0))


def test_a_long_quarantine_is_cut() -> None:
    """At so many rows; the others are counted."""
    entries = tuple(
        Quarantined(source=f"{number:04}.md", reason="binary", stage="read", held=False)
        for number in range(ROWS + 25)
    )
    page = ingest_markdown(report_of(quarantine=entries))
    assert page.count(".md | read | binary | yes |") == ROWS
    assert "\n\nand 25 more\n" in page
    assert ingest_markdown(report_of(quarantine=entries), rows=1).count("| read |") == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_becomes_markup(text: str) -> None:
    """Rendered, it is text of one cell: no HTML, link, image, heading or row of its own."""
    entry = Quarantined(source=text, reason=text, stage="parse", held=False)
    twin = NearDuplicate(document=text, of=text, similarity=1.0)
    page = ingest_markdown(
        report_of(
            quarantine=(entry,),
            warnings=(text,),
            ignored={text: 1},
            encoder=text,
            stages={text: 1.0},
            near_duplicates=NearDuplicates(found=1, collapsed=0, documents=(twin,)),
        )
    )
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert kinds <= {"text", "text_special"}
    assert not any(token.type.startswith("html") for token in tokens)
    plain = ingest_markdown(
        report_of(
            ignored={"x": 1},
            near_duplicates=NearDuplicates(found=1, collapsed=0, documents=(twin,)),
            stages={"x": 1.0},
        )
    )
    harmless = MarkdownIt("commonmark").enable("table").parse(plain)
    assert [token.type for token in tokens] == [token.type for token in harmless]
    assert not set(page) & {"\x1b", "\u202e"}


@pytest.mark.parametrize(
    ("collection", "expected"),
    [
        ("docs", r"ingest-report-docs"),
        ("docs-2", r"ingest-report-docs-2"),
        ("docs.v1", r"ingest-report-docs-v1--[0-9a-f]{6}"),
        ("docs_v1", r"ingest-report-docs-v1--[0-9a-f]{6}"),
        ("docs--v1", r"ingest-report-docs-v1--[0-9a-f]{6}"),
    ],
)
def test_the_key(collection: str, expected: str) -> None:
    """Lower case and dashes only, and none that two collections share."""
    assert re.fullmatch(expected, artifact_key(collection, "report"))


def test_keys_differ() -> None:
    """Whatever the collections are called."""
    names = ["docs-v1", "docs.v1", "docs_v1", "docs--v1", "report-docs", "counts-docs", "docs"]
    keys = {artifact_key(name, what) for name in names for what in ("report", "counts")}
    assert len(keys) == 2 * len(names)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_outside_a_flow_nothing_is_filed() -> None:
    """A warning says so."""
    (warning,) = publish_artifact(report_of())
    assert warning == "the report was not filed with Prefect: no flow is running here"


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_report_in_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page and a table, found by their keys; when Prefect refuses, a warning and no error."""
    from prefect import artifacts, flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    @flow(name="filing", persist_result=False)
    def filing(report: IngestReport) -> tuple[str, ...]:
        return publish_artifact(report)

    report = report_of(collection="docs.v1")
    assert filing(report) == ()
    keys = {what: artifact_key("docs.v1", what) for what in ("report", "counts")}
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=list(keys.values())))
        found = {one.key: one for one in client.read_artifacts(artifact_filter=wanted)}
    page, table = found[keys["report"]], found[keys["counts"]]
    assert (page.type, page.data) == ("markdown", ingest_markdown(report))
    assert page.flow_run_id is not None
    assert table.type == "table"
    assert '"what": "documents seen", "count": 1234' in str(table.data)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("refused\nwith more")

    monkeypatch.setattr(artifacts, "create_table_artifact", refuse)
    (warning,) = filing(report)
    assert warning == "the report was not filed with Prefect: ConnectionError: refused"
