"""A person's name for a cluster: into the store, and into the report that is there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flows.clustering.files import read_map, read_report, write_report
from flows.clustering.members import CLUSTER, CLUSTER_NAME, CLUSTER_NAMED_BY, PERSON
from flows.clustering.report import ClusterReport
from flows.clustering.snippet import one_line
from flows.clustering.state import Kept, keep_report, recall, remember
from flows.errors import InvalidInput
from search.filters import of_kind, where
from search.records import KIND_CHUNK
from search.stores.contract import Collection

LONGEST_NAME: Final = 80
WRITE_BATCH: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed:
    """What a renaming did."""

    cluster: int
    name: str
    chunks: int
    """That carry the new name now."""
    pages: tuple[str, ...]
    """Folders whose report was written anew."""


def check_name(name: str) -> str:
    """A name as it is kept: on one line.

    Raises:
        InvalidInput: it is blank, too long, or holds characters that are not shown.
    """
    line = " ".join(name.split())
    if not line:
        raise InvalidInput(f"name {name!r} is blank; expected a few words")
    if one_line(line, 10 * LONGEST_NAME) != line:
        raise InvalidInput(f"name {name!r} holds characters that are not shown; leave them out")
    if len(line) > LONGEST_NAME:
        raise InvalidInput(
            f"name of {len(line)} characters; expected at most {LONGEST_NAME}, shorten it"
        )
    return line


def rename(collection: Collection, cluster: int, name: str, folder: Path) -> Renamed:
    """Give a cluster a name that later runs keep.

    The store comes first: chunks carry the name and that a person gave it. The report in `folder`,
    and the copy that was asked for elsewhere if it is of the same run, are written anew.

    Args:
        collection: open.
        cluster: its id.
        name: see `check_name`.
        folder: the collection's report folder.

    Raises:
        InvalidInput: a wrong name, one that another cluster has, or no chunk in this cluster.
        FlowError: a report cannot be written.
    """
    name = check_name(name)
    report = read_report(folder)
    state = recall(folder)
    others = {one.name: one.id for one in (report.clusters if report else ()) if one.id != cluster}
    if name in others:
        raise InvalidInput(f"name {name!r} is that of cluster {others[name]}; choose another")
    members = of_kind(KIND_CHUNK) & where(CLUSTER, cluster)
    ids = [record.id for record in collection.scroll(where=members)]
    if not ids:
        known = ", ".join(str(one.id) for one in (report.clusters if report else ())) or "none"
        raise InvalidInput(
            f"no chunk is in cluster {cluster}; clusters are {known}: see `sextant clusters list`"
        )
    values = {CLUSTER_NAME: name, CLUSTER_NAMED_BY: PERSON}
    for start in range(0, len(ids), WRITE_BATCH):
        collection.set_metadata(dict.fromkeys(ids[start : start + WRITE_BATCH], values))
    if state is not None:
        remember(
            folder,
            state.model_copy(
                update={"clusters": tuple(_kept(one, cluster, name) for one in state.clusters)}
            ),
        )
    pages = _written(report, cluster, name, folder) if report is not None else ()
    return Renamed(cluster=cluster, name=name, chunks=len(ids), pages=pages)


def _kept(one: Kept, cluster: int, name: str) -> Kept:
    changes = {"name": name, "by_person": True}
    return one.model_copy(update=changes) if one.id == cluster else one


def _written(report: ClusterReport, cluster: int, name: str, folder: Path) -> tuple[str, ...]:
    """Write the report anew wherever it lies; which folders those are."""
    written = []
    for place in dict.fromkeys((folder, Path(report.report).parent)):
        there = read_report(place)
        if there is None or there.run_id != report.run_id:
            continue
        renamed = _renamed(there, cluster, name)
        write_report(renamed, place, read_map(place))
        written.append(str(place))
    keep_report(folder, _renamed(report, cluster, name))
    return tuple(written)


def _renamed(report: ClusterReport, cluster: int, name: str) -> ClusterReport:
    changes = {"name": name, "name_by_person": True, "name_check": None}
    return report.model_copy(
        update={
            "clusters": tuple(
                one.model_copy(update=changes) if one.id == cluster else one
                for one in report.clusters
            ),
            "tree": tuple(
                node.model_copy(update={"name": name}) if node.cluster == cluster else node
                for node in report.tree
            ),
        }
    )
