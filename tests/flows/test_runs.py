"""Run history: what is recorded, how it reads afterwards, and that it never stops a run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from flows import run_history, runs
from flows.errors import FlowError, InvalidInput
from flows.run_history import find_run, read_runs
from flows.runs import (
    LONGEST_LIST,
    Recorder,
    RunRecord,
    begin_run,
    finish_run,
    recorded,
    runs_folder,
)
from search.errors import InvalidRequest, StoreUnavailable

ROOT = str(Path(__file__).parents[2])


class Report(BaseModel):
    """A run's report."""

    tokens: int
    quarantine: tuple[str, ...] = ()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a second later."""
    times: Iterator[datetime] = (
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second) for second in range(10_000)
    )
    monkeypatch.setattr(runs, "_now", lambda: next(times))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where runs are recorded; not there yet."""
    return tmp_path / "store" / "docs" / "runs"


@pytest.fixture
def begin(folder: Path) -> Callable[..., Recorder]:
    """Begins a run of this process."""

    def begin(run_id: str = "abc", **changes: Any) -> Recorder:
        fields = {"kind": "ingest", "collection": "docs", "store": "/data/store"}
        return begin_run(folder, run_id=run_id, **fields | changes)

    return begin


def rewrite(recorder: Recorder, **changes: Any) -> None:
    """Change a record as it lies on the disk."""
    fields = json.loads(recorder.path.read_text())
    recorder.path.write_text(json.dumps(fields | changes))


def only(folder: Path) -> RunRecord:
    """The one run that is recorded."""
    history = read_runs(folder)
    assert history.warnings == ()
    (run,) = history.runs
    return run


def test_a_run_from_begin_to_end(begin: Callable[..., Recorder], folder: Path) -> None:
    """`running` at first, then `done`, with what ran, on what, for how long, and its report."""
    recorder = begin(
        sources=["/data/notes", "https://me:secret@host/docs?token=secret"],
        versions={"sextant": "0.1.0", "parser": "2"},
        encoder="starter",
        fingerprint="f" * 64,
    )
    run = only(folder)
    assert (run.state, run.pid, run.ended_at, run.report) == ("running", os.getpid(), None, None)
    assert run.sources == ("/data/notes", "https://***@host/docs?token=***")
    finished = finish_run(recorder, report=Report(tokens=5, quarantine=("a", "b")))
    assert only(folder) == finished
    assert (finished.state, finished.error) == ("done", "")
    assert finished.report == {"tokens": 5, "quarantine": ["a", "b"]}
    assert finished.versions == {"sextant": "0.1.0", "parser": "2"}
    assert (finished.started_at, finished.ended_at) == (
        "2026-01-01T00:00:00+00:00",
        "2026-01-01T00:00:01+00:00",
    )
    assert finished.seconds is not None
    assert [path.suffix for path in folder.iterdir()] == [".json"]


@pytest.mark.parametrize("source", ["https://[broken?token=secret", "s3://key:secret@bucket/a"])
def test_no_secret_is_kept(begin: Callable[..., Recorder], folder: Path, source: str) -> None:
    """Of no address, even one that cannot be read."""
    recorder = begin(sources=[source])
    assert "secret" not in recorder.path.read_text()


def test_a_name_that_is_no_unicode(begin: Callable[..., Recorder], folder: Path) -> None:
    """It is recorded as messages spell it."""
    begin(sources=[os.fsdecode(b"caf\xe9")])
    assert only(folder).sources == ("caf\\xe9",)


@pytest.mark.parametrize("wrong", [{"run_id": "../x"}, {"run_id": ""}, {"kind": "No Kind"}])
def test_a_run_without_a_proper_name(begin: Callable[..., Recorder], wrong: dict[str, str]) -> None:
    """It would become a file's name: refused."""
    with pytest.raises(ValidationError):
        begin(**wrong)


def test_an_error_is_recorded_and_passed_on(folder: Path) -> None:
    """Its kind and first line."""
    with (
        pytest.raises(StoreUnavailable),
        recorded(folder, run_id="abc", kind="cluster", collection="docs", store="s"),
    ):
        raise StoreUnavailable("\nthe engine \x1b[31mdied\nwith more")
    run = only(folder)
    assert (run.state, run.error) == ("failed", "StoreUnavailable: the engine [31mdied")


def test_an_error_after_the_report(folder: Path) -> None:
    """The run has failed after all, and keeps the report."""
    with (
        pytest.raises(ZeroDivisionError),
        recorded(folder, run_id="abc", kind="ingest", collection="docs", store="s") as run,
    ):
        run.done({"tokens": 1})
        raise ZeroDivisionError
    assert (only(folder).state, only(folder).report) == ("failed", {"tokens": 1})
    assert only(folder).error == "ZeroDivisionError"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_is_an_interruption(folder: Path, stop: type[BaseException]) -> None:
    """Nothing has failed."""
    with (
        pytest.raises(stop),
        recorded(folder, run_id="abc", kind="ingest", collection="docs", store="s"),
    ):
        raise stop
    assert (only(folder).state, only(folder).error) == ("interrupted", "")


def test_a_run_without_a_report(folder: Path) -> None:
    """Is done all the same."""
    with recorded(folder, run_id="abc", kind="doctor", collection="docs", store="s"):
        pass
    assert (only(folder).state, only(folder).report) == ("done", None)


def test_a_killed_run_reads_as_interrupted(folder: Path) -> None:
    """A record that says `running`, and no such process: also while it is a zombie."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom flows.runs import begin_run\n"
        f"place = Path({str(folder)!r})\n"
        "begin_run(place, run_id='abc', kind='ingest', collection='d', store='s')\n"
        "print('begun', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert only(folder).state == "running"
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert only(folder).state == "interrupted"
    assert only(folder).state == "interrupted"
    assert only(folder).seconds is None


def test_a_number_that_another_process_has_now(
    begin: Callable[..., Recorder], folder: Path
) -> None:
    """This process has the pid, and is another one."""
    recorder = begin()
    assert recorder.record.process
    rewrite(recorder, process="another boot 123")
    assert only(folder).state == "interrupted"


def test_a_system_without_proc(
    begin: Callable[..., Recorder], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pid alone decides."""
    for room in (runs, run_history):
        monkeypatch.setattr(room, "process_word", lambda pid: None)
    recorder = begin()
    assert (recorder.record.process, only(folder).state) == ("", "running")
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    rewrite(recorder, pid=process.pid)
    assert only(folder).state == "interrupted"
    for nobody in (0, -1, 10**30):
        rewrite(recorder, pid=nobody)
        assert only(folder).state == "interrupted"
    rewrite(recorder, pid=1)
    assert only(folder).state == "running"


def test_a_run_on_another_machine(begin: Callable[..., Recorder], folder: Path) -> None:
    """Nothing is known of its process."""
    rewrite(begin(), host="elsewhere", pid=2**22 + 1)
    assert only(folder).state == "running"


def test_the_newest_come_first(begin: Callable[..., Recorder], folder: Path) -> None:
    """As many as are wanted, of one server if that is asked for."""
    for number in range(4):
        begin(f"run-{number}", store="http://a:6333" if number % 2 else "http://b:6333")
    assert [run.run_id for run in read_runs(folder).runs] == ["run-3", "run-2", "run-1", "run-0"]
    assert [run.run_id for run in read_runs(folder, limit=2).runs] == ["run-3", "run-2"]
    found = read_runs(folder, limit=2, store="http://b:6333").runs
    assert [run.run_id for run in found] == ["run-2", "run-0"]
    assert read_runs(folder / "none").runs == ()


def test_old_runs_are_deleted(
    begin: Callable[..., Recorder], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest stay, and so does what is no record; half a file of a day ago goes."""
    monkeypatch.setattr(runs, "KEPT", 2)
    folder.mkdir(parents=True)
    (folder / "note.json").write_text("mine")
    for name, age in (("old", 86_400), ("new", 0)):
        (folder / f"{name}.json.partial").write_text("{")
        then = (folder / f"{name}.json.partial").stat().st_mtime - age
        os.utime(folder / f"{name}.json.partial", (then, then))
    for number in range(4):
        begin(f"run-{number}").done()
    assert [run.run_id for run in read_runs(folder).runs] == ["run-3", "run-2"]
    others = {path.name for path in folder.iterdir() if not path.name.startswith("2026")}
    assert others == {"note.json", "new.json.partial"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Invalid JSON"),
        (b'{"run_id": "abc"', "Invalid JSON"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b"[]", "Input should be an object"),
        (b"{}", "run_id: Field required"),
        (None, "Is a directory"),
    ],
)
def test_a_damaged_record_is_named(
    begin: Callable[..., Recorder], folder: Path, content: bytes | None, reason: str
) -> None:
    """The others are read; asked for by its id, it is one clear error."""
    damaged = begin("bad").path
    begin("good")
    damaged.unlink()
    if content is None:
        damaged.mkdir()
    else:
        damaged.write_bytes(content)
    history = read_runs(folder)
    assert [run.run_id for run in history.runs] == ["good"]
    (warning,) = history.warnings
    assert warning.startswith(f"run record {str(damaged)!r} is damaged ({reason}")
    assert warning.endswith("; delete it")
    with pytest.raises(FlowError, match="is damaged"):
        find_run(folder, "bad")


def test_a_record_of_a_later_program_is_read(begin: Callable[..., Recorder], folder: Path) -> None:
    """Fields that this one does not know are left aside."""
    rewrite(begin(), colour="red")
    assert only(folder).run_id == "abc"


def test_a_run_by_the_beginning_of_its_id(begin: Callable[..., Recorder], folder: Path) -> None:
    """One that is unique, or the whole id."""
    for run_id in ("ab", "abc", "b1"):
        begin(run_id)
    assert find_run(folder, "b").run_id == "b1"
    assert find_run(folder, "ab").run_id == "ab"
    with pytest.raises(InvalidInput, match="run 'a' may be abc, ab; give more of its id"):
        find_run(folder, "a")
    for nothing in ("", "zz", "../"):
        with pytest.raises(InvalidInput, match=r"no run .* is recorded in .*; see `sextant runs`"):
            find_run(folder, nothing)
    for number in range(8):
        begin(f"many-{number}")
    with pytest.raises(InvalidInput, match="many-3 and 3 more; give"):
        find_run(folder, "many")


def test_a_long_report_is_cut(begin: Callable[..., Recorder], folder: Path) -> None:
    """Its lists, and the record says how long they were."""
    recorder = begin()
    names = tuple(map(str, range(LONGEST_LIST + 5)))
    recorder.done(Report(tokens=5, quarantine=names))
    run = only(folder)
    assert run.report == {"tokens": 5, "quarantine": list(names[:LONGEST_LIST])}
    assert run.cut == {"quarantine": LONGEST_LIST + 5}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A warning, once; the run goes on."""
    (tmp_path / "store").write_text("a file")
    place = tmp_path / "store" / "docs" / "runs"
    with recorded(place, run_id="abc", kind="ingest", collection="docs", store="s") as run:
        run.done({"tokens": 1})
    (warning,) = run.warnings
    assert warning.startswith("the run was not recorded in ")
    assert run.record.state == "done"
    with pytest.raises(FlowError, match=r"run history .* cannot be read: Not a directory"):
        read_runs(place)


def test_a_disk_that_fills_up(
    begin: Callable[..., Recorder], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record stays what it was, and the recorder says so."""
    recorder = begin()

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "write_durably", full)
    recorder.done()
    assert recorder.warnings == [
        f"the run was not recorded in {str(recorder.path)!r}: No space left on device"
    ]
    assert only(folder).state == "running"


def test_a_report_that_is_no_json(begin: Callable[..., Recorder], folder: Path) -> None:
    """What is no number is null; what cannot be written at all is a warning too."""
    recorder = begin()
    recorder.done({"tokens": float("nan")})
    assert only(folder).report == {"tokens": None}
    recorder.done({"tokens": object()})
    assert recorder.warnings[0].startswith("the run was not recorded in ")


def test_where_runs_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One folder for all versions of a collection; never outside the state folder."""
    assert runs_folder(str(tmp_path), "docs") == tmp_path / "docs" / "runs"
    assert runs_folder(str(tmp_path), "docs--3f9a01c2-1") == tmp_path / "docs" / "runs"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert runs_folder("http://a:6333", "docs") == tmp_path / "sextant" / "a-6333" / "docs" / "runs"
    assert runs_folder("http://b:6333/x", "docs").parts[-3:] == ("b-6333-x", "docs", "runs")
    for wrong in ("../docs", "a/b", ""):
        with pytest.raises(InvalidRequest, match="collection name"):
            runs_folder(str(tmp_path), wrong)
