"""`sextant migrate`: the flow under Prefect, and the command line with real encoders."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from embedder.specification import specify
from flows import migration_spool
from flows.cli import app
from flows.commands import run_ingest
from flows.errors import InvalidInput
from flows.ingestion import IngestRequest
from flows.migration import Migration
from flows.migration_commands import run_migrate
from flows.migration_evidence import Evidence, Lowest, Quantiles, Side
from flows.migration_report import LeftOut, MigrationReport
from flows.migration_request import MigrationRequest
from flows.progress import Silent
from flows.session import Target
from search.errors import StoreUnavailable
from search.stores.edge import EdgeStore

CommandLine = Any


@pytest.fixture(scope="session")
def second_folder(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with other settings: another fingerprint, other vectors."""
    folder = tmp_path_factory.mktemp("second") / "tiny"
    folder.mkdir()
    for file in encoder_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = specify(str(encoder_folder)).config.model_dump(mode="json")
    (folder / "sextant.json").write_text(json.dumps({**config, "template": "cot"}))
    return folder


@pytest.mark.usefixtures("prefect_api")
def test_under_prefect(
    target: Target, corpus: Path, second_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingested, migrated in several tasks of which one fails at first, switched, ingested again."""
    monkeypatch.setattr(migration_spool, "PART_CHUNKS", 2)
    failures = iter([StoreUnavailable("restarting")])
    store_part, numbers = Migration.store_part, []

    def flaky(migration: Migration, number: int) -> None:
        for failure in failures:
            raise failure
        numbers.append(number)
        store_part(migration, number)

    monkeypatch.setattr(Migration, "store_part", flaky)
    request = IngestRequest(sources=(str(corpus),), target=target)
    run_ingest(request, Silent())
    report = run_migrate(
        MigrationRequest(
            store=target.store, collection="notes", encoder=str(second_folder), switch=True
        ),
        Silent(),
    )
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 1
    assert (report.documents, report.switched) == (4, True)
    assert report.evidence.overlap == 1.0  # of four documents all are among the first ten
    again = run_ingest(
        request.model_copy(update={"target": target.model_copy(update={"encoder": None})}),
        Silent(),
    )
    assert (again.documents.unchanged, again.documents.stored) == (4, 0)
    assert again.encoder == str(second_folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_line(
    sextant: CommandLine, corpus: Path, encoder_folder: Path, second_folder: Path, scratch: Path
) -> None:
    """Migrate without the sources, look, switch, search, go back, give up."""
    sextant.environment["SEXTANT_STORE"] = str(scratch / "store")
    sextant.environment["SEXTANT_CHUNK_TOKENS"] = "32"
    assert sextant("ingest", corpus, "--encoder", encoder_folder).code == 0
    for file in sorted(corpus.rglob("*"), reverse=True):
        if file.is_file():
            file.unlink()
    run = sextant("migrate", "--encoder", second_folder)
    assert run.code == 0, run
    assert "4 documents embedded by" in run.out
    assert "overlap@10: 1.000 (4 queries, sampled)" in run.out
    assert "ready; switch with `sextant migrate --collection docs --switch`" in run.out
    status = sextant("migrate", "--status", "--json").json
    assert (status["ready"], status["done"], status["documents"]) == (True, 4, 4)
    assert status["in_use"] != status["new"]

    run = sextant("migrate", "--min-overlap", "1", "--json", "--quiet")
    assert (run.code, run.err) == (0, "")
    assert run.json["switched"] is True
    found = sextant("search", "A river carries sand", "--json").json
    assert found["encoder"] == str(second_folder)
    assert len(found["hits"]) == 4
    assert "leads to" in sextant("migrate", "--rollback").out
    assert sextant("search", "sand", "--json").json["encoder"] == str(encoder_folder)
    run = sextant("migrate", "--abandon", "--yes")
    assert (run.code, run.complaint.startswith("no migration of collection 'docs' is")) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--encoder nope", "no collection 'docs' in"),
        ("--status", "no collection 'docs' in"),
        ("--rollback", "no collection 'docs' in"),
        ("--abandon --yes", "no collection 'docs' in"),
    ],
)
def test_without_a_collection(sextant: CommandLine, arguments: str, line: str) -> None:
    run = sextant("migrate", *arguments.split())
    assert run.code == 1
    assert run.complaint.startswith(line)
    assert not (sextant.folder / ".sextant" / "docs").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--min-overlap 2", "--min-overlap 2: expected 0 to 1"),
        ("--sample 0", "--sample 0: expected 1 to 10000"),
        ("--queries gone.txt", "--queries 'gone.txt': no such file; check the path"),
        ("--status --rollback", "--status and --rollback: expected one of them, not both"),
        ("--rollback --switch", "--rollback and --switch: expected one of them, not both"),
        ("--abandon --encoder x", "--abandon and --encoder: expected one of them, not both"),
        ("--yes", "--yes: expected only with --abandon"),
        ("--collection docs--0123abcd-1", "'docs--0123abcd-1' is the name of one version; name"),
        ("--store ftp://x", "store location 'ftp://...': expected a folder, or a server's"),
    ],
)
def test_a_command_line_that_cannot_be_right(
    sextant: CommandLine, arguments: str, line: str
) -> None:
    run = sextant("migrate", *arguments.split())
    assert run.code == 2
    assert run.complaint.startswith(line)


def test_a_switch_that_the_evidence_forbids_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report on standard output all the same, the reason on standard error."""
    numbers = {"documents": 30, "chunks": 60, "encoder": "e"}
    scores = Quantiles(p10=0.4, median=0.5, p90=0.6)
    sides = {
        name: Side(version=name, self_retrieval=found, top_score=scores, **numbers)
        for name, found in (("old", 0.9), ("new", 0.5))
    }
    report = MigrationReport(
        collection="docs",
        old="old",
        new="new",
        encoder="e",
        documents=30,
        chunks=60,
        removed=1,
        left_out=(LeftOut(source="/notes/long.md", reason="too long"),) * 21,
        rounds=2,
        seconds=1.5,
        evidence=Evidence(
            **sides,
            queries=2,
            from_file=True,
            sampled=30,
            overlap=0.25,
            score_shift=-0.125,
            lowest=(Lowest(query="how to bake", overlap=0.0),),
            notes=("a note",),
            taken_at="2026-01-01T00:00:00+00:00",
        ),
        evidence_file="evidence.json",
        switched=False,
        refusal="overlap@10 is 0.250, expected at least 0.5",
        run_id="run",
    )
    asked: list[MigrationRequest] = []

    def run(request: MigrationRequest, progress: Any) -> MigrationReport:
        asked.append(request)
        return report

    monkeypatch.setattr("flows.migration_commands.run_migrate", run)
    arguments = ["migrate", "--encoder", "e", "--min-overlap", "0.5", "--skip-unfit", "-q"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 1
    assert shown.stderr == "sextant: not switched: overlap@10 is 0.250, expected at least 0.5\n"
    for line in (
        "collection 'docs': 30 documents embedded by 'e' (60 chunks), 1 removed, in 1.5 s",
        "left out: /notes/long.md: too long",
        "... and 1 more (--json lists all)",
        "finds itself (30 sampled)  90.0%                50.0%",
        "best score, median         0.500 (0.400-0.600)  0.500 (0.400-0.600)",
        "overlap@10: 0.250 (2 queries, of the file)",
        "best scores shift by -0.125",
        "differs most: 0.00  how to bake",
        "note: a note",
    ):
        assert line in shown.stdout.splitlines()
    assert (asked[0].min_overlap, asked[0].skip_unfit, asked[0].wants_switch) == (0.5, True, True)
    shown = CliRunner().invoke(app, [*arguments, "--json"])
    assert (shown.exit_code, json.loads(shown.stdout)) == (1, report.model_dump(mode="json"))


def test_giving_up_wants_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.migration_commands.abandon_question", lambda settings: "Really?")
    shown = CliRunner().invoke(app, ["migrate", "--abandon"])
    assert isinstance(shown.exception, InvalidInput)
    assert str(shown.exception) == "giving a migration up wants confirmation; add --yes"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_and_taken_up(
    sextant: CommandLine,
    target: Target,
    second_folder: Path,
    scratch: Path,
    require_same: Callable[[Target, Target], None],
) -> None:
    """`kill -9` while documents are embedded; the same command ends as an undisturbed one does."""
    notes = sextant.folder / "notes"
    notes.mkdir()
    for number in range(30):
        (notes / f"{number:02}.md").write_text(f"# Note {number}\n\nIt tells of river {number}.\n")
    slowly = "\n".join(
        (
            "import time",
            "from flows import migration_documents",
            "from search.stores.edge_collection import EdgeCollection",
            "migration_documents.GROUP_DOCUMENTS = 2",
            "upsert = EdgeCollection.upsert",
            "def slow(self, points):",
            "    time.sleep(0.2)",
            "    upsert(self, points)",
            "EdgeCollection.upsert = slow",
        )
    )
    options = ("--collection", "notes", "--encoder", second_folder)
    ingest = ("ingest", "notes", "--collection", "notes", "--encoder", str(target.encoder))
    assert sextant(*ingest, "--store", scratch / "killed").code == 0
    shutil.copytree(scratch / "killed", scratch / "undisturbed")
    versions = []
    for name in ("killed", "undisturbed"):
        sextant.environment["SEXTANT_STORE"] = str(scratch / name)
        if name == "killed":
            process = sextant.start("migrate", *options, program=slowly)
            assert process.stderr is not None
            for said in process.stderr:
                if said.startswith("sextant: embedding documents (30)"):
                    break
            else:
                raise AssertionError("never began to embed")
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        report = sextant("migrate", *options, "--switch", "--json").json
        assert (report["switched"], report["evidence"]["new"]["documents"]) == (True, 30)
        store = EdgeStore(scratch / name)
        assert len(store.list()) == 2
        store.close()
        versions.append(
            target.model_copy(update={"store": str(scratch / name), "collection": report["new"]})
        )
    require_same(*versions)
