"""Points, filters and records as Qdrant's client has them, and points cut into requests."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from qdrant_client import models

from search import lexical
from search.filters import (
    AnyOf,
    Condition,
    Exists,
    Filter,
    Match,
    NumberRange,
    Text,
    TimeRange,
)
from search.records import DENSE, PAGE_CONTENT, Point, Record
from search.stores.server_options import ServerOptions
from search.stores.server_schema import POINTS_PER_REQUEST

BYTES_BY_GRPC: Final = 4
"""Of one value of a vector."""
BYTES_AS_JSON: Final = 24
"""Of one value at most: 17 digits of a double, a sign, an exponent, a comma and a space."""
WORDS_BY_GRPC: Final = 2
"""Of the vector of words, for each letter of the text: a word of five, and nine bytes for it."""
WORDS_AS_JSON: Final = 6
_BYTES_PER_POINT: Final = 200
"""Id, names and braces."""


def requests(
    points: Iterable[Point], *, dimension: int, options: ServerOptions
) -> Iterator[list[Point]]:
    """Points in their order, in parts of bounded number and size; a larger point goes alone."""
    per_value = BYTES_BY_GRPC if options.grpc else BYTES_AS_JSON
    per_letter = WORDS_BY_GRPC if options.grpc else WORDS_AS_JSON
    most = options.max_request_mb * 1e6
    batch: list[Point] = []
    size = 0
    for point in points:
        vector = 0 if point.vector is None else per_value * dimension
        words = 0 if point.vector is None else per_letter * len(point.payload[PAGE_CONTENT])
        length = vector + words + len(json.dumps(point.payload)) + _BYTES_PER_POINT
        if batch and (len(batch) == POINTS_PER_REQUEST or size + length > most):
            yield batch
            batch, size = [], 0
        batch.append(point)
        size += length
    if batch:
        yield batch


def to_structs(points: Sequence[Point]) -> list[models.PointStruct]:
    """Points as the client sends them."""
    return [
        models.PointStruct(
            id=point.id,
            vector=_vectors(point),
            payload=point.payload,
        )
        for point in points
    ]


def _vectors(point: Point) -> dict[str, Any]:
    if point.vector is None:
        return {}
    indices, values = lexical.document_terms(point.payload[PAGE_CONTENT])
    words = models.SparseVector(indices=indices, values=values)
    return {DENSE: point.vector.tolist(), lexical.BM25: words}


def to_filter(where: Filter) -> models.Filter | None:
    """A filter that was checked, as the client has it; None if it has no condition."""
    if where.is_empty():
        return None
    return models.Filter(
        must=[_condition(one) for one in where.must],
        must_not=[_condition(one) for one in where.must_not],
    )


def to_record(record: models.Record) -> Record:
    """A point that was read; its vector float32 of shape (D,) if it came along."""
    vector: Any = record.vector.get(DENSE) if isinstance(record.vector, dict) else None
    return Record(
        id=str(record.id),
        payload=record.payload or {},
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
    )


def vector_names(wanted: bool) -> bool | list[str]:
    """Which vectors are to come along."""
    return [DENSE] if wanted else False


def _condition(condition: Condition) -> Any:
    match condition:
        case Match(key=key, values=values):
            any_of: Any = list(values)
            return models.FieldCondition(key=key, match=models.MatchAny(any=any_of))
        case NumberRange(key=key):
            numbers = models.Range(**condition.model_dump(exclude={"key"}))
            return models.FieldCondition(key=key, range=numbers)
        case TimeRange(key=key):
            times = models.DatetimeRange(**condition.model_dump(exclude={"key"}))
            return models.FieldCondition(key=key, range=times)
        case Text(key=key, words=words):
            return models.FieldCondition(key=key, match=models.MatchText(text=words))
        case Exists(key=key):
            empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
            return models.Filter(must_not=[empty])
        case AnyOf(filters=filters):
            return models.Filter(should=[to_filter(one) for one in filters])
