"""`sextant ingest` and `sextant plan`: their options."""

import inspect
from typing import Annotated, Any

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
        help="Folders and files; records (.jsonl, .json, .csv, .tsv, .parquet, .arrow) with a "
        "document a row; with --allow-network web pages, sitemaps, urls:FILE, and s3:// or gs:// "
        "URIs; python:packages and python:stdlib name Python's own docs",
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
HeadingContext = Annotated[
    bool | None,
    typer.Option(
        "--heading-context/--no-heading-context",
        help="Embed each chunk with its title and headings before it [default: no]",
    ),
]
NearDuplicates = Annotated[
    str | None,
    typer.Option(
        "--near-duplicates",
        metavar="off|report|collapse",
        help="Documents that nearly equal another: say so, or store no chunks of them "
        "[default: report]",
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Of records, the column with the text; also makes records of such files in folders "
        "[default: text, content, page_content, body or contents]",
    ),
]
TitleColumn = Annotated[str | None, typer.Option(metavar="NAME", help="Of records, the title's")]
IdColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of records, what tells them apart [default: their content]"),
]
MetadataColumns = Annotated[
    str | None,
    typer.Option(metavar="NAME,NAME", help="Of records, what is stored beside each chunk"),
]
TextFormat = Annotated[
    str | None,
    typer.Option(
        metavar="text|markdown|html|restructuredtext",
        help="Of records, how the text is written [default: text]",
    ),
]
AllowNetwork = Annotated[
    bool | None,
    typer.Option("--allow-network", help="Fetch sources that lie on other machines"),
]
AllowPrivate = Annotated[
    bool | None,
    typer.Option(
        "--allow-private-addresses", help="Fetch also from this machine and private networks"
    ),
]
MaxUrls = Annotated[
    int | None, typer.Option(metavar="N", help="Refuse to fetch more pages [default: 1000]")
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--quantisation",
        metavar="none|int8",
        help="How a new collection is searched: int8 takes a quarter of the memory, and rescores "
        "the best hits by the whole vectors [default: none]",
    ),
]


def ingest(
    sources: Sources,
    include: Include = None,
    exclude: Exclude = None,
    text_column: TextColumn = None,
    title_column: TitleColumn = None,
    id_column: IdColumn = None,
    metadata_columns: MetadataColumns = None,
    text_format: TextFormat = None,
    allow_network: AllowNetwork = None,
    allow_private_addresses: AllowPrivate = None,
    max_urls: MaxUrls = None,
    collection: Collection = None,
    encoder: Encoder = None,
    store: Store = None,
    quantisation: Storage = None,
    chunk_tokens: ChunkTokens = None,
    chunk_overlap: ChunkOverlap = None,
    heading_context: HeadingContext = None,
    near_duplicates: NearDuplicates = None,
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
    document is kept in quarantine with its reason and stops nothing. A run that was killed is
    taken up again by the same command.
    """
    from flows import console
    from flows.commands import run_ingest, run_plan
    from flows.ingestion import IngestRequest

    settings = settings_of(
        collection=collection,
        encoder=encoder,
        store=store,
        quantisation=quantisation,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
        heading_context=heading_context,
        near_duplicates=near_duplicates,
        max_document_mb=max_document_mb,
        max_removal_share=max_removal_share,
        include=include or None,
        exclude=exclude or None,
        text_column=text_column,
        title_column=title_column,
        id_column=id_column,
        metadata_columns=metadata_columns,
        text_format=text_format,
        allow_network=allow_network,
        allow_private_addresses=allow_private_addresses,
        max_urls=max_urls,
    )
    request = IngestRequest.of(sources, settings, allow_removals=allow_removals)
    with console.progress(quiet=quiet) as progress:
        found = run_plan(request, progress) if dry_run else run_ingest(request, progress)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        console.show_outcome(found)
    if found.quarantine:
        raise typer.Exit(WITH_QUARANTINE)


def plan(**options: Any) -> None:
    """Say what an ingest with the same options would do, and about how much that is.

    Every document is read and compared; a small sample is parsed and chunked, from which chunks,
    tokens and bytes are estimated, and the time, once a run has measured a rate. Nothing is
    written, and no model is loaded.
    """
    ingest(**options, dry_run=True)


_OPTIONS = inspect.signature(ingest)
plan.__signature__ = _OPTIONS.replace(  # type: ignore[attr-defined]
    parameters=[option for name, option in _OPTIONS.parameters.items() if name != "dry_run"]
)
