"""A disk that a store believes to be small fills up; nothing that was stored is lost."""

import random
from pathlib import Path

import pytest

from benchmarks import disk_full
from benchmarks.disk_full import Calm, Disk
from search.stores.edge_room import FLOOR_BYTES

FLOOR_MIB = FLOOR_BYTES / disk_full.MIB


@pytest.mark.slow
def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """One clear line, what was stored is whole, and the same command goes on from there."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(24):
        text = "\n\n".join(
            f"Paragraph {part} of note {number} tells of river {number * part} and of the sea."
            for part in range(150)
        )
        (folder / f"{number:02}.md").write_text(f"# Note {number}\n\n{text}\n")
    result = disk_full.measure(
        disk_full.options_of(
            [str(folder), "--rounds", "1", "--modes", "plain", "--no-mount", "--documents", "24"]
        )
    )
    assert disk_full.is_well(result), result
    (row,) = result["rounds"]
    assert result["disk"] == "as the store was told"
    assert (row["code"], row["lines"], row["finished"]) == (1, 1, False)
    assert "MiB free in" in row["said"]
    assert row["documents_stored"] < 24
    assert row["then"]["unchanged"] == row["documents_stored"]
    assert row["then"]["stored"] == 24 - row["documents_stored"]


def test_sizes_of_disks() -> None:
    """Room for the collection but not for all documents; for these but not for the index."""
    calm = Calm({}, stored_mib=50, peak_mib=200, storing_seconds=1.0)
    for seed in range(50):
        documents, index, filled = (
            disk_full.size_mib(kind, calm, 30, random.Random(seed)) for kind in disk_full.KINDS
        )
        assert FLOOR_MIB + 30 <= documents <= FLOOR_MIB + 50 <= index <= 200 < filled
    small = Calm({}, stored_mib=50, peak_mib=60, storing_seconds=1.0)
    index = disk_full.size_mib(disk_full.INDEX, small, 30, random.Random(0))
    assert index == FLOOR_MIB + 50


def test_a_disk_without_a_mount(tmp_path: Path) -> None:
    """It is as full as what lies in it, and grows by being told so."""
    with disk_full.disk(tmp_path / "disk", 40, mount=False) as place:
        assert place == Disk(tmp_path / "disk", False, 40)
        (place.folder / "file").write_bytes(b"x" * disk_full.MIB)
        assert 1 <= place.used_mib() < 1.1
        assert place.grow().mib == disk_full.LARGE_MIB


@pytest.mark.parametrize("name", ["broken_promises", "clear", "equal"])
def test_what_is_not_well(name: str) -> None:
    """One such round is enough."""
    good = {"clear": True, "broken_promises": [], "equal": True}
    bad = {**good, name: ["a"] if name == "broken_promises" else False}
    assert disk_full.is_well({"rounds": [good]})
    assert not disk_full.is_well({"rounds": [good, bad]})
