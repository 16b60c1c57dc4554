"""`sextant cluster` and `sextant clusters` as they are typed: what they say, keep, and refuse."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.clustering_command import run_cluster
from flows.errors import InvalidInput
from flows.orchestration import PrefectAPI
from flows.progress import Silent
from flows.session import Session, Target, running
from search.filters import Filter, where
from search.records import METADATA, Record
from search.stores.edge import EdgeStore
from search.stores.filter_checks import INDEXED

from .conftest import CommandLine, World


@pytest.fixture(scope="module")
def clustered(world: World, session_scratch: Path) -> CommandLine:
    """A store of its own in which the small corpus was clustered twice: two groups, then three."""
    copy = session_scratch / "clustered"
    shutil.copytree(world.store, copy)
    sextant = CommandLine(world.sextant.folder, world.sextant.network_log)
    sextant.environment |= world.sextant.environment | {"SEXTANT_STORE": str(copy)}
    for k in ("2", "3"):
        run = sextant("cluster", "--k", k, "--quiet", "--json")
        assert run.code == 0, run.err
        assert run.json["k"] == int(k)
    return sextant


def _store(sextant: CommandLine) -> Path:
    return Path(sextant.environment["SEXTANT_STORE"])


def _chunks(sextant: CommandLine, condition: Filter) -> list[Record]:
    store = EdgeStore(str(_store(sextant)))
    try:
        return list(store.open("notes").scroll(where=condition))
    finally:
        store.close()


def test_a_run_leaves_its_files_and_its_record(clustered: CommandLine) -> None:
    """All forms of the report; the run stands in the history with its report."""
    folder = _store(clustered) / "notes" / "report"
    names = {path.name for path in folder.iterdir()}
    assert {"clusters.html", "clusters.md", "clusters.json", "clusters.csv", "members.csv"} <= names
    runs = clustered("runs", "--json").json["runs"]
    assert [run["kind"] for run in runs[:2]] == ["cluster", "cluster"]
    assert [run["state"] for run in runs[:2]] == ["done", "done"]
    assert runs[0]["report"]["k"] == 3


def test_the_list_and_one_of_it(clustered: CommandLine) -> None:
    """Sizes now are those in the store; one cluster by id and by name; both forms."""
    listed = clustered("clusters", "list", "--json").json
    assert listed["collection"] == "notes"
    assert sum(one["now"] for one in listed["clusters"]) == listed["chunks"]
    first = listed["clusters"][0]
    by_id = clustered("clusters", "show", str(first["id"]), "--json").json
    by_name = clustered("clusters", "show", first["name"].upper(), "--json").json
    assert by_id == by_name
    assert by_id["name_check"]["hits"] == first["size"]
    shown = clustered("clusters", "list")
    assert first["name"] in shown.out
    assert "exemplar: " in clustered("clusters", "show", str(first["id"])).out


def test_two_runs_are_compared(clustered: CommandLine) -> None:
    """By default the last two; three clusters came of two, and sizes add up."""
    found = clustered("clusters", "diff", "--json").json
    assert {one["kind"] for one in found["clusters"]} & {"born", "grown", "shrunk"}
    assert sum(one["size"] for one in found["clusters"]) == sum(
        one["size_before"] for one in found["clusters"]
    )
    before, after = found["before"]["run_id"], found["after"]["run_id"]
    back = clustered("clusters", "diff", after, before[:8], "--json").json
    assert (back["before"]["run_id"], back["after"]["run_id"]) == (after, before)
    assert "chunks" in clustered("clusters", "diff").out
    same = clustered("clusters", "diff", after, after)
    assert same.code == 2
    assert "give two different ones" in same.complaint


def test_a_name_is_kept_and_can_be_filtered_by(clustered: CommandLine) -> None:
    """In the store at once, in the report, and after the next run, which another seed makes."""
    one = clustered("clusters", "list", "--json").json["clusters"][0]
    run = clustered("clusters", "rename", str(one["id"]), "Sea  marks", "--json")
    assert (run.json["name"], run.json["chunks"]) == ("Sea marks", one["size"])
    chunks = _chunks(clustered, where("cluster_name", "Sea marks"))
    assert {chunk.payload[METADATA]["cluster"] for chunk in chunks} == {one["id"]}
    folder = _store(clustered) / "notes" / "report"
    for name in ("clusters.html", "clusters.md", "clusters.json", "clusters.csv"):
        assert "Sea marks" in (folder / name).read_text()
    hits = clustered("search", "lamp", "--filter", "cluster_name=Sea marks", "--json").json["hits"]
    assert hits
    again = clustered("cluster", "--k", "3", "--quiet", "--json").json
    kept = [c for c in again["clusters"] if c["id"] == one["id"]]
    assert [(c["name"], c["name_by_person"]) for c in kept] == [("Sea marks", True)]
    other = next(c for c in again["clusters"] if c["id"] != one["id"])
    taken = clustered("clusters", "rename", str(other["id"]), "Sea marks")
    assert taken.code == 2
    assert taken.complaint == f"name 'Sea marks' is that of cluster {one['id']}; choose another"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("clusters show 99", "no cluster '99'; ids are "),
        ("clusters rename 99 x", "no cluster '99'"),
        ("clusters rename 0 ''", "name '' is blank"),
        (f"clusters rename 0 {'x' * 81}", "name of 81 characters; expected at most 80"),
        ("clusters rename 0 a\u202eb", "holds characters that are not shown"),
        ("clusters diff nonsense", "run 'nonsense': no such run of a clustering; kept are "),
        ("clusters list --collection other", "no collection 'other'"),
        ("cluster --algorithm dbscan", "--algorithm 'dbscan': expected kmeans, hdbscan, bisecting"),
        ("cluster --map tsne", "--map 'tsne': expected pca, umap"),
        ("cluster --min-cluster-size 1", "--min-cluster-size 1: expected 2 or more"),
        ("cluster --min-cluster-size 3", "it is of 'hdbscan' alone"),
        ("cluster --algorithm hdbscan --k 2", "finds its number of clusters itself"),
        ("cluster --algorithm hdbscan --min-cluster-size 999", "min_cluster_size is 999; "),
        ("cluster --seed 4294967296", "--seed 4294967296: expected 0 to 4294967295"),
    ],
)
def test_wrong_usage(clustered: CommandLine, arguments: str, message: str) -> None:
    """One line that has the value; nothing is started, nothing changes."""
    run = clustered(*[part.strip("'") for part in arguments.split(" ")])
    assert run.code in (1, 2)
    assert message in run.complaint


def test_without_files_the_store_is_enough_to_rename(
    clustered: CommandLine, session_scratch: Path
) -> None:
    """The state folder may be deleted at any time; what needs it says what to run."""
    copy = session_scratch / "bare"
    shutil.copytree(_store(clustered), copy)
    shutil.rmtree(copy / "notes" / "report")
    bare = {"SEXTANT_STORE": str(copy)}
    for command in (("clusters", "list"), ("clusters", "show", "0")):
        run = clustered(*command, **bare)
        assert run.code == 1
        assert "run `sextant cluster`" in run.complaint
    assert "comparing takes two" in clustered("clusters", "diff", **bare).complaint
    run = clustered("clusters", "rename", "0", "Bare", "--json", **bare)
    assert (run.code, run.json["pages"]) == (0, [])
    assert "give a whole number" in clustered("clusters", "rename", "Bare", "x", **bare).complaint


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "cluster",
            ["--algorithm", "--min-cluster-size", "--map", "--no-verify-names", "--report"],
        ),
        ("clusters", ["list", "show", "rename", "diff"]),
        ("clusters rename", ["--collection", "--store", "--json"]),
        ("evaluate clustering", ["--encoder", "--seeds", "--prompts", "--poolings", "--limit"]),
    ],
)
def test_help_names_every_option(sextant: CommandLine, command: str, options: list[str]) -> None:
    """Each with what it means."""
    run = sextant(*command.split(), "--help")
    assert (run.code, run.err) == (0, "")
    assert [option for option in options if option not in run.out] == []


def test_a_map_without_its_library(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is opened, with the command that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"pip install 'sextant-pipeline\[map\]'"):
        run_cluster(target, Silent(), projection="umap")


def test_an_older_collection_without_an_index_of_names(
    clustered: CommandLine, session_scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made before there were names: it opens, is clustered, and can be filtered by them."""
    paths = dict(INDEXED)
    del paths["metadata.cluster_name"]
    monkeypatch.setattr("search.stores.edge.INDEXED", paths)
    source = EdgeStore(str(_store(clustered)))
    older = EdgeStore(str(session_scratch / "older"))
    try:
        origin = source.open("notes")
        made = older.create(origin.manifest.model_copy(update={"name": "notes"}))
        from search.records import Point

        made.upsert(
            [
                Point(id=record.id, vector=record.vector, payload=record.payload)
                for record in origin.scroll(with_vectors=True)
            ]
        )
    finally:
        source.close()
        older.close()
    monkeypatch.undo()
    place = {"SEXTANT_STORE": str(session_scratch / "older")}
    name = clustered("cluster", "--k", "2", "--quiet", "--json", **place).json["clusters"][0][
        "name"
    ]
    run = clustered("search", "lamp", "--filter", f"cluster_name={name}", "--json", **place)
    assert run.code == 0, run.err
    assert run.json["hits"]


def test_the_report_is_filed_with_prefect(
    target: Target, corpus: Path, letters: Any, prefect_api: PrefectAPI, tmp_path: Path
) -> None:
    """As a page and a table, under keys of the collection; the request survives Prefect's JSON."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.commands import run_ingest
    from flows.ingestion import IngestRequest

    run_ingest(IngestRequest(sources=(str(corpus),), target=target), Silent())
    report = run_cluster(target, Silent(), algorithm="bisecting", k=2, report=str(tmp_path / "r"))
    assert report.warnings == ()
    assert json.loads((tmp_path / "r" / "clusters.json").read_text())["algorithm"] == "bisecting"
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                key=ArtifactFilterKey(any_=["cluster-report-notes", "cluster-clusters-notes"])
            )
        )
    assert {artifact.type for artifact in found} == {"markdown", "table"}


def test_a_clustering_that_fails_is_recorded(
    target: Target, corpus: Path, letters: Any, prefect_api: PrefectAPI, tmp_path: Path
) -> None:
    """With its error: a folder that cannot be made."""
    from flows.commands import run_ingest
    from flows.errors import FlowError
    from flows.ingestion import IngestRequest
    from flows.run_history import read_runs
    from flows.runs import runs_folder

    run_ingest(IngestRequest(sources=(str(corpus),), target=target), Silent())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FlowError, match="cannot write the report into"):
        run_cluster(target, Silent(), k=2, report=str(tmp_path / "file" / "report"))
    with running(target) as session:
        assert isinstance(session, Session)
        folder = runs_folder(target.store, target.collection)
        history = read_runs(folder, limit=1, store=session.store.location)
    assert (history.runs[0].kind, history.runs[0].state) == ("cluster", "failed")
    assert "cannot write the report" in history.runs[0].error
