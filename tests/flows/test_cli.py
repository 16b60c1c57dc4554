"""The command line's contract, each command in a process of its own and without network."""

import json
import re
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.stores.edge import EdgeStore

CommandLine = Any
World = Any

HIT_FIELDS = ["rank", "score", "id", "doc_id", "source", "title", "text", "start", "end"]


# --- what needs no collection ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("", ["--debug", "--version", "ingest", "search", "cluster", "encode", "demo"]),
        ("ingest", ["--collection", "--encoder", "--store", "--json", "--max-document-mb"]),
        ("ingest", ["--dry-run", "--max-removal-share", "--allow-removals", "--include GLOB"]),
        ("plan", ["--collection", "--encoder", "--store", "--json", "--max-document-mb"]),
        ("plan", ["--max-removal-share", "--allow-removals", "--include GLOB", "--exclude GLOB"]),
        ("search", ["-k", "--collection", "--filter", "--chunks", "--store", "--json", "QUERY"]),
        ("cluster", ["--collection", "--k", "--seed", "--report", "--store", "--json"]),
        ("encode", ["--kind", "--encoder", "--out", "--json", "--quiet"]),
        ("demo", ["--store", "--quiet", "--debug"]),
        ("collections", ["list", "show", "delete"]),
        ("collections list", ["--store", "--json"]),
        ("collections show", ["--store", "--json", "NAME"]),
        ("collections delete", ["--yes", "--store", "--json", "NAME"]),
    ],
)
def test_help_names_every_option(sextant: CommandLine, command: str, options: list[str]) -> None:
    """On standard output, with code 0, and no line of it cut off."""
    run = sextant(*command.split(), "--help")
    assert (run.code, run.err) == (0, "")
    assert [option for option in options if option not in run.out] == []
    assert "..." not in run.out.replace("[ARGS]...", "").replace("{SOURCE}...", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("ingest", "missing argument 'SOURCE'; see `sextant ingest --help`"),
        ("ingest --bogus x", "no such option: --bogus; see `sextant ingest --help`"),
        ("bogus", "no such command 'bogus'; see `sextant --help`"),
        ("ingest gone", "source 'gone': no such file or folder; check the path (the working fol"),
        ("ingest python:x", "source 'python:x': unknown; expected python:packages or python:std"),
        ("ingest . --encoder nope", "unknown encoder 'nope'; expected a preset (starter, "),
        ("ingest . --collection A/B", "collection name 'A/B': expected 1-63 characters of a-z, "),
        ("ingest . --chunk-tokens 3", "setting 'chunk_tokens' is 3 (option): input should be gr"),
        ("ingest . --exclude !x", "setting 'exclude' is ['!x'] (option): glob '!x': '!' has no me"),
        (
            "plan . --max-removal-share 2",
            "setting 'max_removal_share' is 2.0 (option): input should",
        ),
        ("plan", "missing argument 'SOURCE'; see `sextant plan --help`"),
        ("ingest . --store ftp://x", "store location 'ftp://...': expected a folder, or a serve"),
        ("search x -k 0", "-k 0: expected 1 to 1000"),
        ("search x -k 1001", "-k 1001: expected 1 to 1000"),
        ("search x --filter cluster", "filter 'cluster' is not KEY=VALUE; e.g. format=markdown"),
        ("search x --filter cluster=a", "filter cluster='a': expected a whole number"),
        ("cluster --k 0", "--k 0: expected 1 or more"),
        ("encode --out x.txt", "--out 'x.txt': expected a file name that ends in .npy"),
        ("encode --out gone/x.npy", "--out 'gone/x.npy': its folder does not exist; make it fir"),
        ("encode --out x.npy --kind q", "--kind 'q': expected query or document"),
        ("encode", "missing option '--out'; see `sextant encode --help`"),
        ("collections delete docs", "deleting collection 'docs' wants confirmation; add --yes"),
    ],
)
def test_a_command_line_that_cannot_be_right_ends_with_2(
    sextant: CommandLine, arguments: str, line: str
) -> None:
    """One line: the value, what was expected, the remedy; and no store is made."""
    (sextant.folder / "a.md").write_text("A text.\n")
    run = sextant(*arguments.split())
    assert (run.code, run.complaint[: len(line)]) == (2, line)
    assert not (sextant.folder / ".sextant").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("ingest empty", ": no document found (left out: 1 .png); expected at least one; nothing"),
        ("plan empty", ": no document found (left out: 1 .png); expected at least one; nothing"),
        (
            "ingest . --include *.rst",
            " 1 .png, 3 excluded); expected at least one; nothing was changed",
        ),
        ("ingest . --encoder hollow", "' has no weights; expected *.safetensors: save the model "),
        ("ingest . --encoder pickled", "' has only pickled weights (pytorch_model.bin); expected"),
        ("ingest . --encoder some/model", "is not cached and cannot be fetched"),
        ("ingest . --store a.md", "cannot be used"),
        ("ingest . --store http://127.0.0.1:9", "127.0.0.1:9"),
        ("search x", "no collection 'docs' in"),
        ("cluster", "no collection 'docs' in"),
        ("collections show docs", "no collection 'docs' in"),
        ("collections delete docs --yes", "no collection 'docs' in"),
    ],
)
def test_what_the_world_refuses_ends_with_1(
    sextant: CommandLine, encoder_folder: Path, arguments: str, line: str
) -> None:
    """The command line is right as typed; the line says what stands in the way."""
    (sextant.folder / "a.md").write_text("A text.\n")
    (sextant.folder / "empty").mkdir()
    (sextant.folder / "empty" / "photo.png").write_bytes(b"png")
    for name in ("hollow", "pickled"):
        (sextant.folder / name).mkdir()
        shutil.copy(encoder_folder / "config.json", sextant.folder / name)
    (sextant.folder / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    run = sextant(
        *arguments.split(), *(["--quiet"] if arguments.startswith(("ingest", "plan")) else [])
    )
    assert run.code == 1
    assert line in run.complaint


def test_debug_shows_the_traceback(sextant: CommandLine) -> None:
    """Before the command or after it; the line and the code stay what they are."""
    for arguments in (("--debug", "ingest", "gone"), ("ingest", "gone", "--debug")):
        run = sextant(*arguments)
        assert run.code == 2
        assert run.err.startswith("Traceback (most recent call last):")
        assert run.err.splitlines()[-1].startswith("sextant: source 'gone': no such file or folder")


def test_an_empty_store_lists_nothing(sextant: CommandLine) -> None:
    """And is not made by looking at it."""
    assert sextant("collections", "list", "--json").json == {"collections": []}
    run = sextant("collections", "list")
    assert run.out == (
        f"no collection in {sextant.folder}/.sextant yet; `sextant ingest SOURCE` makes one\n"
    )
    assert not (sextant.folder / ".sextant").exists()
    assert sextant("--version").out.startswith("sextant ")


def test_lines_are_encoded(sextant: CommandLine, encoder_folder: Path) -> None:
    """Row i is line i, blank ones too; float32 unit vectors, whatever else is in the batch."""
    (sextant.folder / "sextant.toml").write_text(f'encoder = "{encoder_folder}"\n')
    report = sextant("encode", "--out", "x.npy", "--json", stdin="an owl\n\nthe sea\r\n").json
    assert report["texts"] == 3
    assert (report["encoder"], report["kind"]) == (str(encoder_folder), "document")
    vectors = np.load(sextant.folder / "x.npy")
    assert (vectors.dtype, vectors.shape) == (np.float32, (3, 32))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    run = sextant("encode", "--out", "y.npy", "--encoder", encoder_folder, stdin="the sea")
    assert (run.code, run.err) == (0, "")
    assert np.allclose(np.load(sextant.folder / "y.npy")[0], vectors[2], atol=1e-5)
    assert sorted(path.name for path in sextant.folder.glob("*.npy")) == ["x.npy", "y.npy"]


@pytest.mark.parametrize(
    ("stdin", "line"),
    [
        ("", "standard input is empty; expected one text a line"),
        ("abc\udcff", "standard input is not UTF-8 at byte 3; convert it first"),
    ],
)
def test_input_that_is_no_text_is_refused(
    sextant: CommandLine, encoder_folder: Path, stdin: str, line: str
) -> None:
    """Before any weight is loaded, and without leaving a file."""
    run = sextant("encode", "--out", "x.npy", "--encoder", encoder_folder, stdin=stdin)
    assert (run.code, run.complaint) == (2, line)
    assert not (sextant.folder / "x.npy").exists()


# --- over a collection -----------------------------------------------------------------------


def test_an_ingest_reports_what_it_did(world: World, encoder_folder: Path) -> None:
    """Exactly one JSON object; code 3 for the bad documents; the variable beats the file."""
    run = world.ingested
    assert run.code == 3, run
    report = run.json
    assert (report["collection"], report["encoder"]) == ("notes", str(encoder_folder))
    assert report["documents"] == {
        "seen": 7,
        "stored": 5,
        "unchanged": 0,
        "removed": 0,
        "quarantined": 2,
    }
    assert report["chunks"]["stored"] > 5
    assert report["chunks"]["removed"] == 0
    assert report["tokens"] > 100
    assert report["seconds"] > 0
    reasons = {Path(entry["source"]).name: entry["reason"] for entry in report["quarantine"]}
    assert reasons["huge.md"].startswith("50.0 MiB; the limit is 20.0 MiB; split it or raise")
    assert set(reasons) == {"huge.md", "junk.md"}
    assert report["ignored"] == {".png": 1}


def test_standard_error_is_sextant_s_alone(world: World) -> None:
    """Stages, one a line; no warning, no log of Prefect's, no bar."""
    lines = world.ingested.err.splitlines()
    assert [line for line in lines if not line.startswith("sextant: ")] == []
    assert "sextant: starting Prefect" in lines
    assert "sextant: storing documents (6)" in lines


def test_a_search_answers(world: World, encoder_folder: Path) -> None:
    """The contract's fields, best first, one hit a document; only what the filter lets through."""
    answer = world.sextant("search", "A river carries sand", "-k", "3", "--json").json
    assert {"query", "collection", "encoder", "hits", "timings_ms"} <= answer.keys()
    assert (answer["collection"], answer["encoder"]) == ("notes", str(encoder_folder))
    hits = answer["hits"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert [list(hit)[:10] for hit in hits] == [[*HIT_FIELDS, "metadata"]] * 3
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert len({hit["doc_id"] for hit in hits}) == 3
    assert {"encode", "search", "total"} <= answer["timings_ms"].keys()

    run = world.sextant(
        "search", "bread", "--chunks", "--filter", "doc_id=notes/bread.md", "--json"
    )
    hits = run.json["hits"]
    assert {hit["doc_id"] for hit in hits} == {"notes/bread.md"}
    assert len(hits) > 1
    assert run.err == ""


def test_an_answer_in_words_and_in_ascii(world: World) -> None:
    """A terminal that knows ASCII only gets escapes in JSON, which mean the same."""
    filters = ("--filter", "title=latin")
    plain = world.sextant("search", "Café", *filters)
    assert "Café am Fluß" in plain.out
    run = world.sextant("search", "Café", *filters, "--json", PYTHONIOENCODING="ascii")
    assert run.json["query"] == "Café"
    assert run.json["hits"][0]["text"] == "Das Café am Fluß."


def test_collections_are_listed_and_shown(world: World, fingerprint: str) -> None:
    """By name, encoder, dimension and fingerprint; counts of documents and chunks."""
    (listed,) = world.sextant("collections", "list", "--json").json["collections"]
    assert (listed["name"], listed["dimension"]) == ("notes", 32)
    assert listed["fingerprint"] == fingerprint
    shown = world.sextant("collections", "show", "notes", "--json").json
    assert shown["documents"] == 5
    assert shown["chunks"] == world.ingested.json["chunks"]["stored"]
    assert "notes" in world.sextant("collections", "list").out
    assert '"name": ' in world.sextant("collections", "show", "notes").out


def test_a_collection_in_use_says_by_whom(world: World, encoder_folder: Path) -> None:
    """Every command that needs it: one line, code 1, nothing lost."""
    with closing(EdgeStore(world.store)) as store:
        count = store.open("notes").count()
        for arguments in (
            ("ingest", "notes", "--quiet", "--encoder", str(encoder_folder)),
            ("search", "x"),
            ("cluster", "--quiet"),
            ("collections", "show", "notes"),
            ("collections", "delete", "notes", "--yes"),
        ):
            run = world.sextant(*arguments)
            assert run.code == 1
            assert re.match(r"collection 'notes--\w{8}-1' is in use by pid ", run.complaint)
        assert store.open("notes").count() == count


def test_another_encoder_is_refused(world: World, encoder_folder: Path, tmp_path: Path) -> None:
    """The line names both and the ways out; code 1; nothing is written."""
    other = tmp_path / "other"
    shutil.copytree(encoder_folder, other)
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    for arguments in (("ingest", "notes", "--quiet"), ("search", "x")):
        run = world.sextant(*arguments, "--encoder", other)
        assert run.code == 1
        assert run.complaint.startswith("collection 'notes' was built by encoder ")
        assert "another `--collection`" in run.complaint


def test_a_deletion_asks_first(world: World, tmp_path: Path) -> None:
    """Without a terminal it wants `--yes`; then the collection is gone."""
    shutil.copytree(world.store, tmp_path / "copy")
    options = ("--store", tmp_path / "copy", "--json")
    assert world.sextant("collections", "delete", "notes", *options).code == 2
    run = world.sextant("collections", "delete", "notes", "--yes", *options)
    assert re.match(r"notes--\w{8}-1$", run.json["versions"][0])
    assert run.json == {"collection": "notes", "deleted": True, "versions": run.json["versions"]}
    assert world.sextant("collections", "list", *options).json == {"collections": []}


def test_an_ingest_with_nothing_to_do(world: World) -> None:
    """One JSON object still; neither Prefect nor torch is needed, and nothing is written."""
    absent = "import sys; sys.modules['torch'] = sys.modules['prefect'] = None\n"
    program = absent + _refusing("junk.md")
    run = world.sextant("ingest", "notes", "--json", "--quiet", program=program)
    report = run.json
    assert (run.code, run.err) == (3, "")
    assert report["documents"] == {
        "seen": 7,
        "stored": 0,
        "unchanged": 5,
        "removed": 0,
        "quarantined": 2,
    }
    assert report["chunks"] == {"stored": 0, "reused": 0, "removed": 0}


def test_a_plan_needs_neither_torch_nor_prefect(world: World, tmp_path: Path) -> None:
    """One JSON object, code 3 for what would be quarantined; `ingest --dry-run` says the same."""
    shutil.copytree(world.store, tmp_path / "copy")
    options = ("notes", "--exclude=bread.md", "--json", "--quiet", "--store", tmp_path / "copy")
    absent = "import sys; sys.modules['torch'] = sys.modules['prefect'] = None\n"
    run = world.sextant("plan", *options, program=absent)
    found = run.json
    assert (run.code, run.err) == (3, "")
    assert found["documents"] == {
        "seen": 6,
        "added": 1,  # junk.md: that it cannot be parsed, the sample says
        "changed": 0,
        "moved": 0,
        "renewed": 0,
        "unchanged": 4,
        "removed": 1,
        "quarantined": 1,
    }
    assert [Path(source).name for source in found["removed"]] == ["bread.md"]
    assert found["ignored"] == {".png": 1, "excluded": 1}
    assert found["warnings"][0].startswith("1 of 1 documents sampled cannot be parsed; an ingest")
    assert found["estimate"]["chunks"] == 0
    dry = world.sextant("ingest", "--dry-run", *options, program=absent)
    assert (dry.code, dry.json) == (3, found)


def _refusing(name: str) -> str:
    """A file without permission, simulated: tests may run as root, who may read anything."""
    return f"""
import errno, os
really_open = os.open
def refusing(path, *arguments, **options):
    if str(path).endswith({name!r}):
        raise PermissionError(errno.EACCES, "Permission denied")
    return really_open(path, *arguments, **options)
os.open = refusing
"""


def test_an_unreadable_file_is_quarantined(world: World, tmp_path: Path) -> None:
    """With the reason; what the store holds of it stays."""
    shutil.copytree(world.store, tmp_path / "copy")
    run = world.sextant(
        "ingest",
        "notes",
        "--json",
        "--max-document-mb=1",
        program=_refusing(".md"),
        SEXTANT_STORE=str(tmp_path / "copy"),
    )
    assert run.code == 3
    reasons = {Path(e["source"]).name: e["reason"] for e in run.json["quarantine"]}
    assert reasons["bread.md"] == "no permission to read it; change its mode or owner"
    assert len(reasons) == 4
    assert run.json["documents"]["removed"] == 0


def test_clusters_in_json(world: World, tmp_path: Path) -> None:
    """The contract's fields; the report lies where it says; k beyond the chunks is wrong usage."""
    shutil.copytree(world.store, tmp_path / "copy")
    store = {"SEXTANT_STORE": str(tmp_path / "copy")}
    run = world.sextant("cluster", "--k", "2", "--json", **store)
    report = run.json
    assert (run.code, report["collection"]) == (0, "notes")
    assert {"id", "size", "name", "keywords", "exemplars"} <= set(report["clusters"][0])
    assert report["outliers"] >= 0
    assert Path(report["report"]) == tmp_path / "copy" / "notes" / "report" / "clusters.md"
    assert json.loads((tmp_path / "copy" / "notes" / "report" / "clusters.json").read_text())

    run = world.sextant("cluster", "--k", "1000", "--quiet", **store)
    assert run.code == 2
    assert run.complaint.startswith("k is 1000; collection 'notes' has ")


@pytest.mark.slow
def test_the_demonstration(
    sextant: CommandLine, corpus: Path, encoder_folder: Path, scratch: Path
) -> None:
    """Ingest, cluster, search, and what to try next; its sources are two small folders here."""
    program = f"""
import flows.demo
flows.demo.PYTHON_PACKAGES, flows.demo.PYTHON_STDLIB = {str(corpus)!r}, {str(corpus / "sub")!r}
flows.demo.PYTHON_PACKAGES = {str(corpus / "bread.md")!r}
"""
    run = sextant(
        "demo",
        "--quiet",
        "--store",
        scratch / "a store",
        program=program,
        SEXTANT_ENCODER=str(encoder_folder),
    )
    assert (run.code, run.err) == (0, "")
    assert "3 documents seen: 3 stored" in run.out
    assert f"--store '{scratch}/a store'" in run.out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_line_of_five_megabytes_is_stored(
    sextant: CommandLine, encoder_folder: Path, scratch: Path
) -> None:
    """No line break to cut at, and it goes through all the same."""
    (sextant.folder / "notes").mkdir()
    (sextant.folder / "notes" / "line.md").write_text("A lighthouse keeper. " * 250_000)
    run = sextant(
        "ingest",
        "notes",
        "--json",
        "--chunk-tokens=400",
        "--store",
        scratch / "store",
        "--encoder",
        encoder_folder,
        seconds=800,
    )
    assert run.code == 0, run
    assert run.json["documents"]["stored"] == 1
    assert run.json["tokens"] > 1_000_000


@pytest.mark.slow
def test_a_store_that_dies_for_good_ends_the_run(
    sextant: CommandLine, corpus: Path, encoder_folder: Path, scratch: Path
) -> None:
    """Its engine is killed at every write: after some retries one line, code 1, no hang."""
    program = """
from search.stores import edge_process
ask = edge_process.Worker.ask
def killed(self, request, timeout_seconds, waiting=None):
    if type(request).__name__ == "Upsert":
        self.kill()  # now, with the request on its way: not before, when a new one would start
    return ask(self, request, timeout_seconds, waiting)
edge_process.Worker.ask = killed
"""
    run = sextant(
        "ingest",
        corpus,
        "--quiet",
        "--json",
        "--store",
        scratch / "store",
        "--encoder",
        encoder_folder,
        program=program,
    )
    assert run.code == 1
    assert "was killed by SIGKILL" in run.complaint


def test_nothing_leaves_the_loopback(world: World) -> None:
    """Not the command, not the engine's process, not Prefect's: all of them were watched."""
    assert world.ingested.code == 3
    assert "prefect_server.py" in world.sextant.processes
    assert "search.stores.edge_worker" in world.sextant.processes
    assert world.sextant.violations == ""
