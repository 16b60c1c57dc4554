"""Kills on a few documents; and a comparison that sees whatever a kill could have spoilt."""

import argparse
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import kill, kill_storms
from benchmarks.ingest_child import Outcome
from benchmarks.ingest_contents import (
    Contents,
    Stored,
    broken_promises,
    compare,
    contents_of_copy,
    stored_documents,
)


def write_notes(folder: Path) -> Path:
    """Documents of a few hundred words each."""
    folder.mkdir()
    for number in range(6):
        text = "\n\n".join(
            f"Paragraph {part} of note {number} tells of river {number * part}, the sea, and salt."
            for part in range(30 + number)
        )
        (folder / f"{number}.md").write_text(f"# Note {number}\n\n{text}\n")
    return folder


def options(folder: Path, *more: str) -> argparse.Namespace:
    """Of a few documents, without Prefect and without a model."""
    return kill.options_of([str(folder), "--documents", "5", "--modes", "plain", *more])


@pytest.mark.slow
def test_kills_lose_nothing(tmp_path: Path) -> None:
    """Three of them, whatever they hit; each is told of."""
    result = kill.measure(options(write_notes(tmp_path / "notes"), "--kills", "3", "--seed", "1"))
    assert kill.is_well(result), result
    assert len(result["kills"]) == 3
    assert result["points"] > 5
    for row in result["kills"]:
        assert row["victim"] in kill_storms.VICTIMS["plain"]
        assert (row["equal"], row["hung"], row["left_over"]) == (True, False, [])
        assert row["code"] in (-signal.SIGKILL, 0, 1)
        assert row["moment_seconds"] >= 0
    assert sum(result["victims"].values()) == sum(result["modes"].values()) == 3


def point(kind: str, doc_id: str, **metadata: Any) -> Stored:
    vector = np.array([0.6, 0.8], dtype=np.float32) if kind == "chunk" else None
    text = {"page_content": "text"} if kind == "chunk" else {}
    payload = {"kind": kind, "metadata": {"doc_id": doc_id, **metadata}, **text}
    return Stored(payload, vector, is_sound=True)


CALM: Contents = {
    "1": point("head", "a", state="stored", chunks=2, duplicate_of=""),
    "2": point("chunk", "a", chunk=0),
    "3": point("chunk", "a", chunk=1),
    "4": point("head", "b", state="stored", chunks=0, duplicate_of="a"),
}
TURNED = np.array([0.8, 0.6], dtype=np.float32)


def without(*ids: str) -> dict[str, Stored]:
    return {i: stored for i, stored in CALM.items() if i not in ids}


@pytest.mark.parametrize(
    ("stormy", "what"),
    [
        (without("3"), "missing"),
        ({**CALM, "5": point("chunk", "a", chunk=2)}, "left_behind"),
        ({**CALM, "2": point("chunk", "a", chunk=7)}, "other_payloads"),
        ({**CALM, "2": replace(CALM["2"], is_sound=False)}, "damaged"),
        ({**CALM, "2": replace(CALM["2"], vector=None)}, None),
        ({**CALM, "2": replace(CALM["2"], vector=TURNED)}, None),
        ({**without("4"), "9": point("quarantine", "b")}, "quarantined"),
    ],
)
def test_the_comparison_sees_what_is_wrong(stormy: Contents, what: str | None) -> None:
    """Whatever differs, the two are not equal, and what it is is counted."""
    found = compare(CALM, stormy)
    assert not found["equal"]
    assert what is None or found[what] == 1
    assert compare(CALM, dict(CALM))["equal"]


def test_a_broken_promise() -> None:
    """A head that says `stored` has all its chunks, unless another stands for it."""
    assert broken_promises(CALM) == []
    assert broken_promises(without("3")) == ["a"]
    writing = point("head", "a", state="writing", chunks=2, duplicate_of="")
    assert broken_promises({**without("3"), "1": writing}) == []
    assert stored_documents(CALM) == 2
    assert stored_documents({**CALM, "1": writing}) == 1


def test_no_store_and_no_collection(tmp_path: Path) -> None:
    """A run that was killed early has left nothing, or a folder."""
    assert contents_of_copy(tmp_path / "none", tmp_path) == {}
    (tmp_path / "empty").mkdir()
    assert contents_of_copy(tmp_path / "empty", tmp_path) == {}
    broken = tmp_path / "broken" / "docs"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{")
    assert contents_of_copy(tmp_path / "broken", tmp_path) is None


@pytest.mark.parametrize(
    ("outcome", "victim", "clear"),
    [
        (Outcome(-9, None, (), 1.0), "own", True),
        (Outcome(-9, None, ("Traceback (most recent call last):",), 1.0), "own", False),
        (Outcome(0, {}, (), 1.0), "own", True),  # it was quicker
        (Outcome(-9, None, (), 1.0), "engine", False),
        (Outcome(1, None, ("sextant: the engine was killed",), 1.0), "engine", True),
        (Outcome(1, None, ("sextant: a", "sextant: b"), 1.0), "prefect", False),
        (Outcome(-9, None, (), 1.0, hung=True), "own", False),
        (Outcome(-9, None, (), 1.0, hung=True), "prefect", False),
    ],
)
def test_a_clear_end(outcome: Outcome, victim: str, clear: bool) -> None:
    """Who was killed says nothing; who lost a child says it in one line, or makes do."""
    assert kill_storms.is_clear(outcome, victim) == clear


def test_an_earlier_state(tmp_path: Path) -> None:
    """Other documents meanwhile, and afterwards each as it was, its date too."""
    folder = kill_storms.flattened(write_notes(tmp_path / "notes"))
    today = {path.name: (path.read_text(), path.stat().st_mtime) for path in folder.iterdir()}
    with kill_storms.earlier_state(folder):
        earlier = {path.name: path.read_text() for path in folder.iterdir()}
        assert {"vanishing-0.txt", "vanishing-1.txt"} <= earlier.keys()
        assert {"1.md", "4.md"} == today.keys() - earlier.keys()
        changed = {
            name for name in earlier.keys() & today.keys() if earlier[name] != today[name][0]
        }
        assert changed == {"2.md", "5.md"}
    assert today == {
        path.name: (path.read_text(), path.stat().st_mtime) for path in folder.iterdir()
    }


def test_storms_are_of_one_encoder_and_kill_everything_in_the_end() -> None:
    """Each victim in each mode that has it; never more kills than are wanted."""
    rng = random.Random(0)
    drawn = [kill_storms.draw_storm(list(kill_storms.MODES), rng, most=2) for _ in range(500)]
    assert all(1 <= len(storm) <= 2 for storm in drawn)
    assert all(len({kill_storms.encoder_of(mode) for mode, _ in storm}) == 1 for storm in drawn)
    assert {pair for storm in drawn for pair in storm} == {
        (mode, victim) for mode, victims in kill_storms.VICTIMS.items() for victim in victims
    }


def test_too_few_documents(tmp_path: Path) -> None:
    """One line that says how many there are."""
    folder = write_notes(tmp_path / "notes")
    with pytest.raises(SystemExit, match="holds 6 documents of 1000 bytes or more; expected 30"):
        kill.main([str(folder)])
