"""A visit of the doctor, from request to report: plain functions that know no Prefect."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from embedder.errors import CanaryDrift
from flows.doctor_check import Look, check_alias, look_over, unused_versions
from flows.doctor_repair import mend_alias, repair
from flows.doctor_report import DoctorReport, Finding, Repair, UnusedVersion, finding, totals
from flows.heads import WRITING
from flows.ingestion import IngestRequest, planned
from flows.plan import Plan
from flows.progress import Progress
from flows.runs import Recorder, recorded, runs_folder
from flows.session import Session, Target, running
from flows.settings import load_settings
from search.errors import FingerprintMismatch
from search.stores.contract import Collection, Store
from search.stores.locate import open_store

SAMPLE: Final = 100
"""Documents that a sampled visit looks at wholly."""
ROUNDS: Final = 3
"""A repair may uncover what another one mends: chunks that a damaged head hid, for one."""


class DoctorRequest(BaseModel):
    """What to look at: the flow's parameter, free of secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Target
    sources: tuple[str, ...] = ()
    """What the collection is held against besides; empty: nothing."""
    include: tuple[str, ...] = ()
    """Globs, see `flows.documents.globs`; only documents that match one are in the sources."""
    exclude: tuple[str, ...] = ()
    """Globs; documents that match one are not in the sources."""
    sample: Annotated[int, Field(ge=1)] = SAMPLE
    seed: Annotated[int, Field(ge=0)] | None = None
    """Of the sample; None: today's date, such as 20250131."""
    full: bool = False
    """Whether every document is looked at."""
    repair: bool = False
    canary: bool = False
    """Whether the encoder is loaded and asked for the vectors that it gave at first."""


@dataclass(kw_only=True)
class _Patient:
    """What a visit has to do with."""

    store: Store
    collection: Collection
    session: Session | None
    """Only where sources or the canary ask for one."""
    findings: list[Finding]
    """What came out while it was opened."""


def visit(request: DoctorRequest, progress: Progress) -> DoctorReport:
    """Look a collection over, and mend it if that is asked for.

    Raises:
        CollectionNotFound: there is no such collection.
        InvalidInput, SourceUnavailable: a source is wrong, missing or empty.
        SearchError: the store cannot be used.
    """
    began = time.perf_counter()
    seed = request.seed if request.seed is not None else int(f"{datetime.now(UTC):%Y%m%d}")
    findings, repairs = _named(request)
    if findings and not repairs:
        return _report(request, seed=seed, began=began, findings=findings, remaining=findings)
    with _opened(request, progress) as patient:
        collection = patient.collection
        look = _look(request, collection, seed=seed, full=request.full, progress=progress)
        lasting = [*patient.findings, *_canary(request, patient, progress)]
        from_sources, warnings = _sources(request, patient)
        lasting += from_sources
        findings += lasting + look.findings
        if request.repair:
            with _recorded(request, patient) as recorder:
                look, mended = _mended(request, collection, look, seed=seed, progress=progress)
                repairs += mended
                recorder.done({"repairs": [done.model_dump(mode="json") for done in mended]})
            warnings += recorder.warnings
        remaining = [
            f
            for f in lasting + look.findings
            if not (request.repair and f.kind == "unfinished")  # the next ingest's, see `awaiting`
        ]
        version = collection.manifest.name
        return _report(
            request,
            seed=seed,
            began=began,
            findings=findings,
            remaining=remaining,
            version=version,
            look=look,
            repairs=repairs,
            awaiting=look.unfinished if request.repair else (),
            unused=unused_versions(patient.store, request.target.collection, version),
            warnings=tuple(warnings),
        )


def _mended(
    request: DoctorRequest, collection: Collection, look: Look, *, seed: int, progress: Progress
) -> tuple[Look, list[Repair]]:
    """Mend, and look again, until nothing that can be mended is left.

    Returns:
        The last look, and what was done.
    """
    repairs: list[Repair] = []
    if not look.full and any(found.kind != "unfinished" for found in look.findings):
        # a sample has shown that something is wrong, not all of it
        look = _look(request, collection, seed=seed, full=True, progress=progress)
    for _ in range(ROUNDS):
        if not any(found.mendable for found in look.findings):
            break
        repairs += repair(look.findings, collection, progress)
        look = _look(request, collection, seed=seed, full=True, progress=progress)
    return look, repairs


def _recorded(request: DoctorRequest, patient: _Patient) -> AbstractContextManager[Recorder]:
    """A repair stands in the collection's run history; a mere look does not."""
    return recorded(
        runs_folder(request.target.store, request.target.collection),
        run_id=uuid4().hex[:12],
        kind="doctor",
        collection=request.target.collection,
        store=patient.store.location,
        fingerprint=patient.collection.manifest.fingerprint,
    )


def _look(
    request: DoctorRequest, collection: Collection, *, seed: int, full: bool, progress: Progress
) -> Look:
    return look_over(collection, full=full, sample=request.sample, seed=seed, progress=progress)


def _named(request: DoctorRequest) -> tuple[list[Finding], list[Repair]]:
    """What is wrong with the collection's name, and what was mended of it."""
    name = request.target.collection
    with closing(_store(request)) as store:
        findings = check_alias(store, name)
        return findings, mend_alias(store, name) if findings and request.repair else []


def _store(request: DoctorRequest) -> Store:
    settings = load_settings()
    return open_store(
        request.target.store, api_key=settings.api_key, server=settings.server_options
    )


@contextmanager
def _opened(request: DoctorRequest, progress: Progress) -> Iterator[_Patient]:
    """Open the collection; with the encoder's files, only where something asks for them."""
    findings: list[Finding] = []
    with ExitStack() as stack:
        session: Session | None = None
        if request.sources or request.canary:
            try:
                session = stack.enter_context(running(request.target))
                session.progress = progress
            except FingerprintMismatch as mismatch:
                if request.sources:  # its recipe cannot be told from another encoder's
                    raise
                findings.append(finding("wrong_encoder", str(mismatch)))
        if session is not None:
            store, collection = session.store, session.existing_collection()
        else:
            store = stack.enter_context(closing(_store(request)))
            collection = store.open(request.target.collection)
        yield _Patient(store=store, collection=collection, session=session, findings=findings)


def _canary(request: DoctorRequest, patient: _Patient, progress: Progress) -> list[Finding]:
    if not request.canary or patient.session is None:
        return []
    progress.stage(f"loading encoder {patient.session.specification.name}")
    try:
        patient.session.require_canary()
    except CanaryDrift as drift:
        return [finding("drifted", str(drift))]
    return []


def _sources(request: DoctorRequest, patient: _Patient) -> tuple[list[Finding], list[str]]:
    """How the sources differ from what is stored of them, and what cannot be told."""
    if not request.sources or patient.session is None:
        return [], []
    asked = IngestRequest(
        sources=request.sources,
        target=request.target,
        include=request.include,
        exclude=request.exclude,
    )
    plan = planned(asked, patient.session)
    warnings = [*plan.warnings, *(f"{r.source} is not compared: {r.reason}" for r in plan.rejected)]
    return list(_differences(plan, patient.session)), warnings


def _differences(plan: Plan, session: Session) -> Iterator[Finding]:
    origins = {move.document.doc_id: move.before.doc_id for move in plan.moves}
    for document in plan.store:
        doc_id, fate = document.doc_id, plan.fates.get(document.doc_id, "added")
        if fate in ("added", "moved"):
            origin = origins.get(doc_id)
            moved = f", as a document that was {origin!r}" if origin else ""
            yield finding("not_stored", f"it is in the sources{moved}", doc_id=doc_id)
        elif fate == "changed":
            yield finding("changed", "its bytes are not those that are stored", doc_id=doc_id)
        elif session.heads[doc_id].state != WRITING:  # that one is unfinished already
            detail = f"stored by {session.heads[doc_id].recipe!r}, now {session.recipe!r}"
            yield finding("outdated", detail, doc_id=doc_id)
    for head in plan.remove:
        yield finding("vanished", f"{head.source!r} is no longer in its source", doc_id=head.doc_id)


def _report(
    request: DoctorRequest,
    *,
    seed: int,
    began: float,
    findings: list[Finding],
    remaining: list[Finding],
    version: str = "",
    look: Look | None = None,
    repairs: list[Repair] | None = None,
    awaiting: tuple[str, ...] = (),
    unused: tuple[UnusedVersion, ...] = (),
    warnings: tuple[str, ...] = (),
) -> DoctorReport:
    return DoctorReport(
        collection=request.target.collection,
        version=version,
        store=request.target.store,
        mode="full" if look and look.full else "sampled",
        seed=seed,
        checked=look.checked if look else 0,
        counts=look.counts if look else None,
        unused_versions=unused,
        findings=tuple(findings),
        totals=totals(findings),
        repairs=tuple(repairs or ()),
        remaining=tuple(remaining),
        awaiting=awaiting,
        warnings=warnings,
        healthy=not remaining,
        seconds=round(time.perf_counter() - began, 3),
    )
