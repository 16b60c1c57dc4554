"""Checksums of points: they hold through the engine, and tell of every change."""

import dataclasses
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from search.checksums import CHECKSUM, IDENTITY, checksum, damaged, verify_record
from search.filters import of_kind
from search.records import Point, Record
from search.service import search
from search.stores import edge_collection, validation
from search.stores.contract import Manifest, StorageOptions
from search.stores.edge import EdgeStore
from search.stores.edge_collection import EdgeCollection
from search.stores.edge_wire import Merge, Upsert

Make = Callable[..., Point]
MakeManifest = Callable[..., Manifest]


def directions(count: int, dimension: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Unit vectors as an encoder gives them: rounded to float32, shape (N, D)."""
    values = np.random.default_rng(seed).standard_normal((count, dimension))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def stored(point: Point) -> Record:
    """The point as a store that changes nothing would give it back."""
    [checked] = validation.check_points([point], dimension=4)
    return Record(id=checked.id, payload=checked.payload, vector=checked.vector)


@pytest.mark.parametrize("quantisation", ["none", "int8"])
@pytest.mark.parametrize("dimension", [4, 384, 1024])
def test_vectors_come_back_with_their_bits(
    dimension: int,
    quantisation: str,
    folder: Any,
    manifest: MakeManifest,
    chunk: Make,
    head: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Written, indexed, quantised, read by another process: no point is taken for damaged.

    Lengths that are not quite 1 are the trap: the engine leaves some of them alone, not all.
    """
    monkeypatch.setattr(edge_collection, "INDEX_FROM_POINTS", 100)
    store = EdgeStore(folder)
    storage = StorageOptions.model_validate({"quantisation": quantisation})
    made = manifest("docs", dimension=dimension, storage=storage)
    collection = store.create(made)
    vectors = directions(400, dimension)
    factors = 1 + np.linspace(-2e-6, 2e-6, len(vectors))
    vectors[::2] = (vectors[::2] * factors[::2, None]).astype(np.float32)
    collection.upsert([chunk(f"d{i}", vector=vector) for i, vector in enumerate(vectors)])
    collection.upsert([head("d1"), head("d2")])
    assert list(damaged(collection)) == []
    collection.optimize()
    collection.set_metadata({chunk("d1").id: {"cluster": 5}, head("d1").id: {"cluster": 5}})
    store.close()
    store = EdgeStore(folder)
    verdicts: list[bool | None] = []
    assert list(damaged(store.open("docs"), seen=verdicts.append)) == []
    assert verdicts == [True] * 402
    store.close()


def test_the_metadata_of_heads_comes_back(folder: Any, manifest: MakeManifest, head: Make) -> None:
    """Whatever JSON it is; of floats the engine may change the last digit."""
    dice = random.Random(7)

    def value(depth: int) -> Any:
        simple: list[Callable[[], Any]] = [
            lambda: dice.random(),
            lambda: struct.unpack("d", struct.pack("Q", dice.getrandbits(62)))[0],
            lambda: dice.uniform(-1e9, 1e9),
            lambda: dice.randint(-(2**63), 2**63 - 1),
            lambda: "".join(dice.choices('aé\u0000\n🌍"\\/', k=5)),
            lambda: dice.choice([None, True, False, -0.0, 1e22, 0.1, ""]),
        ]
        if depth == 0 or dice.random() < 0.6:
            return dice.choice(simple)()
        if dice.random() < 0.5:
            return [value(depth - 1) for _ in range(dice.randrange(4))]
        return {dice.choice("zyxé "): value(depth - 1) for _ in range(dice.randrange(4))}

    points = [
        dataclasses.replace(
            head(f"d{i}"),
            payload={"kind": "head", "metadata": {f"k{n}": value(3) for n in range(5)}},
        )
        for i in range(300)
    ]
    store = EdgeStore(folder)
    collection = store.create(manifest("docs"))
    collection.upsert(points)
    store.close()
    store = EdgeStore(folder)
    assert list(damaged(store.open("docs"))) == []
    store.close()


SPOILED: dict[str, Callable[[Record], Record]] = {
    "a bit of the vector": lambda r: dataclasses.replace(r, vector=_flipped(r.vector)),
    "no vector": lambda r: dataclasses.replace(r, vector=None),
    "id": lambda r: dataclasses.replace(r, id=r.id[::-1]),
    "text": lambda r: _changed(r, page_content=r.payload["page_content"] + " "),
    "no text": lambda r: _changed(r, page_content=None),
    "text a number": lambda r: _changed(r, page_content=3),
    "kind": lambda r: _changed(r, kind="head"),
    "kind a number": lambda r: _changed(r, kind=1),
    "metadata": lambda r: _changed(r, metadata=[1]),
    "checksum": lambda r: _changed(r, checksum="0" * 16),
    "checksum a number": lambda r: _changed(r, checksum=0),
    "no payload": lambda r: dataclasses.replace(r, payload={}),
    **{
        key: lambda r, key=key: _changed(r, metadata={**r.payload["metadata"], key: "other"})  # type: ignore[misc]
        for key in IDENTITY
    },
}


def _flipped(vector: Any) -> npt.NDArray[np.float32]:
    bits = vector.copy()
    bits.view(np.uint32)[2] ^= 1
    return np.asarray(bits, dtype=np.float32)


def _changed(record: Record, **changes: Any) -> Record:
    return dataclasses.replace(record, payload={**record.payload, **changes})


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_every_change_is_found(spoil: Callable[[Record], Record], chunk: Make) -> None:
    """Of what a point is, be it one bit or a value of another type."""
    record = stored(chunk("a", vector=(3, 4, 1, 0), content_hash="h"))
    assert verify_record(record) is True
    assert verify_record(spoil(record)) is False


def test_what_is_set_later_is_no_damage(chunk: Make, head: Make) -> None:
    """A chunk's cluster and title, an entry's wish to be tried again; the rest of a head is."""
    record = stored(chunk("a"))
    later = {**record.payload["metadata"], "cluster": 3, "title": "Other"}
    assert verify_record(_changed(record, metadata=later)) is True
    record = stored(head("a"))
    metadata = record.payload["metadata"]
    assert verify_record(_changed(record, metadata={**metadata, "retry": "wanted"})) is True
    assert verify_record(_changed(record, metadata={**metadata, "recipe": "other"})) is False


def test_a_point_of_an_older_program_has_none(chunk: Make) -> None:
    """It is neither whole nor damaged."""
    record = stored(chunk("a"))
    del record.payload[CHECKSUM]
    assert verify_record(record) is None


def test_a_checksum_does_not_depend_on_how_a_point_came(chunk: Make) -> None:
    """Not on the order of keys, an array's layout, or a checksum that it brings along."""
    point = chunk("a", vector=(0.6, 0.8, 0, 0))
    assert point.vector is not None
    expected = checksum(point)
    assert len(expected) == 16
    assert int(expected, 16) >= 0
    metadata = dict(reversed(point.payload["metadata"].items()))
    strided = np.repeat(point.vector, 2)[::2]
    other = Point(
        id=point.id,
        vector=strided,
        payload={"metadata": metadata, **point.payload, CHECKSUM: "f" * 16},
    )
    assert checksum(other) == expected
    [checked] = validation.check_points([other], dimension=4)
    assert checked.payload[CHECKSUM] == expected
    assert other.payload[CHECKSUM] == "f" * 16  # the caller's own is left as it was


def test_parts_do_not_run_together(head: Make) -> None:
    """What leaves one field and enters the next is another point."""
    one = dataclasses.replace(
        head("a"), payload={"kind": "note", "metadata": {}, "page_content": "ab"}
    )
    two = dataclasses.replace(one, payload={**one.payload, "metadata": {"ab": ""}})
    three = dataclasses.replace(one, payload={"kind": "note", "metadata": {}})
    four = dataclasses.replace(one, payload={**three.payload, "page_content": ""})
    assert len({checksum(point) for point in (one, two, three, four)}) == 4


@pytest.fixture
def collection(folder: Any, manifest: MakeManifest) -> Any:
    """An empty collection, closed at the end."""
    store = EdgeStore(folder)
    yield store.create(manifest("docs"))
    store.close()


def test_a_walk_names_what_is_damaged(collection: EdgeCollection, chunk: Make, head: Make) -> None:
    """Changes made behind the contract's back, each with its problem; the rest is passed over."""
    names = ["whole", "other document", "no vector", "no payload", "old", "other vector"]
    point = {name: chunk(name) for name in names}
    collection.upsert([*point.values(), head("whole")])
    original = {record.id: record.payload for record in collection.scroll()}

    def replace(name: str, *, vector: Any = (1, 0, 0, 0), **changes: Any) -> None:
        payload = {**original[point[name].id], **changes}
        raw = b"" if vector is None else np.asarray(vector, dtype=np.float32).tobytes()
        request = Upsert(
            ids=[point[name].id],
            has_vector=[vector is not None],
            vectors=raw,
            payloads=[{key: value for key, value in payload.items() if value is not None}],
            flush=True,
        )
        collection._engine.write(request, timeout_seconds=60)

    merge = Merge(key="metadata", groups=[({"doc_id": "x"}, [point["other document"].id])])
    collection._engine.write(merge, timeout_seconds=60)
    replace("no vector", vector=None)
    replace("no payload", kind=None, metadata=None)
    replace("old", checksum=None)
    replace("other vector", vector=(0, 1, 0, 0))
    verdicts: list[bool | None] = []
    found = dict(damaged(collection, seen=verdicts.append))
    by_name = {name: found[made.id] for name, made in point.items() if made.id in found}
    assert by_name == {
        "other document": "its content differs from its checksum",
        "no vector": "a chunk without a vector",
        "no payload": "its payload lacks 'kind' or 'metadata'",
        "other vector": "its content differs from its checksum",
    }
    assert len(found) == 4
    assert sorted(map(str, verdicts)) == ["False"] * 4 + ["None"] + ["True"] * 2


def test_vectors_without_a_checksum_are_looked_at_too(chunk: Make, manifest: MakeManifest) -> None:
    """Their size and their numbers."""
    records = []
    for name, values in {"short": [1, 0], "nan": [1, np.nan, 0, 0], "good": [1, 0, 0, 0]}.items():
        record = stored(chunk(name))
        del record.payload[CHECKSUM]
        vector = np.asarray(values, dtype=np.float32)
        records.append(dataclasses.replace(record, id=name, vector=vector))

    class Shelf:
        manifest: Any = None

        def scroll(self, *, with_vectors: bool) -> Any:
            assert with_vectors
            return iter(records)

    shelf: Any = Shelf()
    shelf.manifest = manifest()
    assert dict(damaged(shelf)) == {
        "short": "its vector has 2 values; expected 4",
        "nan": "its vector holds NaN or infinity",
    }


class Letters:
    """An encoder of one direction."""

    name = "letters"
    fingerprint = "f" * 64

    def encode_query(self, texts: Any) -> npt.NDArray[np.float32]:
        """The first axis, whatever the texts."""
        return np.eye(1, 4, dtype=np.float32).repeat(len(texts), axis=0)


def test_hits_do_not_show_the_checksum(collection: EdgeCollection, chunk: Make) -> None:
    """It stands beside the keys that other readers know, and in no hit."""
    collection.upsert([chunk("a")])
    [record] = collection.scroll(where=of_kind("chunk"))
    assert record.payload.keys() == {"kind", "page_content", "metadata", CHECKSUM}
    assert CHECKSUM not in record.payload["metadata"]
    [hit] = search(collection, Letters(), "query").hits
    assert CHECKSUM not in str(dataclasses.asdict(hit))
    assert record.payload[CHECKSUM] not in str(dataclasses.asdict(hit))
