"""One ingest from request to report: plain functions, which a flow calls step by step."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.documents.globs import Selection
from flows.documents.sources import discover
from flows.partition import Receipt, remove_document
from flows.plan import Plan, make_plan
from flows.rate import rate_file, record_rate
from flows.removals import refuse_mass_removal
from flows.session import Session, Target
from flows.settings import MAX_REMOVAL_SHARE, Settings


class IngestRequest(BaseModel):
    """What to ingest, and into what: the flow's parameter, free of secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    """Files, folders, `python:packages`, `python:stdlib`."""
    target: Target
    max_removal_share: Annotated[float, Field(ge=0, le=1)] = MAX_REMOVAL_SHARE
    """Part of the documents stored from the sources that may be removed; 1 allows all."""
    include: tuple[str, ...] = ()
    """Globs, see `flows.documents.globs`; only documents that match one are in the sources."""
    exclude: tuple[str, ...] = ()
    """Globs; documents that match one are not in the sources: stored ones are removed."""

    @model_validator(mode="after")
    def _check_globs(self) -> "IngestRequest":
        """Refuse wrong globs before work begins, with the error of our own."""
        _ = self.selection
        return self

    @property
    def selection(self) -> Selection:
        """Which documents of the sources count."""
        return Selection(include=self.include, exclude=self.exclude)

    @classmethod
    def of(
        cls, sources: Sequence[str], settings: Settings, *, allow_removals: bool = False
    ) -> "IngestRequest":
        """What a command line with these settings asks for."""
        return cls(
            sources=tuple(sources),
            target=Target.of(settings),
            max_removal_share=1.0 if allow_removals else settings.max_removal_share,
            include=settings.include,
            exclude=settings.exclude,
        )


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
    warnings: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.perf_counter)
    _storing_seconds: float = 0.0

    @classmethod
    def begin(cls, request: IngestRequest, session: Session) -> "Ingestion":
        """List the sources and hold them against the store; changes nothing.

        Raises:
            InvalidInput: a source is missing or cannot be one.
            SourceUnavailable: there is no document in any source.
            FingerprintMismatch: another encoder built the collection.
            RemovalsRefused: too much would be removed.
        """
        plan = planned(request, session)
        refuse_mass_removal(
            lost=len(plan.lost), known=plan.known, max_share=request.max_removal_share
        )
        return cls(session=session, plan=plan)

    def add(self, receipt: Receipt) -> None:
        """A partition is done."""
        self.receipt += receipt
        self._storing_seconds = time.perf_counter() - self._began

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
        self._record_rate()
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
            warnings=(*self.plan.warnings, *self.warnings),
            run_id=self.session.run_id,
        )

    def _record_rate(self) -> None:
        """Note how fast documents were stored: the next plan tells time by it."""
        session = self.session
        path = rate_file(session.target.store, session.target.collection)
        try:
            record_rate(
                path,
                fingerprint=session.specification.fingerprint,
                tokens=self.receipt.tokens,
                seconds=self._storing_seconds,
            )
        except OSError as error:
            self.warnings.append(f"the run's rate was not kept in {str(path)!r}: {error.strerror}")


def planned(request: IngestRequest, session: Session) -> Plan:
    """List the sources and hold them against the store, once in a session; changes nothing.

    Raises:
        InvalidInput, SourceUnavailable: see `discover` and `make_plan`.
    """
    if request not in session.plans:
        listing = discover(request.sources, request.selection)
        session.progress.stage("comparing documents", len(listing.documents))
        session.plans[request] = make_plan(
            listing,
            session.heads,
            recipe=session.recipe,
            max_bytes=session.max_document_bytes,
            advance=session.progress.advance,
        )
    return session.plans[request]
