"""`sextant ingest` and `sextant plan`: their options."""

from typing import Annotated

import typer

from flows.cli_options import (
    AsJson,
    Collection,
    Debug,
    Encoder,
    Quiet,
    Store,
    print_json,
    settings_of,
)
from flows.failures import WITH_QUARANTINE

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="Files and folders; python:packages and python:stdlib name Python's own docs",
    ),
]
ChunkTokens = Annotated[
    int | None,
    typer.Option(metavar="N", help="Most tokens of a chunk, 16 to 4096 [default: 160]"),
]
ChunkOverlap = Annotated[
    int | None,
    typer.Option(metavar="N", help="Most tokens repeated between chunks [default: 0]"),
]
MaxDocumentMB = Annotated[
    int | None,
    typer.Option(metavar="N", help="Larger documents are quarantined, in MiB [default: 20]"),
]
MaxRemovalShare = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Refuse to remove more than this part of the documents stored from these sources; "
        "up to 5 may always go [default: 0.2]",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="GLOB",
        help="Only documents that match, as in a .gitignore (but no '!'): '*.md' at any depth, "
        "'guide/**' from the source's folder; may be repeated",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="No documents that match, even if included; what is stored of them is removed; may "
        "be repeated",
    ),
]
AllowRemovals = Annotated[
    bool, typer.Option("--allow-removals", help="Remove whatever has vanished, however much")
]


def ingest(
    sources: Sources,
    include: Include = None,
    exclude: Exclude = None,
    collection: Collection = None,
    encoder: Encoder = None,
    store: Store = None,
    chunk_tokens: ChunkTokens = None,
    chunk_overlap: ChunkOverlap = None,
    max_document_mb: MaxDocumentMB = None,
    max_removal_share: MaxRemovalShare = None,
    allow_removals: AllowRemovals = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, as `sextant plan`")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Bring a collection in line with its sources.

    New and changed documents are stored, unchanged ones skipped, vanished ones removed; a bad
    document is reported with its reason and stops nothing. A run that was killed is taken up
    again by the same command.
    """
    from flows import console
    from flows.commands import run_ingest, run_plan
    from flows.ingestion import IngestRequest

    settings = settings_of(
        collection=collection,
        encoder=encoder,
        store=store,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
        max_document_mb=max_document_mb,
        max_removal_share=max_removal_share,
        include=include or None,
        exclude=exclude or None,
    )
    request = IngestRequest.of(sources, settings, allow_removals=allow_removals)
    if dry_run:
        with console.progress(quiet=quiet) as progress:
            found = run_plan(request, progress)
        if as_json:
            print_json(found.model_dump(mode="json"))
        else:
            console.show_preview(found)
        quarantined = bool(found.quarantine)
    else:
        with console.progress(quiet=quiet) as progress:
            report = run_ingest(request, progress)
        if as_json:
            print_json(report.model_dump(mode="json"))
        else:
            console.show_ingest(report)
        quarantined = bool(report.quarantine)
    if quarantined:
        raise typer.Exit(WITH_QUARANTINE)


def plan(
    sources: Sources,
    include: Include = None,
    exclude: Exclude = None,
    collection: Collection = None,
    encoder: Encoder = None,
    store: Store = None,
    chunk_tokens: ChunkTokens = None,
    chunk_overlap: ChunkOverlap = None,
    max_document_mb: MaxDocumentMB = None,
    max_removal_share: MaxRemovalShare = None,
    allow_removals: AllowRemovals = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say what an ingest with the same options would do, and about how much that is.

    Every document is read and compared; a small sample is parsed and chunked, from which chunks,
    tokens and bytes are estimated, and the time, once a run has measured a rate. Nothing is
    written, and no model is loaded.
    """
    ingest(
        sources,
        include,
        exclude,
        collection,
        encoder,
        store,
        chunk_tokens,
        chunk_overlap,
        max_document_mb,
        max_removal_share,
        allow_removals,
        dry_run=True,
        as_json=as_json,
        quiet=quiet,
    )
