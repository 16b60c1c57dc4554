"""From a candidate to the hit that people and programs get."""

from collections.abc import Sequence
from typing import Final

from search import lexical
from search.hybrid import Candidate
from search.records import METADATA, PAGE_CONTENT, Hit, Ranks
from search.relevance import Chance

_SHOWN: Final = {"doc_id", "source", "title", "start", "end"}
"""Keys of the metadata that a hit has as fields of its own."""


def make_hit(
    candidate: Candidate,
    rank: int,
    *,
    folded: Sequence[str] = (),
    chance: Chance | None = None,
    terms: Sequence[int] = (),
) -> Hit:
    """A hit with everything that is known of it.

    Args:
        candidate: With its payload.
        rank: From 1.
        folded: Ids of chunks for which it stands.
        chance: What meaningless queries find.
        terms: The query's, which are marked in the text.
    """
    payload = candidate.record.payload
    metadata, text = payload[METADATA], payload[PAGE_CONTENT]
    cosine = candidate.dense_score
    return Hit(
        rank=rank,
        score=candidate.score,
        id=candidate.record.id,
        doc_id=metadata["doc_id"],
        source=metadata["source"],
        title=metadata["title"],
        text=text,
        start=metadata["start"],
        end=metadata["end"],
        metadata={key: value for key, value in metadata.items() if key not in _SHOWN},
        ranks=Ranks(
            dense_rank=candidate.dense_rank,
            dense_score=cosine,
            lexical_rank=candidate.lexical_rank,
            lexical_score=candidate.lexical_score,
        ),
        more=candidate.more,
        duplicates=tuple(folded),
        percentile=None if chance is None or cosine is None else chance.percentile(cosine),
        marks=tuple(lexical.marks(text, terms)) if terms else (),
    )
