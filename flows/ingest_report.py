"""What an ingest did: the object that `--json` prints, and that the run's record keeps."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from flows.quarantine import Stage


class DocumentCounts(BaseModel):
    """`seen = stored + unchanged + quarantined`; removed ones were not seen."""

    model_config = ConfigDict(frozen=True)

    seen: int
    stored: int
    unchanged: int
    removed: int
    quarantined: int


class ChunkCounts(BaseModel):
    """Chunks written and deleted by this run."""

    model_config = ConfigDict(frozen=True)

    stored: int
    reused: int
    """Of the stored ones, those whose vector was known: their text was embedded before."""
    removed: int


class Quarantined(BaseModel):
    """A document that was not stored, and why, in one line."""

    model_config = ConfigDict(frozen=True)

    source: str
    reason: str
    stage: Stage
    held: bool
    """Not tried again, as nothing about it has changed."""


class NearDuplicate(BaseModel):
    """A document of this run, and a stored one that it nearly equals."""

    model_config = ConfigDict(frozen=True)

    document: str
    of: str
    similarity: float
    """Share of five-word runs that the two have in common, estimated, 0 to 1."""


class NearDuplicates(BaseModel):
    """Documents stored by this run that nearly equal another; the first of them by name."""

    model_config = ConfigDict(frozen=True)

    found: int
    collapsed: int
    """Documents for which another stands: they have no chunks of their own."""
    documents: tuple[NearDuplicate, ...]


class IngestReport(BaseModel):
    """What an ingest did; the object that `--json` prints."""

    model_config = ConfigDict(frozen=True)

    collection: str
    encoder: str
    documents: DocumentCounts
    chunks: ChunkCounts
    tokens: int
    """Text tokens embedded."""
    seconds: float
    storing_seconds: float
    """Of these, from the first document's reading to the last one's writing."""
    stages: Mapping[str, float]
    """Seconds that each stage was at work; they overlap, and some have two threads."""
    near_duplicates: NearDuplicates
    quarantine: tuple[Quarantined, ...]
    ignored: Mapping[str, int]
    """Files left out, by reason: a suffix without a parser, hidden, symlink..."""
    warnings: tuple[str, ...]
    run_id: str
