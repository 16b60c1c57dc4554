"""The command line. Heavy imports wait until a command needs them: `sextant --help` is instant.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done, with documents in quarantine.
"""

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flows.errors import FlowError, InvalidInput

if TYPE_CHECKING:
    from flows.session import Target
    from flows.settings import Settings

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
WITH_QUARANTINE: Final = 3
INTERRUPTED: Final = 130

app = typer.Typer(
    name="sextant",
    help="Documents in, a searchable and clustered vector database out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=(
        "Settings come from options, then SEXTANT_* variables, then sextant.toml. "
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done with documents in quarantine."
    ),
)
collections_app = typer.Typer(help="List, show and delete collections.", no_args_is_help=True)
app.add_typer(collections_app, name="collections")

Collection = Annotated[
    str | None, typer.Option("--collection", metavar="NAME", help="Collection [default: docs]")
]
Encoder = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="starter|PRESET|DIR|HUB-ID",
        help="Encoder [default: the collection's own; starter for a new one]",
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="DIR|URL",
        help="Folder, or a Qdrant server's address (key: SEXTANT_API_KEY) [default: .sextant]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and logs")] = False,
) -> None:
    """Documents in, a searchable and clustered vector database out."""
    _State.debug = debug or _State.debug


class _State:
    """What `main` needs to know of the command that ran."""

    debug = False
    code = DONE


@app.command()
def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files and folders; python:packages and python:stdlib name Python's own docs",
        ),
    ],
    collection: Collection = None,
    encoder: Encoder = None,
    store: Store = None,
    chunk_tokens: Annotated[
        int | None, typer.Option(min=16, max=4096, help="Most tokens of a chunk [default: 160]")
    ] = None,
    chunk_overlap: Annotated[
        int | None, typer.Option(min=0, help="Most tokens repeated between chunks [default: 0]")
    ] = None,
    max_document_mb: Annotated[
        int | None, typer.Option(min=1, help="Larger documents are quarantined [default: 20]")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Bring a collection in line with its sources.

    New and changed documents are stored, unchanged ones skipped, vanished ones removed; a bad
    document is reported with its reason and stops nothing. A run that was killed is taken up
    again by the same command.
    """
    from flows import console
    from flows.commands import run_ingest

    target = _target(
        collection=collection,
        encoder=encoder,
        store=store,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
        max_document_mb=max_document_mb,
    )
    with console.progress(quiet=quiet) as progress:
        report = run_ingest(sources, target, progress)
    if as_json:
        _print_json(report.model_dump(mode="json"))
    else:
        console.show_ingest(report)
    _State.code = WITH_QUARANTINE if report.quarantine else DONE


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in plain words")],
    limit: Annotated[
        int, typer.Option("-k", "--limit", min=1, max=1000, help="How many hits")
    ] = 10,
    collection: Collection = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="KEY=VALUE", help="Only chunks that match; may be repeated"
        ),
    ] = None,
    chunks: Annotated[
        bool, typer.Option("--chunks", help="Every chunk counts, not the best of each document")
    ] = False,
    encoder: Encoder = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Find the chunks nearest to a query, the best one of each document."""
    from dataclasses import asdict

    from flows import console
    from flows.commands import run_search
    from search.filters import parse_filters

    where = parse_filters(filters or [])
    target = _target(collection=collection, encoder=encoder, store=store)
    result, encoder_name = run_search(
        query, target, limit=limit, where=where, by_document=not chunks
    )
    if as_json:
        _print_json(
            {
                "query": query,
                "collection": target.collection,
                "encoder": encoder_name,
                "hits": [asdict(hit) for hit in result.hits],
                "timings_ms": {name: round(ms, 3) for name, ms in result.timings_ms.items()},
            }
        )
    else:
        console.show_hits(query, result.hits)


@app.command()
def cluster(
    collection: Collection = None,
    k: Annotated[
        int | None, typer.Option("--k", min=1, help="How many clusters [default: chosen]")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random starts")] = 0,
    report: Annotated[
        str | None,
        typer.Option("--report", metavar="DIR", help="[default: STORE/reports/COLLECTION]"),
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Group a collection's chunks, name the groups, write them back, and report."""
    from flows import console
    from flows.commands import run_cluster

    target = _target(collection=collection, store=store)
    with console.progress(quiet=quiet) as progress:
        found = run_cluster(target, progress, k=k, seed=seed, report=report)
    if as_json:
        _print_json(found.model_dump(mode="json"))
    else:
        console.show_clusters(found)


@app.command()
def encode(
    out: Annotated[str, typer.Option("--out", metavar="FILE.npy", help="Where the vectors go")],
    kind: Annotated[
        str, typer.Option("--kind", metavar="query|document", help="Which prompt form to use")
    ] = "document",
    encoder: Encoder = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Encode standard input, one text a line, into a float32 array of unit vectors."""
    from flows import console
    from flows.commands import run_encode

    report = run_encode(encoder, kind, out, sys.stdin.buffer, quiet=quiet)
    if as_json:
        _print_json(report)
    else:
        console.show_fields(report)


@app.command()
def demo(
    store: Store = None,
    quiet: Quiet = False,
) -> None:
    """Ingest the documentation of this Python and its packages, cluster it, and search it."""
    from flows import console
    from flows.demo import run_demo

    with console.progress(quiet=quiet) as progress:
        _State.code = run_demo(_target(collection="demo", store=store), progress)


@collections_app.command("list")
def list_collections(store: Store = None, as_json: AsJson = False) -> None:
    """List the collections of a store."""
    from flows import console
    from search.stores.locate import open_store

    settings = _settings(store=store)
    place = open_store(settings.store, api_key=settings.api_key)
    manifests = place.list()
    place.close()
    if as_json:
        _print_json({"collections": [m.model_dump(mode="json") for m in manifests]})
    else:
        console.show_collections(manifests, place.location)


@collections_app.command("show")
def show_collection(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Show what a collection holds and which encoder built it."""
    from flows import console
    from flows.commands import describe_collection

    settings = _settings(store=store)
    fields = describe_collection(name, settings)
    if as_json:
        _print_json(fields)
    else:
        console.show_fields(fields)


@collections_app.command("delete")
def delete_collection(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    store: Store = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a collection and all it holds."""
    from flows import console
    from search.stores.locate import open_store

    settings = _settings(store=store)
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidInput(f"deleting collection {name!r} wants confirmation; add --yes")
        typer.confirm(f"Delete collection {name!r} and all it holds?", abort=True)
    place = open_store(settings.store, api_key=settings.api_key)
    place.delete(name)
    place.close()
    if as_json:
        _print_json({"collection": name, "deleted": True})
    else:
        console.say(f"collection {name!r} is deleted")


def main() -> None:
    """Run the command line; every failure ends in one clear line and an exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app(standalone_mode=False)
        code = _State.code
    except Exception as error:
        if _State.debug:
            raise
        code = _explain(error)
    sys.stdout.flush()
    raise SystemExit(code)


def _explain(error: Exception) -> int:
    """One line on standard error: the value, what was expected, the remedy."""
    from typer._click.exceptions import NoArgsIsHelpError

    from embedder.errors import EmbedderError, InvalidConfig
    from flows import console
    from search.errors import InvalidRequest, SearchError

    if isinstance(error, NoArgsIsHelpError):
        console.say(error.format_message())
        return WRONG_USAGE
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "sextant"
        console.complain(f"{error.format_message()} See `{command} --help`.")
        return WRONG_USAGE
    if isinstance(error, typer.Abort):
        console.complain("nothing was done")
        return FAILED
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if isinstance(error, InvalidInput | InvalidRequest | InvalidConfig):
        console.complain(_first_line(error))
        return WRONG_USAGE
    if isinstance(error, FlowError | SearchError | EmbedderError):
        console.complain(_first_line(error))
        return FAILED
    console.complain(
        f"unexpected {type(error).__name__}: {_first_line(error)}; "
        "`sextant --debug ...` shows where; what was committed stays"
    )
    return FAILED


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _stop(number: int, frame: object) -> None:
    """Ctrl-C and SIGTERM: end at once. What is committed is whole; nothing needs tidying up."""
    os.write(
        sys.stderr.fileno(),
        b"\nsextant: interrupted; what was committed stays, the same command goes on from there\n",
    )
    os._exit(INTERRUPTED)


def _settings(**options: Any) -> "Settings":
    from flows.settings import load_settings

    return load_settings(**options)


def _target(**options: Any) -> "Target":
    from flows.session import Target

    return Target.of(_settings(**options))


def _print_json(value: dict[str, Any]) -> None:
    from flows import console

    console.say(json.dumps(value, ensure_ascii=False, allow_nan=False))
