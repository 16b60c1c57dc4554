"""What may be asked, and how an answer is made."""

import re
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from search.errors import InvalidRequest
from search.hybrid import Fusion

MAX_LIMIT: Final = 1000
MAX_QUERY_CHARACTERS: Final = 20_000
DEPTH: Final = 50
"""Candidates that each side gives, at least; further pages come out of them."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class SearchOptions(BaseModel):
    """How an answer is made, beside what is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fusion: Fusion = Fusion()
    fold: bool = True
    """Of chunks with equal texts, the best one is shown."""
    fold_cosine: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of chunks with vectors at least so near, too; e.g. `diversity.DUPLICATE_COSINE`."""
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0: by score alone; towards 1: hits that differ from each other."""
    evidence: bool = False
    """Whether each hit gets its best sentence."""
    depth: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = DEPTH
    budget_ms: Annotated[float, Field(gt=0)] | None = None
    """After so long what can be left out is left out: the answer says what."""


def check_limit(limit: int) -> int:
    """The number of hits wanted.

    Raises:
        InvalidRequest: it is not 1 to `MAX_LIMIT`.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit {limit!r}: expected 1 or more, at most {MAX_LIMIT}")
    return limit


def check_query(query: str, *, most: int = MAX_QUERY_CHARACTERS) -> str:
    """The query as it is asked: control characters are spaces.

    Raises:
        InvalidRequest: it is blank, or longer than `most` characters.
    """
    if not isinstance(query, str):
        raise InvalidRequest(f"query of {type(query).__name__}: expected a text to search for")
    if len(query) > most:
        raise InvalidRequest(
            f"query of {len(query):,} characters: expected at most {most:,}; shorten it"
        )
    text = _CONTROL.sub(" ", query).strip()
    if not text:
        raise InvalidRequest(f"query {query[:20]!r} is blank: expected a text to search for")
    return text
