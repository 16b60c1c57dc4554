"""`sextant migrate`: its options, and what people read of it."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli_options import (
    AsJson,
    Collection,
    Debug,
    Quiet,
    Store,
    print_json,
    settings_of,
)
from flows.errors import InvalidInput
from flows.failures import FAILED

if TYPE_CHECKING:
    from flows.migration_evidence import Evidence, Side
    from flows.migration_report import MigrationReport, MigrationStatus
    from flows.settings import Settings

LEFT_OUT_SHOWN = 20


def migrate(
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="starter|PRESET|DIR|HUB-ID",
            help="The new encoder [default: that of the migration under way]",
        ),
    ] = None,
    collection: Collection = None,
    switch: Annotated[
        bool,
        typer.Option("--switch", help="Let the collection's name lead to the new version"),
    ] = False,
    min_overlap: Annotated[
        float | None,
        typer.Option(
            "--min-overlap",
            metavar="X",
            help="Switch, but only if on average at least this part of the first 10 documents is "
            "the same (0 to 1), and the new version finds sampled documents no more rarely",
        ),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            metavar="FILE",
            help="Queries to compare by, one a line [default: taken from the documents]",
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", help="How many documents give a query")
    ] = 64,
    skip_unfit: Annotated[
        bool,
        typer.Option(
            "--skip-unfit",
            help="Leave out documents that the new encoder cannot take whole: they go to the new "
            "version's quarantine",
        ),
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only say where the collection stands")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to the version before; nothing is deleted")
    ] = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Delete the unfinished new version")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --abandon: do not ask")] = False,
    store: Store = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Move a collection to another encoder, from the texts that are stored.

    A new version is embedded beside the one in use, which goes on answering; a run that was killed
    is taken up again by the same command. Then both answer the same queries, and the figures are
    shown. Without --switch or --min-overlap the collection's name stays where it is.
    """
    _require_one(
        {"--status": status, "--rollback": rollback, "--abandon": abandon},
        {
            "--encoder": encoder is not None,
            "--switch": switch,
            "--min-overlap": min_overlap is not None,
            "--queries": queries is not None,
            "--skip-unfit": skip_unfit,
        },
    )
    if yes and not abandon:
        raise InvalidInput("--yes: expected only with --abandon")
    settings = settings_of(collection=collection, store=store)
    if status:
        _show_status(settings, as_json=as_json)
    elif rollback:
        _roll_back(settings, as_json=as_json)
    elif abandon:
        _abandon(settings, yes=yes, as_json=as_json)
    else:
        from flows import console
        from flows.migration_commands import run_migrate
        from flows.migration_request import MigrationRequest

        request = MigrationRequest(
            store=settings.store,
            collection=settings.collection,
            encoder=encoder,
            switch=switch,
            min_overlap=min_overlap,
            queries=queries,
            sample=sample,
            skip_unfit=skip_unfit,
        )
        with console.progress(quiet=quiet) as progress:
            report = run_migrate(request, progress)
        if as_json:
            print_json(report.model_dump(mode="json"))
        else:
            show_migration(report)
        if report.refusal:
            console.complain(f"not switched: {report.refusal}")
            raise typer.Exit(FAILED)


def show_migration(report: "MigrationReport") -> None:
    """What a run did, what the comparison found, and what to do next."""
    from flows import console

    console.say(
        f"collection {report.collection!r}: {report.documents} documents embedded by "
        f"{report.encoder!r} ({report.chunks} chunks), {report.removed} removed, in "
        f"{report.seconds:.1f} s"
    )
    for one in report.left_out[:LEFT_OUT_SHOWN]:
        console.say(f"left out: {one.source}: {one.reason}")
    if len(report.left_out) > LEFT_OUT_SHOWN:
        more = len(report.left_out) - LEFT_OUT_SHOWN
        console.say(f"... and {more} more (--json lists all)")
    show_evidence(report.evidence)
    console.say(f"evidence: {report.evidence_file}")
    command = f"sextant migrate --collection {report.collection}"
    if report.switched:
        console.say(
            f"{report.collection!r} leads to {report.new!r} now; {report.old!r} stays, "
            f"`{command} --rollback` goes back to it"
        )
    elif not report.refusal:
        console.say(f"ready; switch with `{command} --switch`, or give up with --abandon")


def show_evidence(evidence: "Evidence") -> None:
    """A table of both versions, and what they have in common."""
    from flows import console

    old, new = evidence.old, evidence.new
    rows = [
        ["version", old.version, new.version],
        ["encoder", old.encoder, new.encoder],
        ["documents", f"{old.documents:,}", f"{new.documents:,}"],
        ["chunks", f"{old.chunks:,}", f"{new.chunks:,}"],
        [f"finds itself ({evidence.sampled} sampled)", _found(old), _found(new)],
        ["best score, median", _score(old), _score(new)],
    ]
    console.table(["", "old", "new"], rows)
    origin = "of the file" if evidence.from_file else "sampled"
    shared = "unknown" if evidence.overlap is None else f"{evidence.overlap:.3f}"
    console.say(f"overlap@10: {shared} ({evidence.queries} queries, {origin})")
    if evidence.score_shift is not None:
        console.say(f"best scores shift by {evidence.score_shift:+.3f}")
    for one in evidence.lowest:
        console.say(f"differs most: {one.overlap:.2f}  {console.one_line(one.query, 100)}")
    for note in evidence.notes:
        console.say(f"note: {note}")


def _found(side: "Side") -> str:
    return "unknown" if side.self_retrieval is None else f"{side.self_retrieval:.1%}"


def _score(side: "Side") -> str:
    scores = side.top_score
    return (
        "unknown" if scores is None else f"{scores.median:.3f} ({scores.p10:.3f}-{scores.p90:.3f})"
    )


def _show_status(settings: "Settings", *, as_json: bool) -> None:
    from flows import console
    from flows.migration_commands import migration_status

    found = migration_status(settings)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    console.say(f"{found.collection!r} leads to {found.in_use!r}, built by {found.encoder!r}")
    console.say(f"versions: {', '.join(found.versions)}")
    if found.rollback_to is not None:
        console.say(f"--rollback would go back to {found.rollback_to!r}")
    console.say(_under_way(found))


def _under_way(found: "MigrationStatus") -> str:
    if found.under_way is None:
        return "no migration is under way"
    stage = "ready to --switch" if found.ready else "not finished"
    return (
        f"a migration to {found.under_way!r} is under way since {found.started_at}: "
        f"{found.done} of {found.documents} documents, {stage}"
    )


def _roll_back(settings: "Settings", *, as_json: bool) -> None:
    from flows import console
    from flows.migration_commands import roll_back

    left, taken = roll_back(settings)
    if as_json:
        print_json({"collection": settings.collection, "left": left, "in_use": taken})
    else:
        console.say(
            f"{settings.collection!r} leads to {taken!r} again; what was ingested since the switch "
            f"is in {left!r} only: ingest once more"
        )


def _abandon(settings: "Settings", *, yes: bool, as_json: bool) -> None:
    from flows import console
    from flows.migration_commands import abandon, abandon_question

    question = abandon_question(settings)
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidInput("giving a migration up wants confirmation; add --yes")
        typer.confirm(question, abort=True, err=True)
    version, deleted = abandon(settings)
    if as_json:
        print_json({"collection": settings.collection, "version": version, "deleted": deleted})
    elif deleted:
        console.say(f"the migration is given up, version {version!r} is deleted")
    elif version is not None:
        console.say(f"the migration is given up; version {version!r} was there before, and stays")
    else:
        console.say("the migration is given up; no version was made yet")


def _require_one(modes: dict[str, bool], others: dict[str, bool]) -> None:
    """Refuse options that contradict each other."""
    wanted = [name for name, given in modes.items() if given]
    against = wanted[1:] or [name for name, given in others.items() if given]
    if wanted and against:
        raise InvalidInput(f"{wanted[0]} and {against[0]}: expected one of them, not both")
