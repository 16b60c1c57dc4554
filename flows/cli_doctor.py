"""`sextant doctor` and `sextant verify`: whether a collection is what it says it is."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from flows.cli_ingest import Exclude, Include
from flows.cli_options import (
    AsJson,
    Collection,
    Debug,
    Quiet,
    Store,
    print_json,
    settings_of,
    target_of,
)
from flows.errors import InvalidInput
from flows.failures import FAILED

if TYPE_CHECKING:
    from flows.doctor_checksums import VerifyReport
    from flows.doctor_report import DoctorReport

SHOWN: Final = 20
DOCTOR_EXAMPLES: Final = (
    "Examples: sextant doctor; sextant doctor --full --repair; sextant doctor notes/ --json"
)
VERIFY_EXAMPLES: Final = "Examples: sextant verify; sextant verify --repair --json"
Repair = Annotated[bool, typer.Option("--repair", help="Mend what can be mended")]


def doctor(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Sources of the collection, to hold it against [default: none]",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="N", help="Documents to look at wholly [default: 100]"),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Look at every document")] = False,
    repair: Repair = False,
    canary: Annotated[
        bool,
        typer.Option("--canary", help="Also load the encoder, and see whether it has drifted"),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="Of the sample [default: today's date]"),
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look a collection over: whether heads, chunks and sources agree, and what can be mended.

    Chunks are counted, and a sample of documents is looked at wholly: cheap enough for every day.
    With --repair, chunks that belong to no document go, and documents that lack something are
    marked, so that the next ingest of their source stores them again. Exit code 1 if anything is
    wrong and was not mended.
    """
    from flows import console
    from flows.doctor_visit import SAMPLE, DoctorRequest, visit

    if full and sample is not None:
        raise InvalidInput("--full and --sample exclude each other; give one of them")
    if sample is not None and sample < 1:
        raise InvalidInput(f"--sample {sample}: expected 1 or more")
    if seed is not None and seed < 0:
        raise InvalidInput(f"--seed {seed}: expected 0 or more")
    settings = settings_of(
        collection=collection, store=store, include=include or None, exclude=exclude or None
    )
    request = DoctorRequest(
        target=target_of(collection=collection, store=store),
        sources=tuple(sources or ()),
        include=settings.include,
        exclude=settings.exclude,
        sample=sample or SAMPLE,
        seed=seed,
        full=full,
        repair=repair,
        canary=canary,
    )
    with console.progress(quiet=quiet) as progress:
        report = visit(request, progress)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        show_doctor(report)
    if not report.healthy:
        raise typer.Exit(FAILED)


def verify(
    repair: Repair = False,
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Recompute every point's checksum, and name the documents whose points are damaged.

    Points that were stored before there were checksums are counted as unchecked. With --repair,
    the documents are marked, so that the next ingest of their source stores them again. Exit code 1
    if a point is damaged and was not mended.
    """
    from contextlib import closing

    from flows import console
    from flows.doctor_checksums import verify_points
    from flows.stores import store_of

    settings = settings_of(collection=collection, store=store)
    place = store_of(settings)
    with closing(place):
        opened = place.open(settings.collection)
        with console.progress(quiet=quiet) as progress:
            report = verify_points(
                opened,
                name=settings.collection,
                store=place.location,
                repair=repair,
                progress=progress,
            )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        show_verify(report)
    if not report.sound:
        raise typer.Exit(FAILED)


def show_doctor(report: "DoctorReport") -> None:
    """What was looked at, what is wrong, what was mended."""
    from flows.console import say, table
    from flows.doctor_report import MEANINGS

    if report.counts:
        counts = report.counts
        say(
            f"collection {report.collection!r} ({report.version}): {counts.documents:,} documents, "
            f"{counts.chunks:,} chunks, {counts.quarantined:,} in quarantine"
        )
        if counts.others:
            say(f"{counts.others:,} points of kinds that this program does not know")
        of = "all" if report.mode == "full" else f"a sample of (seed {report.seed})"
        say(f"looked at {of} {report.checked:,} documents in {report.seconds:.1f} s")
    if report.findings:
        rows = [
            [kind, f"{count:,}", next(m for k, m in MEANINGS.items() if k == kind)]
            for kind, count in report.totals.items()
        ]
        table(["found", "", ""], rows)
    for found in report.findings[:SHOWN]:
        say(f"{found.kind}: {found.doc_id or found.point or report.collection}: {found.detail}")
    if len(report.findings) > SHOWN:
        say(f"... and {len(report.findings) - SHOWN} more (--json lists all)")
    for done in report.repairs[:SHOWN]:
        say(f"mended: {done.doc_id or report.collection}: {done.action}")
    if len(report.repairs) > SHOWN:
        say(f"... and {len(report.repairs) - SHOWN} more mended (--json lists all)")
    for version in report.unused_versions:
        size = f", {version.bytes / 1e6:,.1f} MB" if version.bytes is not None else ""
        points = f", {version.points:,} points" if version.points is not None else ""
        say(f"unused version: {version.name}, made {version.created_at}{points}{size}")
    for warning in report.warnings[:SHOWN]:
        say(f"warning: {warning}")
    if report.awaiting:
        say(f"{len(report.awaiting)} documents wait for the next ingest of their source")
    if report.healthy:
        say("healthy" if not report.findings else "mended: nothing wrong remains")
    elif any(found.mendable for found in report.remaining):
        say(f"{len(report.remaining)} findings remain; --repair mends what can be mended")
    else:
        say(f"{len(report.remaining)} findings remain; an ingest of the sources may mend them")


def show_verify(report: "VerifyReport") -> None:
    """How many points are whole, and which are not."""
    from flows.console import say

    say(
        f"collection {report.collection!r}: {report.points:,} points, {report.checked:,} checked, "
        f"{report.unchecked:,} without a checksum, {len(report.damaged):,} damaged; "
        f"{report.seconds:.1f} s"
    )
    for point in report.damaged[:SHOWN]:
        say(f"damaged: {point.doc_id or 'no document'}: {point.kind} {point.id}: {point.what}")
    if len(report.damaged) > SHOWN:
        say(f"... and {len(report.damaged) - SHOWN} more (--json lists all)")
    for done in report.repairs[:SHOWN]:
        say(f"mended: {done.doc_id or report.collection}: {done.action}")
    if report.damaged and not report.repairs:
        say("`sextant verify --repair` marks the documents to be stored again")
