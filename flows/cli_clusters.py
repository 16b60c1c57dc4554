"""`sextant clusters`: list, show, rename and compare a collection's clusters."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli_options import AsJson, Collection, Debug, Store, print_json, settings_of
from flows.errors import FlowError, InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from flows.clustering.report import Cluster, ClusterReport
    from flows.settings import Settings
    from search.stores.contract import Collection as OpenCollection

clusters_app = typer.Typer(
    help="List, show, rename and compare a collection's clusters.", no_args_is_help=True
)
WhichCluster = Annotated[
    str, typer.Argument(metavar="ID|NAME", help="The cluster's id, or its name")
]


@clusters_app.command("list")
def list_clusters(
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the clusters of the last run, with the chunks that each has now."""
    from flows import console
    from flows.clustering_console import marks
    from search.filters import of_kind, where
    from search.records import KIND_CHUNK

    settings = settings_of(collection=collection, store=store)
    with _opened(settings) as place:
        report = _report(settings)
        chunks = of_kind(KIND_CHUNK)
        now = {one.id: place.count(chunks & where("cluster", one.id)) for one in report.clusters}
        total = place.count(chunks)
    if as_json:
        fields = [one.model_dump(mode="json") | {"now": now[one.id]} for one in report.clusters]
        print_json(
            {
                "collection": report.collection,
                "run_id": report.run_id,
                "created_at": report.created_at,
                "algorithm": report.algorithm,
                "chunks": total,
                "clusters": fields,
            }
        )
        return
    console.say(f"run {report.run_id} of {report.created_at}: {report.k} clusters")
    if report.clusters:
        console.table(
            ["id", "chunks", "now", "name", "note", "change"],
            [
                [str(c.id), str(c.size), str(now[c.id]), c.name, marks(c), c.fate]
                for c in report.clusters
            ],
        )
    rest = total - sum(now.values())
    if rest:
        console.say(f"{rest} chunks are in none of them; `sextant cluster` sorts them in")
    console.say(f"page: {report.page}")


@clusters_app.command("show")
def show_cluster(
    which: WhichCluster,
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what the last run found of one cluster."""
    from flows import clustering_console

    settings = settings_of(collection=collection, store=store)
    with _opened(settings):
        found = _find(_report(settings), which)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        clustering_console.show_cluster(found)


@clusters_app.command("rename")
def rename_cluster(
    which: WhichCluster,
    name: Annotated[str, typer.Argument(metavar="NEW-NAME", help="What to call it from now on")],
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Give a cluster a name of your own, which later runs keep.

    Chunks carry it at once: a search can filter by cluster_name.
    """
    from dataclasses import asdict

    from flows import console
    from flows.clustering.files import read_report
    from flows.clustering.rename import check_name, rename

    check_name(name)
    settings = settings_of(collection=collection, store=store)
    with _opened(settings) as place:
        report = read_report(_folder(settings))
        # Without a report the store still knows the ids.
        number = _number(which) if report is None else _find(report, which).id
        done = rename(place, number, name, _folder(settings))
    if as_json:
        print_json(asdict(done) | {"collection": settings.collection})
        return
    console.say(f"cluster {done.cluster} is called {done.name!r} now: {done.chunks} chunks")
    for page in done.pages:
        console.say(f"report written anew: {page}")


@clusters_app.command("diff")
def diff_clusters(
    before: Annotated[
        str | None,
        typer.Argument(metavar="[OLD-RUN]", help="A run's id [default: the one before the last]"),
    ] = None,
    after: Annotated[
        str | None, typer.Argument(metavar="[NEW-RUN]", help="A run's id [default: the last]")
    ] = None,
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare two runs: which clusters were born, died, grew, shrank, or were renamed."""
    from flows import console
    from flows.clustering.comparison import compare
    from flows.clustering.state import find_report, past_reports
    from flows.clustering.telling import change_lines

    settings = settings_of(collection=collection, store=store)
    with _opened(settings):
        reports = past_reports(_folder(settings))
    if before is None and len(reports) < 2:
        raise FlowError(
            f"{len(reports)} clusterings of collection {settings.collection!r} are kept; "
            "comparing takes two: run `sextant cluster` again"
        )
    new = find_report(reports, after) if after else reports[0] if reports else None
    old = find_report(reports, before) if before else reports[1]
    if new is None:
        raise FlowError(f"no clustering of collection {settings.collection!r} is kept")
    if new.run_id == old.run_id:
        raise InvalidInput(f"run {old.run_id!r} is both; give two different ones")
    differences = compare(old, new)
    events = list(change_lines(new)) if new.previous_run == old.run_id else []
    if as_json:
        print_json(
            {
                "collection": new.collection,
                "before": {"run_id": old.run_id, "created_at": old.created_at},
                "after": {"run_id": new.run_id, "created_at": new.created_at},
                "clusters": [one.model_dump(mode="json") for one in differences],
                "changes": ([one.model_dump(mode="json") for one in new.changes] if events else []),
            }
        )
        return
    console.say(f"run {old.run_id} of {old.created_at} -> run {new.run_id} of {new.created_at}")
    rows = [
        [str(d.id), d.kind, f"{d.size_before} -> {d.size}", d.name, d.name_before or ""]
        for d in differences
        if d.kind != "steady" or d.renamed
    ]
    if rows:
        console.table(["id", "change", "chunks", "name", "before"], rows)
    else:
        console.say("no cluster has changed")
    for line in events:
        if line.startswith(("split", "merged")):
            console.say(line)


@contextmanager
def _opened(settings: "Settings") -> "Iterator[OpenCollection]":
    """The collection, which must be there: reports of one that is gone say nothing."""
    from flows.stores import store_of

    with closing(store_of(settings)) as store:
        yield store.open(settings.collection)


def _folder(settings: "Settings") -> "Path":
    from flows.state import state_folder
    from search.collections import base_name

    return state_folder(settings.store) / base_name(settings.collection) / "report"


def _report(settings: "Settings") -> "ClusterReport":
    """The last run's report.

    Raises:
        FlowError: there is none.
    """
    from flows.clustering.files import read_report

    report = read_report(_folder(settings))
    if report is None:
        raise FlowError(
            f"collection {settings.collection!r} has no report of a clustering in "
            f"{str(_folder(settings))!r}; run `sextant cluster`"
        )
    return report


def _find(report: "ClusterReport", which: str) -> "Cluster":
    """The cluster that was meant, by id or by name.

    Raises:
        InvalidInput: there is none; the message has the nearest name.
    """
    for one in report.clusters:
        if which in (str(one.id), one.name):
            return one
    found = [one for one in report.clusters if one.name.lower() == which.strip().lower()]
    if len(found) == 1:
        return found[0]
    names = [one.name for one in report.clusters]
    near = get_close_matches(which, names, n=1)
    ids = ", ".join(str(one.id) for one in report.clusters) or "none"
    hint = f"did you mean {near[0]!r}?" if near else f"ids are {ids}"
    raise InvalidInput(f"no cluster {which!r}; {hint}; see `sextant clusters list`")


def _number(which: str) -> int:
    try:
        return int(which)
    except ValueError:
        raise InvalidInput(
            f"cluster {which!r}: without a report only ids are known; give a whole number"
        ) from None
