"""What the doctor finds: one record for each trouble, and the report of a visit."""

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from flows.errors import FlowError


class CollectionUnwell(FlowError):
    """The doctor found something wrong and did not mend it."""


Kind = Literal[
    "missing_chunks",
    "orphaned",
    "stale",
    "duplicated",
    "unfinished",
    "malformed",
    "bad_vector",
    "bad_text",
    "uncovered",
    "lost_original",
    "wrong_count",
    "unindexed",
    "alias",
    "wrong_encoder",
    "drifted",
    "not_stored",
    "changed",
    "outdated",
    "vanished",
]

MEANINGS: Final[dict[Kind, str]] = {
    "missing_chunks": "a head says that more chunks are stored than there are",
    "orphaned": "chunks of a document that has no head",
    "stale": "chunks of an earlier version of a document",
    "duplicated": "several chunks for one place in a document",
    "unfinished": "a document half-written, or waiting to be stored again",
    "malformed": "a point whose payload is not what Sextant writes",
    "bad_vector": "a vector of wrong dimension or length, or not finite",
    "bad_text": "a chunk whose text is not as long as its span",
    "uncovered": "text of a document that lies in no chunk",
    "lost_original": "a near-duplicate whose original is no longer stored",
    "wrong_count": "the chunks are not as many as the heads say in all",
    "unindexed": "many vectors that no index covers, so that searches scan them",
    "alias": "the collection's name leads nowhere",
    "wrong_encoder": "the encoder in use is not the one that built the collection",
    "drifted": "the encoder no longer gives the vectors that it gave at first",
    "not_stored": "a document of the sources that is not stored",
    "changed": "a document whose bytes are no longer those that are stored",
    "outdated": "a document stored by another parser, chunker or setting",
    "vanished": "a stored document that is no longer in the sources",
}
"""What each kind of trouble is, for people."""

MENDABLE: Final[frozenset[Kind]] = frozenset(
    {
        "missing_chunks",
        "orphaned",
        "stale",
        "duplicated",
        "malformed",
        "bad_vector",
        "bad_text",
        "uncovered",
        "lost_original",
        "unindexed",
        "alias",
    }
)
"""What a repair mends, if need be by having the next ingest store the document again."""


class Finding(BaseModel):
    """One trouble."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    detail: str
    """One line: what is there, and what was expected."""
    doc_id: str = ""
    """The document concerned; empty where it is the whole collection, or cannot be told."""
    point: str = ""
    """Id of the point, where that is all there is to go by."""

    mendable: bool
    """Whether a repair can mend it."""


def finding(kind: Kind, detail: str, *, doc_id: str = "", point: str = "") -> Finding:
    """A finding; its kind says whether it can be mended."""
    return Finding(kind=kind, detail=detail, doc_id=doc_id, point=point, mendable=kind in MENDABLE)


class Repair(BaseModel):
    """One thing that was mended."""

    model_config = ConfigDict(frozen=True)

    doc_id: str = ""
    action: str
    """What was done, in one line."""


class Counts(BaseModel):
    """Points of a collection, by kind."""

    model_config = ConfigDict(frozen=True)

    documents: int
    """Heads."""
    chunks: int
    quarantined: int
    others: int
    """Of kinds that this program does not know."""


class UnusedVersion(BaseModel):
    """A version of the collection that its name does not lead to."""

    model_config = ConfigDict(frozen=True)

    name: str
    created_at: str
    points: int | None
    """None: it cannot be opened just now."""
    bytes: int | None
    """None: the engine does not tell."""


class DoctorReport(BaseModel):
    """What a visit found, and what it mended; the object that `--json` prints."""

    model_config = ConfigDict(frozen=True)

    collection: str
    version: str
    """The collection's own name, where `collection` is an alias; empty if it leads nowhere."""
    store: str
    mode: Literal["sampled", "full"]
    seed: int
    """Of the sample."""
    checked: int
    """Documents whose chunks were all looked at."""
    counts: Counts | None
    unused_versions: tuple[UnusedVersion, ...] = ()
    findings: tuple[Finding, ...]
    """As they were before anything was mended."""
    totals: dict[str, int]
    """Findings of each kind."""
    repairs: tuple[Repair, ...] = ()
    remaining: tuple[Finding, ...]
    """What is still wrong; the same as `findings` if nothing was to be mended."""
    awaiting: tuple[str, ...] = ()
    """After a repair: documents that the next ingest of their sources stores again."""
    warnings: tuple[str, ...] = ()
    healthy: bool
    """Nothing remains."""
    seconds: float

    @property
    def summary(self) -> str:
        """What remains, in one line."""
        if self.healthy:
            return f"collection {self.collection!r} is healthy"
        kinds = ", ".join(f"{count} {kind}" for kind, count in totals(self.remaining).items())
        return (
            f"collection {self.collection!r} in {self.store}: {kinds}; first: "
            f"{self.remaining[0].doc_id or self.remaining[0].point}: {self.remaining[0].detail}"
        )


def totals(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each kind, most frequent first."""
    return dict(Counter(finding.kind for finding in findings).most_common())
