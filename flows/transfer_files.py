"""The files of an export: a manifest, and points in Parquet tables that other programs read, too.

    DIR/manifest.json          what the collection is, and each file's hash
    DIR/points-00000.parquet   rows in the order of their ids

A row holds a point: `id`, `kind`, `text`, `vector` (float32, of fixed length; null but for
chunks), `metadata` as JSON, and from it `doc_id`, `title`, `source`, `start` and `end` for those
who only want these. `more` is JSON of whatever else a payload holds, mostly null. An import reads
`id`, `kind`, `text`, `vector`, `metadata` and `more`, and nothing else.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from flows.errors import FlowError, InvalidInput
from search.records import KIND, METADATA, PAGE_CONTENT, Payload, Record
from search.stores.contract import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST: Final = "manifest.json"
FORMAT: Final = "sextant-export"
FORMAT_VERSION: Final = 1
FILE_NAME: Final = re.compile(r"points-\d{5}\.parquet")
MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024
MAX_GROUP_BYTES: Final = 512 * 1024 * 1024
"""Of a row group, unpacked: what a reader must hold at once."""
TEXT_COLUMNS: Final = ("doc_id", "title", "source")
NUMBER_COLUMNS: Final = ("start", "end")
ROWS_AT_A_TIME: Final = 1024


class InvalidExport(FlowError):
    """A folder is no export, or a damaged one."""


class ExportedFile(BaseModel):
    """One Parquet file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    points: Annotated[int, Field(ge=1)]
    bytes: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ExportManifest(BaseModel):
    """What `manifest.json` of an export holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["sextant-export"] = FORMAT
    format_version: int = FORMAT_VERSION
    exported_at: str
    """ISO 8601, UTC."""
    collection: Manifest
    """The collection's own, with its canary."""
    points: int
    kinds: dict[str, int]
    """Points of each kind."""
    files: tuple[ExportedFile, ...]


def require_pyarrow() -> None:
    """Refuse to go on without the library for Parquet.

    Raises:
        InvalidInput: it is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise InvalidInput(
            "Parquet files need pyarrow, which is not installed; "
            "`pip install 'sextant-pipeline[tables]'`"
        ) from None


def schema(dimension: int) -> "pa.Schema":
    """The columns of an export with vectors of this dimension."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("text", pa.large_string()),
            pa.field("vector", pa.list_(pa.float32(), dimension)),
            *(pa.field(name, pa.large_string()) for name in TEXT_COLUMNS),
            *(pa.field(name, pa.int64()) for name in NUMBER_COLUMNS),
            pa.field("metadata", pa.large_string(), nullable=False),
            pa.field("more", pa.large_string()),
        ]
    )


def to_table(records: Sequence[Record], dimension: int) -> "pa.Table":
    """Points as rows."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {field.name: [] for field in schema(dimension)}
    del columns["vector"]
    for record in records:
        metadata = record.payload.get(METADATA, {})
        text = record.payload.get(PAGE_CONTENT)
        more = {
            key: value
            for key, value in record.payload.items()
            if key not in (KIND, METADATA) and not (key == PAGE_CONTENT and isinstance(value, str))
        }
        columns["id"].append(record.id)
        columns["kind"].append(str(record.payload.get(KIND, "")))
        columns["text"].append(text if isinstance(text, str) else None)
        columns["metadata"].append(_json(metadata))
        columns["more"].append(_json(more) if more else None)
        for name in TEXT_COLUMNS:
            value = metadata.get(name)
            columns[name].append(value if isinstance(value, str) else None)
        for name in NUMBER_COLUMNS:
            value = metadata.get(name)
            columns[name].append(value if type(value) is int else None)
    table = {
        field.name: _vectors(records, dimension)
        if field.name == "vector"
        else pa.array(columns[field.name], type=field.type)
        for field in schema(dimension)
    }
    return pa.table(table, schema=schema(dimension))


def read_points(path: Path, dimension: int) -> Iterator[Record]:
    """The points of one file, in its order, a row group at a time.

    Raises:
        InvalidExport: it is no such file, or a row is none of ours.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            require_schema(file, path, dimension)
            for batch in file.iter_batches(
                batch_size=ROWS_AT_A_TIME,
                columns=["id", "kind", "text", "vector", "metadata", "more"],
            ):
                yield from _records(batch, path, dimension)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidExport(f"{str(path)!r} cannot be read: {error}; export again") from None


def require_schema(file: Any, path: Path, dimension: int) -> None:
    """Refuse a Parquet file with other columns, or with a row group too large to be read.

    Raises:
        InvalidExport: it is one.
    """
    if not file.schema_arrow.equals(schema(dimension)):
        raise InvalidExport(
            f"{str(path)!r} has other columns than an export with vectors of {dimension} values; "
            "export again"
        )
    for number in range(file.metadata.num_row_groups):
        size = file.metadata.row_group(number).total_byte_size
        if size > MAX_GROUP_BYTES:
            raise InvalidExport(
                f"{str(path)!r}: row group {number} takes {size:,} bytes unpacked; expected at "
                f"most {MAX_GROUP_BYTES:,}; export again"
            )


def sha256_of(path: Path) -> str:
    """The file's hash, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _vectors(records: Sequence[Record], dimension: int) -> "pa.Array":
    import pyarrow as pa

    values = np.zeros((len(records), dimension), dtype=np.float32)
    for row, record in enumerate(records):
        if record.vector is not None:
            if record.vector.shape != (dimension,):
                raise FlowError(
                    f"point {record.id} has a vector of shape {record.vector.shape}; expected "
                    f"({dimension},); `sextant doctor --full --repair` mends it"
                )
            values[row] = record.vector
    missing = pa.array([record.vector is None for record in records])
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), dimension, mask=missing)


def _records(batch: "pa.RecordBatch", path: Path, dimension: int) -> Iterator[Record]:
    vectors = batch.column("vector")
    flat = vectors.flatten().to_numpy(zero_copy_only=False)  # without those that are null
    rows = iter(np.asarray(flat, dtype=np.float32).reshape(-1, dimension))
    has_vector = vectors.is_valid().to_pylist()
    names = ("id", "kind", "text", "metadata", "more")
    columns = (batch.column(name).to_pylist() for name in names)
    for with_vector, identifier, kind, text, metadata, more in zip(
        has_vector, *columns, strict=True
    ):
        payload: Payload = {KIND: kind}
        if text is not None:
            payload[PAGE_CONTENT] = text
        payload[METADATA] = _parsed(metadata, path, identifier)
        if more is not None:
            payload |= _parsed(more, path, identifier)
        yield Record(
            id=identifier, payload=payload, vector=next(rows).copy() if with_vector else None
        )


def _parsed(text: str, path: Path, identifier: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidExport(f"{str(path)!r}: point {identifier} has no JSON object; export again")
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
