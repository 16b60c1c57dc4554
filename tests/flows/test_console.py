"""What people read: results on standard output, progress and complaints on standard error."""

import time

import pytest

from flows import console
from flows.failures import FAILED, WRONG_USAGE, explain
from flows.ingest_report import (
    ChunkCounts,
    DocumentCounts,
    IngestReport,
    NearDuplicate,
    NearDuplicates,
    Quarantined,
)
from flows.progress import Lines, Live, Silent
from search.errors import InvalidRequest, StoreUnavailable
from search.records import Hit


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("a\n  b\t c", 60, "a b c"),
        ("\x1b[31mred\x07", 60, "[31mred"),
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("abcd fg", 6, "abcd…"),
        ("", 6, ""),
    ],
)
def test_one_line(text: str, limit: int, expected: str) -> None:
    """White space becomes one space, control characters go, and what is too long says so."""
    assert console.one_line(text, limit) == expected


def test_a_table_lines_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are as wide as their widest cell; no line ends in spaces."""
    console.table(["id", "name"], [["1", "a\nb"], ["22", ""]])
    assert capsys.readouterr().out == "id  name\n1   a b\n22\n"


def test_an_ingest_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts that add up, then what was left out, warnings, and the first twenty rejected."""
    console.show_ingest(
        IngestReport(
            collection="notes",
            encoder="tiny",
            documents=DocumentCounts(seen=25, stored=2, unchanged=1, removed=1, quarantined=22),
            chunks=ChunkCounts(stored=5, reused=1, removed=2),
            tokens=1000,
            seconds=2.0,
            storing_seconds=1.0,
            stages={"read": 0.5},
            near_duplicates=NearDuplicates(
                found=6,
                collapsed=1,
                documents=tuple(
                    NearDuplicate(document=f"{i}.md", of="a.md", similarity=0.914) for i in range(6)
                ),
            ),
            quarantine=tuple(
                Quarantined(source=f"{i}.md", reason="binary", stage="parse", held=i == 0)
                for i in range(22)
            ),
            ignored={".png": 3},
            warnings=("look here",),
            run_id="0",
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "25 documents seen: 2 stored, 1 unchanged, 22 quarantined; 1 removed",
        "5 chunks stored (1 of them embedded before), 2 removed; "
        "1,000 tokens in 2.0 s (1,000 tokens/s)",
        "collection 'notes', encoder 'tiny'",
        "left out, not documents: 3 .png",
        "warning: look here",
    ]
    assert lines[5:7] == [
        "6 documents nearly equal another, 1 of them not stored twice",
        "near-duplicate: 0.md of a.md (91%)",
    ]
    assert lines[11] == "... and 1 more (--json lists 6)"
    assert lines[12:14] == [
        "quarantined: 0.md: binary (not tried again)",
        "quarantined: 1.md: binary",
    ]
    assert lines[-1] == "... and 2 more (--json lists all)"
    assert len(lines) == 33


def test_hits_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Rank, score, title, exact place, and the beginning of the text; or that there is nothing."""
    hit = Hit(
        rank=1,
        score=0.5,
        id="i",
        doc_id="d",
        source="/notes/a.md",
        title="A",
        text="x\ny",
        start=3,
        end=6,
    )
    console.show_hits("what", [hit])
    console.show_hits("what", [])
    assert capsys.readouterr().out == (
        " 1. 0.500  A\n    /notes/a.md:3-6\n    x y\nnothing found for 'what'\n"
    )


def test_progress_in_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each stage, and one more each ten seconds at most."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = Lines()
    lines.stage("storing documents", 40)
    lines.advance(5, chunks=10, tokens=500)
    now = 10.0
    lines.advance(5, chunks=10, tokens=500)
    lines.advance(5, chunks=10, tokens=500)
    lines.stage("indexing")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "sextant: storing documents (40)",
        "sextant: storing documents: 10 of 40, 20 chunks, 100 tokens/s, 30 s left",
        "sextant: indexing",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does a live bar write to standard output, nor mind an early `advance`."""
    with console.progress(quiet=True) as progress:
        progress.stage("a", 3)
        progress.advance(1)
    assert isinstance(progress, Silent)
    assert capsys.readouterr() == ("", "")
    with Live() as live:
        live.advance(1)
        live.stage("a", 3)
        live.advance(1, chunks=2, tokens=3)
        live.stage("b")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InvalidRequest("limit 0: expected 1"), WRONG_USAGE, "limit 0: expected 1"),
        (StoreUnavailable("\n\x1b[1mgone\nfor good"), FAILED, "[1mgone"),
        (
            ZeroDivisionError(),
            FAILED,
            "unexpected ZeroDivisionError: ZeroDivisionError; "
            "`sextant --debug ...` shows where; what was committed stays",
        ),
    ],
)
def test_a_failure_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, line: str
) -> None:
    """Wrong usage is the caller's to mend, everything else is not; control characters stay out."""
    assert explain(error) == code
    assert capsys.readouterr() == ("", f"sextant: {line}\n")
