"""One ingest from request to report: plain functions, which a flow calls step by step."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator

from flows.documents.globs import Selection
from flows.documents.records.columns import RecordColumns
from flows.documents.remote.limits import RemoteLimits
from flows.documents.remote.remote_sources import shown_source
from flows.documents.sources import discover
from flows.errors import InvalidInput
from flows.heads import find_heads
from flows.ingest_report import (
    ChunkCounts as ChunkCounts,
)
from flows.ingest_report import (
    DocumentCounts as DocumentCounts,
)
from flows.ingest_report import (
    IngestReport as IngestReport,
)
from flows.ingest_report import (
    NearDuplicate as NearDuplicate,
)
from flows.ingest_report import (
    NearDuplicates as NearDuplicates,
)
from flows.ingest_report import (
    Quarantined as Quarantined,
)
from flows.near_duplicates import find_twins
from flows.partition import Receipt, remove_document
from flows.plan import Plan, make_plan
from flows.quarantine import remove, updated, write
from flows.rate import rate_file, record_rate
from flows.rejected import Rejected
from flows.removals import refuse_mass_removal
from flows.runs import Recorder, begin_run, runs_folder
from flows.session import Session, Target
from flows.settings import MAX_REMOVAL_SHARE, PARTITION_SECONDS, Settings
from flows.state import claim_state_folder
from search.errors import StoreFull
from search.stores.contract import Collection

BULK_BYTES: Final = 16 * 1024 * 1024
"""Of documents to store: from here on an engine may put its indexing off."""
TWINS_LISTED: Final = 100
"""Near-duplicates that a report names; all are counted."""


class IngestRequest(BaseModel):
    """What to ingest, and into what: the flow's parameter, free of secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: Annotated[tuple[str, ...], Field(min_length=1, repr=False)]
    """Files, folders, `python:packages`, `python:stdlib`."""
    target: Target
    max_removal_share: Annotated[float, Field(ge=0, le=1)] = MAX_REMOVAL_SHARE
    """Part of the documents stored from the sources that may be removed; 1 allows all."""
    partition_seconds: Annotated[float, Field(gt=0)] = PARTITION_SECONDS
    """A partition that takes longer ends the run."""
    include: tuple[str, ...] = ()
    """Globs, see `flows.documents.globs`; only documents that match one are in the sources."""
    exclude: tuple[str, ...] = ()
    """Globs; documents that match one are not in the sources: stored ones are removed."""

    columns: RecordColumns = RecordColumns()
    """Which columns of record files are a document's."""
    remote: RemoteLimits = RemoteLimits()
    """What may be fetched from other machines: nothing, unless it says so."""

    @field_serializer("sources", when_used="json")
    def _without_secrets(self, sources: tuple[str, ...]) -> tuple[str, ...]:
        """Prefect's database keeps parameters: what authorises an address is not for it."""
        return tuple(shown_source(source) for source in sources)

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
            partition_seconds=settings.partition_seconds,
            include=settings.include,
            exclude=settings.exclude,
            columns=settings.record_columns,
            remote=settings.remote_limits,
        )


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
        session.origins = {move.document.doc_id: move.before.doc_id for move in plan.moves}
        return cls(session=session, plan=plan)

    @contextmanager
    def storing(self) -> Iterator[None]:
        """While open, partitions are stored; of many, an engine may put its indexing off."""
        if sum(document.size for document in self.plan.store) < BULK_BYTES:
            yield
            return
        with self.session.ensure_collection().bulk_load():
            yield

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
        """Keep what was turned away, let the store build its index where that pays, and report."""
        rejected = (*self.plan.rejected, *self.receipt.rejected)
        self._keep_quarantine(rejected)
        twins = self._near_duplicates()
        if self.session.collection is not None and not self.plan.is_done:
            self._index(self.session.collection)
        self._record_rate()
        session = self.session
        recorded = session.recorder.warnings if session.recorder else ()
        report = IngestReport(
            collection=session.target.collection,
            encoder=session.specification.name,
            documents=DocumentCounts(
                seen=self.plan.seen,
                stored=len(self.receipt.stored),
                unchanged=self.plan.unchanged,
                removed=self.removed,
                quarantined=len(rejected),
            ),
            chunks=ChunkCounts(
                stored=self.receipt.chunks_stored,
                reused=self.receipt.chunks_reused,
                removed=self.receipt.chunks_removed,
            ),
            tokens=self.receipt.tokens,
            seconds=round(time.perf_counter() - session.began, 3),
            storing_seconds=round(self._storing_seconds, 3),
            stages=session.busy.seconds(),
            near_duplicates=twins,
            quarantine=tuple(
                Quarantined(source=r.source, reason=r.reason, stage=r.stage, held=r.held)
                for r in rejected
            ),
            ignored=dict(self.plan.ignored),
            warnings=(*self.plan.warnings, *self.warnings, *recorded),
            run_id=session.run_id,
        )
        if session.recorder is not None:
            session.recorder.done(report)
        return report

    def _index(self, collection: Collection) -> None:
        """Build the index, with progress."""
        progress = self.session.progress
        done: int | None = None

        def report(indexed: int, total: int) -> None:
            nonlocal done
            if done is None:
                progress.stage("indexing", total)
                done = 0
            progress.advance(max(0, indexed - done))
            done = max(done, indexed)

        try:
            collection.optimize(report)
        except StoreFull as error:  # all documents are stored, and searches work without
            self.warnings.append(f"the collection was not indexed: {error}")

    def _keep_quarantine(self, rejected: Sequence[Rejected]) -> None:
        """Write what was turned away in this run, take out what is well or gone."""
        session = self.session
        before = session.quarantine
        out = [*self.plan.released, *(doc_id for doc_id in self.receipt.stored if doc_id in before)]
        tried = [one for one in rejected if not one.held]
        if out:
            remove(session.ensure_collection(), out)
        if tried:
            write(
                session.ensure_collection(),
                [
                    updated(
                        before.get(one.doc_id),
                        doc_id=one.doc_id,
                        source=one.source,
                        root=one.root,
                        format=one.format,
                        stage=one.stage,
                        reason=one.reason,
                        content_hash=one.content_hash,
                        size=one.size,
                        recipe=session.recipe,
                        limits=session.limits,
                        seen=session.started_at,
                        run_id=session.run_id,
                    )
                    for one in tried
                ],
            )

    def _near_duplicates(self) -> NearDuplicates:
        """Which documents of this run nearly equal another that is stored."""
        session = self.session
        twins = []
        if session.finds_duplicates and self.receipt.stored and session.collection is not None:
            heads = session.heads | find_heads(session.collection, self.receipt.stored)
            for gone in self.plan.remove:
                heads.pop(gone.doc_id, None)
            twins = find_twins(heads.values(), self.receipt.stored)
        return NearDuplicates(
            found=len(twins),
            collapsed=self.receipt.collapsed,
            documents=tuple(
                NearDuplicate(document=twin.doc_id, of=twin.of, similarity=twin.similarity)
                for twin in twins[:TWINS_LISTED]
            ),
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


@contextmanager
def recording(request: IngestRequest, session: Session) -> Iterator[None]:
    """Keep a record of the run in the block; inside another such block it is the same record.

    The sources are compared first: a request that cannot be right leaves no trace.

    Raises:
        InvalidInput, SourceUnavailable: see `planned`.
    """
    if session.recorder is not None:
        yield
        return
    if session.collection is None:
        claim_state_folder(session.target.store, session.target.collection)
    try:
        planned(request, session)
    except InvalidInput:
        raise
    except Exception as error:
        _begin_record(request, session).failed(error)
        raise
    session.recorder = _begin_record(request, session)
    try:
        yield
    except BaseException as error:
        session.recorder.failed(error)
        raise


def _begin_record(request: IngestRequest, session: Session) -> Recorder:
    target = session.target
    return begin_run(
        runs_folder(target.store, target.collection),
        run_id=session.run_id,
        kind="ingest",
        collection=target.collection,
        store=session.store.location,
        sources=request.sources,
        versions=session.versions,
        encoder=session.specification.name,
        fingerprint=session.specification.fingerprint,
    )


def planned(request: IngestRequest, session: Session) -> Plan:
    """List the sources and hold them against the store, once in a session; changes nothing.

    Raises:
        InvalidInput, SourceUnavailable: see `discover` and `make_plan`.
    """
    if request not in session.plans:
        listing = discover(
            request.sources, request.selection, columns=request.columns, remote=request.remote
        )
        session.progress.stage("comparing documents", len(listing.documents))
        session.plans[request] = make_plan(
            listing,
            session.heads,
            recipe=session.recipe,
            quarantine=session.quarantine,
            limits=session.limits,
            max_bytes=session.max_document_bytes,
            advance=session.progress.advance,
        )
    return session.plans[request]
