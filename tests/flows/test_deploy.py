"""Schedules that really fire: served on this machine, deployed to workers, killed, picked up."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.orchestration import QUIET, SERVER
from flows.session import Target
from search.filters import of_kind
from search.records import KIND_HEAD
from search.stores.edge import EdgeStore

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]

CommandLine = Any
RequireSame = Callable[[Target, Target], None]
PATIENCE = 180.0
"""Seconds until something that must happen has happened, on a busy machine."""

SLOW = """
import os, sys, time
exec(open(os.environ["GUARD"]).read())
if "prefect.engine" in sys.orig_argv and os.path.exists(os.environ["SLOW"]):
    from flows import plan
    from search.stores.edge_collection import EdgeCollection
    plan.PARTITION_DOCUMENTS = 2
    upsert = EdgeCollection.upsert
    def slow_upsert(self, points):
        upsert(self, points)
        with open(os.environ["SLOW"] + ".log", "a") as log:
            log.write(".")
        time.sleep(1.0)
    EdgeCollection.upsert = slow_upsert
"""
"""While its file is there, runs that begin write slowly, and note how often."""


def until(found: Callable[[], Any], what: str) -> Any:
    """Wait until something is so, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)
    return result


@dataclass(frozen=True)
class Api:
    """A Prefect API, asked without Prefect."""

    url: str

    def ask(self, path: str, body: Any = None) -> Any:
        """GET, or POST with a body; a server that is busy is asked again."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - our own loopback address
            f"{self.url}{path}", data, {"Content-Type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with opener.open(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def answers(self) -> bool:
        """Whether it does by now."""
        try:
            return bool(self.ask("/health"))
        except OSError:
            return False

    def start_run(self, deployment: str) -> str:
        """Start a run of a deployment now; returns its id."""
        found = self.ask(f"/deployments/name/{deployment}")
        body = {"state": {"type": "SCHEDULED"}}
        return str(self.ask(f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def wait_for(self, run: str, *states: str) -> Any:
        """Wait until a run is in one of the states, and return the run."""
        last: list[Any] = []

        def reached() -> Any:
            found = self.ask(f"/flow_runs/{run}")
            last[:] = [found["state"]["name"], found["run_count"], found["state"]["message"]]
            return found if found["state"]["name"] in states else None

        try:
            return until(reached, f"run {run} is {' or '.join(states)}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {last}") from None

    def runs(self, deployment: str, *states: str) -> list[Any]:
        """A deployment's runs in one of the states."""
        found = self.ask(f"/deployments/name/{deployment}")
        asked = {
            "deployments": {"id": {"any_": [found["id"]]}},
            "flow_runs": {"state": {"name": {"any_": list(states)}}},
        }
        return list(self.ask("/flow_runs/filter", asked))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A Prefect server that fires schedules, as one would stand elsewhere."""
    home = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-P", str(SERVER), str(port), "--schedules"],
            env={**os.environ, **QUIET, "PREFECT_HOME": str(home)},
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
    served = Api(f"http://127.0.0.1:{port}/api")
    until(served.answers, "the server answers")
    yield served
    assert server.stdin is not None
    server.stdin.close()
    server.wait(30)


class Place:
    """A working folder with documents, a schedule file, and commands that can be slowed."""

    def __init__(self, sextant: CommandLine, target: Target) -> None:
        self.sextant = sextant
        self.target = target
        self.notes = sextant.folder / "notes"
        self.slow = sextant.folder / "slow"
        self.mark = f"schedules-{os.getpid()}-{time.monotonic_ns()}"
        guard = sextant.network_log.parent / "guard"
        hook = sextant.folder / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(SLOW)
        path = sextant.environment["PYTHONPATH"]
        sextant.environment |= {
            "PYTHONPATH": os.pathsep.join((str(hook), path)),
            "GUARD": str(guard / "sitecustomize.py"),
            "SLOW": str(self.slow),
            "RUN_MARK": self.mark,
        }

    def write_notes(self, count: int, version: str = "1") -> None:
        """Write so many documents of one chunk."""
        self.notes.mkdir(exist_ok=True)
        for number in range(count):
            text = f"# Note {number}\n\nA river of version {version} carries sand {number}.\n"
            (self.notes / f"{number:02}.md").write_text(text)

    def schedule(self, entry: str, more: str = "", *, name: str = "notes") -> None:
        """Write sextant.toml with an ingest of the notes."""
        target = self.target
        (self.sextant.folder / "sextant.toml").write_text(
            f'store = "{target.store}"\ncollection = "{target.collection}"\n'
            f'encoder = "{target.encoder}"\nchunk_tokens = {target.chunk_tokens}\n'
            f"max_document_mb = {target.max_document_mb}\n"
            f'[[schedules]]\nname = "{name}"\nflow = "ingest"\nsources = ["notes"]\n{entry}\n{more}'
        )

    def start(self, *arguments: str, **environment: str) -> "Served":
        """Start a command that goes on."""
        return Served(self.sextant.start(*arguments, **environment))

    def processes(self, kind: str = "") -> list[int]:
        """Processes that our commands started, of a kind."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if f"RUN_MARK={self.mark}".encode() not in (entry / "environ").read_bytes():
                    continue
                if kind.encode() in (entry / "cmdline").read_bytes().replace(b"\0", b" "):
                    found.append(int(entry.name))
            except (OSError, ValueError):  # no process, or gone by now
                continue
        return found

    def wait_until_gone(self) -> None:
        """Wait until nothing of what was started is left."""
        until(lambda: not self.processes(), "no process is left")

    def has_written(self, times: int) -> None:
        """Wait until runs have written that often."""
        until(lambda: self.writes >= times, f"{times} writes")

    @property
    def writes(self) -> int:
        """How often slow runs have written."""
        log = self.slow.with_name(f"{self.slow.name}.log")
        return len(log.read_text()) if log.exists() else 0

    def ingest_elsewhere(self, scratch: Path) -> Target:
        """The same documents, ingested undisturbed into another store."""
        other = self.target.model_copy(update={"store": str(scratch / "undisturbed")})
        run = self.sextant("ingest", "notes", "--json", "--store", other.store)
        assert run.code == 0, run
        return other


class Served:
    """A command that goes on; what it says is read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        for stream in (process.stdout, process.stderr):
            os.set_blocking(stream.fileno(), False)

    def read(self) -> str:
        """All that it has said up to now."""
        for stream in (self.process.stdout, self.process.stderr):
            if stream is None or stream.closed:
                continue
            if text := stream.buffer.read():
                self.said.append(text.decode())
        return "".join(self.said)

    def wait_for(self, text: str, *, times: int = 1) -> str:
        """Wait until it has said something that often, and return all that it said."""

        def heard() -> str:
            said = self.read()
            if self.process.poll() is not None and said.count(text) < times:
                raise AssertionError(f"ended with {self.process.returncode}: {said}")
            return said if said.count(text) >= times else ""

        try:
            return str(until(heard, text))
        except AssertionError as error:
            raise AssertionError(f"{error}; said: {self.read()}") from None

    @property
    def api(self) -> Api:
        """The server that it serves at, once it serves."""
        said = self.wait_for("Ctrl-C ends it")
        return Api(said.split("serving at ")[1].split(";")[0])

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        self.read()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


@pytest.fixture
def place(sextant: CommandLine, target: Target) -> Iterator[Place]:
    """Four notes in a folder; whatever was started there is ended."""
    found = Place(sextant, target)
    found.write_notes(4)
    yield found
    for process in found.processes():
        os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("serve-flows", ["--debug", "PREFECT_API_URL"]),
        ("deploy", ["--work-pool", "--dry-run", "--prune", "--json", "PREFECT_API_URL"]),
    ],
)
def test_help_names_every_option(sextant: CommandLine, command: str, options: list[str]) -> None:
    """And where the Prefect server is named."""
    run = sextant(command, "--help")
    assert (run.code, run.err) == (0, "")
    assert [option for option in options if option not in run.out] == []


# --- serve-flows -----------------------------------------------------------------------------


def test_a_schedule_fires_until_it_is_told_to_stop(place: Place) -> None:
    """A run ingests, the next finds nothing new; Ctrl-C ends everything with code 0.

    Meanwhile nobody else serves from the same place.
    """
    place.schedule('every = "5s"')
    served = place.start("serve-flows")
    said = served.wait_for("4 unchanged")
    assert "notes  ingest  notes       every 5s" in said
    assert "4 documents stored, 0 unchanged, 0 removed, 0 quarantined" in said
    second = place.sextant("serve-flows")
    assert second.code == 1
    assert second.complaint.startswith("another process serves schedules from ")
    assert served.end(signal.SIGINT) == 0
    assert served.read().endswith("sextant: stopped\n")
    assert "Traceback" not in served.read()
    place.wait_until_gone()
    assert place.sextant.violations == ""


def test_a_killed_run_is_picked_up(place: Place, scratch: Path, require_same: RequireSame) -> None:
    """By a new process of the same run; and by the next `serve-flows`, if that was killed, too.

    The collection is that of an undisturbed run.
    """
    place.write_notes(12)
    place.slow.touch()
    place.schedule('every = "300d"')
    served = place.start("serve-flows")
    api = served.api
    run = api.start_run("ingest/notes")
    place.has_written(3)
    place.slow.unlink()
    (process,) = place.processes("prefect.engine")
    os.kill(process, signal.SIGKILL)
    served.wait_for("notes: its process died (attempt 1 of 3)")
    found = api.wait_for(run, "Completed")
    assert found["run_count"] == 2
    assert "12 documents stored" not in found["state"]["message"]  # it went on

    place.write_notes(12, version="2")
    place.slow.touch()
    writes = place.writes
    run = api.start_run("ingest/notes")
    place.has_written(writes + 3)
    place.slow.unlink()
    served.end(signal.SIGKILL)
    place.wait_until_gone()
    again = place.start("serve-flows")
    again.wait_for("1 runs were cut short when serving ended; trying again")
    found = again.api.wait_for(run, "Completed")
    assert found["run_count"] == 2
    assert again.end() == 0
    place.wait_until_gone()
    require_same(place.target, place.ingest_elsewhere(scratch))


def test_stopping_and_time_limits_are_noted_on_the_server(place: Place, api: Api) -> None:
    """A run that takes too long has failed; one that is told to stop is cancelled, not retried."""
    place.write_notes(30)
    place.slow.touch()
    place.schedule('every = "300d"\ntimeout = "5s"')
    served = place.start("serve-flows", PREFECT_API_URL=api.url)
    assert served.api == api
    late = api.wait_for(api.start_run("ingest/notes"), "Failed", "Completed", "Crashed")
    assert (late["state"]["name"], late["state"]["message"]) == (
        "Failed",
        "took longer than its 5 s; raise the schedule's 'timeout'",
    )
    run = api.start_run("ingest/notes")
    served.wait_for("notes: began", times=2)
    assert served.end() == 0
    stopped = api.ask(f"/flow_runs/{run}")
    assert (stopped["state"]["name"], stopped["run_count"]) == ("Cancelled", 1)
    assert api.ask("/deployments/name/ingest/notes")["paused"]
    place.wait_until_gone()


@pytest.mark.parametrize(
    ("toml", "environment", "code", "line"),
    [
        ("", {}, 2, "nothing is scheduled; add [[schedules]] to sextant.toml"),
        ('name = "x"', {}, 2, "schedule 'x' in sextant.toml: 'flow' is missing"),
        (
            'name = "x"\nflow = "doctor"\nevery = "1d"',
            {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
            1,
            "the Prefect server at 'http://127.0.0.1:9/api' does not answer: ",
        ),
        (
            'name = "x"\nflow = "doctor"\nevery = "1d"',
            {"SEXTANT_API_KEY": "hush"},
            2,
            "an API key is set, but schedule 'x' works on the folder ",
        ),
    ],
)
def test_what_cannot_be_served(
    sextant: CommandLine, toml: str, environment: dict[str, str], code: int, line: str
) -> None:
    """Is said before anything starts."""
    (sextant.folder / "sextant.toml").write_text(f"[[schedules]]\n{toml}\n" if toml else "")
    run = sextant("serve-flows", **environment)
    assert run.code == code
    assert run.complaint.startswith(line)
    assert not (sextant.folder / ".sextant").exists()


# --- deploy ----------------------------------------------------------------------------------

SECOND = """
[[schedules]]
name = "check"
flow = "doctor"
cron = "0 5 * * *"
timezone = "Europe/Berlin"
gpu_slots = 1
work_pool = "second"
"""


def test_applying_again_changes_nothing(place: Place, api: Api) -> None:
    """A dry run changes nothing either; what is not in the file any more goes when asked."""
    place.sextant.environment["PREFECT_API_URL"] = api.url
    place.schedule('every = "300d"', SECOND)

    def deploy(*options: str) -> list[tuple[str, str, str]]:
        found = place.sextant("deploy", "--json", *options)
        assert (found.code, found.err) == (0, ""), found
        return [(c["action"], c["what"], c["name"]) for c in found.json["changes"]]

    limit = next(name for action, what, name in deploy("--dry-run") if what == "limit")
    assert limit.startswith("sextant notes ")
    planned = deploy("--dry-run")
    assert ("create", "deployment", "doctor/check") in planned
    assert ("create", "limit", "gpu") in planned
    assert ("create", "work pool", "second") in planned
    assert deploy() == planned
    assert deploy() == []

    check = api.ask("/deployments/name/doctor/check")
    assert check["schedules"][0]["schedule"]["cron"] == "0 5 * * *"
    assert check["schedules"][0]["schedule"]["timezone"] == "Europe/Berlin"
    assert check["parameters"]["occupy"] == {limit: 1, "gpu": 1}
    assert check["global_concurrency_limit"]["limit"] == 1

    place.schedule('every = "200d"', SECOND.replace("0 5", "0 6"))
    assert deploy() == [
        ("update", "deployment", "ingest/notes"),
        ("update", "deployment", "doctor/check"),
    ]
    flow = api.ask("/flows/", {"name": "theirs"})["id"]
    theirs = {"name": "theirs", "flow_id": flow, "tags": ["sextant"], "entrypoint": "x.py:theirs"}
    api.ask("/deployments/", theirs)
    place.schedule('every = "200d"')
    unused = [("unused", "limit", limit), ("unused", "deployment", "doctor/check")]
    assert [change for change in deploy() if change[0] == "unused"] == unused
    pruned = [("delete", "limit", limit), ("delete", "deployment", "doctor/check")]
    assert deploy("--prune") == pruned
    assert deploy("--prune") == []
    assert api.ask("/deployments/name/theirs/theirs")
    with pytest.raises(urllib.error.HTTPError):
        api.ask("/deployments/name/doctor/check")


def test_the_server_tries_again_what_crashed(place: Place, api: Api) -> None:
    """Until it has begun three times; no worker is needed for that decision."""
    place.sextant.environment["PREFECT_API_URL"] = api.url
    place.schedule('every = "300d"\nwork_pool = "nobody"', name="crashing")
    assert place.sextant("deploy").code == 0
    run = api.start_run("ingest/crashing")

    def enter(name: str) -> None:
        state = {"type": name.upper(), "name": name}
        api.ask(f"/flow_runs/{run}/set_state", {"state": state, "force": True})

    for begun in (1, 2, 3):
        enter("Running")
        enter("Crashed")
        if begun < 3:
            again = api.wait_for(run, "AwaitingRetry")
            assert again["run_count"] == begun
            assert again["next_scheduled_start_time"]
    other = api.start_run("ingest/crashing")
    run, crashed = other, run
    enter("Running")
    enter("Crashed")
    api.wait_for(other, "AwaitingRetry")  # so the earlier crash has been seen, too
    assert api.ask(f"/flow_runs/{crashed}")["state"]["name"] == "Crashed"


def test_a_worker_runs_what_is_deployed(place: Place, api: Api, tmp_path: Path) -> None:
    """The schedule makes runs, a process worker runs them; sources that vanish remove nothing."""
    place.schedule('every = "5s"', name="worked")
    place.sextant.environment["PREFECT_API_URL"] = api.url
    deployed = place.sextant("deploy", "--work-pool", "place")
    assert deployed.code == 0, deployed
    worker = subprocess.Popen(
        [
            Path(sys.executable).with_name("prefect"),
            *("worker", "start", "--pool", "place", "--type", "process"),
        ],
        env={
            **place.sextant.environment,
            **QUIET,
            "PREFECT_HOME": str(tmp_path / "worker"),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        },
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: api.runs("ingest/worked", "Completed"), "a run has completed")
        messages = [run["state"]["message"] for run in api.runs("ingest/worked", "Completed")]
        assert any(message.startswith("4 documents stored") for message in messages)
        place.notes.rename(place.notes.with_name("away"))
        (failed, *_) = until(lambda: api.runs("ingest/worked", "Failed"), "a run has failed")
        assert failed["state"]["message"].startswith(f"source {str(place.notes)!r}: no such file")
    finally:
        worker.kill()  # told to end, it would first see its runs through: every five seconds one
        worker.wait(PATIENCE)
    with closing(EdgeStore(place.target.store)) as store:
        assert store.open("notes").count(of_kind(KIND_HEAD)) == 4
    assert place.sextant.violations == ""


@pytest.mark.parametrize(
    ("environment", "code", "line"),
    [
        ({}, 2, "PREFECT_API_URL is not set; expected the address of a Prefect server, e.g. "),
        (
            {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
            1,
            "the Prefect server at 'http://127.0.0.1:9/api' does not answer: ",
        ),
        ({"PREFECT_API_URL": "http://me:hush@x/api"}, 2, "PREFECT_API_URL holds a user or pass"),
        ({"PREFECT_API_URL": "nonsense"}, 1, "the Prefect server at 'nonsense' does not answer: "),
    ],
)
def test_where_nothing_can_be_deployed(
    sextant: CommandLine, environment: dict[str, str], code: int, line: str
) -> None:
    """One line says what is missing."""
    run = sextant("deploy", **environment)
    assert run.code == code
    assert run.complaint.startswith(line)
