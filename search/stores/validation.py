"""What every store refuses before anything is sent, so that all engines answer alike.

The engines are more lenient than they look: the embedded one stores NaN vectors, leaves very short
ones unnormalised, takes an empty filter in a delete for "everything", and never matches a boolean.
"""

import math
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from search.checksums import CHECKSUM, IDENTITY, checksum
from search.errors import InvalidPoint, InvalidRequest
from search.filters import (
    FILTERABLE,
    AnyOf,
    Condition,
    Exists,
    Filter,
    IndexKind,
    Match,
    NumberRange,
    Text,
    TimeRange,
    is_field_path,
)
from search.records import DENSE, KIND, KIND_CHUNK, METADATA, PAGE_CONTENT, Payload, Point
from search.stores.plain_json import INT64, is_unicode, plain_json, short

CHUNK_METADATA: Final[dict[str, type]] = {
    "doc_id": str,
    "source": str,
    "title": str,
    "start": int,
    "end": int,
}
"""Keys of `metadata` without which a chunk cannot be shown as a hit."""

INDEXED: Final[dict[str, IndexKind]] = {
    KIND: "keyword",
    **{f"{METADATA}.{key}": schema for key, schema in FILTERABLE.items()},
}
"""Every payload path that carries an index from the start, and its kind. A filter may name these,
`page_content` for its words, and the fields that sources give: see `Collection.require_index`."""

MAX_FACETS: Final = 10_000
"""Most values of one path that may be asked for at once."""
MAX_CONDITIONS: Final = 1000
"""Most conditions of one filter, nested ones included."""

UNIT_TOLERANCE: Final = 2e-7
"""A vector whose length is so near to 1 is stored as it is."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TYPES: Final[dict[str, type]] = {"keyword": str, "integer": int, "datetime": str}
_ORDERED: Final = {"integer", "float", None}
"""Kinds of index that a range of numbers can ask; None: a field, whose kind the caller knows."""


def check_id(identifier: str) -> str:
    """The point id, if it is a UUID in its canonical spelling (lower case, hyphens).

    Raises:
        InvalidPoint: it is anything else; `records.chunk_id` and `head_id` make good ones.
    """
    if isinstance(identifier, str) and _UUID.fullmatch(identifier):
        return identifier
    raise InvalidPoint(f"point id {identifier!r}: expected a UUID such as {uuid.UUID(int=0)}")


def check_points(points: Sequence[Point], *, dimension: int) -> list[Point]:
    """The points as they are to be stored: plain JSON types, vectors of length 1, checksums.

    A chunk has a vector, `page_content` and the metadata of `CHUNK_METADATA`; every other kind has
    no vector, so that no search can return it.

    Args:
        points: Points to write; the ids differ.
        dimension: D, the collection's vector size.

    Returns:
        As many points, in the same order; vectors are float32 of shape (D,), L2-normalised.

    Raises:
        InvalidPoint: the first point that would corrupt the store, and why.
    """
    ids: set[str] = set()
    for point in points:
        if check_id(point.id) in ids:
            raise InvalidPoint(f"point {point.id} comes twice in one upsert; send each id once")
        ids.add(point.id)
    payloads = [_check_payload(point) for point in points]
    for point in points:
        _check_vector(point, dimension)
    vectors = iter(_normalised([point for point in points if point.vector is not None]))
    checked = [
        Point(id=point.id, vector=None if point.vector is None else next(vectors), payload=payload)
        for point, payload in zip(points, payloads, strict=True)
    ]
    for point in checked:
        point.payload[CHECKSUM] = checksum(point)
    return checked


def check_updates(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Payload]:
    """The metadata to merge, per point id, as plain JSON types; None removes a key.

    Raises:
        InvalidPoint: an id is no UUID, a value is no JSON or does not fit its key.
    """
    checked: dict[str, Payload] = {}
    for identifier, changes in values.items():
        where = f"point {check_id(identifier)}: {METADATA}"
        metadata = _plain_mapping(changes, where)
        _check_filterable(metadata, where)
        for key in metadata.keys() & set(IDENTITY):
            raise InvalidPoint(f"{where}.{key} is what the point is; write the point anew instead")
        for key in CHUNK_METADATA.keys() & metadata.keys():
            _check_type(metadata[key], CHUNK_METADATA[key], f"{where}.{key}")
        if metadata:
            checked[identifier] = metadata
    return checked


def check_filter(where: Filter | None) -> Filter:
    """The filter, or one without conditions.

    Raises:
        InvalidRequest: a path without index, no value, or a value that its index cannot match.
    """
    if where is None:
        return Filter()
    if _check_conditions(where) > MAX_CONDITIONS:
        raise InvalidRequest(f"filter with more than {MAX_CONDITIONS} conditions; ask for less")
    return where


def _check_conditions(where: Filter) -> int:
    """Check every condition; how many there are."""
    total = 0
    for condition in (*where.must, *where.must_not):
        total += 1
        if isinstance(condition, AnyOf):
            if not condition.filters or any(one.is_empty() for one in condition.filters):
                raise InvalidRequest("a choice in a filter is empty; give it a condition")
            total += sum(_check_conditions(one) for one in condition.filters)
        else:
            _check_condition(condition)
    return total


def _check_condition(condition: Condition) -> None:
    assert not isinstance(condition, AnyOf)  # noqa: S101 - its parts are checked one by one
    key = condition.key
    schema = INDEXED.get(key)
    is_text = isinstance(condition, Text) and key == PAGE_CONTENT
    if schema is None and not is_text and not is_field_path(key):
        raise InvalidRequest(
            f"filter on {key!r}: expected an indexed path: {', '.join(INDEXED)}, "
            f"or {METADATA}.fields.NAME"
        )
    match condition:
        case Match(values=values):
            if not values:
                raise InvalidRequest(f"filter on {key!r} has no value; give at least one")
            for value in values:
                _check_value(key, value, schema)
        case NumberRange() | TimeRange():
            _check_bounds(condition, schema)
        case Text(words=words):
            if not is_text:
                raise InvalidRequest(f"filter on words of {key!r}: expected {PAGE_CONTENT!r}")
            if not words.strip() or not is_unicode(words):
                raise InvalidRequest(f"filter {key}~{words!r}: expected words")
        case Exists():
            pass


def _check_value(key: str, value: str | int, schema: IndexKind | None) -> None:
    if schema == "datetime":
        raise InvalidRequest(f"filter {key}={value!r}: it holds times; ask for a range")
    fits = isinstance(value, _TYPES[schema] if schema else str | int)
    if not fits or isinstance(value, bool) or (isinstance(value, int) and value not in INT64):
        raise InvalidRequest(f"filter {key}={value!r}: expected {schema or 'text or a number'}")
    if isinstance(value, str) and not is_unicode(value):
        raise InvalidRequest(f"filter {key}={value!r}: lone surrogate; not Unicode")


def _check_bounds(condition: NumberRange | TimeRange, schema: IndexKind | None) -> None:
    key, bounds = condition.key, condition.model_dump(exclude={"key"}, exclude_none=True)
    if not bounds:
        raise InvalidRequest(f"filter on {key!r} has no bound; give at least one")
    if isinstance(condition, NumberRange):
        if schema not in _ORDERED:
            raise InvalidRequest(f"filter on {key!r}: it holds a {schema}, which has no range")
        return
    if schema not in ("datetime", None):
        raise InvalidRequest(f"filter on {key!r}: it holds a {schema}, not times")
    for bound in bounds.values():
        try:
            zone = datetime.fromisoformat(bound).tzinfo
        except ValueError:
            zone = None
        if zone is None:
            raise InvalidRequest(
                f"filter on {key!r}: {bound!r} is no time; expected e.g. 2026-05-01T00:00:00+00:00"
            )


def check_facet(key: str, limit: int) -> str:
    """The path whose values are to be counted.

    Raises:
        InvalidRequest: it holds no words or whole numbers, or the limit is out of range.
    """
    if INDEXED.get(key) not in ("keyword", "integer") and not is_field_path(key):
        countable = [path for path, kind in INDEXED.items() if kind in ("keyword", "integer")]
        raise InvalidRequest(
            f"facet of {key!r}: expected one of {', '.join(countable)}, or {METADATA}.fields.NAME"
        )
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_FACETS:
        raise InvalidRequest(f"limit {limit!r}: expected 1 to {MAX_FACETS}")
    return key


def check_index(key: str, kind: IndexKind) -> str:
    """The path that is to be indexed.

    Raises:
        InvalidRequest: it is none that may be, or has another kind of index.
    """
    fixed = INDEXED.get(key) or ("text" if key == PAGE_CONTENT else None)
    if fixed != kind and (fixed is not None or not is_field_path(key) or kind == "text"):
        raise InvalidRequest(
            f"index of {key!r} as {kind}: expected {METADATA}.fields.NAME"
            + (f", or the kind {fixed}" if fixed else "")
        )
    return key


def check_words(query: str, *, limit: int) -> str:
    """The query to look up by its words.

    Raises:
        InvalidRequest: a limit below 1, or no text.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidRequest(f"limit {limit!r}: expected 1 or more")
    if not isinstance(query, str):
        raise InvalidRequest(f"query of {type(query).__name__}: expected a text")
    return query


def check_delete_filter(where: Filter) -> Filter:
    """The filter of a delete: as `check_filter`, with one condition or more.

    Raises:
        InvalidRequest: also when there is no condition, which would delete every point.
    """
    if check_filter(where).is_empty():
        raise InvalidRequest(
            "delete by a filter without conditions would delete every point; "
            "name a condition, or delete the collection"
        )
    return where


def check_query(
    vector: npt.NDArray[np.float32], *, dimension: int, limit: int
) -> npt.NDArray[np.float32]:
    """The query vector, L2-normalised: float32 of shape (D,).

    Raises:
        InvalidRequest: the vector's shape or values, or a limit below 1.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidRequest(f"limit {limit!r}: expected 1 or more")
    query = np.asarray(vector, dtype=np.float32)
    if query.shape != (dimension,):
        raise InvalidRequest(
            f"query vector of shape {query.shape}: expected ({dimension},); "
            "encode the query with the collection's encoder"
        )
    length = float(np.linalg.norm(query.astype(np.float64)))
    if not math.isfinite(length) or length == 0.0:
        raise InvalidRequest(
            f"query vector of length {length}: expected finite values, not all zero"
        )
    return (query / length).astype(np.float32)


def check_batch_size(batch_size: int) -> int:
    """The number of points to read at a time.

    Raises:
        InvalidRequest: it is below 1.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InvalidRequest(f"batch_size {batch_size!r}: expected 1 or more")
    return batch_size


def _check_payload(point: Point) -> Payload:
    where = f"point {point.id}: payload"
    payload = _plain_mapping(point.payload, where)
    kind, metadata = payload.get(KIND), payload.get(METADATA)
    _check_type(kind, str, f"{where}.{KIND}")
    _check_type(metadata, dict, f"{where}.{METADATA}")
    assert isinstance(metadata, dict)  # noqa: S101 - just checked; for the type checker
    _check_filterable(metadata, f"{where}.{METADATA}")
    if kind == KIND_CHUNK:
        _check_type(payload.get(PAGE_CONTENT), str, f"{where}.{PAGE_CONTENT}")
        for key, expected in CHUNK_METADATA.items():
            if type(value := metadata.get(key)) is not expected:
                _check_type(value, expected, f"{where}.{METADATA}.{key}")
    return payload


def _check_filterable(metadata: Payload, where: str) -> None:
    """An indexed key holds its index's type or null: the engine would never match anything else."""
    for key in FILTERABLE.keys() & metadata.keys():
        value, expected = metadata[key], _TYPES[FILTERABLE[key]]
        if type(value) is not expected and value is not None:
            _check_type(value, expected, f"{where}.{key}")


def _check_type(value: Any, expected: type, path: str) -> None:
    if not isinstance(value, expected) or isinstance(value, bool):
        remedy = "; store a keyword such as 'true'" if isinstance(value, bool) else ""
        raise InvalidPoint(f"{path} is {short(value)}: expected {expected.__name__}{remedy}")


def _check_vector(point: Point, dimension: int) -> None:
    vector, is_chunk = point.vector, point.payload[KIND] == KIND_CHUNK
    if vector is None:
        if is_chunk:
            raise InvalidPoint(f"point {point.id}: a chunk without a {DENSE!r} vector; embed it")
        return
    if not is_chunk:
        raise InvalidPoint(
            f"point {point.id}: kind {point.payload[KIND]!r} with a vector; only chunks have one"
        )
    if not isinstance(vector, np.ndarray) or vector.dtype != np.float32:
        found = vector.dtype if isinstance(vector, np.ndarray) else type(vector).__name__
        raise InvalidPoint(f"point {point.id}: vector of {found}; expected a float32 array")
    if vector.shape != (dimension,):
        raise InvalidPoint(
            f"point {point.id}: vector of shape {vector.shape}; expected ({dimension},)"
        )


def _normalised(points: list[Point]) -> npt.NDArray[np.float32]:
    """Vectors of chunks, shape (N, D), each of length 1; those that are so keep their bits.

    The engine leaves those alone whose squared length it finds within 1e-6 of 1, in float32: the
    checksum is over bits, so that what is sent has to be well within that.
    """
    if not points:
        return np.empty((0, 0), dtype=np.float32)
    vectors = np.stack([point.vector for point in points if point.vector is not None])
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    for row in np.flatnonzero(~np.isfinite(lengths)):
        raise InvalidPoint(f"point {points[row].id}: vector holds NaN or infinity; re-embed it")
    for row in np.flatnonzero(lengths == 0.0):
        raise InvalidPoint(f"point {points[row].id}: zero vector has no direction; re-embed it")
    lengths[np.abs(lengths - 1.0) <= UNIT_TOLERANCE] = 1.0
    normalised: npt.NDArray[np.float32] = (vectors / lengths[:, None]).astype(np.float32)
    return normalised


def _plain_mapping(value: Any, path: str) -> Payload:
    if not isinstance(value, Mapping):
        raise InvalidPoint(f"{path} is {short(value)}: expected a mapping")
    plain: Payload = plain_json(value, path)
    return plain
