"""Exporting a collection into a folder of Parquet files, whole or not at all."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from flows.errors import FlowError, InvalidInput
from flows.progress import Progress
from flows.transfer_files import (
    MANIFEST,
    ExportedFile,
    ExportManifest,
    require_pyarrow,
    schema,
    sha256_of,
    to_table,
)
from search.checksums import verify_record
from search.records import KIND, PAGE_CONTENT, Record
from search.stores.contract import Collection
from search.stores.edge_files import sync_folder

FILE_BYTES: Final = 512 * 1024 * 1024
"""Of points, unpacked, before another file begins."""
GROUP_BYTES: Final = 16 * 1024 * 1024
GROUP_POINTS: Final = 4096
"""A row group is written when it holds so many points, or `GROUP_BYTES`."""
_POINT_BYTES: Final = 1000
"""About what a point takes beside its vector and text."""


class ExportReport(BaseModel):
    """What was exported; the object that `--json` prints."""

    model_config = ConfigDict(frozen=True)

    collection: str
    version: str
    """The collection's own name, where `collection` is an alias."""
    store: str
    out: str
    points: int
    kinds: dict[str, int]
    files: int
    bytes: int
    seconds: float


def require_new_folder(out: Path) -> Path:
    """The folder that an export is to make, if it can.

    Raises:
        InvalidInput: it is there and not empty, or there is no folder to make it in.
    """
    path = out.absolute()
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise InvalidInput(f"--out {str(out)!r} is there and is no folder; give a new one")
    if path.is_dir() and any(path.iterdir()):
        raise InvalidInput(f"--out {str(out)!r} is there and is not empty; give a new folder")
    if not path.parent.is_dir():
        raise InvalidInput(f"--out {str(out)!r}: {str(path.parent)!r} is no folder; make it first")
    return path


def export_collection(
    collection: Collection, out: Path, *, name: str, store: str, progress: Progress
) -> ExportReport:
    """Write all points of a collection; the folder appears when it is whole.

    The same collection gives the same files, apart from the time in their manifest.

    Args:
        collection: What is exported.
        out: A folder that is not there, or empty.
        name: What the collection was called: for the report.
        store: Where it is: for the report.
        progress: Told of the points.

    Raises:
        InvalidInput: see `require_new_folder`; pyarrow is not installed.
        FlowError: the folder cannot be written, or the collection changed meanwhile.
    """
    began = time.perf_counter()
    require_pyarrow()
    out = require_new_folder(out)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        manifest = _write(collection, partial, progress)
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
        sync_folder(out.parent)
    except OSError as error:
        raise FlowError(
            f"cannot write the export {str(out)!r}: {error.strerror or error}; "
            "check rights and space"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return ExportReport(
        collection=name,
        version=collection.manifest.name,
        store=store,
        out=str(out),
        points=manifest.points,
        kinds=manifest.kinds,
        files=len(manifest.files),
        bytes=sum(file.bytes for file in manifest.files),
        seconds=round(time.perf_counter() - began, 3),
    )


def _write(collection: Collection, folder: Path, progress: Progress) -> ExportManifest:
    dimension = collection.manifest.dimension
    expected = collection.count()
    progress.stage("exporting", expected)
    kinds: Counter[str] = Counter()
    files: list[ExportedFile] = []
    groups = _groups(collection.scroll(with_vectors=True), dimension)
    while (first := next(groups, None)) is not None:
        path = folder / f"points-{len(files):05d}.parquet"
        points = _write_file(path, first, groups, dimension, kinds, progress)
        files.append(
            ExportedFile(
                name=path.name, points=points, bytes=path.stat().st_size, sha256=sha256_of(path)
            )
        )
    if kinds.total() != expected:
        raise FlowError(
            f"collection {collection.manifest.name!r} changed while it was exported "
            f"({expected} points, then {kinds.total()}); run again when nothing writes into it"
        )
    manifest = ExportManifest(
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
        collection=collection.manifest,
        points=expected,
        kinds=dict(sorted(kinds.items())),
        files=tuple(files),
    )
    _write_durably(folder / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
    sync_folder(folder)
    return manifest


def _write_file(
    path: Path,
    first: tuple[list[Record], int],
    groups: Iterator[tuple[list[Record], int]],
    dimension: int,
    kinds: Counter[str],
    progress: Progress,
) -> int:
    """Write one file of about `FILE_BYTES`; returns its points."""
    import pyarrow.parquet as pq

    points = size = 0
    columns = ["kind", "doc_id", "title", "source"]
    with path.open("wb") as file:
        writer: Any = pq.ParquetWriter(
            file, schema(dimension), compression="zstd", use_dictionary=columns
        )
        with writer:
            group: tuple[list[Record], int] | None = first
            while group is not None:
                records, length = group
                writer.write_table(to_table(records, dimension), row_group_size=len(records))
                points += len(records)
                size += length
                kinds.update(str(record.payload.get(KIND, "")) for record in records)
                progress.advance(len(records))
                group = None if size >= FILE_BYTES else next(groups, None)
        with suppress(ValueError):  # the writer may have closed it
            file.flush()
            os.fsync(file.fileno())
    return points


def _groups(records: Iterator[Record], dimension: int) -> Iterator[tuple[list[Record], int]]:
    """Points in row groups of bounded size, each with about its bytes."""
    group: list[Record] = []
    size = 0
    for record in records:
        if verify_record(record) is False:
            raise FlowError(
                f"point {record.id} is not as it was written (its checksum differs); "
                "`sextant verify --repair` and an ingest mend it; nothing was exported"
            )
        text = record.payload.get(PAGE_CONTENT)
        length = 4 * dimension + 4 * len(text if isinstance(text, str) else "") + _POINT_BYTES
        group.append(record)
        size += length
        if size >= GROUP_BYTES or len(group) == GROUP_POINTS:
            yield group, size
            group, size = [], 0
    if group:
        yield group, size


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
