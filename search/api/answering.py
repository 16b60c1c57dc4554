"""Requests answered: what runs in the threads of `search.api.workers`, and ends in JSON."""

import base64
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from search import filter_syntax
from search.api.backend import Backend, Opened
from search.api.metrics import Metrics
from search.api.options import ApiOptions
from search.api.problems import DocumentNotFound
from search.api.requests import (
    MAX_INPUTS,
    DocumentParameters,
    EmbeddingsRequest,
    FacetsRequest,
    SearchRequest,
    SimilarRequest,
    expressions,
)
from search.errors import CollectionNotFound, EncoderUnavailable, InvalidRequest
from search.examples import NEAR_MISSES, Examples
from search.facets import facet
from search.filters import Filter, NumberRange, of_kind, where
from search.hybrid import Fusion
from search.more_like_this import similar
from search.records import KIND_CHUNK, KIND_HEAD, METADATA, PAGE_CONTENT, Record, head_id
from search.service import SearchOptions, SearchResult, search

CHUNK: Final = f"{METADATA}.chunk"
HIDDEN: Final = frozenset({"signature", "checksum"})
"""Keys of a document's head that mean nothing to others."""


class Answers:
    """Answers over a backend; threads share it."""

    def __init__(self, backend: Backend, options: ApiOptions, metrics: Metrics) -> None:
        """Nothing is asked yet."""
        self._backend = backend
        self._options = options
        self._metrics = metrics

    def search(self, asked: SearchRequest) -> bytes:
        """Hits for a query, and facets if they are asked for."""
        opened = self.opened(asked.collection)
        chosen = _where(opened, asked.filters)
        wanted = asked.fusion
        method = wanted.method if wanted and wanted.method else Fusion().method
        weight = wanted.dense_weight if wanted else None
        result = search(
            opened.collection,
            opened.encoder,
            asked.query,
            limit=asked.limit,
            where=chosen,
            by_document=asked.by_document,
            mode=asked.mode or self._options.mode,
            options=SearchOptions(
                fusion=Fusion(
                    method=method,
                    dense_weight=self._options.dense_weight if weight is None else weight,
                ),
                fold_cosine=asked.fold_cosine,
                diversity=asked.diversity,
                evidence=asked.evidence,
                budget_ms=asked.budget_ms,
            ),
            examples=(
                Examples(like=tuple(asked.like), unlike=tuple(asked.unlike))
                if asked.like or asked.unlike
                else None
            ),
            cursor=asked.cursor,
            chance=opened.chance,
            cache=opened.cache,
        )
        answer = self._answer(result, opened)
        if asked.facets:
            answer["facets"] = _facets(opened, asked.facets, asked.facet_limit, chosen)
        return _json(answer)

    def similar(self, asked: SimilarRequest) -> bytes:
        """Hits like examples."""
        opened = self.opened(asked.collection)
        if asked.text is not None and opened.encoder is None:
            raise EncoderUnavailable(
                "there is no encoder for a text here; name chunks or documents as `ids`"
            )
        result = similar(
            opened.collection,
            like=asked.ids,
            unlike=asked.unlike,
            text=asked.text,
            encoder=opened.encoder,
            limit=asked.limit,
            where=_where(opened, asked.filters),
            by_document=asked.by_document,
            chance=opened.chance,
            cache=opened.cache,
        )
        return _json(self._answer(result, opened))

    def facets(self, asked: FacetsRequest) -> bytes:
        """Values of keys, counted."""
        opened = self.opened(asked.collection)
        found = _facets(opened, asked.keys, asked.limit, _where(opened, asked.filters))
        return _json({"collection": opened.name, "facets": found})

    def document(self, doc_id: str, asked: DocumentParameters) -> bytes:
        """A document's head, and some of its chunks in order."""
        opened = self.opened(asked.collection)
        held = opened.collection
        heads = held.retrieve([head_id(doc_id)])
        if not heads:
            known = held.facet(f"{METADATA}.doc_id", limit=NEAR_MISSES)
            raise DocumentNotFound(
                f"no document {doc_id!r:.300} in collection {opened.name!r}"
                + _near(doc_id, [str(value) for value, _ in known])
            )
        numbers = NumberRange(key=CHUNK, gte=asked.offset, lt=asked.offset + asked.limit)
        chosen = of_kind(KIND_CHUNK) & where("doc_id", doc_id) & Filter(must=(numbers,))
        records = sorted(held.scroll(where=chosen), key=lambda one: int(_metadata(one)["chunk"]))
        fields = {k: v for k, v in _metadata(heads[0]).items() if k not in HIDDEN}
        return _json({"document": fields, "chunks": [_chunk(one) for one in records]})

    def collections(self) -> bytes:
        """The collections that are served, those in use with their counts."""
        listed = []
        for one in self._backend.collections():
            held: dict[str, Any] = dict.fromkeys(("documents", "chunks", "fields"))
            if one.opened is not None:
                count, fields = one.opened.collection.count, one.opened.schema.fields()
                held = {
                    "documents": count(of_kind(KIND_HEAD)),
                    "chunks": count(of_kind(KIND_CHUNK)),
                    "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
                }
            listed.append(
                {
                    "name": one.name,
                    "documents": held["documents"],
                    "chunks": held["chunks"],
                    "dimension": one.dimension,
                    "encoder": one.encoder,
                    "fingerprint": one.fingerprint,
                    "created_at": one.created_at,
                    "default": one.name == self._backend.default,
                    "fields": held["fields"],
                }
            )
        return _json({"collections": listed})

    def clusters(self, collection: str | None) -> bytes:
        """The clusters of the last run."""
        opened = self.opened(collection)
        return _json(self._backend.clusters(opened.name))

    def embeddings(self, asked: EmbeddingsRequest) -> bytes:
        """Vectors of texts, in OpenAI's shape."""
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        if not 1 <= len(texts) <= MAX_INPUTS:
            raise InvalidRequest(f"input of {len(texts)} texts: expected 1 to {MAX_INPUTS}")
        for place, text in enumerate(texts):
            if not text.strip():
                raise InvalidRequest(f"input {place} is blank: expected a text")
        opened = self.opened(asked.collection)
        if asked.model not in (None, opened.encoder_name):
            raise InvalidRequest(
                f"model {asked.model!r:.100}: collection {opened.name!r} is encoded by "
                f"{opened.encoder_name!r}; name that, or none"
            )
        full = opened.collection.manifest.dimension
        if asked.dimensions is not None and asked.dimensions > full:
            raise InvalidRequest(
                f"dimensions {asked.dimensions}: the encoder gives {full}; ask for at most these"
            )
        made = self._backend.embed(opened.name, texts, asked.input_type)
        vectors = _shortened(made.vectors_ND, asked.dimensions)
        as_text = asked.encoding_format == "base64"
        return _json(
            {
                "object": "list",
                "data": [
                    {
                        "object": "embedding",
                        "index": place,
                        "embedding": _base64(vector) if as_text else vector.tolist(),
                    }
                    for place, vector in enumerate(vectors)
                ],
                "model": made.model,
                "usage": {"prompt_tokens": made.tokens, "total_tokens": made.tokens},
            }
        )

    def opened(self, name: str | None) -> Opened:
        """The collection that is meant.

        Raises:
            CollectionNotFound: there is none of that name; the message has the nearest.
        """
        wanted = self._backend.default if name is None else name
        try:
            return self._backend.collection(wanted)
        except CollectionNotFound:
            known = [one.name for one in self._backend.collections()]
            raise CollectionNotFound(
                f"no collection {wanted!r:.100}{_near(wanted, known)}; GET /v1/collections lists "
                "what there is"
            ) from None

    def _answer(self, result: SearchResult, opened: Opened) -> dict[str, Any]:
        degraded = result.degraded
        if opened.warning is not None and result.mode != "lexical":
            degraded = "; ".join(filter(None, (degraded, opened.warning)))
        self._metrics.search(result.timings_ms, degraded=degraded is not None)
        return {
            "query": result.query,
            "collection": opened.name,
            "encoder": opened.encoder_name,
            "mode": result.mode,
            "degraded": degraded,
            "nothing_good": result.nothing_good,
            "hits": [asdict(hit) for hit in result.hits],
            "cursor": result.cursor,
            "timings_ms": {name: round(ms, 3) for name, ms in result.timings_ms.items()},
        }


def _where(
    opened: Opened, filters: Sequence[str | dict[str, Any]] | dict[str, Any] | None
) -> Filter:
    return filter_syntax.parse(expressions(filters), opened.schema)


def _facets(
    opened: Opened, keys: Sequence[str], limit: int, chosen: Filter
) -> dict[str, dict[str, Any]]:
    found = [
        facet(opened.collection, key, schema=opened.schema, limit=limit, where=chosen)
        for key in keys
    ]
    return {
        one.key: {
            "values": [{"value": value, "chunks": count} for value, count in one.values],
            "whole": one.is_whole,
        }
        for one in found
    }


def _metadata(record: Record) -> Mapping[str, Any]:
    found: Mapping[str, Any] = record.payload[METADATA]
    return found


def _chunk(record: Record) -> dict[str, Any]:
    metadata = _metadata(record)
    return {
        "id": record.id,
        "ordinal": metadata["chunk"],
        "start": metadata["start"],
        "end": metadata["end"],
        "headings": list(metadata.get("headings", ())),
        "text": record.payload[PAGE_CONTENT],
    }


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name[:300], known, n=3)
    return f"; did you mean {' or '.join(repr(one) for one in near)}?" if near else ""


def _shortened(
    vectors_ND: npt.NDArray[np.float32], dimensions: int | None
) -> npt.NDArray[np.float32]:
    """The first components, at unit length again."""
    if dimensions is None or dimensions == vectors_ND.shape[1]:
        return vectors_ND
    cut = vectors_ND[:, :dimensions].astype(np.float64)
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return np.asarray(cut / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def _base64(vector_D: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(vector_D.astype("<f4").tobytes()).decode("ascii")


def _json(value: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        # only a cursor that somebody changed holds scores that are no numbers
        raise InvalidRequest("cursor holds no scores; ask again without it") from None
    return text.encode("utf-8", "replace")
