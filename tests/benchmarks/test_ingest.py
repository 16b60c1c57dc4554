"""The measurements of an ingest, on a few documents: they count what they say they count."""

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import ingest, ingest_tables
from benchmarks.ingest_child import IngestChild, Outcome, hash_ingest
from benchmarks.ingest_corpus import (
    NothingToMeasure,
    changed,
    changed_copies,
    documents,
    every_nth,
    short_ones,
)
from benchmarks.ingest_encoder import HashEncoder
from benchmarks.process_watch import MemoryWatch, command_line, cpu_seconds, marked, roles
from benchmarks.processes import ChildFailed
from embedder.specification import specify
from flows.near_duplicates import signature_of

PARAGRAPH = "A lighthouse keeper trims the lamp at dusk and winds the clockwork of its lens. "


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Six documents of a few paragraphs, and a file that is none."""
    folder = tmp_path / "notes"
    (folder / "sub").mkdir(parents=True)
    for number in range(6):
        words = f"Note {number} tells of river {number} and of sea {number * 7}. "
        text = f"# Note {number}\n\n" + "\n\n".join([PARAGRAPH + words * 5] * (number + 1))
        (folder / ("sub" if number % 2 else "") / f"{number}.md").write_text(text)
    (folder / "photo.png").write_bytes(b"png")
    return folder


@pytest.fixture
def options(notes: Path) -> argparse.Namespace:
    """One round over the notes."""
    return ingest.options_of([str(notes), "--rounds", "1", "--threads", "1", "--documents", "3"])


def lightly(folder: Path, store: Path, *options: str) -> list[str]:
    """Without Prefect and without a model, whatever was asked for."""
    kept = [o for o in options if o.startswith("--slices")]
    return hash_ingest(folder, store, *kept)


def test_the_pipeline_is_measured(tmp_path: Path, options: argparse.Namespace) -> None:
    """Processor time of all processes, apart and together, and the share of each stage."""
    found = ingest.pipeline(tmp_path, options)
    storing = found["cpu_seconds"]["storing"]
    assert storing["own"] > 0
    assert storing["engine"] >= 0
    assert storing["all"] == pytest.approx(
        storing["own"] + storing["engine"] + storing["parsers"], abs=0.01
    )
    assert found["cpu_seconds"]["whole"] >= storing["all"] - 0.02
    assert found["tokens_per_cpu_second"] == pytest.approx(
        found["tokens"] / storing["all"], rel=0.01
    )
    assert {"read", "parse", "chunk", "embed", "write"} <= {s["stage"] for s in found["stages"]}
    assert sum(stage["share"] for stage in found["stages"]) == pytest.approx(1.0, abs=0.01)
    assert found["documents"]["stored"] == 6


@pytest.mark.slow
def test_the_encoder_alone_encodes_what_the_flow_has_encoded(
    tmp_path: Path, options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every text once, read back from the store by what the run noted."""
    monkeypatch.setattr(ingest, "hash_ingest", lightly)
    found = ingest.overhead(tmp_path, options)
    assert found["documents"] == 3
    assert found["texts_encoded"] > 3
    assert found["slices"] == 1
    (only,) = found["rounds"]
    assert only["encoder_seconds"] > 0
    assert only["ratio"] == pytest.approx(
        only["storing_seconds"] / only["encoder_seconds"], rel=0.05
    )


def test_an_unchanged_run_is_held_against_the_first(
    tmp_path: Path, options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second stores nothing."""
    monkeypatch.setattr(ingest, "sextant_ingest", lightly)
    found = ingest.unchanged(tmp_path, options)
    assert found["documents"]["stored"] == found["again_documents"]["unchanged"] == 6
    assert found["again_documents"]["stored"] == 0
    assert found["times_faster"] == pytest.approx(
        found["first_seconds"] / found["again_seconds"], rel=0.05
    )


def test_memory_is_watched_by_process(
    tmp_path: Path, options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once and several times over, with copies that have nothing in common."""
    monkeypatch.setattr(ingest, "hash_ingest", lightly)
    monkeypatch.setattr(ingest, "COPIES", 3)
    found = ingest.memory(tmp_path, options)
    once, thrice = found["rows"]
    assert [once["documents"], thrice["documents"]] == [6, 18]
    assert thrice["tokens"] > 2 * once["tokens"]
    peak = thrice["peak_mib"]
    assert peak["all"] >= peak["own"] > 10
    assert peak["without engine"] <= peak["all"]
    assert found["growth"]["own"] == pytest.approx(peak["own"] / once["peak_mib"]["own"], abs=0.01)


def test_every_table_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of results as the benchmarks write them; a cell cannot break the table."""
    monkeypatch.setattr(ingest_tables, "result", RESULTS.__getitem__)
    for name, make in ingest_tables.TABLES.items():
        text = make()
        tables = [part for part in text.split("\n\n") if part.startswith("|")]
        assert tables or name == "ingest_unchanged"
        for table in tables:
            assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-folder"], "is no folder"),
        ([".", "--rounds", "0"], "'0' is not a whole number"),
        ([".", "--parts", "all"], "invalid choice: 'all'"),
    ],
)
def test_a_wrong_command_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, before anything is measured."""
    with pytest.raises(SystemExit) as raised:
        ingest.main(arguments)
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_folder_without_documents(tmp_path: Path) -> None:
    """One line that names it."""
    with pytest.raises(SystemExit, match=f"{tmp_path.name}' holds no document"):
        ingest.main([str(tmp_path), "--parts", "pipeline"])


def test_corpora(notes: Path, tmp_path: Path) -> None:
    """Parts of a folder keep their places; the rest is left out."""
    assert [path.name for path in documents(notes)] == [f"{n}.md" for n in (0, 2, 4, 1, 3, 5)]
    some = every_nth(notes, 3, tmp_path / "some")
    assert len(documents(some)) == 3
    least = (notes / "sub" / "1.md").stat().st_size
    short = short_ones(notes, 2, tmp_path / "short", least_bytes=least)
    assert [path.name for path in documents(short)] == ["2.md", "1.md"]
    with pytest.raises(NothingToMeasure, match="expected 9"):
        short_ones(notes, 9, tmp_path / "many", least_bytes=10)


def test_changed_copies_have_nothing_in_common(notes: Path, tmp_path: Path) -> None:
    """Lines and markup stay, words do not; the same seed gives the same copy."""
    text = (notes / "4.md").read_text()
    one, again, other = (changed(text, seed=seed) for seed in ("1", "1", "2"))
    assert one == again != other
    assert one.count("\n") == text.count("\n")
    assert one.startswith("# ")
    copies = changed_copies(notes, 2, tmp_path / "copies")
    assert len(documents(copies)) == 12
    prose = " ".join(f"word{n % 89} of{n % 97} many{n % 101}" for n in range(900))
    signatures = [signature_of(changed(prose, seed=seed)) for seed in "ab"]
    assert signatures[0] != signatures[1]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(NothingToMeasure, match="no text that could be changed"):
        changed_copies(tmp_path / "photos", 2, tmp_path / "none")


def test_the_hash_encoder() -> None:
    """Equal texts have equal unit vectors, others do not; texts in any number."""
    encoder = HashEncoder(specify("starter"))
    vectors = encoder.encode_document(["a", "b", "a"])
    assert vectors.shape == (3, encoder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert abs(float(vectors[0] @ vectors[1])) < 0.3
    assert encoder.encode_with_counts([]).vectors.shape == (0, encoder.dimension)


@pytest.fixture
def sleeper() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts processes that wait until they are ended."""
    started = []

    def start(*arguments: str, program: str = "input()") -> "subprocess.Popen[bytes]":
        child = subprocess.Popen(
            [sys.executable, "-c", f"print(flush=True);{program}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "SLEEPER": "17"},
        )
        assert child.stdout is not None
        child.stdout.readline()
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_processes_are_known_by_what_they_are_for(
    sleeper: Callable[..., "subprocess.Popen[bytes]"],
) -> None:
    """By their command lines, below a root; and by a mark, wherever they are."""
    engine, other = sleeper("search.stores.edge_worker"), sleeper()
    found = roles(os.getpid())
    assert found[os.getpid()] == "own"
    assert found[engine.pid] == "engine"
    assert found[other.pid] == "others"
    assert {engine.pid, other.pid} <= set(marked("SLEEPER=17"))
    assert b"edge_worker" in command_line(engine.pid)
    other.kill()
    other.wait()
    assert command_line(other.pid) == b""
    assert cpu_seconds([other.pid]) == 0.0
    assert cpu_seconds([os.getpid()]) > 0


def test_memory_of_a_child_is_seen(sleeper: Callable[..., "subprocess.Popen[bytes]"]) -> None:
    """A hundred MiB that it has written count, to it and to the sum."""
    program = "x = bytearray(b'x' * (100 << 20));print(flush=True);input()"
    child = sleeper("search.stores.edge_worker", program=program)
    assert child.stdout is not None
    child.stdout.readline()
    watch = MemoryWatch(os.getpid(), every_seconds=0.01)
    seen = threading.Event()
    look = watch.look
    watch.look = lambda: (look(), seen.set())  # type: ignore[method-assign,assignment,return-value]
    with watch:
        assert seen.wait(60)
    assert 100 <= watch.peak_mib["engine"] < 200
    assert watch.peak_mib["all"] >= watch.peak_mib["own"] + 100
    assert watch.peak_mib["without engine"] <= watch.peak_mib["all"] - 100


def started(program: str, folder: Path) -> IngestChild:
    """A child that runs a program in an ingest's place."""
    return IngestChild(["-c", program], folder=folder, threads=1)


@pytest.mark.parametrize(
    ("program", "clear", "finished"),
    [
        ("print('{}')", True, True),
        ("import sys; print('{}'); sys.exit(3)", True, True),
        ("import sys; sys.exit('sextant: full; free some space')", True, False),
        ("import sys; print('{}'); print('12:00 | ERROR', file=sys.stderr)", False, True),
        ("import sys; print('a\\nb', file=sys.stderr); sys.exit(1)", False, False),
        ("raise KeyError('x')", False, False),
        ("import os; os.abort()", False, False),
        ("import sys; sys.exit(1)", False, False),
        ("pass", False, False),
    ],
)
def test_how_a_run_may_end(program: str, clear: bool, finished: bool, tmp_path: Path) -> None:
    """Done and silent, or failed in one line."""
    with started(program, tmp_path) as child:
        outcome = child.end(seconds=60)
    assert (outcome.is_clear, outcome.finished) == (clear, finished)
    if not finished:
        with pytest.raises(ChildFailed):
            outcome.require_finished()


def test_progress_is_no_complaint(tmp_path: Path) -> None:
    """Stages are known by their lines; a refusal that begins like one is none."""
    lines = [
        "sextant: loading encoder starter",
        "sextant: storing documents (30)",
        "sextant: storing documents: 12 of 30, 4 chunks, 8 tokens/s, 3 s left",
        "sextant: indexing",
        "sextant: indexing failed: no room",
    ]
    program = f"import sys; print({chr(10).join(lines)!r}, file=sys.stderr); sys.exit(1)"
    with started(program, tmp_path) as child:
        assert child.wait_for("storing documents", seconds=60)
        outcome = child.end(seconds=60)
        assert list(child.stages) == ["loading encoder", "storing documents", "indexing"]
        assert not child.wait_for("removing documents", seconds=60)  # it has ended
    assert outcome.said == ("sextant: indexing failed: no room",)
    assert outcome.is_clear


def test_a_run_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """It does not count as clear, and what it leaves behind is named and ended."""
    program = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'], "
        "stdin=subprocess.PIPE, start_new_session=True); print('x', flush=True); sys.stdin = None\n"
        "import time; time.sleep(600)"
    )
    with started(program.replace("input()", "import time; time.sleep(600)"), tmp_path) as child:
        while len(marked(child.mark)) < 2:
            assert child.is_running
        outcome = child.end(seconds=0.1)
        assert outcome.hung
        assert not outcome.is_clear
        assert [line.split()[1] for line in child.left_over(seconds=0.1)] == ["-c"]
        mark = child.mark
    assert all(command_line(pid) == b"" for pid in marked(mark))


def test_settings_of_ours_do_not_reach_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured is the default, wherever it is measured."""
    monkeypatch.setenv("SEXTANT_CHUNK_TOKENS", "17")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    program = "import os, json; print(json.dumps(dict(os.environ)))"
    with IngestChild(
        ["-c", program], folder=tmp_path, threads=3, variables={"SEXTANT_STORE": "here"}
    ) as child:
        answer = child.end(seconds=60).answer or {}
    assert {name for name in answer if name.startswith(("SEXTANT_", "PREFECT_"))} == {
        "SEXTANT_STORE"
    }
    assert answer["OMP_NUM_THREADS"] == "3"


def test_an_outcome_gives_either_kind_of_report() -> None:
    """That of `ingest_run`, which says more, and that of `sextant ingest`."""
    report = {"documents": {"seen": 1}}
    for answer in ({"report": report, "cpu_seconds": {}}, report):
        assert Outcome(0, answer, (), 1.0).report == report


def _rounds(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return list(rows)


FILED = {"hardware": "a machine", "commit": "0123456789ab", "date": "2026-11-20", "folder": "notes"}
PEAK = {"own": 100.0, "engine": 20.0, "parsers": 50.0, "all": 170.0, "without engine": 150.0}
MEMORY_ROW = {"copies": 1, "points": 100, "peak_mib": PEAK}
RESULTS: dict[str, Any] = {
    "ingest": {
        **FILED,
        "threads": 2,
        "pipeline": {
            "cpu_seconds": {"storing": {"own": 1.0, "parsers": 0.5, "engine": 0.5, "all": 2.0}},
            "documents": {"stored": 6},
            "tokens": 1000,
            "chunks": 10,
            "tokens_per_cpu_second": 500,
            "with_index_and_report": 400,
            "tokens_per_second": 300,
            "by_round": [500],
            "stages": [{"stage": "read", "busy_seconds": 1.0, "share": 1.0}],
        },
        "overhead": {
            "ratio": 1.05,
            "documents": 6,
            "texts_encoded": 10,
            "encoder_tokens_per_second": 20_000,
            "rounds": [{"storing_seconds": 2.0, "encoder_seconds": 1.9, "ratio": 1.0526}],
        },
        "unchanged": {
            "documents": {"stored": 6},
            "tokens": 1000,
            "first_seconds": 60.0,
            "again_seconds": 1.0,
            "times_faster": 60.0,
        },
        "memory": {
            "rows": [MEMORY_ROW, {**MEMORY_ROW, "copies": 10, "points": 1000}],
            "growth": dict.fromkeys(PEAK, 1.0),
            "engine_bytes_per_point": 100,
        },
    },
    "kill": {
        **FILED,
        "documents": 6,
        "points": 100,
        "modes": {"plain": 1},
        "kills": [{"victim": "own", "mode": "plain"}],
        "storms": [{"storm": 0, "equal": True}],
        "storms_equal": 1,
        "least_cosine": 1.0,
        "hung": 0,
        "unclear": 0,
        "left_over": 0,
        "broken_promises": 0,
    },
    "fuzz": {
        **FILED,
        "mutations": 10,
        "documents": {"seen": 10, "stored": 4, "quarantined": 6},
        "unaccounted": [],
        "seconds": 5.0,
        "parsers_killed": 0,
        "parse_seconds": 5.0,
        "too_slow": 0,
        "formats": [{"format": ".md", "files": 10, "stored": 4, "quarantined": 6}],
        "reasons": [{"reason": "broken | pipe", "stage": "parse", "count": 6}],
    },
    "disk_full": {
        **FILED,
        "documents": 6,
        "disk": "tmpfs",
        "rounds": _rounds(
            {
                "mode": "plain",
                "kind": "too small for the documents",
                "disk_mib": 100.0,
                "documents_stored": None,
                "clear": True,
                "broken_promises": None,
                "equal": True,
            }
        ),
    },
}
for part in ingest.PARTS:
    RESULTS[f"ingest_{part}"] = RESULTS["ingest"]
del RESULTS["ingest"]
