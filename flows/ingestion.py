"""One ingest from request to report: plain functions, which a flow calls step by step."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flows.documents.sources import discover
from flows.partition import Receipt, remove_document
from flows.plan import Plan, make_plan
from flows.session import Session, Target


class IngestRequest(BaseModel):
    """What to ingest, and into what: the flow's parameter, free of secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    """Files, folders, `python:packages`, `python:stdlib`."""
    target: Target


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
    removed: int


class Quarantined(BaseModel):
    """A document that was not stored, and why, in one line."""

    model_config = ConfigDict(frozen=True)

    source: str
    reason: str


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
    quarantine: tuple[Quarantined, ...]
    ignored: Mapping[str, int]
    """Files left out, by reason: a suffix without a parser, hidden, symlink..."""
    warnings: tuple[str, ...]
    run_id: str


@dataclass
class Ingestion:
    """A run in progress."""

    session: Session
    plan: Plan
    receipt: Receipt = field(default_factory=Receipt)
    removed: int = 0

    @classmethod
    def begin(cls, request: IngestRequest, session: Session) -> "Ingestion":
        """List the sources and hold them against the store; changes nothing.

        Raises:
            InvalidInput: a source is missing or cannot be one.
            SourceUnavailable: there is no document in any source.
            FingerprintMismatch: another encoder built the collection.
        """
        if request.sources not in session.plans:
            listing = discover(request.sources)
            session.progress.stage("comparing documents", len(listing.documents))
            session.plans[request.sources] = make_plan(
                listing,
                session.heads,
                recipe=session.recipe,
                max_bytes=session.max_document_bytes,
                advance=session.progress.advance,
            )
        return cls(session=session, plan=session.plans[request.sources])

    def add(self, receipt: Receipt) -> None:
        """A partition is done."""
        self.receipt += receipt

    def remove_vanished(self) -> None:
        """Delete the documents that are no longer in their source."""
        if not self.plan.remove:
            return
        collection = self.session.ensure_collection()
        self.session.progress.stage("removing documents", len(self.plan.remove))
        for head in self.plan.remove:
            self.receipt += Receipt(chunks_removed=remove_document(head, collection))
            self.removed += 1
            self.session.progress.advance(1)

    def finish(self) -> IngestReport:
        """Let the store build its index where that pays, and report."""
        if self.session.collection is not None and not self.plan.is_done:
            self.session.progress.stage("indexing")
            self.session.collection.optimize()
        rejected = (*self.plan.rejected, *self.receipt.rejected)
        return IngestReport(
            collection=self.session.target.collection,
            encoder=self.session.specification.name,
            documents=DocumentCounts(
                seen=self.plan.seen,
                stored=self.receipt.stored,
                unchanged=self.plan.unchanged,
                removed=self.removed,
                quarantined=len(rejected),
            ),
            chunks=ChunkCounts(
                stored=self.receipt.chunks_stored, removed=self.receipt.chunks_removed
            ),
            tokens=self.receipt.tokens,
            seconds=round(time.perf_counter() - self.session.began, 3),
            quarantine=tuple(Quarantined(source=r.source, reason=r.reason) for r in rejected),
            ignored=dict(self.plan.ignored),
            warnings=self.plan.warnings,
            run_id=self.session.run_id,
        )
