"""Evidence on cases that can be worked out by hand."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from flows.migration_evidence import (
    Answer,
    Evidence,
    Query,
    answers,
    compare,
    overlap,
    read_queries,
    sample_queries,
)
from search.records import Point, chunk_id
from search.stores.contract import Collection, Manifest
from search.stores.edge import EdgeStore


def side(name: str, documents: int) -> dict[str, object]:
    return {"version": name, "encoder": name, "documents": documents, "chunks": 2 * documents}


def taken(
    queries: list[Query],
    old: list[Answer] | None,
    new: list[Answer],
    *,
    documents: int = 100,
) -> Evidence:
    return compare(
        queries,
        old,
        new,
        old=side("old", documents),
        new=side("new", documents),
        notes=["a note"],
        taken_at="2026-01-01T00:00:00+00:00",
    )


def test_the_figures_of_three_queries() -> None:
    """Overlaps 2/3, 1/2 and 1; own documents found 3 times and twice; medians 0.8 and 0.5."""
    queries = [Query("first", "a"), Query("second", "b"), Query("third", "c")]
    old = [
        Answer(("a", "x", "y"), 0.9),
        Answer(("b", "x", "y", "z"), 0.8),
        Answer(("c",), 0.6),
    ]
    new = [
        Answer(("x", "a", "q"), 0.5),
        Answer(("z", "y", "p", "q"), 0.4),
        Answer(("c",), 0.7),
    ]
    found = taken(queries, old, new)
    assert found.overlap == round((2 / 3 + 1 / 2 + 1) / 3, 4)
    assert (found.old.self_retrieval, found.new.self_retrieval) == (1.0, round(2 / 3, 4))
    assert found.old.top_score is not None
    assert found.new.top_score is not None
    assert (found.old.top_score.median, found.new.top_score.median) == (0.8, 0.5)
    assert (found.old.top_score.p10, found.old.top_score.p90) == (0.64, 0.88)
    assert found.score_shift == -0.3
    assert [(one.query, one.overlap) for one in found.lowest] == [
        ("second", 0.5),
        ("first", 0.6667),
    ]
    assert (found.queries, found.sampled, found.from_file) == (3, 3, False)
    assert found.notes == ("a note",)


def test_a_files_queries_are_what_the_overlap_is_of() -> None:
    """Sampled ones then tell only whether documents are found."""
    queries = [Query("from a file"), Query("sampled", "a")]
    old = [Answer(("a", "b"), 0.9), Answer(("a",), 0.1)]
    new = [Answer(("a", "c"), 0.7), Answer(("z",), 0.1)]
    found = taken(queries, old, new)
    assert (found.overlap, found.queries, found.sampled, found.from_file) == (0.5, 1, 1, True)
    assert (found.old.self_retrieval, found.new.self_retrieval) == (1.0, 0.0)
    assert found.score_shift == -0.2


def test_without_the_old_versions_answers() -> None:
    found = taken([Query("sampled", "a")], None, [Answer(("a",), 0.5)])
    assert (found.overlap, found.old.top_score, found.score_shift) == (None, None, None)
    assert found.new.self_retrieval == 1.0
    assert found.refusal(0.0) == "there is no overlap to judge by"


def test_few_documents_are_said_to_be_few() -> None:
    answer = [Answer(("a",), 0.5)]
    assert (
        "overlap@10 says little" in taken([Query("q", "a")], answer, answer, documents=20).notes[1]
    )
    assert len(taken([Query("q", "a")], answer, answer, documents=21).notes) == 1


@pytest.mark.parametrize(
    ("least", "old_found", "new_found", "reason"),
    [
        (0.5, 50, 50, None),
        (0.5, 50, 49, None),
        (0.5, 50, 48, "the new version finds 96.0% of the sampled documents by their own words"),
        (0.5, 48, 50, None),
        (0.51, 50, 50, "overlap@10 is 0.500, expected at least 0.51"),
    ],
)
def test_what_forbids_a_switch(
    least: float, old_found: int, new_found: int, reason: str | None
) -> None:
    """Too little overlap, or documents found more rarely by more than two in a hundred."""

    def given(found: int, other: str) -> list[Answer]:
        return [Answer((f"d{i}" if i < found else f"x{i}", other), 0.5) for i in range(50)]

    queries = [Query(f"query {i}", f"d{i}") for i in range(50)]
    evidence = taken(queries, given(old_found, "o"), given(new_found, "n"))
    evidence = evidence.model_copy(update={"overlap": 0.5})
    refusal = evidence.refusal(least)
    assert refusal == reason if reason is None else str(refusal).startswith(reason)


def test_overlap_is_of_the_longer_answer() -> None:
    assert overlap(["a", "b"], ["b", "a"]) == 1
    assert overlap(["a"], ["a", "b", "c", "d"]) == 0.25
    assert overlap([], ["a"]) == 0
    assert overlap([], []) == 1


@pytest.fixture
def collection(scratch: Path) -> Collection:
    """Thirty documents on a circle: a chunk each at its own angle above, one straight below."""
    store = EdgeStore(scratch / "store")
    made = store.create(
        Manifest(
            name="circle",
            dimension=2,
            fingerprint="f" * 64,
            encoder={"name": "circle"},
            created_at="2026-01-01T00:00:00+00:00",
        )
    )
    titles = {0: "A title of its own", 1: "Same title for two", 2: "Same title for two", 3: "Short"}
    points = []
    for number in range(30):
        for ordinal in range(2):
            angle = np.pi * (1.5 if ordinal else number / 30)
            points.append(
                Point(
                    id=chunk_id(f"d{number}", ordinal=ordinal, content_hash="h"),
                    vector=np.array([np.cos(angle), np.sin(angle)], dtype=np.float32),
                    payload={
                        "kind": "chunk",
                        "page_content": f"# Heading {number} goes on here. And then some more.",
                        "metadata": {
                            "doc_id": f"d{number}",
                            "title": titles.get(number, ""),
                            "chunk": ordinal,
                            "source": f"/d{number}",
                            "start": 0,
                            "end": 1,
                        },
                    },
                )
            )
    made.upsert(points)
    return made


def test_answers_are_exact_and_of_documents(collection: Collection) -> None:
    """The ten nearest angles, each document once, best first."""
    with closing(collection):
        vectors = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
        first, second = answers(collection, vectors)
    assert first.doc_ids == tuple(f"d{number}" for number in range(10))
    assert first.score == pytest.approx(1.0, abs=1e-6)
    assert second.doc_ids[0] == "d15"
    assert set(second.doc_ids) < {f"d{number}" for number in range(10, 21)}


def test_sampled_queries(collection: Collection) -> None:
    """A title that is a query, or else the first sentence; the same ones each time."""
    with closing(collection):
        ids = [f"d{number}" for number in range(40)]  # the last ten have no chunks
        found = sample_queries(collection, ids, count=100)
        assert sample_queries(collection, reversed(ids), count=100) == found
        some = sample_queries(collection, ids, count=7)
        others = sample_queries(collection, ids, count=7, seed=1)
    texts = {query.doc_id: query.text for query in found}
    assert texts.keys() == {f"d{number}" for number in range(30)}
    assert texts["d0"] == "A title of its own"
    for number in (1, 2, 3, 4):
        assert texts[f"d{number}"] == f"Heading {number} goes on here."
    assert (len(some), set(some) <= set(found)) == (7, True)
    assert {query.doc_id for query in some} != {query.doc_id for query in others}


def test_queries_of_a_file(tmp_path: Path) -> None:
    """One a line, with any line end and a byte order mark; blank and repeated ones are left out."""
    file = tmp_path / "queries.txt"
    file.write_bytes("\ufeffhow to bake\r\n\n  lighthouse lamps \nhow to bake\n".encode())
    assert read_queries(str(file)) == (Query("how to bake"), Query("lighthouse lamps"))
