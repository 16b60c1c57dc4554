"""What every store refuses before anything is sent, so that all engines answer alike.

The engines are more lenient than they look: the embedded one stores NaN vectors, leaves very short
ones unnormalised, takes an empty filter in a delete for "everything", and never matches a boolean.
"""

import math
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from search.checksums import CHECKSUM, IDENTITY, checksum
from search.errors import InvalidPoint, InvalidRequest
from search.filters import FILTERABLE
from search.records import DENSE, KIND, KIND_CHUNK, METADATA, PAGE_CONTENT, Payload, Point
from search.stores.filter_checks import TYPES
from search.stores.plain_json import plain_json, short

CHUNK_METADATA: Final[dict[str, type]] = {
    "doc_id": str,
    "source": str,
    "title": str,
    "start": int,
    "end": int,
}
"""Keys of `metadata` without which a chunk cannot be shown as a hit."""

UNIT_TOLERANCE: Final = 2e-7
"""A vector whose length is so near to 1 is stored as it is."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


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
        value, expected = metadata[key], TYPES[FILTERABLE[key]]
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
