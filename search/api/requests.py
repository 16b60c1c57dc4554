"""What may be asked, field by field; unknown fields are refused."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from search.api.backend import InputType
from search.errors import InvalidRequest
from search.examples import MAX_EXAMPLES
from search.facets import DEFAULT_LIMIT as FACET_LIMIT
from search.hybrid import Mode
from search.options import MAX_LIMIT
from search.stores.filter_checks import MAX_FACETS

HITS: Final = 10
MAX_FILTERS: Final = 100
MAX_KEYS: Final = 20
"""Keys whose values are counted in one request."""
MAX_INPUTS: Final = 2048
MAX_PAGE: Final = 1000
"""Chunks of a document in one answer."""
MAX_ORDINAL: Final = 2**31 - 1

CollectionName = Annotated[
    str | None,
    Field(description="Which collection; without it, the server's own.", examples=["docs"]),
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many hits.", examples=[5])]
Filters = Annotated[
    list[str | dict[str, Any]] | dict[str, Any] | None,
    Field(
        description="Expressions such as `year>=2020`, `title~lighthouse`, `language in en, de`, "
        "of which all hold, or JSON: "
        '`{"any": [{"key": "year", "op": ">=", "value": 2020}, ...]}`.',
        examples=[["format=markdown", "modified>=2026-05"]],
    ),
]
ByDocument = Annotated[
    bool, Field(description="Whether a document has one hit, its best chunk, or several.")
]
Ids = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    Field(max_length=MAX_EXAMPLES, examples=[["notes/lighthouses.md"]]),
]
FacetKeys = Annotated[
    list[Annotated[str, Field(min_length=1)]],
    Field(min_length=1, max_length=MAX_KEYS, examples=[["format", "language"]]),
]
FacetLimit = Annotated[
    int, Field(ge=1, le=MAX_FACETS, description="Most values of each key.", examples=[10])
]
ModeField = Annotated[
    Mode | None,
    Field(description="By vectors and words, or one of them; without it, as the server is told."),
]


class _Body(BaseModel):
    """JSON says what is a number and what is a text: neither is made of the other."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FusionRequest(_Body):
    """How vectors and words are made one ranking."""

    method: Literal["rrf", "minmax"] | None = None
    dense_weight: Annotated[float, Field(ge=0, le=1)] | None = None


class SearchRequest(_Body):
    """A query, and how it is to be answered."""

    query: Annotated[
        str,
        Field(
            description="What to look for, in plain words; at most 20,000 characters.",
            examples=["how do I rotate the keys"],
        ),
    ]
    collection: CollectionName = None
    limit: Limit = HITS
    mode: ModeField = None
    filters: Filters = None
    by_document: ByDocument = True
    like: Ids = []
    unlike: Ids = []
    diversity: Annotated[
        float, Field(ge=0, le=1, description="Towards 1: hits that differ from each other.")
    ] = 0.0
    fold_cosine: Annotated[
        float | None,
        Field(gt=0, le=1, description="Show one of chunks that are so near to each other."),
    ] = None
    fusion: FusionRequest | None = None
    evidence: Annotated[bool, Field(description="Whether each hit gets its best sentence.")] = True
    budget_ms: Annotated[
        float | None,
        Field(gt=0, le=600_000, description="After so long, leave out what can be left out."),
    ] = None
    cursor: Annotated[
        str | None,
        Field(description="Of the page before, with everything else the same."),
    ] = None
    facets: Annotated[
        list[Annotated[str, Field(min_length=1)]] | None,
        Field(
            max_length=MAX_KEYS,
            description="Keys whose values are counted among all chunks that the filters let by.",
            examples=[["format"]],
        ),
    ] = None
    facet_limit: FacetLimit = FACET_LIMIT

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "how do I rotate the keys"},
                {
                    "query": "lighthouse lamps",
                    "limit": 5,
                    "mode": "hybrid",
                    "filters": ["format=markdown"],
                    "facets": ["language"],
                },
            ]
        }
    )


class SearchParameters(BaseModel):
    """A query in an address: the simple form of `SearchRequest`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    q: Annotated[str, Field(description="What to look for.", examples=["lighthouse lamps"])]
    k: Limit = HITS
    mode: ModeField = None
    filter: Annotated[
        list[str],
        Field(max_length=MAX_FILTERS, description="An expression; may be given several times."),
    ] = []
    collection: CollectionName = None
    cursor: str | None = None

    def in_full(self) -> SearchRequest:
        """The same as a body."""
        return SearchRequest(
            query=self.q,
            limit=self.k,
            mode=self.mode,
            filters=[*self.filter],
            collection=self.collection,
            cursor=self.cursor,
        )


class SimilarRequest(_Body):
    """Chunks, documents or a text to be near to."""

    ids: Ids = []
    text: Annotated[
        str | None, Field(description="A text to be near to; at most 200,000 characters.")
    ] = None
    unlike: Ids = []
    limit: Limit = HITS
    filters: Filters = None
    by_document: ByDocument = True
    collection: CollectionName = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ids": ["notes/lighthouses.md"], "limit": 5}]}
    )


class FacetsRequest(_Body):
    """Keys whose values are to be counted."""

    keys: FacetKeys
    limit: FacetLimit = FACET_LIMIT
    filters: Filters = None
    collection: CollectionName = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"keys": ["format", "language"], "limit": 10}]}
    )


class EmbeddingsRequest(_Body):
    """Texts to encode, as OpenAI's API has it; `input_type` says what they are for."""

    input: Annotated[
        str | list[str],
        Field(
            description=f"One text, or 1 to {MAX_INPUTS}; none may be blank.",
            examples=[["A lamp by the sea."]],
        ),
    ]
    model: Annotated[
        str | None,
        Field(
            description="The name of the collection's encoder, if anything.", examples=["starter"]
        ),
    ] = None
    input_type: InputType = "document"
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[
        int | None, Field(ge=1, description="The first so many components, at unit length.")
    ] = None
    user: Annotated[str | None, Field(description="Taken, and not used.")] = None
    collection: CollectionName = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"input": ["A lamp by the sea."], "input_type": "document"},
                {"input": "lighthouses", "input_type": "query", "encoding_format": "base64"},
            ]
        }
    )


class DocumentParameters(BaseModel):
    """Which of a document's chunks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: CollectionName = None
    offset: Annotated[
        int, Field(ge=0, le=MAX_ORDINAL, description="Number of the first chunk wanted.")
    ] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="How many chunks.")] = MAX_PAGE


class CollectionParameters(BaseModel):
    """Which collection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: CollectionName = None


def expressions(filters: Sequence[str | dict[str, Any]] | dict[str, Any] | None) -> list[str]:
    """Filters as `search.filter_syntax.parse` takes them.

    Raises:
        InvalidRequest: too many, or nested too deep.
    """
    if filters is None:
        return []
    if isinstance(filters, dict):
        filters = [filters]
    if len(filters) > MAX_FILTERS:
        raise InvalidRequest(f"{len(filters)} filters: expected at most {MAX_FILTERS}")
    try:
        return [one if isinstance(one, str) else json.dumps(one) for one in filters]
    except RecursionError:
        raise InvalidRequest("filter nested too deep; write it flatter") from None
