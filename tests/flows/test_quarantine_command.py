"""`sextant quarantine`, each command in a process of its own, over an embedded store."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.heads import Head
from flows.quarantine import Entry, read_quarantine, write
from search.stores.contract import Manifest
from search.stores.edge import EdgeStore

CommandLine = Any

FIRST = Entry(
    doc_id="notes/junk.md",
    source="/data/notes/junk.md",
    root="/data/notes",
    format="markdown",
    stage="parse",
    reason="Binary, not text; remove it",
    content_hash="a" * 64,
    size=12,
    recipe="parser 1",
    limits="20 MiB",
    first_seen="2026-01-01T00:00:00+00:00",
    last_seen="2026-01-02T00:00:00+00:00",
    attempts=3,
    run_id="0123",
)
SECOND = replace(
    FIRST,
    doc_id="papers/a\x1b[31m.pdf",
    source="/data/papers/a\x1b[31m.pdf",
    root="/data/papers",
    format="pdf",
    stage="read",
    reason="50.0 MiB; the limit is 20.0 MiB",
)
LATER = replace(FIRST, doc_id="notes/sub/old.txt", format="text", reason="no text in it")
HEAD = Head(
    doc_id="notes/junk.md",
    source="/data/notes/junk.md",
    root="/data/notes",
    title="Junk",
    format="markdown",
    content_hash="b" * 64,
    recipe="parser 1",
    state="stored",
    chunks=7,
    tokens=70,
    size=10,
    ingested_at="2025-12-31T00:00:00+00:00",
    run_id="0",
)
WITHOUT_ENCODERS = "import sys; sys.modules['torch'] = sys.modules['prefect'] = None"


@pytest.fixture
def place(sextant: CommandLine, scratch: Path) -> Path:
    """A store whose collection `docs` has three documents in quarantine, one stored earlier."""
    folder = scratch / "store"
    with closing(EdgeStore(folder)) as store:
        collection = store.create(
            Manifest(
                name="docs",
                dimension=4,
                fingerprint="f" * 64,
                encoder={"name": "gone"},
                created_at="2026-01-01T00:00:00+00:00",
            )
        )
        write(collection, [FIRST, SECOND, LATER])
        writing = replace(HEAD, doc_id=LATER.doc_id, state="writing")
        collection.upsert([HEAD.point(), writing.point()])
    sextant.environment["SEXTANT_STORE"] = str(folder)
    return folder


def kept(folder: Path) -> dict[str, Entry]:
    with closing(EdgeStore(folder)) as store:
        return read_quarantine(store.open("docs"))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], [FIRST, LATER, SECOND]),
        (["--reason", "BINARY"], [FIRST]),
        (["--format", "text"], [LATER]),
        (["--root", "/data/papers"], [SECOND]),
        (["--root", "/data/notes/"], [FIRST, LATER]),
        (["--root", "/data/notes", "--reason", "no text"], [LATER]),
        (["--format", "epub"], []),
    ],
)
def test_a_list_in_json(
    sextant: CommandLine, place: Path, filters: list[str], expected: list[Entry]
) -> None:
    """Every field of the entries that match, and how many there are; no encoder is needed."""
    run = sextant("quarantine", "list", "--json", *filters, program=WITHOUT_ENCODERS)
    assert (run.code, run.err) == (0, "")
    assert (run.json["collection"], run.json["quarantined"]) == ("docs", 3)
    assert [Entry(**fields) for fields in run.json["entries"]] == expected


def test_a_list_to_read(sextant: CommandLine, place: Path) -> None:
    """A table without control characters; an empty one says what there is besides."""
    run = sextant("quarantine", "list")
    assert run.code == 0
    lines = run.out.splitlines()
    assert lines[0].split() == ["document", "stage", "reason", "since", "attempts", "retry"]
    assert lines[1].split()[:2] == ["notes/junk.md", "parse"]
    assert "2026-01-01T00:00:00+00:00  3" in lines[1]
    assert lines[3].startswith("papers/a[31m.pdf")
    run = sextant("quarantine", "list", "--reason", "colour")
    assert run.out == "no such document in quarantine of collection 'docs'; 3 in all\n"


def test_a_document_with_an_earlier_version(sextant: CommandLine, place: Path) -> None:
    """All fields, and of when the version is that a search still finds."""
    run = sextant("quarantine", "show", "notes/junk.md", "--json")
    stored = run.json.pop("stored_version")
    assert run.json["limits"] == "20 MiB"
    assert stored == {
        "ingested_at": HEAD.ingested_at,
        "content_hash": HEAD.content_hash,
        "chunks": 7,
    }
    run = sextant("quarantine", "show", "notes/junk.md")
    fields = dict(line.split(maxsplit=1) for line in run.out.splitlines() if " " in line.strip())
    assert fields["attempts"] == "3"
    assert fields["stored"] == f"an earlier version, of {HEAD.ingested_at}, in 7 chunks"


def test_a_document_without_a_whole_version(sextant: CommandLine, place: Path) -> None:
    """A head that says `writing` is none; terminal escapes are not passed on."""
    run = sextant("quarantine", "show", LATER.doc_id, "--json")
    assert run.json["stored_version"] is None
    run = sextant("quarantine", "show", SECOND.doc_id)
    assert run.code == 0
    assert "\x1b" not in run.out
    assert "no version of it" in run.out


def test_a_retry(sextant: CommandLine, place: Path) -> None:
    """The documents named, each once; then all of them."""
    run = sextant("quarantine", "retry", LATER.doc_id, LATER.doc_id, "--json")
    assert run.json == {"collection": "docs", "retry": [LATER.doc_id]}
    assert [e.doc_id for e in kept(place).values() if e.retry] == [LATER.doc_id]
    run = sextant("quarantine", "retry", "--all")
    assert run.out == "3 documents will be tried by the next ingest of their sources\n"
    assert all(e.retry == "wanted" for e in kept(place).values())


def test_dropped_entries_are_named(sextant: CommandLine, place: Path) -> None:
    """A receipt of each; what the store holds of the document stays."""
    run = sextant("quarantine", "drop", "notes/junk.md", "--yes", "--json")
    assert [Entry(**fields) for fields in run.json["dropped"]] == [FIRST]
    assert list(kept(place)) == [LATER.doc_id, SECOND.doc_id]
    run = sextant("quarantine", "drop", "--all", "--yes")
    assert run.out.splitlines() == [
        "dropped: notes/sub/old.txt: no text in it",
        "dropped: papers/a[31m.pdf: 50.0 MiB; the limit is 20.0 MiB",
        "2 documents dropped from quarantine",
    ]
    assert kept(place) == {}
    run = sextant("quarantine", "drop", "--all", "--yes")
    assert (run.code, run.out) == (0, "0 documents dropped from quarantine\n")
    with closing(EdgeStore(place)) as store:
        assert store.open("docs").count() == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("list --format wav", "--format 'wav': expected one of text, markdown, "),
        ("retry", "no document named; give ids (`sextant quarantine list` shows them) or --all"),
        ("drop --yes", "no document named; give ids"),
        ("retry a --all", "--all and 'a': expected document ids or --all, not both"),
        ("drop notes/junk.md", "dropping quarantine entries wants confirmation; add --yes"),
        ("drop --all", "dropping quarantine entries wants confirmation; add --yes"),
        (
            "show notes/jnk.md",
            "'notes/jnk.md' is not in quarantine of collection 'docs'; did you mean 'notes/junk.md",
        ),
        ("show old.txt", "'old.txt' is not in quarantine of collection 'docs'; did you mean 'note"),
        ("show /data/notes/junk.md", "'/data/notes/junk.md' is not in quarantine of collection "),
        ("retry notes/junk.md zzz", "'zzz' is not in quarantine of collection 'docs'; `sextant q"),
        ("drop notes/junk.md zzz --yes", "'zzz' is not in quarantine of collection 'docs'"),
        ("list --collection A/B", "collection name 'A/B': expected 1-63 characters"),
        ("list --store ftp://x", "store location 'ftp://...': expected a folder, or a serve"),
        ("show", "missing argument 'DOC_ID'; see `sextant quarantine show --help`"),
    ],
)
def test_wrong_usage_changes_nothing(
    sextant: CommandLine, place: Path, arguments: str, line: str
) -> None:
    """One line with the value and the remedy; of several ids, none is touched if one is wrong."""
    run = sextant("quarantine", *arguments.split())
    assert (run.code, run.complaint[: len(line)]) == (2, line)
    assert kept(place) == {e.doc_id: e for e in (FIRST, LATER, SECOND)}


def test_a_collection_that_is_not_there(sextant: CommandLine, scratch: Path) -> None:
    """The command line is right as typed: code 1, and no store is made."""
    run = sextant("quarantine", "list", "--store", scratch / "none")
    assert (run.code, "no collection 'docs' in" in run.complaint) == (1, True)
    assert not (scratch / "none").exists()


def test_a_long_quarantine_is_cut(sextant: CommandLine, place: Path) -> None:
    """On the terminal; JSON has all."""
    with closing(EdgeStore(place)) as store:
        many = [replace(FIRST, doc_id=f"many/{number:03}.md") for number in range(120)]
        write(store.open("docs"), many)
    run = sextant("quarantine", "list")
    assert run.out.splitlines()[-1] == "... and 23 more (--json lists all)"
    assert len(sextant("quarantine", "list", "--json").json["entries"]) == 123


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("list", ["--reason TEXT", "--format FORMAT", "--root SOURCE", "--json", "--store"]),
        ("show", ["DOC_ID", "--collection NAME", "--json"]),
        ("retry", ["DOC_ID", "--all", "--json"]),
        ("drop", ["DOC_ID", "--all", "--yes", "--json"]),
    ],
)
def test_help(sextant: CommandLine, command: str, options: list[str]) -> None:
    """Names every option."""
    run = sextant("quarantine", command, "--help")
    assert (run.code, run.err) == (0, "")
    assert [option for option in options if option not in run.out] == []
