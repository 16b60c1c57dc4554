"""What is answered, as the OpenAPI description has it."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from search.hybrid import Mode
from search.records import Hit


class FacetValue(BaseModel):
    """A value, and the chunks that have it."""

    value: str | int
    chunks: int


class FacetValues(BaseModel):
    """A key's most frequent values."""

    values: list[FacetValue]
    whole: bool
    """Whether these are all there are."""


class SearchAnswer(BaseModel):
    """Hits, best first, and how they were found."""

    query: str
    collection: str
    encoder: str
    mode: Mode
    degraded: str | None = Field(description="What is missing from the answer, and why.")
    nothing_good: bool = Field(description="Whether the hits are no better than chance.")
    hits: list[Hit]
    cursor: str | None = Field(description="Of the next page; null: this is the last.")
    timings_ms: dict[str, float]
    facets: dict[str, FacetValues] | None = Field(
        default=None, description="Only where they were asked for."
    )


class FacetsAnswer(BaseModel):
    """Values of keys."""

    collection: str
    facets: dict[str, FacetValues]


class Chunk(BaseModel):
    """A piece of a document: characters `start` to `end` of its parsed text."""

    id: str
    ordinal: int
    start: int
    end: int
    headings: list[str]
    text: str


class DocumentAnswer(BaseModel):
    """What the store knows of a document, and its chunks in order."""

    document: dict[str, Any] = Field(
        examples=[{"doc_id": "notes/lighthouses.md", "title": "Lighthouses", "chunks": 2}]
    )
    chunks: list[Chunk]


class FieldSummary(BaseModel):
    """A field that documents have, to filter by."""

    name: str
    type: str


class CollectionSummary(BaseModel):
    """A collection; counts and fields are null for one that no request has opened yet."""

    name: str
    documents: int | None
    chunks: int | None
    dimension: int
    encoder: str
    fingerprint: str
    created_at: str
    default: bool
    fields: list[FieldSummary] | None


class CollectionsAnswer(BaseModel):
    """The collections that are served."""

    collections: list[CollectionSummary]


class ClustersAnswer(BaseModel):
    """The clusters of the last run, with the chunks that each has `now`."""

    collection: str
    run_id: str
    created_at: str
    algorithm: str
    chunks: int
    clusters: list[dict[str, Any]]


class Embedding(BaseModel):
    """A text's vector: numbers, or float32 in little-endian base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """Vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Health(BaseModel):
    """Whether the server lives, or is ready; why not."""

    status: Literal["ok"]
