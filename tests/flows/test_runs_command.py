"""`sextant runs`, each command in a process of its own; no store needs to be there."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.runs import Recorder, begin_run, runs_folder

CommandLine = Any

REPORT = {
    "documents": {"seen": 1004, "stored": 1000, "unchanged": 1, "removed": 2, "quarantined": 3},
    "chunks": {"stored": 12345, "removed": 4},
    "tokens": 1_500_000,
    "quarantine": [{"source": f"{i}\x1b[31m.md", "reason": "binary"} for i in range(25)],
    "warnings": ["look here"],
    "ignored": {},
}
WITHOUT_ENCODERS = "import sys; sys.modules['torch'] = sys.modules['prefect'] = None"


def begin(store: Path | str, run_id: str, **changes: Any) -> Recorder:
    fields = {"kind": "ingest", "collection": "docs", "store": str(store), "sources": ["notes"]}
    return begin_run(runs_folder(str(store), "docs"), run_id=run_id, **fields | changes)


@pytest.fixture
def place(sextant: CommandLine) -> Path:
    """A store's folder with three runs: done, failed, and killed."""
    folder: Path = sextant.folder / ".sextant"
    begin(folder, "abc123").done(REPORT)
    begin(folder, "abd456", kind="cluster").failed(ValueError("no chunks"))
    killed = begin(folder, "dead99", versions={"sextant": "0.1.0"})
    fields = json.loads(killed.path.read_text())
    killed.path.write_text(json.dumps(fields | {"process": "another"}))
    return folder


def test_a_table(sextant: CommandLine, place: Path) -> None:
    """The newest first, with the counts of those that have a report; nothing heavy is imported."""
    run = sextant("runs", program=WITHOUT_ENCODERS)
    assert (run.code, run.err) == (0, "")
    header, *rows = [line.split() for line in run.out.splitlines()]
    assert header[:4] == ["run", "when", "kind", "state"]
    assert [(row[0], *row[2:4]) for row in rows] == [
        ("dead99", "ingest", "interrupted"),
        ("abd456", "cluster", "failed"),
        ("abc123", "ingest", "done"),
    ]
    assert header[4:10] == ["stored", "unchanged", "removed", "quarantined", "chunks", "tokens"]
    assert rows[2][4:10] == ["1,000", "1", "2", "3", "12,345", "1,500,000"]
    assert len(sextant("runs", "--limit", "1").out.splitlines()) == 2


def test_json(sextant: CommandLine, place: Path) -> None:
    """Whole records, and a warning for what is damaged."""
    (damaged,) = place.glob("docs/runs/*-abd456.json")
    damaged.write_text("{")
    run = sextant("runs", "--json", "--collection", "docs")
    assert [(r["run_id"], r["state"]) for r in run.json["runs"]] == [
        ("dead99", "interrupted"),
        ("abc123", "done"),
    ]
    assert run.json["runs"][1]["report"] == REPORT
    assert damaged.name in run.json["warnings"][0]
    run = sextant("runs")
    assert run.code == 0
    assert run.err.startswith("sextant: warning: run record '.sextant/docs/runs/")
    assert f"{damaged.name}' is damaged" in run.err


def test_one_run(sextant: CommandLine, place: Path) -> None:
    """By the beginning of its id: fields and report, lists cut, control characters out."""
    run = sextant("runs", "show", "abc", "--json")
    assert (run.code, run.json["report"]) == (0, REPORT)
    run = sextant("runs", "show", "abc123")
    lines = run.out.splitlines()
    assert lines[0].split() == ["run_id", "abc123"]
    assert "\x1b" not in run.out
    assert "report: documents: seen 1,004, stored 1,000, unchanged 1, removed 2, qu" in run.out
    assert "report: quarantine: source 0[31m.md, reason binary" in lines
    assert "report: quarantine: ... and 5 more" in lines
    assert "report: warnings: look here" in lines
    run = sextant("runs", "show", "abd")
    assert ["error", "ValueError:", "no", "chunks"] in [
        line.split() for line in run.out.splitlines()
    ]


def test_no_run_yet(sextant: CommandLine) -> None:
    """That is no failure, and no store is made."""
    run = sextant("runs")
    assert (run.code, run.err) == (0, "")
    assert run.out.startswith("no run of collection 'docs' is recorded in ")
    assert sextant("runs", "--json").json == {"collection": "docs", "runs": [], "warnings": []}
    assert not (sextant.folder / ".sextant").exists()


def test_the_runs_of_one_server(
    sextant: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All servers share a state folder; none is asked."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    begin("http://127.0.0.1:9", "here")
    begin("http://127.0.0.1:10", "there")
    run = sextant(
        "runs",
        "--json",
        "--store",
        "http://127.0.0.1:9/",
        XDG_STATE_HOME=str(tmp_path / "state"),
    )
    assert [found["run_id"] for found in run.json["runs"]] == ["here"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--limit 0", "--limit 0: expected 1 to 200"),
        ("--limit 201", "--limit 201: expected 1 to 200"),
        ("--collection A/B", "collection name 'A/B': expected 1-63 characters"),
        ("--store ftp://x", "store location 'ftp://...': expected a folder, or a serve"),
        ("--store http://u:p@x", "server address holds a user or password"),
        ("--limit 3 show abc", "--limit stands before 'show'; expected behind it"),
        ("--json show abc", "--json stands before 'show'; expected behind it"),
        ("show", "missing argument 'RUN_ID'; see `sextant runs show --help`"),
        ("show ab", "run 'ab' may be abd456, abc123; give more of its id"),
        ("show zz", "no run 'zz' is recorded in "),
        ("bogus", "no such command 'bogus'; see `sextant runs --help`"),
    ],
)
def test_wrong_usage(sextant: CommandLine, place: Path, arguments: str, line: str) -> None:
    """One line with the value and the remedy."""
    run = sextant("runs", *arguments.split())
    assert (run.code, run.complaint[: len(line)]) == (2, line)


def test_help(sextant: CommandLine) -> None:
    """Names every option."""
    run = sextant("runs", "--help")
    assert [
        o for o in ("--limit N", "--collection NAME", "--json", "show") if o not in run.out
    ] == []
    run = sextant("runs", "show", "--help")
    assert [o for o in ("RUN_ID", "--collection NAME", "--json") if o not in run.out] == []
