"""Copies, exports and imports: the same points to the bit, or one clear line and nothing."""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from qdrant_client import QdrantClient

from flows import transfer, transfer_export, transfer_files
from flows.cli_transfer import _keys, show_transfer
from flows.errors import FlowError, InvalidInput
from flows.progress import Silent
from flows.settings import Settings
from flows.transfer import TransferFailed, fill, leftover, verify
from flows.transfer_copy import copy_collection
from flows.transfer_export import export_collection
from flows.transfer_files import InvalidExport, read_points, schema
from flows.transfer_import import import_collection, read_export
from search.collections import create_aliased, create_version, versions
from search.errors import (
    CollectionExists,
    CollectionNotFound,
    FingerprintMismatch,
    InvalidPoint,
    StoreUnavailable,
)
from search.filters import of_kind
from search.records import (
    KIND_CHUNK,
    KIND_QUARANTINE,
    Point,
    Record,
    chunk_id,
    head_id,
    quarantine_id,
)
from search.stores.contract import Collection, Manifest, StorageOptions, Store
from search.stores.edge import EdgeStore
from search.stores.server import ServerStore

DIMENSION = 8
Content = dict[str, tuple[Any, bytes | None]]


@pytest.fixture
def opened(scratch: Path) -> Iterator[Callable[[str], Store]]:
    """Opens stores of either engine; `edge` and `memory`, or further names of folders."""
    with ExitStack() as stack:

        def open_one(engine: str) -> Store:
            if engine.startswith("edge"):
                return stack.enter_context(closing(EdgeStore(scratch / engine)))
            client = stack.enter_context(closing(QdrantClient(":memory:")))
            return ServerStore.over(client, location=f"{engine}://")

        yield open_one


@pytest.fixture
def source(opened: Callable[[str], Store]) -> Store:
    """An embedded store with collection `docs`."""
    store = opened("edge")
    write(create_aliased(store, "docs", manifest()))
    return store


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "name": "docs",
        "dimension": DIMENSION,
        "fingerprint": "f" * 64,
        "encoder": {"name": "letters", "config": {"layer": -1}},
        "created_at": "2025-01-01T00:00:00+00:00",
        "canary": ((0.1,) * DIMENSION, (-0.25,) * DIMENSION),
    }
    return Manifest.model_validate(fields | changes)


def write(collection: Collection, documents: int = 30, *, seed: int = 7) -> None:
    """Documents of three chunks and a head each, and one in quarantine."""
    random = np.random.default_rng(seed)
    for number in range(documents):
        doc_id = f"notes/{number}.md"
        points = [
            Point(
                id=chunk_id(doc_id, ordinal=ordinal, content_hash="h"),
                vector=_unit(random),
                payload={
                    "kind": "chunk",
                    "page_content": f'Text {number}.{ordinal}: naïve, 東京, \U0001f600, \\ "',
                    "metadata": {
                        "doc_id": doc_id,
                        "source": f"/srv/{doc_id}",
                        "title": f"Title {number}",
                        "start": 10 * ordinal,
                        "end": 10 * ordinal + 9,
                        "chunk": ordinal,
                        "content_hash": "h",
                        "headings": ["One", "Two"],
                        "fields": {"price": 1.5, "count": 3, "sold": "true", "none": None},
                    },
                },
            )
            for ordinal in range(3)
        ]
        head = {"kind": "head", "metadata": {"doc_id": doc_id, "chunks": 3}}
        collection.upsert([*points, Point(id=head_id(doc_id), vector=None, payload=head)])
    bad = {"kind": KIND_QUARANTINE, "metadata": {"doc_id": "x", "reason": "binary"}}
    collection.upsert([Point(id=quarantine_id("x"), vector=None, payload=bad)])


def _unit(random: np.random.Generator) -> npt.NDArray[np.float32]:
    """A vector of length exactly 1: the client in memory normalises whatever it is given."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[random.permutation(DIMENSION)[:4]] = random.choice([-0.5, 0.5], 4)
    return vector


def content(collection: Collection) -> Content:
    """Payloads, and vectors to the bit, by id."""
    return {
        record.id: (record.payload, None if record.vector is None else record.vector.tobytes())
        for record in collection.scroll(with_vectors=True)
    }


def copied(source: Store, target: Store, **options: Any) -> transfer.TransferReport:
    given: dict[str, Any] = {"collection": "docs", "name": None, "progress": Silent(), **options}
    return copy_collection(source, target, **given)


# --- copies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engines", [("edge", "memory"), ("memory", "edge2"), ("edge", "edge2")])
def test_a_copy_is_the_same_collection(
    engines: tuple[str, str], opened: Callable[[str], Store]
) -> None:
    """Whichever engines: ids, payloads, vectors, fingerprint, canary; behind an alias."""
    first, second = (opened(engine) for engine in engines)
    original = create_aliased(first, "docs", manifest())
    write(original)
    report = copied(first, second)
    copy = second.open("docs")
    assert content(copy) == content(original)
    assert copy.manifest.canary == original.manifest.canary
    assert copy.manifest.fingerprint == original.manifest.fingerprint
    assert copy.manifest.encoder == original.manifest.encoder
    assert second.aliases() == {"docs": "docs--ffffffff-1"}
    assert report.kinds == {"chunk": 90, "head": 30, "quarantine": 1}
    assert (report.written, report.present, report.sampled) == (121, 0, 121)
    assert report.max_difference == 0.0


def test_a_copy_that_was_cut_short_goes_on(
    source: Store, opened: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias is set at the end only; what is there is not written again."""
    target = opened("edge2")
    monkeypatch.setattr(transfer, "BATCH_POINTS", 20)
    upserts = iter(range(3))
    create = target.create

    def failing(made: Manifest) -> Collection:
        collection = create(made)
        upsert = collection.upsert

        def some(points: Any) -> None:
            if next(upserts, None) is None:
                raise StoreUnavailable("the engine died")
            upsert(points)

        monkeypatch.setattr(collection, "upsert", some)
        return collection

    with monkeypatch.context() as patch:
        patch.setattr(target, "create", failing)
        with pytest.raises(StoreUnavailable):
            copied(source, target)
    assert target.aliases() == {}
    (begun,) = versions(target, "docs")

    # what has changed in the source meanwhile is changed, and what is gone goes
    original = source.open("docs")
    gone = next(iter(target.open(begun.name).scroll())).id
    original.delete([gone])
    monkeypatch.undo()
    target.open(begun.name).close()
    report = copied(source, target)
    assert report.version == begun.name
    assert (report.present, report.written, report.removed) == (59, 61, 1)
    assert content(target.open("docs")) == content(original)


def test_a_copy_over_a_copy_moves_the_name(source: Store, opened: Callable[[str], Store]) -> None:
    """What it led to stays, and is used by the third copy."""
    target = opened("memory")
    first = copied(source, target)
    second = copied(source, target)
    assert (second.replaced, second.version) == (first.version, "docs--ffffffff-2")
    third = copied(source, target)
    assert (third.version, third.present, third.written) == (first.version, 121, 0)


def test_a_copy_under_another_name_in_the_same_store(source: Store) -> None:
    report = copied(source, source, name="docs-monday")
    assert source.aliases()["docs-monday"] == report.version == "docs-monday--ffffffff-1"
    with pytest.raises(InvalidInput, match="onto itself; give --as another name"):
        copied(source, source)


def test_a_copy_replaces_nothing_of_another_encoder(
    source: Store, opened: Callable[[str], Store]
) -> None:
    """Nor a collection without versions."""
    target = opened("memory")
    create_aliased(target, "docs", manifest(fingerprint="e" * 64))
    with pytest.raises(FingerprintMismatch, match="give --as another name"):
        copied(source, target)
    target.create(manifest(name="plain"))
    with pytest.raises(CollectionExists, match="without versions"):
        copied(source, target, name="plain")
    with pytest.raises(CollectionNotFound):
        copied(source, target, collection="gone")
    assert len(target.list()) == 2


def test_a_copy_that_is_not_the_same_does_not_get_the_name(
    source: Store, opened: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that loses points, one that changes payloads, one that bends vectors."""
    target = opened("memory")
    original = source.open("docs")

    def filled(made: Collection) -> transfer.Filled:
        return fill(made, original.scroll(with_vectors=True), Silent())

    lost = create_version(target, "lost", manifest())
    outcome = filled(lost)
    lost.delete([next(lost.scroll()).id])
    with pytest.raises(TransferFailed, match="holds 120 points"):
        verify(lost, outcome)

    changed = create_version(target, "changed", manifest())
    outcome = filled(changed)
    chunk = next(changed.scroll(where=of_kind(KIND_CHUNK)))
    changed.set_metadata({chunk.id: {"title": "Other"}})
    with pytest.raises(TransferFailed, match="has not the payload of its source"):
        verify(changed, outcome)

    bent = create_version(target, "bent", manifest())
    outcome = filled(bent)
    (first, *_) = (r for r in outcome.sample if r.vector is not None)
    assert first.vector is not None
    bent.upsert([Point(id=first.id, vector=first.vector[::-1].copy(), payload=first.payload)])
    with pytest.raises(TransferFailed, match="differ from their source by up to"):
        verify(bent, outcome)


def test_damage_is_not_copied(source: Store, opened: Callable[[str], Store]) -> None:
    """A point that is not as it was written would get a new checksum and pass for sound."""
    records = list(source.open("docs").scroll(with_vectors=True))
    at = next(i for i, r in enumerate(records) if r.vector is not None)
    records[at] = replace(records[at], payload={**records[at].payload, "page_content": "rot"})
    target = create_version(opened("memory"), "docs", manifest())
    with pytest.raises(TransferFailed, match="not as it was written"):
        fill(target, records, Silent())


def test_a_source_out_of_order_is_refused(source: Store, opened: Callable[[str], Store]) -> None:
    records = list(source.open("docs").scroll(with_vectors=True))
    target = create_version(opened("memory"), "docs", manifest())
    for wrong in ([*records, records[0]], [records[0], records[0]]):
        with pytest.raises(TransferFailed, match="expected ascending ids, each once"):
            fill(target, wrong, Silent())


def test_storage_options_go_where_they_mean_something(
    opened: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder has no shards; an unfinished version is known whatever its options."""
    first, second = opened("memory"), opened("edge")
    storage = StorageOptions(quantisation="int8", on_disk=True)
    write(create_aliased(first, "docs", manifest(storage=storage)), documents=2)
    copied(first, second)
    assert second.open("docs").manifest.storage == StorageOptions(quantisation="int8")
    third = opened("memory2")
    copied(first, third)
    assert third.open("docs").manifest.storage == storage
    third.set_alias("docs", None)
    assert leftover(third, "docs", manifest()) is not None
    assert leftover(third, "docs", manifest(created_at="2026-01-01T00:00:00+00:00")) is None


@pytest.mark.parametrize(
    ("source", "target", "keys"),
    [
        ("a", "b", (None, None)),
        ("http://a", "b", ("own", None)),
        ("a", "http://b", (None, "theirs")),
        ("http://a", "http://b", ("own", "theirs")),
    ],
)
def test_each_server_gets_its_own_key(
    source: str, target: str, keys: tuple[str | None, str | None]
) -> None:
    """One key alone is that of the only server, and of no second one."""
    both = Settings(api_key=SecretStr("own"), target_api_key=SecretStr("theirs"))
    given = tuple(k.get_secret_value() if k else None for k in _keys(both, source, target))
    assert given == keys
    one = Settings(api_key=SecretStr("own"))
    first, second = _keys(one, source, target)
    assert (first is None) == (keys[0] is None)
    assert (second is None) == (keys[1] is None or source != "a")
    same = _keys(one, "http://a", "http://a")
    assert [k.get_secret_value() for k in same if k] == ["own", "own"]


# --- exports and imports -----------------------------------------------------------------------


@pytest.fixture
def exported(source: Store, tmp_path: Path) -> Path:
    """An export of `docs`."""
    export_of(source, tmp_path / "export")
    return tmp_path / "export"


def export_of(store: Store, out: Path) -> transfer_export.ExportReport:
    return export_collection(
        store.open("docs"), out, name="docs", store=store.location, progress=Silent()
    )


def test_a_round_trip_is_equal_bit_for_bit(
    source: Store, tmp_path: Path, opened: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several files and row groups; exported again, the same bytes."""
    monkeypatch.setattr(transfer_export, "GROUP_POINTS", 16)
    monkeypatch.setattr(transfer_export, "FILE_BYTES", 34_000)
    report = export_of(source, tmp_path / "export")
    assert (report.points, report.files) == (121, 4)
    target = opened("edge2")
    imported = import_collection(tmp_path / "export", target, name=None, progress=Silent())
    assert (imported.written, imported.max_difference) == (121, 0.0)
    copy = target.open("docs")
    assert content(copy) == content(source.open("docs"))
    assert copy.manifest == source.open("docs").manifest
    export_of(target, tmp_path / "again")
    names = sorted(path.name for path in (tmp_path / "export").iterdir())
    assert names == ["manifest.json", *(f"points-0000{i}.parquet" for i in range(4))]
    for name in names[1:]:
        first, second = (tmp_path / folder / name for folder in ("export", "again"))
        assert first.read_bytes() == second.read_bytes()


def test_other_programs_can_read_the_tables(exported: Path) -> None:
    """Columns with names and types, vectors of fixed length, metadata as JSON."""
    table = pq.read_table(exported / "points-00000.parquet")
    assert table.schema.equals(schema(DIMENSION))
    rows = table.to_pylist()
    chunk = next(row for row in rows if row["kind"] == "chunk")
    assert len(chunk["vector"]) == DIMENSION
    assert json.loads(chunk["metadata"])["doc_id"] == chunk["doc_id"]
    assert chunk["end"] - chunk["start"] == 9
    head = next(row for row in rows if row["kind"] == "head")
    assert (head["vector"], head["text"]) == (None, None)


def test_an_empty_collection_has_no_files(opened: Callable[[str], Store], tmp_path: Path) -> None:
    store = opened("memory")
    create_aliased(store, "docs", manifest())
    assert export_of(store, tmp_path / "empty").files == 0
    report = import_collection(tmp_path / "empty", store, name="again", progress=Silent())
    assert (report.points, store.aliases()["again"]) == (0, "again--ffffffff-1")


def test_an_export_appears_whole_or_not_at_all(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure half-way leaves nothing; a folder with something in it is not touched."""

    def broken(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transfer_export, "to_table", broken)
        with pytest.raises(FlowError, match="No space left on device; check rights and space"):
            export_of(source, tmp_path / "export")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for out, line in (
        (tmp_path / "full", "is there and is not empty"),
        (tmp_path / "full" / "mine", "is there and is no folder"),
        (tmp_path / "gone" / "export", "is no folder; make it first"),
    ):
        with pytest.raises(InvalidInput, match=line):
            export_of(source, out)
    (tmp_path / "empty").mkdir()
    assert export_of(source, tmp_path / "empty").points == 121


def test_a_collection_that_changes_meanwhile_is_not_exported(
    source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = source.open("docs")
    monkeypatch.setattr(collection, "count", lambda where=None: 120)
    with pytest.raises(FlowError, match=r"changed while it was exported \(120 points, then 121\)"):
        export_of(source, tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_an_import_that_was_cut_short_goes_on(
    exported: Path, opened: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = opened("edge2")

    def killed(*_: Any) -> Any:
        raise StoreUnavailable("the engine died")

    with monkeypatch.context() as patch:
        patch.setattr("flows.transfer_import.verify", killed)
        with pytest.raises(StoreUnavailable):
            import_collection(exported, target, name=None, progress=Silent())
    assert target.aliases() == {}
    report = import_collection(exported, target, name=None, progress=Silent())
    assert (report.present, report.written) == (121, 0)


def test_an_import_replaces_nothing(exported: Path, source: Store) -> None:
    with pytest.raises(CollectionExists, match="'docs' is there already"):
        import_collection(exported, source, name=None, progress=Silent())
    report = import_collection(exported, source, name="restored", progress=Silent())
    assert content(source.open("restored")) == content(source.open("docs"))
    with pytest.raises(CollectionExists, match="'restored' is there already"):
        import_collection(exported, source, name="restored", progress=Silent())
    assert report.version == "restored--ffffffff-1"


Harm = Callable[[Path], None]


def _edit(path: Path, **changes: Any) -> None:
    """Change fields of the manifest."""
    fields = json.loads((path / "manifest.json").read_text())
    for name, value in changes.items():
        fields[name] = value(fields[name]) if callable(value) else value
    (path / "manifest.json").write_text(json.dumps(fields))


def _rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write the only file anew, with a hash that is right: what a hostile hand would do."""
    file = path / "points-00000.parquet"
    table = change(pq.read_table(file))
    pq.write_table(table, file)
    entry = {
        "name": file.name,
        "points": table.num_rows,
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    _edit(path, files=[entry])


def _column(name: str, value: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        field = table.schema.field(at)
        values = [value(item) for item in table.column(name).to_pylist()]
        return table.set_column(at, field, pa.array(values, type=field.type))

    return change


def _bits(path: Path) -> None:
    file = path / "points-00000.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def _symlink(path: Path) -> None:
    file = path / "points-00000.parquet"
    shutil.move(file, path.parent / "elsewhere")
    file.symlink_to(path.parent / "elsewhere")


def _collection(**changes: Any) -> Harm:
    return lambda path: _edit(path, collection=lambda fields: fields | changes)


def _file(**changes: Any) -> Harm:
    return lambda path: _edit(path, files=lambda files: [files[0] | changes])


HARMS: dict[str, tuple[Harm, str]] = {
    "no manifest": (lambda p: (p / "manifest.json").unlink(), "is no export: manifest.json"),
    "no JSON": (lambda p: _write(p, b"{"), "is no manifest of an export"),
    "no UTF-8": (lambda p: _write(p, b"\xff\xfe"), "is no manifest of an export"),
    "a list": (lambda p: _write(p, b"[]"), "is no manifest of an export"),
    "deep": (lambda p: _write(p, b"[" * 100_000), "is no manifest of an export"),
    "another format": (lambda p: _edit(p, format="other"), "(format: "),
    "a later format": (lambda p: _edit(p, format_version=2), "has format version 2, this program"),
    "unknown field": (lambda p: _edit(p, points=lambda n: str(n) + "x"), "(points: "),
    "a later schema": (_collection(schema_version=9), "has schema version 9, this program reads"),
    "another dimension": (_collection(dimension=4, canary=[]), "has other columns than an export"),
    "no dimension": (_collection(dimension=0, canary=[]), "dimension 0; expected 1 to"),
    "wrong canary": (_collection(canary=[[1.0]]), "canary vector 0 has 1 values"),
    "outside": (_file(name="../points-00000.parquet"), "names a file '../points-00000.parquet'"),
    "absolute": (_file(name="/etc/passwd"), "names a file '/etc/passwd'"),
    "twice": (lambda p: _edit(p, files=lambda f: f * 2), "names a file twice"),
    "missing file": (lambda p: (p / "points-00000.parquet").unlink(), "is missing, or no file"),
    "symlink": (_symlink, "is missing, or no file"),
    "fifo": (lambda p: _fifo(p), "is missing, or no file"),
    "a flipped bit": (_bits, "is not the file that was exported"),
    "no hash": (_file(sha256="0" * 64), "is not the file that was exported"),
    "no Parquet": (lambda p: _replace(p, b"PAR1 junk PAR1"), "is no Parquet file"),
    "too few rows": (_file(points=1), "holds 121 points, its manifest says 1"),
    "wrong sum": (lambda p: _edit(p, points=5), "says 5 points, its files 121"),
    "other columns": (
        lambda p: _rewrite(p, lambda t: t.rename_columns(["id", "sort", *t.column_names[2:]])),
        "has other columns",
    ),
    "wrong kinds": (
        lambda p: _edit(p, kinds={"chunk": 121}),
        "its manifest says {'chunk': 121}",
    ),
    "no order": (
        lambda p: _rewrite(p, lambda t: t.take(list(reversed(range(t.num_rows))))),
        "expected ascending ids",
    ),
    "other ids": (
        lambda p: _rewrite(p, _column("id", lambda i: "0" + i[1:])),
        "expected ascending ids",
    ),
    "no ids": (
        lambda p: _rewrite(
            p, lambda t: _column("more", lambda m: None)(_column("id", lambda i: "z" + i)(t))
        ),
        "expected a UUID",
    ),
    "no metadata": (lambda p: _rewrite(p, _column("metadata", lambda m: "[]")), "no JSON object"),
    "deep metadata": (
        lambda p: _rewrite(p, _column("metadata", lambda m: "[" * 100_000)),
        "no JSON object",
    ),
    "other text": (
        lambda p: _rewrite(p, _column("text", lambda t: t and "forged")),
        "not as it was written",
    ),
    "NaN": (
        lambda p: _rewrite(
            p, lambda t: _column("more", lambda m: None)(_column("vector", _nan)(t))
        ),
        "NaN or infinity",
    ),
    "no vectors": (
        lambda p: _rewrite(
            p, lambda t: _column("more", lambda m: None)(_column("vector", lambda v: None)(t))
        ),
        "a chunk without a 'dense' vector",
    ),
}


def _nan(vector: list[float] | None) -> list[float] | None:
    return vector and [float("nan"), *vector[1:]]


def _write(path: Path, data: bytes) -> None:
    (path / "manifest.json").write_bytes(data)


def _fifo(path: Path) -> None:
    (path / "points-00000.parquet").unlink()
    os.mkfifo(path / "points-00000.parquet")


def _replace(path: Path, data: bytes) -> None:
    file = path / "points-00000.parquet"
    file.write_bytes(data)
    _file(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())(path)


@pytest.mark.parametrize("name", HARMS)
def test_a_damaged_or_hostile_export_is_refused(
    name: str, exported: Path, opened: Callable[[str], Store]
) -> None:
    """In one line; and nothing is left of it in the store."""
    harm, line = HARMS[name]
    harm(exported)
    target = opened("memory")
    with pytest.raises((InvalidExport, TransferFailed, InvalidPoint)) as refused:
        import_collection(exported, target, name=None, progress=Silent())
    assert line in str(refused.value)
    assert "\n" not in str(refused.value).split("; ")[0]
    assert (target.aliases(), target.list()) == ({}, [])


def test_a_huge_row_group_is_not_read(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_files, "MAX_GROUP_BYTES", 100)
    with pytest.raises(InvalidExport, match=r"row group 0 takes .* bytes unpacked"):
        read_export(exported, Silent())
    with pytest.raises(InvalidExport, match="row group 0 takes"):
        next(read_points(exported / "points-00000.parquet", DIMENSION))


def test_a_huge_manifest_is_not_read(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.transfer_import.MAX_MANIFEST_BYTES", 100)
    with pytest.raises(InvalidExport, match="is larger than 100 bytes"):
        read_export(exported, Silent())


def test_without_pyarrow_the_remedy_is_named(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(InvalidInput, match=r"sextant-pipeline\[tables\]"):
        read_export(exported, Silent())


def test_points_of_the_future_survive(opened: Callable[[str], Store], tmp_path: Path) -> None:
    """Further keys of a payload, and points of a kind that this program does not know."""
    store = opened("edge4")
    collection = create_aliased(store, "docs", manifest())
    point = Point(
        id=head_id("a"), vector=None, payload={"kind": "note", "metadata": {}, "extra": [1, "b"]}
    )
    collection.upsert([point])
    export_of(store, tmp_path / "export")
    import_collection(tmp_path / "export", store, name="again", progress=Silent())
    assert content(store.open("again")) == content(collection)


def test_a_sample_of_many_points_has_each_with_equal_chance() -> None:
    """Reservoir sampling: no more than SAMPLE, from the beginning to the end."""
    filled = transfer.Filled()
    chance = random.Random(1)
    records = [
        Record(id=str(number), payload={"kind": "chunk"}, vector=None) for number in range(5000)
    ]
    for record in records:
        transfer._keep(filled, record, chance)
        filled.kinds["chunk"] += 1
    numbers = sorted(int(record.id) for record in filled.sample)
    assert len(set(numbers)) == transfer.SAMPLE
    assert numbers[0] < 250
    assert numbers[-1] > 4750
    assert 2000 < np.mean(numbers) < 3000


def test_a_transfer_in_words(
    source: Store, opened: Callable[[str], Store], capsys: pytest.CaptureFixture[str]
) -> None:
    target = opened("memory")
    copied(source, target)
    show_transfer(copied(source, target))
    out = capsys.readouterr().out
    assert "121 points (" in out
    assert "leads to 'docs--ffffffff-2'" in out
    assert "before, it led to 'docs--ffffffff-1', which is still there" in out


# --- the commands ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ("copy --to b", 2, "missing option '--from'; see `sextant copy --help`"),
        ("copy --from a --to b", 1, "no collection 'docs' in "),
        ("copy --from ftp://a --to b", 2, "store location 'ftp://...': expected a folder"),
        ("copy --from a --to b --as A/B", 2, "collection name 'A/B'"),
        ("copy --from a --to b --api-key k", 2, "no such option: --api-key"),
        ("export --out there", 2, "--out 'there' is there and is not empty; give a new folder"),
        ("export --out new", 1, "no collection 'docs' in "),
        ("import gone", 2, "'gone' is no folder; give one that `sextant export` made"),
        ("import there", 1, "'there' is no export: manifest.json cannot be read"),
    ],
)
def test_wrong_input_is_refused(sextant: Any, arguments: str, code: int, line: str) -> None:
    (sextant.folder / "there").mkdir()
    (sextant.folder / "there" / "mine").write_text("mine")
    run = sextant(*arguments.split(), *([] if "import" in arguments else ["--quiet"]))
    assert run.code == code
    complaint = run.err.splitlines()[-1].removeprefix("sextant: ")
    assert complaint.startswith(line)


def test_the_commands(sextant: Any) -> None:
    """Out of one store, into files, into another, and copied back."""
    with closing(EdgeStore(sextant.folder / ".sextant")) as store:
        write(create_aliased(store, "docs", manifest()))
        before = content(store.open("docs"))
    run = sextant("export", "--out", "files", "--json")
    assert (run.code, run.json["points"]) == (0, 121)
    run = sextant("import", "files", "--store", "second", "--json", "--quiet")
    assert (run.code, run.json["written"], run.err) == (0, 121, "")
    run = sextant("copy", "--from", "second", "--to", ".sextant", "--as", "back")
    assert run.code == 0
    assert "collection 'back' in" in run.out
    with closing(EdgeStore(sextant.folder / ".sextant")) as store:
        assert content(store.open("back")) == before
    run = sextant("import", "files")
    assert run.code == 1
    assert "'docs' is there already" in run.err
