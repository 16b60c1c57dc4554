"""`[[schedules]]` in sextant.toml: what may stand there, and the requests that come of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.doctor_visit import DoctorRequest
from flows.errors import InvalidInput
from flows.ingestion import IngestRequest
from flows.schedulable import FLOWS
from flows.schedules import Schedule, limits, occupied, read_schedules
from flows.settings import Settings, load_settings

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)

NIGHTLY = """
[[schedules]]
name = "nightly"
flow = "ingest"
cron = "0 3 * * *"
sources = ["notes"]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with no settings from outside."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(toml: str, **options: Any) -> tuple[Schedule, ...]:
    Path("sextant.toml").write_text(toml)
    return read_schedules(load_settings(), **options)


def test_an_ingest_takes_the_settings_in_force(folder: Path) -> None:
    """Its own options first, then the file's; paths are absolute, addresses stay as they are."""
    (schedule,) = read(
        f"""
collection = "notes"
chunk_tokens = 99
{NIGHTLY}
chunk_overlap = 7
exclude = ["*.tmp"]
store = "http://qdrant:6333"
timezone = "Europe/Berlin"
timeout = "2h"
"""
    )
    request = IngestRequest.model_validate(schedule.request)
    assert request.sources == (str(folder / "notes"),)
    assert request.exclude == ("*.tmp",)
    target = request.target
    assert (target.collection, target.store) == ("notes", "http://qdrant:6333")
    assert (target.chunk_tokens, target.chunk_overlap) == (99, 7)
    assert schedule.key == "ingest/nightly"
    assert schedule.when == "0 3 * * * (Europe/Berlin)"
    assert schedule.timeout_seconds == 7200
    assert schedule.next_after(NOON) == datetime(2026, 11, 21, 2, tzinfo=UTC)


def test_paths_mean_the_same_wherever_the_worker_stands(folder: Path) -> None:
    """Store, folders and an encoder's folder are absolute; names are names."""
    (folder / "model").mkdir()
    schedules = read(
        """
[[schedules]]
name = "a"
flow = "ingest"
every = "1h"
sources = ["./notes", "python:packages", "https://example.org/feed"]
encoder = "model"
[[schedules]]
name = "b"
flow = "ingest"
every = "1h"
sources = ["notes"]
encoder = "starter"
collection = "b"
"""
    )
    first, second = (schedule.request for schedule in schedules)
    assert first["sources"] == [
        str(folder / "notes"),
        "python:packages",
        "https://example.org/feed",
    ]
    assert first["target"]["encoder"] == str(folder / "model")
    assert second["target"]["encoder"] == "starter"
    assert first["target"]["store"] == str(folder / ".sextant")


def test_a_clustering_and_a_doctor(folder: Path) -> None:
    """Each takes its own options; where the report goes the worker decides, unless it is said."""
    clusters, remote, doctor = read(
        """
[[schedules]]
name = "clusters"
flow = "cluster"
every = "1d"
k = 3
[[schedules]]
name = "remote"
flow = "cluster"
every = "1d"
store = "http://qdrant:6333"
report = "weekly"
[[schedules]]
name = "check"
flow = "doctor"
every = "1d"
repair = true
store = "http://qdrant:6333"
"""
    )
    request = clusters.request
    assert (request["k"], request["seed"]) == (3, 0)
    assert request["report"] is None
    assert request["target"]["encoder"] is None
    assert remote.request["report"] == str(folder / "weekly")
    assert DoctorRequest.model_validate(doctor.request).repair


def test_no_secret_is_part_of_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the settings does not appear in a request."""
    monkeypatch.setenv("SEXTANT_API_KEY", "hush-hush")
    (schedule,) = read(f'store = "http://qdrant:6333"\n{NIGHTLY}')
    assert "hush" not in json.dumps(schedule.model_dump(mode="json"))
    with pytest.raises(InvalidInput, match="unknown option 'api_key' of flow 'ingest'"):
        read(f'{NIGHTLY}\napi_key = "hush-hush"')


def test_no_option_of_an_entry_is_a_secret() -> None:
    """Whatever settings there come to be."""
    for flow in FLOWS.values():
        for name in flow.settings:
            assert "Secret" not in str(Settings.model_fields[name].annotation), name


def test_an_interval_keeps_its_beat() -> None:
    """It counts from a fixed moment, not from when it was applied."""
    (schedule,) = read(NIGHTLY.replace('cron = "0 3 * * *"', 'every = "6h"'))
    assert schedule.next_after(NOON) == datetime(2026, 11, 20, 18, tzinfo=UTC)
    assert schedule.next_after(schedule.next_after(NOON)) == datetime(2026, 11, 21, tzinfo=UTC)


def test_entries_of_one_collection_share_a_limit() -> None:
    """Entries that are alone with their collection need none; the GPU has its own."""
    first, second, other = schedules = read(
        f"""
gpu_slots = 2
{NIGHTLY}
gpu_slots = 2
{NIGHTLY.replace("nightly", "hourly")}
{NIGHTLY.replace("nightly", "elsewhere")}
store = "second"
"""
    )
    assert first.collection_limit == second.collection_limit != other.collection_limit
    assert list(occupied(first, schedules).items()) == [(first.collection_limit, 1), ("gpu", 2)]
    assert occupied(second, schedules) == {first.collection_limit: 1}
    assert occupied(other, schedules) == {}
    assert limits(schedules, gpu_slots=2) == {first.collection_limit: 1, "gpu": 2}


def test_the_work_pool_of_an_entry_comes_first() -> None:
    """The one given for all is that of entries that name none."""
    schedules = read(
        f'{NIGHTLY}\n{NIGHTLY.replace("nightly", "b")}\nwork_pool = "big"', work_pool="small"
    )
    assert [schedule.work_pool for schedule in schedules] == ["small", "big"]
    assert read(NIGHTLY)[0].work_pool == "sextant"


def test_no_entry_at_all() -> None:
    """Is no mistake here."""
    assert read("") == ()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"cron": "0 25 * * *"}, "schedule 'nightly' in sextant.toml: cron is '0 25 * * *': cron "),
        ({"cron": "0 25 * * *"}, "'25' is no hour; expected 0 to 23"),
        ({"cron": 5}, "cron is 5: input should be a valid string"),
        ({"flow": "embed"}, "flow is 'embed': expected ingest, cluster, doctor"),
        ({"flow": None}, "'flow' is missing"),
        ({"name": None}, "schedule 1 in sextant.toml: 'name' is missing"),
        ({"name": "Nightly!"}, "schedule 'Nightly!' in sextant.toml: name is 'Nightly!': string"),
        ({"name": 7}, "schedule 1 in sextant.toml: name is 7: "),
        ({"cron": None}, "expected either 'cron' or 'every'"),
        ({"every": "1h"}, "expected either 'cron' or 'every'"),
        ({"cron": None, "every": "soon"}, "every is 'soon': expected a number with s, m, h or d"),
        ({"cron": None, "every": "1s"}, "every is '1s': expected 5s or more"),
        ({"cron": None, "every": "1h", "timezone": "UTC"}, "'timezone' goes with 'cron'"),
        ({"timezone": "Mars/Base"}, "timezone is 'Mars/Base': expected a name such as"),
        ({"timezone": "../etc"}, "timezone is '../etc': expected a name such as"),
        ({"timeout": "9999d"}, "timeout is '9999d': expected a number with s, m, h or d, at most"),
        ({"paused": "maybe"}, "paused is 'maybe': input should be a valid boolean"),
        ({"concurrency": 0}, "concurrency is 0: input should be greater than or equal to 1"),
        ({"concurrency": 2}, "a store in a folder takes one run at a time"),
        ({"gpu_slots": -1}, "gpu_slots is -1: input should be greater"),
        ({"gpu_slots": 2}, "gpu_slots is 2, of 1 in all: it would never run"),
        ({"work_pool": "a/b"}, "work_pool is 'a/b': string should match"),
        ({"sources": None}, "sources is (): "),
        ({"sources": []}, "sources is (): "),
        ({"sources": "notes"}, "sources is 'notes': expected a list of files"),
        ({"sources": [5]}, "sources"),
        ({"sourcs": ["x"]}, "unknown option 'sourcs' of flow 'ingest'; options are "),
        ({"k": 3}, "unknown option 'k' of flow 'ingest'"),
        ({"request": {}}, "unknown option 'request'"),
        ({"server_grpc": False}, "unknown option 'server_grpc' of flow 'ingest'"),
        ({"chunk_tokens": 3}, "setting 'chunk_tokens' is 3 (option): input should be greater"),
        ({"exclude": ["!x"]}, "setting 'exclude' is ['!x'] (option): glob '!x'"),
        ({"collection": "A/B"}, "collection name 'A/B': expected"),
        ({"store": "http://me:hush@qdrant"}, "server address holds a user or password"),
        ({"store": "http://qdrant?key=hush"}, "server address holds a query"),
        ({"sources": ["https://me:hush@example.org"]}, "a source's address holds a user or"),
        ({"flow": "cluster", "sources": ["x"]}, "unknown option 'sources' of flow 'cluster'"),
        ({"flow": "cluster", "sources": None, "k": 0}, "k=0; give 1 or more clusters"),
        ({"flow": "cluster", "sources": None, "k": 2, "algorithm": "hdbscan"}, "k=2 with algo"),
        ({"flow": "cluster", "sources": None, "projection": "x"}, "projection is 'x': input"),
        ({"flow": "doctor", "sample": 0}, "sample is 0: input should be greater than"),
    ],
)
def test_a_wrong_entry_is_named(entry: dict[str, Any], message: str) -> None:
    """One line: which entry, the value, what was expected; no password in it."""
    fields = {
        "name": "nightly",
        "flow": "ingest",
        "cron": "0 3 * * *",
        "sources": ["notes"],
        **entry,
    }
    lines = [f"{name} = {toml(value)}" for name, value in fields.items() if value is not None]
    with pytest.raises(InvalidInput) as raised:
        read("[[schedules]]\n" + "\n".join(lines))
    assert message in str(raised.value)
    assert str(raised.value).startswith("schedule ")
    assert "\n" not in str(raised.value)
    assert "hush" not in str(raised.value)


def toml(value: Any) -> str:
    return "{}" if value == {} else json.dumps(value)


def test_entries_that_do_not_go_together() -> None:
    """Names differ; entries of one collection agree on how many may run."""
    with pytest.raises(InvalidInput, match=r"schedule 'nightly' in .*: the name is taken"):
        read(NIGHTLY + NIGHTLY)
    second = NIGHTLY.replace("nightly", "second")
    with pytest.raises(InvalidInput, match=r"concurrency is 2, but 1 in 'nightly' of the same"):
        read(f'store = "http://qdrant:6333"\n{NIGHTLY}{second}\nconcurrency = 2')


@pytest.mark.parametrize("text", ['schedules = "x"', "schedules = [1]", "[schedules]\nname = 1"])
def test_what_is_no_list_of_tables(text: str) -> None:
    """Is refused with all settings."""
    with pytest.raises(InvalidInput, match=r"setting 'schedules.*sextant\.toml"):
        read(text)
