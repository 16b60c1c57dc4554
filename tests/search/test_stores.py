"""The contract of `search.stores.contract`, over every store."""

import dataclasses
import random
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from search.checksums import CHECKSUM, damaged, verify_record
from search.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidPoint,
    InvalidRequest,
    StoreUnavailable,
)
from search.filters import FILTERABLE, Filter, Match, of_kind, where
from search.records import Point
from search.stores.contract import Collection, Manifest, Store

Make = Callable[..., Point]


def axis(index: int) -> npt.NDArray[np.float32]:
    return np.asarray(np.eye(4)[index], dtype=np.float32)


def ids(records: Any) -> list[str]:
    return [record.id for record in records]


def content(payload: dict[str, Any]) -> dict[str, Any]:
    """A payload as it was given to the store, which adds a checksum."""
    return {key: value for key, value in payload.items() if key != CHECKSUM}


def test_what_is_written_is_read_back(collection: Collection, chunk: Make, head: Make) -> None:
    """A payload comes back equal, a vector L2-normalised, in the order asked for."""
    extra = {
        "headings": ["Ωmega", "b"],
        "nested": {"flag": True, "none": None, "pi": 3.5, "whole": 2.0, "deep": [{"a": 1}]},
        "cluster": -3,
        "text": "line\nline\u0000end 🌍",
    }
    point, top = chunk("a", vector=(3, 0, 4, 0), **extra), head("a")
    collection.upsert([point, top])
    records = collection.retrieve([top.id, str(uuid.uuid4()), point.id], with_vectors=True)
    assert ids(records) == [top.id, point.id]
    assert content(records[0].payload) == top.payload
    assert records[0].vector is None
    assert content(records[1].payload) == point.payload
    assert type(records[1].payload["metadata"]["nested"]["whole"]) is float
    assert records[1].vector is not None
    assert records[1].vector.dtype == np.float32
    np.testing.assert_allclose(records[1].vector, [0.6, 0, 0.8, 0], atol=1e-6)
    assert collection.retrieve([point.id])[0].vector is None
    assert collection.retrieve([]) == []


def test_an_upsert_replaces(collection: Collection, chunk: Make) -> None:
    """The same id is the same point: payload and vector are the last ones, nothing is merged."""
    collection.upsert([chunk("a", vector=axis(0), cluster=1)])
    collection.upsert([chunk("a", vector=axis(1))])
    assert collection.count() == 1
    [record] = collection.search(axis(1), limit=5)
    assert record.score == pytest.approx(1.0)
    assert "cluster" not in record.payload["metadata"]
    collection.upsert([])
    assert collection.count() == 1


def test_a_search_never_returns_a_head(collection: Collection, chunk: Make, head: Make) -> None:
    """A point without a vector is counted and read, not found."""
    collection.upsert([head(f"d{i}") for i in range(20)] + [chunk("a"), chunk("b", vector=axis(3))])
    assert collection.count() == 22
    assert collection.count(of_kind("head")) == 20
    assert len(collection.search(axis(0), limit=100)) == 2
    assert len(collection.search(axis(0), limit=100, exact=True)) == 2
    assert collection.search(axis(0), limit=10, where=of_kind("head")) == []


def test_search_gives_the_nearest_by_cosine(collection: Collection, chunk: Make) -> None:
    """Scores are cosines, whatever the lengths of the vectors."""
    collection.upsert(
        [
            chunk("far", vector=(0, 0, 9, 0)),
            chunk("near", vector=(0.5, 0, 0, 0)),
            chunk("mid", vector=(2, 2, 0, 0)),
            chunk("opposite", vector=(-1, 0, 0, 0)),
        ]
    )
    found = collection.search(np.asarray([7, 0, 0, 0], dtype=np.float32), limit=4)
    assert [r.payload["metadata"]["doc_id"] for r in found] == ["near", "mid", "far", "opposite"]
    assert [r.score for r in found] == pytest.approx([1.0, 0.5**0.5, 0.0, -1.0], abs=1e-6)
    assert len(collection.search(axis(0), limit=3)) == 3


def test_equal_scores_are_ordered_by_id_even_at_the_cut(
    collection: Collection, chunk: Make
) -> None:
    """Of 60 tied chunks every limit returns those with the smallest ids, in their order."""
    points = [chunk(f"d{i}", vector=axis(i % 2)) for i in range(120)]
    collection.upsert(random.Random(1).sample(points, len(points)))
    tied = sorted(point.id for point in points[::2])
    for limit in (1, 2, 7, 25, 59, 60):
        assert ids(collection.search(axis(0), limit=limit)) == tied[:limit]
    others = sorted(point.id for point in points[1::2])
    assert ids(collection.search(axis(0), limit=63)) == tied + others[:3]


def test_every_filterable_key_filters(collection: Collection, chunk: Make, head: Make) -> None:
    """Search, count and scroll agree: keywords and integers, any-of and none-of."""
    value: dict[str, tuple[Any, Any, Any]] = {
        "keyword": ("red", "green", "blue"),
        "integer": (-1, 0, 7),
    }
    plain = {key: schema for key, schema in FILTERABLE.items() if schema in value}
    points = []
    for index in range(9):
        keys = {key: value[schema][index % 3] for key, schema in plain.items()}
        point = chunk(f"d{index}")
        point.payload["metadata"].update(keys)
        points.append(point)
    collection.upsert([*points, head("other")])

    def found(condition: Filter) -> set[int]:
        result = set(ids(collection.search(axis(0), limit=50, where=condition & of_kind("chunk"))))
        assert result == set(ids(collection.scroll(where=condition & of_kind("chunk"))))
        assert len(result) == collection.count(condition & of_kind("chunk"))
        return {index for index, point in enumerate(points) if point.id in result}

    for key, schema in plain.items():
        first, second, third = value[schema]
        assert found(where(key, first)) == {0, 3, 6}, key
        assert found(where(key, second, third)) == {1, 2, 4, 5, 7, 8}, key
        none_of = Filter(must_not=where(key, first).must)
        assert found(none_of) == {1, 2, 4, 5, 7, 8}, key
        assert found(where(key, first) & Filter(must_not=where(key, first).must)) == set(), key
    assert found(where("root", "red") & where("cluster", -1, 7)) == {0, 3, 6}
    assert found(where("root", "absent")) == set()


@pytest.mark.parametrize(
    "condition",
    [
        Filter(must=(Match(key="metadata.headings", values=("a",)),)),
        Filter(must_not=(Match(key="metadata.cluster", values=()),)),
        Filter(must=(Match(key="metadata.cluster", values=("3",)),)),
        Filter(must=(Match(key="kind", values=(1,)),)),
        Filter(must=(Match(key="metadata.cluster", values=(2**63,)),)),
        Filter(must=(Match(key="metadata.title", values=("\ud800",)),)),
    ],
)
def test_a_filter_that_could_not_match_is_refused(
    collection: Collection, chunk: Make, condition: Filter
) -> None:
    """A path without index, no value, or a value of another type raises in every method."""
    collection.upsert([chunk("a")])
    for attempt in (
        lambda: collection.search(axis(0), limit=1, where=condition),
        lambda: collection.rank([axis(0), "a"], limit=1, where=condition),
        lambda: collection.count(condition),
        lambda: collection.scroll(where=condition),
        lambda: collection.delete_where(condition),
    ):
        with pytest.raises(InvalidRequest, match="filter"):
            attempt()
    assert collection.count() == 1


def test_deletes(collection: Collection, chunk: Make, head: Make) -> None:
    """By id, missing ones ignored; by filter, never an empty one."""
    a, b, c = chunk("a"), chunk("b"), chunk("c")
    collection.upsert([a, b, c, head("c")])
    collection.delete([a.id, str(uuid.uuid4())])
    collection.delete([])
    assert set(ids(collection.scroll(where=of_kind("chunk")))) == {b.id, c.id}
    with pytest.raises(InvalidRequest, match="every point"):
        collection.delete_where(Filter())
    with pytest.raises(InvalidPoint, match="UUID"):
        collection.delete([b.id, "b"])
    assert collection.count() == 3
    collection.delete_where(where("doc_id", "c") & of_kind("chunk"))
    assert collection.count() == 2
    collection.delete_where(where("doc_id", "nobody"))
    assert ids(collection.search(axis(0), limit=10)) == [b.id]


def test_a_refused_upsert_leaves_the_store_as_it_was(collection: Collection, chunk: Make) -> None:
    """A bad point among good ones: none is stored, and the old ones stay. See test_validation."""
    old = chunk("old")
    collection.upsert([old])
    bad = {
        "nan": dataclasses.replace(chunk("a"), vector=np.asarray([1, np.nan, 0, 0], np.float32)),
        "infinity": dataclasses.replace(chunk("a"), vector=np.full(4, np.inf, np.float32)),
        "dimension": dataclasses.replace(chunk("a"), vector=np.ones(3, np.float32)),
        "id": dataclasses.replace(chunk("a"), id="not-a-uuid"),
        "json": chunk("a", when=object()),
        "boolean": chunk("a", cluster=True),
        "nan in payload": chunk("a", weight=float("nan")),
        "surrogate": chunk("a", note="\udc80"),
    }
    for point in bad.values():
        with pytest.raises(InvalidPoint):
            collection.upsert([chunk("good"), chunk("old", cluster=5), point])
    assert collection.count() == 1
    assert content(collection.retrieve([old.id])[0].payload) == old.payload


def test_scroll_gives_every_point_once_by_id(
    collection: Collection, chunk: Make, head: Make
) -> None:
    """Over several batches, with and without vectors and filters."""
    points = [chunk(f"d{i}", vector=(1, i, 0, 0), cluster=i % 2) for i in range(150)]
    points += [head(f"d{i}") for i in range(50)]
    collection.upsert(random.Random(2).sample(points, len(points)))
    everything = sorted(point.id for point in points)
    for batch_size in (1, 7, 200, 1000):
        assert ids(collection.scroll(batch_size=batch_size)) == everything
    even = sorted(point.id for point in points[:150:2])
    found = list(collection.scroll(where=where("cluster", 0), batch_size=10, with_vectors=True))
    assert ids(found) == even
    by_id = {point.id: point for point in points}
    for record in found:
        wanted = by_id[record.id].vector
        assert record.vector is not None
        assert wanted is not None
        np.testing.assert_allclose(record.vector, wanted / np.linalg.norm(wanted), atol=1e-6)
        assert content(record.payload) == by_id[record.id].payload
    with pytest.raises(InvalidRequest, match="batch_size"):
        collection.scroll(batch_size=0)


def test_set_metadata_merges(collection: Collection, chunk: Make, head: Make) -> None:
    """Other keys stay, None removes one, a mapping replaces; absent ids are ignored."""
    a, b, top = chunk("a", cluster=1, note="x"), chunk("b"), head("a")
    collection.upsert([a, b, top])
    absent = str(uuid.uuid4())
    collection.set_metadata(
        {
            a.id: {"cluster": 3, "note": None},
            absent: {"cluster": 3},
            b.id: {"cluster": 3, "terms": {"x": 1}},
            top.id: {"parser": "v2"},
        }
    )
    collection.set_metadata({b.id: {"terms": {"y": 2}}})
    collection.set_metadata({})
    collection.set_metadata({b.id: {}})
    old = a.payload["metadata"]
    records = {record.id: record.payload for record in collection.scroll()}
    expected = {key: value for key, value in old.items() if key != "note"} | {"cluster": 3}
    assert content(records[a.id]) == {**a.payload, "metadata": expected}
    assert records[b.id]["metadata"]["terms"] == {"y": 2}
    assert records[top.id]["metadata"] == top.payload["metadata"] | {"parser": "v2"}
    assert set(ids(collection.search(axis(0), limit=9, where=where("cluster", 3)))) == {a.id, b.id}
    assert absent not in records
    assert collection.search(axis(0), limit=1)[0].score == pytest.approx(1.0)
    for bad in (
        {"cluster": "3"},
        {"doc_id": None},
        {"doc_id": "b"},
        {"end": 7},
        {"x": float("nan")},
        {"root": True},
    ):
        with pytest.raises(InvalidPoint):
            collection.set_metadata({a.id: {"cluster": 9}, b.id: bad})
    assert collection.count(where("cluster", 9)) == 0


def test_a_collection_outlives_its_store_object(
    open_store: Callable[[], Store], manifest: Callable[..., Manifest], chunk: Make
) -> None:
    """Closed and opened anew, it holds the same points, metadata and manifest."""
    first = open_store()
    made = manifest(encoder={"name": "é", "layers": [1, 2], "scale": 1.0, "none": None})
    collection = first.create(made)
    points = [chunk(f"d{i}", vector=(1, i, 0, 0)) for i in range(10)]
    collection.upsert(points)
    collection.set_metadata({points[3].id: {"cluster": 8}})
    collection.delete([points[4].id])
    first.close()
    second = open_store()
    assert made in second.list()
    again = second.open(made.name)
    assert again.manifest == made
    assert again.count() == 9
    assert ids(again.scroll(where=where("cluster", 8))) == [points[3].id]
    assert again.search(axis(0), limit=1)[0].id == points[0].id


def test_collections_are_listed_made_once_and_deleted(
    store: Store, manifest: Callable[..., Manifest], chunk: Make
) -> None:
    """The life of two collections in one store."""
    one, two = manifest(), manifest()
    before = {found.name for found in store.list()}
    assert before.isdisjoint({one.name, two.name})
    first, second = store.create(one), store.create(two)
    with pytest.raises(CollectionExists, match=one.name):
        store.create(one)
    new = [found for found in store.list() if found.name not in before]
    assert new == sorted([one, two], key=lambda m: m.name)
    first.upsert([chunk("a")])
    assert (first.count(), second.count()) == (1, 0)
    store.delete(one.name)
    assert one.name not in {found.name for found in store.list()}
    for attempt in (lambda: store.open(one.name), lambda: store.delete(one.name)):
        with pytest.raises(CollectionNotFound, match=one.name):
            attempt()
    with pytest.raises(StoreUnavailable):
        first.count()
    assert store.create(one).count() == 0
    assert second.count() == 0


def test_names_are_checked_everywhere(store: Store, manifest: Callable[..., Manifest]) -> None:
    """No path leads out of the store."""
    for name in ("../x", "a/b", "", ".locks"):
        for attempt in (
            lambda name=name: store.open(name),
            lambda name=name: store.delete(name),
            lambda name=name: store.create(manifest().model_copy(update={"name": name})),
        ):
            with pytest.raises(InvalidRequest, match="collection name"):
                attempt()


def test_after_close_every_call_raises(
    store: Store, manifest: Callable[..., Manifest], chunk: Make
) -> None:
    """Closing twice is harmless; a scroll under way stops too."""
    collection = store.create(manifest())
    collection.upsert([chunk("a"), chunk("b")])
    under_way = collection.scroll(batch_size=1)
    next(under_way)
    collection.close()
    collection.close()
    for attempt in (
        lambda: collection.count(),
        lambda: collection.upsert([chunk("c")]),
        lambda: collection.delete([chunk("c").id]),
        lambda: collection.delete_where(where("doc_id", "a")),
        lambda: collection.set_metadata({chunk("a").id: {"cluster": 1}}),
        lambda: collection.search(axis(0), limit=1),
        lambda: collection.rank([axis(0), "a"], limit=1),
        lambda: collection.retrieve([chunk("a").id]),
        lambda: list(collection.scroll()),
        lambda: list(under_way),
        lambda: collection.optimize(),
        lambda: collection.optimize(lambda indexed, vectors: None),
        lambda: collection.status(),
        lambda: collection.bulk_load().__enter__(),
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            attempt()
    again = store.open(collection.manifest.name)
    assert again.count() == 2
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        again.count()


def test_optimizing_changes_no_answer(collection: Collection, chunk: Make) -> None:
    """Small as it is, the collection needs no index; what is told on the way adds up."""
    collection.upsert([chunk(f"d{i}", vector=(1, i, i * i, 0)) for i in range(50)])
    before = ids(collection.search(axis(0), limit=20))
    told: list[tuple[int, int]] = []
    collection.optimize(lambda indexed, vectors: told.append((indexed, vectors)))
    assert all(0 <= indexed <= vectors == 50 for indexed, vectors in told)
    collection.optimize()
    assert ids(collection.search(axis(0), limit=20)) == before
    assert ids(collection.search(axis(0), limit=20, exact=True)) == before


def test_the_status_counts_points_and_vectors(
    collection: Collection, chunk: Make, head: Make
) -> None:
    """Heads are points without a vector; what is deleted is not counted."""
    empty = collection.status()
    assert (empty.points, empty.vectors, empty.indexed) == (0, 0, 0)
    collection.upsert([*(chunk(f"d{i}") for i in range(5)), head("d0"), head("d1")])
    collection.delete([chunk("d4").id])
    status = collection.status()
    assert (status.points, status.vectors) == (6, 4)
    assert 0 <= status.indexed <= 4
    assert status.bytes is None or status.bytes > 0


def test_a_bulk_load_stores_what_any_other_does(collection: Collection, chunk: Make) -> None:
    """However it ends, and though one that was killed left it half-open."""
    with collection.bulk_load():
        collection.upsert([chunk("a"), chunk("b")])
        assert len(collection.search(axis(0), limit=9)) == 2
    collection.bulk_load().__enter__()  # the process was killed inside
    with pytest.raises(ZeroDivisionError), collection.bulk_load():
        collection.upsert([chunk("c")])
        raise ZeroDivisionError
    collection.optimize()
    assert collection.count() == len(collection.search(axis(0), limit=9)) == 3


def test_every_point_carries_a_checksum(collection: Collection, chunk: Make, head: Make) -> None:
    """It holds after an upsert, beside one, and after metadata was set; nothing is damaged."""
    numbers = {"whole": 2.0, "third": 1 / 3, "deep": [{"é": 0.1}], "none": None, "flag": True}
    points = [
        chunk("a", vector=axis(0), cluster=1, content_hash="h", **numbers),
        chunk("b", vector=axis(3)),
        dataclasses.replace(head("a"), payload={"kind": "head", "metadata": numbers}),
        dataclasses.replace(head("b"), payload={"kind": "quarantine", "metadata": {"retry": ""}}),
    ]
    collection.upsert(points)
    collection.set_metadata(
        {points[0].id: {"cluster": 2, "whole": None}, points[3].id: {"retry": "wanted"}}
    )
    for record in collection.scroll(with_vectors=True):
        assert verify_record(record) is True
    verdicts: list[bool | None] = []
    assert list(damaged(collection, seen=verdicts.append)) == []
    assert verdicts == [True] * 4
    collection.upsert([chunk("a", vector=axis(1))])  # the new one is that of the new point
    assert list(damaged(collection)) == []


def test_aliases_lead_to_collections(
    store: Store, manifest: Callable[..., Manifest], chunk: Make
) -> None:
    """Set, moved, removed; whoever opens one gets the collection under its own name."""
    one, two, alias = manifest(), manifest(), manifest().name
    first, second = store.create(one), store.create(two)
    first.upsert([chunk("a")])
    store.set_alias(alias, one.name)
    assert store.aliases()[alias] == one.name
    assert alias not in {found.name for found in store.list()}
    opened = store.open(alias)
    assert opened.manifest == one
    assert opened.count() == 1
    store.set_alias(alias, two.name)
    store.set_alias(alias, two.name)
    assert store.aliases()[alias] == two.name
    assert store.open(alias).manifest == two
    assert store.open(alias).count() == 0
    assert first.count() == 1
    assert second.count() == 0
    store.delete(one.name)
    store.set_alias(alias, None)
    assert alias not in store.aliases()
    with pytest.raises(CollectionNotFound, match=alias):
        store.open(alias)
    assert store.open(two.name).manifest == two


def test_an_alias_is_in_the_way_of_what_would_break_it(
    store: Store, manifest: Callable[..., Manifest]
) -> None:
    """Names are unique over both, and no collection is deleted under its alias."""
    one, alias, absent = manifest(), manifest().name, manifest().name
    store.create(one)
    store.set_alias(alias, one.name)
    with pytest.raises(CollectionExists, match=alias):
        store.create(manifest(alias))
    with pytest.raises(CollectionExists, match=one.name):
        store.set_alias(one.name, one.name)
    for target in (absent, alias):
        with pytest.raises(CollectionNotFound, match=target):
            store.set_alias(manifest().name, target)
    with pytest.raises(CollectionNotFound, match=absent):
        store.set_alias(absent, None)
    for name in (alias, one.name):
        with pytest.raises(InvalidRequest, match=alias):
            store.delete(name)
    for bad in ("../x", "", "A", "a/b"):
        for pair in ((bad, one.name), (alias, bad), (bad, None)):
            with pytest.raises(InvalidRequest, match="collection name"):
                store.set_alias(*pair)
    assert store.aliases()[alias] == one.name
    assert store.open(alias).manifest == one


def test_an_alias_outlives_the_store_object(
    open_store: Callable[[], Store], manifest: Callable[..., Manifest]
) -> None:
    """Another program finds it."""
    first = open_store()
    one, alias = manifest(), manifest().name
    first.create(one)
    first.set_alias(alias, one.name)
    first.close()
    second = open_store()
    assert second.aliases()[alias] == one.name
    assert second.open(alias).manifest == one
