"""What an ingest would do, as people and programs read it: counts, names, and about how much."""

from collections import Counter
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from flows.forecast import Forecast, forecast
from flows.ingestion import IngestRequest, Quarantined, planned
from flows.plan import Plan
from flows.rate import known_rate, rate_file
from flows.removals import objection
from flows.session import Session


class PlannedDocuments(BaseModel):
    """`seen = added + changed + moved + renewed + unchanged + quarantined`; removed ones were not.

    A moved document was stored under another id or from another place; `removed` leaves it out.
    """

    model_config = ConfigDict(frozen=True)

    seen: int
    added: int
    changed: int
    moved: int
    renewed: int
    """Unchanged, but parsed or chunked otherwise than today, or half-written by a run that died."""
    unchanged: int
    removed: int
    quarantined: int


class Moved(BaseModel):
    """Where a document lay, and where it lies."""

    model_config = ConfigDict(frozen=True)

    before: str
    now: str


class Estimate(BaseModel):
    """About how much would be stored, from a sample of the documents."""

    model_config = ConfigDict(frozen=True)

    chunks: int
    tokens: int
    store_bytes: int
    """Vectors, texts and metadata, without the engine's log of writes."""
    seconds: float | None
    """Without the start of the run; None until a run has measured a rate here."""
    tokens_per_second: float | None
    """Of earlier runs into this collection, on this machine."""
    sampled: int
    """Documents that were parsed and chunked for it."""


class Preview(BaseModel):
    """What `sextant plan` prints; `--json` prints exactly this object."""

    model_config = ConfigDict(frozen=True)

    collection: str
    encoder: str
    documents: PlannedDocuments
    estimate: Estimate
    added: tuple[str, ...]
    """Where they lie; so in the two that follow, and in `removed`."""
    changed: tuple[str, ...]
    renewed: tuple[str, ...]
    moved: tuple[Moved, ...]
    removed: tuple[str, ...]
    quarantine: tuple[Quarantined, ...]
    refusal: str
    """Why an ingest would not begin, because it would remove too much; empty if it would."""
    ignored: Mapping[str, int]
    warnings: tuple[str, ...]


def preview(request: IngestRequest, session: Session) -> Preview:
    """Compare the sources with the store, and estimate; writes nothing, loads no model.

    Raises:
        InvalidInput, SourceUnavailable: see `flows.ingestion.planned`.
    """
    plan = planned(request, session)
    found = _forecast(plan, session)
    rate = known_rate(
        rate_file(request.target.store, request.target.collection),
        fingerprint=session.specification.fingerprint,
    )
    tokens_per_second = round(rate.tokens_per_second, 1) if rate else None
    return Preview(
        collection=request.target.collection,
        encoder=session.specification.name,
        documents=_counts(plan),
        estimate=Estimate(
            chunks=found.chunks,
            tokens=found.tokens,
            store_bytes=found.store_bytes,
            seconds=round(found.tokens / tokens_per_second, 1) if tokens_per_second else None,
            tokens_per_second=tokens_per_second,
            sampled=found.sampled,
        ),
        added=_sources(plan, "added"),
        changed=_sources(plan, "changed"),
        renewed=_sources(plan, "renewed"),
        moved=tuple(
            Moved(before=move.before.source, now=move.document.source) for move in plan.moves
        ),
        removed=tuple(sorted(head.source for head in plan.lost)),
        quarantine=tuple(
            Quarantined(source=r.source, reason=r.reason, stage=r.stage, held=r.held)
            for r in plan.rejected
        ),
        refusal=objection(
            lost=len(plan.lost), known=plan.known, max_share=request.max_removal_share
        ),
        ignored=dict(plan.ignored),
        warnings=(*plan.warnings, *_unfit(found)),
    )


def _forecast(plan: Plan, session: Session) -> Forecast:
    if not plan.store:
        return Forecast(chunks=0, tokens=0, store_bytes=0, sampled=0, unfit=0)
    session.progress.stage("sampling documents")
    return forecast(
        plan.store,
        session.rough_chunker(),
        session.parsers(),
        dimension=session.specification.dimension,
        max_bytes=session.max_document_bytes,
        advance=session.progress.advance,
    )


def _counts(plan: Plan) -> PlannedDocuments:
    fates = Counter(plan.fates.values())
    return PlannedDocuments(
        seen=plan.seen,
        added=fates["added"],
        changed=fates["changed"],
        moved=fates["moved"],
        renewed=fates["renewed"],
        unchanged=plan.unchanged,
        removed=len(plan.lost),
        quarantined=len(plan.rejected),
    )


def _sources(plan: Plan, fate: str) -> tuple[str, ...]:
    return tuple(d.source for d in plan.store if plan.fates[d.doc_id] == fate)


def _unfit(found: Forecast) -> list[str]:
    """What the sample says of documents that can be read and not parsed: a plan parses no others.

    The counts leave them out, since the others' lot is not known.
    """
    if not found.unfit:
        return []
    return [
        f"{found.unfit} of {found.sampled} documents sampled cannot be parsed; an ingest "
        "quarantines them and any other like them"
    ]
