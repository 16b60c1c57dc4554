"""Searching by example: chunks, documents or texts to be near to, or far from."""

import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from search.errors import InvalidRequest
from search.filters import of_kind, where
from search.records import KIND, KIND_CHUNK, METADATA, Record
from search.stores.contract import Collection

MAX_EXAMPLES: Final = 100
CHUNKS_OF_DOCUMENT: Final = 64
"""A longer document is known by so many of its chunks."""
LIKE_WEIGHT: Final = 0.75
UNLIKE_WEIGHT: Final = 0.25
"""Of what is to be like and unlike, beside a query of weight 1 (Rocchio's feedback)."""
NEAR_MISSES: Final = 10_000

_CHUNK_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Examples(BaseModel):
    """Ids of chunks, or of documents, each standing for its text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()


def aim(
    collection: Collection, query_D: npt.NDArray[np.float32] | None, examples: Examples
) -> npt.NDArray[np.float32]:
    """Where to look: the query, drawn towards some examples and away from others.

    Args:
        collection: That holds the examples.
        query_D: Unit vector, float32 of shape (D,); None: the examples alone.
        examples: At least one to be like, if there is no query.

    Returns:
        A unit vector, float32 of shape (D,).

    Raises:
        InvalidRequest: no such chunk or document, too many of them, or what is to be like and
            unlike is the same.
    """
    if len(examples.like) + len(examples.unlike) > MAX_EXAMPLES:
        raise InvalidRequest(f"expected at most {MAX_EXAMPLES} examples; name fewer")
    if query_D is None and not examples.like:
        raise InvalidRequest("expected a query, or an example to be like")
    dimension = collection.manifest.dimension
    target_D = np.zeros(dimension) if query_D is None else query_D.astype(np.float64)
    for weight, ids in ((LIKE_WEIGHT, examples.like), (-UNLIKE_WEIGHT, examples.unlike)):
        if ids:
            means = [mean_vector(chunks_of(collection, identifier)) for identifier in ids]
            target_D = target_D + weight * np.mean(means, axis=0)
    length = float(np.linalg.norm(target_D))
    if length < 1e-6:
        raise InvalidRequest("what is to be like and unlike is the same: there is no direction")
    return (target_D / length).astype(np.float32)


def chunks_of(collection: Collection, identifier: str) -> list[Record]:
    """The chunk with this id, or chunks of the document with it, with their vectors.

    Raises:
        InvalidRequest: there is none; the message names documents with ids like it.
    """
    if _CHUNK_ID.fullmatch(identifier):
        found = collection.retrieve([identifier.lower()], with_vectors=True)
    else:
        wanted = of_kind(KIND_CHUNK) & where("doc_id", identifier)
        records = collection.scroll(where=wanted, with_vectors=True, batch_size=CHUNKS_OF_DOCUMENT)
        found = list(islice(records, CHUNKS_OF_DOCUMENT))
    chunks = [one for one in found if one.payload[KIND] == KIND_CHUNK and one.vector is not None]
    if chunks:
        return chunks
    known = collection.facet(f"{METADATA}.doc_id", limit=NEAR_MISSES)
    near = difflib.get_close_matches(identifier, [str(value) for value, _ in known], n=3)
    hint = f"; did you mean {' or '.join(repr(one) for one in near)}?" if near else ""
    raise InvalidRequest(f"no chunk or document {identifier!r} in the collection{hint}")


def mean_vector(records: Sequence[Record]) -> npt.NDArray[np.float64]:
    """The mean of chunks' vectors, of length 1 unless they cancel out; shape (D,)."""
    mean_D = np.mean([one.vector for one in records if one.vector is not None], axis=0)
    length = float(np.linalg.norm(mean_D))
    mean: npt.NDArray[np.float64] = (mean_D / length if length > 1e-9 else mean_D).astype(
        np.float64
    )
    return mean


def documents_of(records: Iterable[Record]) -> tuple[str, ...]:
    """The documents that chunks belong to, each once."""
    return tuple(dict.fromkeys(str(one.payload[METADATA]["doc_id"]) for one in records))
