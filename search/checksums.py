"""A checksum in every point's payload, by which damage is found that the engine does not notice.

It covers what a point is: id, kind, text, the vector to the bit, and of the metadata what
identifies it. What is written later beside that, such as a chunk's cluster, is left out, so that
`Collection.set_metadata` does not spoil it.
"""

import json
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from search.records import KIND, KIND_CHUNK, METADATA, PAGE_CONTENT, Payload, Point, Record
from search.stores.contract import Collection

CHECKSUM: Final = "checksum"
"""Key of the payload, beside `kind`: outside `metadata`, so that no hit shows it."""

IDENTITY: Final = ("doc_id", "chunk", "start", "end", "content_hash")
"""Keys of a chunk's metadata that its checksum covers."""
LATER: Final = frozenset({"cluster", "retry"})
"""Keys that no checksum covers. Of points other than chunks it covers all the rest, so that a key
that `Collection.set_metadata` is to change in such points has to be named here."""

DIGEST_BYTES: Final = 8
_FLOAT32: Final = np.dtype("<f4")
_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def checksum(point: Point) -> str:
    """The checksum of a point, as 16 hexadecimal digits; one in its payload is left out of it.

    Args:
        point: As it is stored: the payload of JSON types with `kind` and `metadata`, the vector of
            length 1, float32 of shape (D,), or None.
    """
    return _digest(point.id, point.payload, point.vector)


def verify_record(record: Record) -> bool | None:
    """Whether a point is as it was written.

    Args:
        record: Read with its vector; a chunk without one counts as damaged.

    Returns:
        None if the point carries no checksum: it was written before there were any.
    """
    payload = record.payload
    if not isinstance(payload.get(KIND), str) or not isinstance(payload.get(METADATA), dict):
        return False  # points of every age have these
    if CHECKSUM not in payload:
        return None
    try:
        found = _digest(record.id, payload, record.vector)
    except (TypeError, ValueError, AttributeError):
        return False  # a value of another type than anything that was ever written
    return bool(found == payload[CHECKSUM])


def damaged(
    collection: Collection, *, seen: Callable[[bool | None], None] | None = None
) -> Iterator[tuple[str, str]]:
    """Walk a whole collection; each point that is not as it was written, and what is wrong.

    Points without a checksum are held against the collection's dimension only. Memory stays flat.

    Args:
        collection: Where to look.
        seen: Called after every point with `verify_record`'s verdict: for progress, and to count
            the points that carry no checksum.

    Yields:
        Id, and the problem as a phrase.

    Raises:
        StoreUnavailable: the engine cannot read the collection to its end.
    """
    dimension = collection.manifest.dimension
    for record in collection.scroll(with_vectors=True):
        verdict = verify_record(record)
        problem = _problem(record, verdict, dimension)
        if seen is not None:
            seen(verdict)
        if problem is not None:
            yield record.id, problem


def _problem(record: Record, verdict: bool | None, dimension: int) -> str | None:
    """What is wrong with a point, the most telling first."""
    payload, vector = record.payload, record.vector
    if not isinstance(payload.get(KIND), str) or not isinstance(payload.get(METADATA), dict):
        return f"its payload lacks {KIND!r} or {METADATA!r}"
    if payload[KIND] == KIND_CHUNK and vector is None:
        return "a chunk without a vector"
    if vector is not None and vector.shape != (dimension,):
        return f"its vector has {vector.size} values; expected {dimension}"
    if vector is not None and not np.isfinite(vector).all():
        return "its vector holds NaN or infinity"
    return "its content differs from its checksum" if verdict is False else None


def _digest(identifier: str, payload: Payload, vector: npt.NDArray[np.float32] | None) -> str:
    kind, metadata = payload[KIND], payload[METADATA]
    covered = (
        [metadata.get(key) for key in IDENTITY]
        if kind == KIND_CHUNK
        else {key: _steady(value) for key, value in metadata.items() if key not in LATER}
    )
    text = payload.get(PAGE_CONTENT)
    encoded = b"" if text is None else text.encode(errors="surrogatepass")
    length = None if text is None else len(encoded)
    dimension = None if vector is None else vector.size
    # lengths first, so that no two points run together to the same bytes
    digest = blake2b(
        _encode([identifier, kind, covered, length, dimension]).encode(), digest_size=DIGEST_BYTES
    )
    digest.update(encoded)
    if vector is not None:
        digest.update(np.ascontiguousarray(vector, dtype=_FLOAT32).data)
    return digest.hexdigest()


def _steady(value: Any) -> Any:
    """A value without the digits of its floats that the engine, which reads JSON, may change."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    return value
