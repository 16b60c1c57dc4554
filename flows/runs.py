"""Run history: what was run on a collection, when, and how it ended; one small file for each run.

The files lie in `runs/` of the collection's state folder, the newest `KEPT` of them. They decide
nothing: all of them may be deleted at any time. A run that is killed leaves a record that says
`running`; once its process is gone it reads as `interrupted`.
"""

import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Required, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field

from flows.clustering.snippet import one_line
from flows.documents.remote.remote_sources import shown_source
from flows.documents.source_document import printable
from flows.state import state_folder
from search.collections import base_name
from search.stores.edge_files import write_durably
from search.stores.manifests import check_name

RUNS: Final = "runs"
KEPT: Final = 200
"""Records of a collection; older ones are deleted when a run begins."""
LONGEST_LIST: Final = 1000
"""Items that a record keeps of any list of a report: a quarantine may be long."""
_LONGEST_ERROR: Final = 500
_RUN_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
FILE: Final = re.compile(rf"\d{{8}}T\d{{6}}\.\d{{6}}Z-(?P<run>{_RUN_ID})\.json")
"""Names of the records: they sort by the time when the run began."""
_FORGOTTEN_SECONDS: Final = 3600.0
"""A file still half-written then was left by a process that died."""

State = Literal["running", "done", "failed", "interrupted"]


class RunRecord(BaseModel):
    """One run, as it is kept."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: Annotated[str, Field(pattern=rf"^{_RUN_ID}$")]
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    """What was run: `ingest`, `cluster`, `migrate`, `doctor`..."""
    collection: str
    store: str
    """`Store.location`, which holds no secret."""
    sources: tuple[str, ...] = ()
    """As given; of addresses, without what may be a secret."""
    started_at: str
    """ISO 8601, UTC."""
    ended_at: str | None = None
    state: State = "running"
    pid: int
    process: str = ""
    """Which of the processes that ever had this `pid`; empty where the system does not tell."""
    host: str
    seconds: float | None = None
    """None while it runs, and of a run that was interrupted."""
    versions: Mapping[str, str] = {}
    """What ran: `sextant`, `parser`, `chunker`..."""
    encoder: str = ""
    fingerprint: str = ""
    """The encoder's."""
    report: dict[str, Any] | None = None
    """The run's report as JSON; each of its lists has at most `LONGEST_LIST` items."""
    cut: Mapping[str, int] = {}
    """Lists of the report that were longer, and how many items each had."""
    error: str = ""
    """Of a run that failed: the kind of error, and the first line of what it says."""


@dataclass(kw_only=True)
class Recorder:
    """A run that is being recorded. What cannot be written becomes a warning, never an error."""

    path: Path
    record: RunRecord
    warnings: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.perf_counter)

    def done(self, report: BaseModel | Mapping[str, Any] | None = None) -> None:
        """The run has ended well, with this report."""
        fields = report.model_dump(mode="json") if isinstance(report, BaseModel) else report
        kept, cut = _shortened(fields)
        self._end("done", report=kept, cut=cut)

    def failed(self, error: BaseException) -> None:
        """The run has ended with an error; Ctrl-C and the like count as an interruption."""
        if not isinstance(error, Exception):
            self._end("interrupted")
            return
        lines = [line for line in str(error).splitlines() if line.strip()]
        self._end("failed", error=": ".join((type(error).__name__, *lines[:1])))

    def _end(self, state: State, *, error: str = "", **changes: Any) -> None:
        changes |= {
            "state": state,
            "error": one_line(error, _LONGEST_ERROR),
            "ended_at": _now().isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._began, 3),
        }
        self.record = self.record.model_copy(update=changes)
        self._write()

    def _write(self) -> None:
        """Write the record as it is now, whole or not at all."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.record.model_dump(mode="json"), allow_nan=False, indent=1)
            write_durably(self.path, text + "\n")
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            warning = f"the run was not recorded in {str(self.path)!r}: {one_line(reason)}"
            if warning not in self.warnings:
                self.warnings.append(warning)


def runs_folder(store: str, collection: str) -> Path:
    """Where the runs of a collection are recorded: one folder for all its versions.

    Raises:
        InvalidRequest: no collection can have this name.
    """
    return state_folder(store) / base_name(check_name(collection)) / RUNS


class Begun(TypedDict, total=False):
    """What is known of a run when it begins."""

    run_id: Required[str]
    """1 to 64 letters, digits, `.`, `_`, `-`."""
    kind: Required[str]
    """A keyword: `ingest`, `cluster`..."""
    collection: Required[str]
    """Its name, as people say it."""
    store: Required[str]
    """`Store.location`."""
    sources: Sequence[str]
    """What is ingested; user, password and query of addresses are left out."""
    versions: Mapping[str, str]
    encoder: str
    fingerprint: str


def begin_run(folder: Path, **begun: Unpack[Begun]) -> Recorder:
    """Record that this process has begun a run, and delete what is older than the newest `KEPT`.

    Args:
        folder: See `runs_folder`; made if need be.
        **begun: See `Begun`.

    Raises:
        ValidationError: `run_id` or `kind` is not one.
    """
    now = _now()
    record = RunRecord(
        run_id=begun["run_id"],
        kind=begun["kind"],
        collection=begun["collection"],
        store=printable(begun["store"]),
        sources=tuple(printable(shown_source(one)) for one in begun.get("sources", ())),
        started_at=now.isoformat(timespec="seconds"),
        pid=os.getpid(),
        process=process_word(os.getpid()) or "",
        host=platform.node(),
        versions=begun.get("versions", {}),
        encoder=begun.get("encoder", ""),
        fingerprint=begun.get("fingerprint", ""),
    )
    name = f"{now:%Y%m%dT%H%M%S.%fZ}-{record.run_id}.json"
    recorder = Recorder(path=folder / name, record=record)
    recorder._write()
    _prune(folder)
    return recorder


def finish_run(
    recorder: Recorder,
    *,
    report: BaseModel | Mapping[str, Any] | None = None,
    error: BaseException | None = None,
) -> RunRecord:
    """Record how a run ended; returns the record."""
    if error is None:
        recorder.done(report)
    else:
        recorder.failed(error)
    return recorder.record


@contextmanager
def recorded(folder: Path, **begun: Unpack[Begun]) -> Iterator[Recorder]:
    """Record what happens inside: a run that is `running`, then `done`, or `failed` with its error.

    The block calls `done(report)`; without, the run is done and has no report. Whoever writes
    the report shows the recorder's `warnings`: a folder that cannot be written stops no run.

    Args:
        folder: See `runs_folder`.
        **begun: See `Begun`.
    """
    recorder = begin_run(folder, **begun)
    try:
        yield recorder
    except BaseException as error:
        recorder.failed(error)
        raise
    if recorder.record.state == "running":
        recorder.done()


def process_word(pid: int) -> str | None:
    """A word that no two processes share, whatever their numbers: the boot, and ticks since then.

    None if there is no such process, a zombie among them, or no `/proc`.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()  # the name before it may hold anything
    if len(fields) < 20 or fields[0] in "ZX":
        return None
    return f"{boot} {fields[19]}"


def record_files(folder: Path) -> list[Path]:
    """Files of records, the newest first, whether or not they can be read."""
    try:
        names = [entry.name for entry in folder.iterdir() if FILE.fullmatch(entry.name)]
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names, reverse=True)]


def _prune(folder: Path) -> None:
    """Delete all but the newest records, as far as that can be done."""
    with suppress(OSError):
        old = record_files(folder)[KEPT:]
        old += [
            path
            for path in folder.glob("*.json.partial")
            if time.time() - path.stat().st_mtime > _FORGOTTEN_SECONDS
        ]
        for path in old:
            path.unlink(missing_ok=True)


def _shortened(
    report: Mapping[str, Any] | None,
) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """A report without the ends of its long lists, and how long those were."""
    if report is None:
        return None, {}
    kept = dict(report)
    cut: dict[str, int] = {}
    for name, value in report.items():
        if isinstance(value, list | tuple) and len(value) > LONGEST_LIST:
            kept[name], cut[name] = list(value[:LONGEST_LIST]), len(value)
    return kept, cut


def _now() -> datetime:
    return datetime.now(UTC)
