"""What one clustering leaves for the next: names, sizes, centroids, and the reports before.

It lies beside the report, in the collection's state folder, and may be deleted at any time: which
chunk belongs to which cluster, and the names, stand in the store. Without it a run knows neither
what has died nor the centroids, and has no earlier run to show.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from flows.clustering.lineage import Before
from flows.clustering.report import ClusterReport
from flows.errors import FlowError, InvalidInput
from search.stores.edge_files import write_durably

LINEAGE: Final = "lineage.json"
HISTORY: Final = "history"
MEMBERS: Final = "members.csv"
KEPT: Final = 30
"""Reports of earlier runs."""
_FILE: Final = re.compile(r"[0-9TZ.+-]{1,40}_(?P<run>[A-Za-z0-9._-]{1,64})\.json")


class Kept(BaseModel):
    """One cluster, as it is remembered."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    id: int
    name: str
    by_person: bool = False
    size: int
    centroid: tuple[float, ...] = ()


class Remembered(BaseModel):
    """The last run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    fingerprint: str
    next_id: int
    """No id from here on was ever used."""
    clusters: tuple[Kept, ...] = ()

    def before(self, fingerprint: str) -> list[Before]:
        """The clusters; with their centroids, if the same encoder made them."""
        same = fingerprint == self.fingerprint
        return [
            Before(
                id=one.id,
                size=one.size,
                centroid=(
                    np.array(one.centroid, dtype=np.float32) if same and one.centroid else None
                ),
            )
            for one in self.clusters
        ]


def remember(folder: Path, state: Remembered) -> None:
    """Keep what the next run is held against.

    Raises:
        FlowError: the folder cannot be written to.
    """
    _write(folder / LINEAGE, state.model_dump_json())


def recall(folder: Path) -> Remembered | None:
    """What the last run left; None if there is nothing that can be read."""
    try:
        return Remembered.model_validate_json((folder / LINEAGE).read_bytes())
    except (OSError, ValidationError, ValueError):
        return None


def clusters_of_documents(folder: Path, doc_ids: Collection[str]) -> dict[str, int]:
    """The cluster that most of a document's chunks had in the last run, of those asked for.

    For chunks that were stored anew since, by another encoder or since their document changed, so
    that the store no longer says where they were. Ties go to the lower id.
    """
    counts: dict[str, Counter[int]] = {}
    try:
        with (folder / MEMBERS).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row.get("doc_id") in doc_ids and int(row["cluster"]) >= 0:
                    counts.setdefault(row["doc_id"], Counter())[int(row["cluster"])] += 1
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}  # it decides nothing but which ids stay
    return {
        doc_id: min(own, key=lambda cluster: (-own[cluster], cluster))
        for doc_id, own in counts.items()
    }


def keep_report(folder: Path, report: ClusterReport) -> None:
    """Keep a report among those of earlier runs, the newest `KEPT` of them.

    Raises:
        FlowError: the folder cannot be written to.
    """
    history = folder / HISTORY
    moment = re.sub(r"[^0-9TZ.+-]", "", report.created_at)[:40]
    run = re.sub(r"[^A-Za-z0-9._-]", "-", report.run_id)[:64]
    text = json.dumps(report.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
    _write(history / f"{moment}_{run}.json", text + "\n")
    try:
        for path in _reports(history)[KEPT:]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(history, error) from error


def past_reports(folder: Path) -> list[ClusterReport]:
    """Reports of the last runs, the newest first; those that cannot be read are left out."""
    return list(_readable(_reports(folder / HISTORY)))


def find_report(reports: Iterable[ClusterReport], run: str) -> ClusterReport:
    """The report of a run, by its id or the beginning of it.

    Raises:
        InvalidInput: there is none, or several begin so.
    """
    reports = list(reports)
    found = [one for one in reports if one.run_id == run] or [
        one for one in reports if one.run_id.startswith(run)
    ]
    if len({one.run_id for one in found}) == 1:
        return found[0]
    known = ", ".join(one.run_id for one in reports[:10]) or "none"
    problem = "several begin so" if found else "no such run of a clustering"
    raise InvalidInput(f"run {run!r}: {problem}; kept are {known}")


def _readable(paths: Iterable[Path]) -> Iterable[ClusterReport]:
    for path in paths:
        try:
            yield ClusterReport.model_validate_json(path.read_bytes())
        except (OSError, ValidationError, ValueError):
            continue


def _reports(history: Path) -> list[Path]:
    """Files of reports, the newest first."""
    try:
        names = [entry.name for entry in history.iterdir() if _FILE.fullmatch(entry.name)]
    except OSError:
        return []
    return [history / name for name in sorted(names, reverse=True)]


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, text)
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _unwritable(folder: Path, error: OSError) -> FlowError:
    return FlowError(
        f"cannot write into {folder}: {error.strerror}; make room, or give a writable folder"
    )
