"""`sextant copy`, `sextant export` and `sextant import`: collections from place to place."""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flows.cli_options import AsJson, Collection, Debug, Quiet, Store, print_json, settings_of

if TYPE_CHECKING:
    from pydantic import SecretStr

    from flows.settings import Settings
    from flows.transfer import TransferReport
    from flows.transfer_export import ExportReport

COPY_EXAMPLES: Final = (
    "Examples: sextant copy --from .sextant --to http://qdrant:6333; "
    "sextant copy --from http://qdrant:6333 --to backup --collection docs --as docs-monday"
)
EXPORT_EXAMPLES: Final = (
    "Examples: sextant export --out docs-export; "
    "sextant export --collection notes --out /backup/notes"
)
IMPORT_EXAMPLES: Final = (
    "Examples: sextant import docs-export; sextant import docs-export --as docs-restored"
)
As = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="What it is to be called [default: as it was]"),
]


def copy(
    source: Annotated[
        str, typer.Option("--from", metavar="DIR|URL", help="The store that holds the collection")
    ],
    target: Annotated[str, typer.Option("--to", metavar="DIR|URL", help="Where the copy goes")],
    collection: Collection = None,
    name: As = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Copy a collection to another store, whichever engine that one has.

    The copy is a new version, compared with its source; only then does the collection's name lead
    to it. The same command takes up a copy that was killed. A server's key is SEXTANT_API_KEY; of
    two servers, the second one's is SEXTANT_TARGET_API_KEY.
    """
    from flows import console
    from flows.transfer_copy import copy_collection
    from search.stores.locate import open_store

    settings = settings_of(collection=collection)
    keys = _keys(settings, source, target)
    server = settings.server_options
    with ExitStack() as stack:
        first = stack.enter_context(closing(open_store(source, api_key=keys[0], server=server)))
        second = stack.enter_context(closing(open_store(target, api_key=keys[1], server=server)))
        progress = stack.enter_context(console.progress(quiet=quiet))
        report = copy_collection(
            first,
            first if first.location == second.location else second,
            collection=settings.collection,
            name=name,
            progress=progress,
        )
    _show(report, as_json=as_json)


def export(
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="A folder that is not there yet, or empty")
    ],
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a collection into a folder of Parquet files, with vectors, payloads and manifest.

    The folder appears when it is whole. `sextant import` makes the same collection of it, and other
    programs can read the tables.
    """
    from flows import console
    from flows.stores import store_of
    from flows.transfer_export import export_collection, require_new_folder
    from flows.transfer_files import require_pyarrow

    require_pyarrow()
    require_new_folder(Path(out))
    settings = settings_of(collection=collection, store=store)
    place = store_of(settings)
    with closing(place):
        opened = place.open(settings.collection)
        with console.progress(quiet=quiet) as progress:
            report = export_collection(
                opened,
                Path(out),
                name=settings.collection,
                store=place.location,
                progress=progress,
            )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        show_export(report)


def import_(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder that `sextant export` made")
    ],
    name: As = None,
    store: Store = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a collection of an export; its files are checked before anything is written."""
    from flows import console
    from flows.stores import store_of
    from flows.transfer_import import import_collection

    settings = settings_of(store=store)
    place = store_of(settings)
    with closing(place), console.progress(quiet=quiet) as progress:
        report = import_collection(Path(folder), place, name=name, progress=progress)
    _show(report, as_json=as_json)


def show_transfer(report: "TransferReport") -> None:
    """What was transferred, and what the name leads to now."""
    from flows.console import say

    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.kinds.items())
    say(f"{report.points:,} points ({kinds}) from {report.source} in {report.seconds:.1f} s")
    if report.present or report.removed:
        say(
            f"{report.present:,} were there from an earlier attempt, {report.written:,} written, "
            f"{report.removed:,} removed that are not in the source"
        )
    say(
        f"counts agree; {report.sampled:,} points compared, vectors differ by at most "
        f"{report.max_difference:.2g}"
    )
    say(f"collection {report.collection!r} in {report.store} leads to {report.version!r}")
    if report.replaced and report.replaced != report.version:
        say(f"before, it led to {report.replaced!r}, which is still there")


def show_export(report: "ExportReport") -> None:
    """What was exported, and where it is."""
    from flows.console import say

    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.kinds.items())
    say(
        f"{report.points:,} points ({kinds}) of collection {report.collection!r} in "
        f"{report.seconds:.1f} s"
    )
    say(f"{report.files} files, {report.bytes / 1e6:,.1f} MB in {report.out}")


def _show(report: "TransferReport", *, as_json: bool) -> None:
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        show_transfer(report)


def _keys(
    settings: "Settings", source: str, target: str
) -> "tuple[SecretStr | None, SecretStr | None]":
    """The key of each side: a server never gets the key that is meant for another."""
    first, second = ("://" in place for place in (source, target))
    if first and second:
        own = settings.api_key if source == target else None
        return settings.api_key, settings.target_api_key or own
    only = settings.target_api_key or settings.api_key
    return (settings.api_key if first else None), (only if second else None)
