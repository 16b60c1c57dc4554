"""Importing an export: every file is checked before anything is written."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from flows.errors import InvalidInput
from flows.progress import Progress
from flows.transfer import TransferFailed, TransferReport, fill, leftover, verify
from flows.transfer_files import (
    FILE_NAME,
    FORMAT_VERSION,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    ExportManifest,
    InvalidExport,
    read_points,
    require_pyarrow,
    require_schema,
    sha256_of,
)
from search.collections import base_name, check_alias, create_version
from search.errors import CollectionExists, InvalidPoint, InvalidRequest, SearchError
from search.records import Record
from search.stores.contract import SCHEMA_VERSION, StorageOptions, Store
from search.stores.manifests import check_manifest


def read_export(folder: Path, progress: Progress) -> ExportManifest:
    """The manifest of an export, whose files are all there and are what it says.

    Raises:
        InvalidInput: there is no such folder; pyarrow is not installed.
        InvalidExport: it is no export, of another version, or damaged.
    """
    require_pyarrow()
    if not folder.is_dir():
        raise InvalidInput(f"{str(folder)!r} is no folder; give one that `sextant export` made")
    manifest = _read_manifest(folder)
    names = [file.name for file in manifest.files]
    if len(set(names)) != len(names):
        raise InvalidExport(f"{str(folder / MANIFEST)!r} names a file twice; export again")
    progress.stage("checking files", len(names))
    for file in manifest.files:
        path = folder / file.name
        if not FILE_NAME.fullmatch(file.name):
            raise InvalidExport(
                f"{str(folder / MANIFEST)!r} names a file {file.name!r}; "
                "expected points-00000.parquet and so on"
            )
        if path.is_symlink() or not path.is_file():
            raise InvalidExport(f"{str(path)!r} is missing, or no file; export again")
        try:
            whole = path.stat().st_size == file.bytes and sha256_of(path) == file.sha256
        except OSError as error:
            raise InvalidExport(f"{str(path)!r} cannot be read: {error.strerror}") from None
        if not whole:
            raise InvalidExport(
                f"{str(path)!r} is not the file that was exported (its hash differs); copy or "
                "export it again"
            )
        _require_rows(path, manifest.collection.dimension, file.points)
        progress.advance(1)
    counted = sum(file.points for file in manifest.files)
    if not counted == manifest.points == sum(manifest.kinds.values()):
        raise InvalidExport(
            f"{str(folder / MANIFEST)!r} says {manifest.points} points, its files {counted}; "
            "export again"
        )
    return manifest


def import_collection(
    folder: Path, store: Store, *, name: str | None, progress: Progress
) -> TransferReport:
    """Make a collection of an export; its name leads there when it is whole.

    Args:
        folder: What `export_collection` made.
        store: Where the collection goes.
        name: What it is to be called; None: as it was.
        progress: Told of files and points.

    Raises:
        InvalidInput, InvalidExport: see `read_export`.
        CollectionExists: there is a collection of that name.
        TransferFailed: what was written is not what was exported; the name leads nowhere.
    """
    began = time.perf_counter()
    manifest = read_export(folder, progress)
    collection = manifest.collection
    alias = check_alias(name or base_name(collection.name))
    if alias in store.aliases() or alias in {found.name for found in store.list()}:
        raise CollectionExists(
            f"collection {alias!r} is there already in {store.location}; "
            "give --as another name, or delete it first"
        )
    if "://" not in store.location:  # the other options are for servers
        storage = StorageOptions(quantisation=collection.storage.quantisation)
        collection = collection.model_copy(update={"storage": storage})
    unfinished = leftover(store, alias, collection)
    target = store.open(unfinished.name) if unfinished else create_version(store, alias, collection)
    progress.stage(f"importing {alias}", manifest.points)
    try:
        filled = fill(target, _points(folder, manifest), progress)
        if dict(filled.kinds) != manifest.kinds:
            raise TransferFailed(
                f"{str(folder)!r} holds {dict(filled.kinds)} points, its manifest says "
                f"{manifest.kinds}; export again"
            )
        progress.stage("indexing")
        target.optimize()
        progress.stage("comparing")
        difference = verify(target, filled)
    except (InvalidPoint, InvalidExport, TransferFailed):
        # the export will never be better: what there is of it must not stay
        with suppress(SearchError):
            store.delete(target.manifest.name)
        raise
    store.set_alias(alias, target.manifest.name)
    return TransferReport(
        source=str(folder),
        store=store.location,
        collection=alias,
        version=target.manifest.name,
        points=filled.points,
        kinds=dict(filled.kinds),
        written=filled.written,
        present=filled.present,
        removed=filled.removed,
        sampled=len(filled.sample),
        max_difference=difference,
        seconds=round(time.perf_counter() - began, 3),
    )


def _read_manifest(folder: Path) -> ExportManifest:
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise InvalidExport(
            f"{str(folder)!r} is no export: {MANIFEST} cannot be read ({error.strerror})"
        ) from None
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidExport(
            f"{str(path)!r} is larger than {MAX_MANIFEST_BYTES} bytes; export again"
        )
    try:
        manifest = ExportManifest.model_validate_json(data)
        if manifest.format_version != FORMAT_VERSION:
            raise InvalidExport(
                f"{str(path)!r} has format version {manifest.format_version}, this program reads "
                f"{FORMAT_VERSION}; export again"
            )
        if manifest.collection.schema_version != SCHEMA_VERSION:
            raise InvalidExport(
                f"{str(path)!r} has schema version {manifest.collection.schema_version}, this "
                f"program reads {SCHEMA_VERSION}; export again"
            )
        check_manifest(manifest.collection)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidExport(
            f"{str(path)!r} is no manifest of an export ({where}: {first['msg']}); export again"
        ) from None
    except InvalidRequest as error:
        raise InvalidExport(f"{str(path)!r}: {error}") from None
    return manifest


def _require_rows(path: Path, dimension: int, points: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            require_schema(file, path, dimension)
            rows = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise InvalidExport(f"{str(path)!r} is no Parquet file: {error}; export again") from None
    if rows != points:
        raise InvalidExport(
            f"{str(path)!r} holds {rows} points, its manifest says {points}; export again"
        )


def _points(folder: Path, manifest: ExportManifest) -> Iterator[Record]:
    for file in manifest.files:
        yield from read_points(folder / file.name, manifest.collection.dimension)
