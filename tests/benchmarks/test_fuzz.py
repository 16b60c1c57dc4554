"""A few damaged files; and damage that is the same for the same seed, and bounded."""

import random
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.fuzz_mutations import MAX_BYTES, MUTATIONS, misnamed, mutate
from benchmarks.fuzz_seeds import seeds
from flows.documents.compression import inner_name
from flows.documents.formats import FORMAT_OF_SUFFIX, format_of, suffix_of
from flows.documents.records.record_file import record_kind_of


def test_there_is_a_seed_of_every_format() -> None:
    """And of both compressions, and of every kind of record file."""
    names = list(seeds())
    assert {format_of(inner_name(name)) for name in names} - {None} == set(
        FORMAT_OF_SUFFIX.values()
    )
    kinds = {record_kind_of(name) for name in names} - {None}
    assert kinds == {"jsonl", "json", "csv", "tsv", "parquet", "arrow"}
    assert {suffix_of(name) for name in names} >= {".gz", ".zst"}


@pytest.mark.slow
def test_damaged_files_are_stored_or_turned_away(tmp_path: Path) -> None:
    """All of them, in one run, and none is tried again."""
    kept = tmp_path / "damaged"
    options = fuzz.options_of(["--mutations", "40", "--seed", "3", "--keep", str(kept)])
    result = fuzz.measure(options)
    assert fuzz.is_well(result), result
    files = 40 + len(seeds())
    assert len(list(kept.iterdir())) == files
    assert sum(row["files"] for row in result["formats"]) == files
    assert result["mutated_by"][fuzz.SOUND] == len(seeds())
    counts = result["documents"]
    assert counts["quarantined"] > 0
    assert counts["stored"] > 0
    assert sum(row["stored"] for row in result["formats"]) == counts["stored"]
    assert sum(row["count"] for row in result["reasons"]) == counts["quarantined"]
    assert result["again"]["documents"]["unchanged"] == counts["stored"]


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation(mutation: object) -> None:
    """Of anything, also of nothing; the same again with the same seed."""
    assert callable(mutation)
    changed = 0
    for data in (b"", b"x", b"%PDF-1.4 9 0 obj <</Length 44>> stream" * 20):
        for seed in range(20):
            one, again = (mutation(data, random.Random(seed)) for _ in range(2))
            assert one == again
            assert len(one) <= 2 * MAX_BYTES
            changed += one != data
    assert changed >= 10


def test_damage_reaches_the_inside_of_containers() -> None:
    """Archives and compressed files that are sound outside, and some that are not."""
    rng, sound = random.Random(1), seeds()
    words = [mutate("made.docx", sound["made.docx"], rng)[2] for _ in range(40)]
    assert 5 < sum(word.endswith(" inside") for word in words) < 35
    assert not any(
        mutate("note.txt", sound["note.txt"], rng)[2].endswith("inside") for _ in range(40)
    )
    for name in ("guide.md.gz", "note.txt.zst", "made.xlsx", "book.epub"):
        _, data, what = next(
            damaged
            for damaged in iter(lambda n=name: mutate(n, sound[n], rng), None)  # type: ignore[misc]
            if damaged[2].endswith(" inside")
        )
        assert data[:2] == sound[name][:2], what


def test_a_wrong_suffix() -> None:
    """A sound file under a name of another format."""
    name, data, what = misnamed({"a.md": b"text", "b.pdf": b"text"}, random.Random(0))
    assert (name, data, what) in {
        ("a.pdf", b"text", "wrong suffix"),
        ("b.md", b"text", "wrong suffix"),
    }


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("/folder/x/000001-a.jsonl#17", "000001-a.jsonl"),
        ("/folder/x/000001-a.jsonl#b/ü", "000001-a.jsonl"),
        ("/folder/x/000001-a.jsonl:12", "000001-a.jsonl"),
        ("/folder/x/000001-a.md", "000001-a.md"),
    ],
)
def test_the_file_of_a_row(source: str, file: str) -> None:
    """Rows and lines are accounted to their files."""
    assert fuzz.file_of(source) == file


def test_reasons_are_counted_by_kind() -> None:
    """Without the names and numbers that make each of them unlike the others."""
    quarantine = [
        {"stage": "parse", "reason": f"damaged PDF: {n} of its 4 pages; repair it"} for n in (1, 2)
    ]
    quarantine.append({"stage": "read", "reason": "'a.gz' is not gzip (bad magic)"})
    assert fuzz.reasons(quarantine) == [
        {"count": 2, "stage": "parse", "reason": "damaged PDF: … of its … pages"},
        {"count": 1, "stage": "read", "reason": "… is not gzip"},
    ]


def test_what_is_not_well() -> None:
    """A document that is missing, tried again, turned away although sound: each is noticed."""
    well = {
        "adds_up": True,
        "without_reason": 0,
        "reasons_of_several_lines": 0,
        "unaccounted": [],
        "sound_but_quarantined": [],
        "broken_promises": [],
        "again": {"documents": Counter(stored=0), "tried_again": 0},
    }
    assert fuzz.is_well(well)
    for name, value in (
        ("adds_up", False),
        ("without_reason", 1),
        ("unaccounted", ["x"]),
        ("sound_but_quarantined", ["x"]),
        ("broken_promises", ["a"]),
        ("again", {"documents": Counter(stored=1), "tried_again": 0}),
        ("again", {"documents": Counter(stored=0), "tried_again": 1}),
    ):
        assert not fuzz.is_well({**well, name: value})
