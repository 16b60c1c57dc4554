"""`sextant delete`: documents out of a collection, with a receipt."""

import shlex
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flows.cli_options import AsJson, Collection, Debug, Quiet, Store, print_json, settings_of
from flows.errors import InvalidInput

if TYPE_CHECKING:
    from flows.deletion import Deletion, DeletionReceipt

SHOWN: Final = 10
EXAMPLES: Final = (
    "Examples: sextant delete --doc notes/bread.md --reason 'outdated'; "
    "sextant delete --filter format=html --filter root=/srv/notes --dry-run"
)


def delete(
    doc: Annotated[
        list[str] | None,
        typer.Option("--doc", metavar="DOC_ID", help="A document, by its id; may be repeated"),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="KEY=VALUE",
            help="Documents with a chunk that matches, as in `sextant search`; may be repeated",
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the receipt")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which documents would go")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, however many documents would go")
    ] = False,
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Delete whole documents: their chunks, then their heads.

    A receipt (ids, chunks, content hashes, when, who, why) is printed, and kept in the receipts
    folder of the collection's state. The next ingest of a source stores a document again unless it
    is gone from there, or left out with --exclude.
    """
    from flows import console, deletion
    from flows.heads import read_heads
    from flows.stores import store_of
    from search.filters import parse_filters

    matching = parse_filters(filters or [])
    settings = settings_of(collection=collection, store=store)
    place = store_of(settings)
    with closing(place):
        opened = place.open(settings.collection)
        chosen = deletion.choose(opened, read_heads(opened), doc_ids=doc or [], matching=matching)
        if not dry_run:
            _confirm(chosen, yes=yes)
            deletion.require_receipts(settings.store, settings.collection)
        receipt = deletion.receipt_of(
            chosen, opened, name=settings.collection, store=settings.store, reason=reason
        )
        elsewhere = deletion.held_elsewhere(place, chosen, opened)
        receipt = receipt.model_copy(update={"elsewhere": elsewhere})
        if not dry_run:
            with console.progress(quiet=quiet) as progress:
                redone = deletion.carry_out(chosen, opened, progress)
            receipt = deletion.write_receipt(receipt.model_copy(update={"redone": redone}))
    if as_json:
        print_json({**receipt.model_dump(mode="json"), "dry_run": dry_run})
    else:
        show_deletion(receipt, deletion.exclusions(chosen), dry_run=dry_run)


def show_deletion(receipt: "DeletionReceipt", globs: list[str], *, dry_run: bool) -> None:
    """What went, or would go, and what remains to be thought of."""
    from flows import console

    for document in receipt.documents[:SHOWN]:
        console.say(f"{document.doc_id}: {document.chunks} chunks")
    if len(receipt.documents) > SHOWN:
        console.say(f"... and {len(receipt.documents) - SHOWN} more (--json lists all)")
    documents, where = len(receipt.documents), f"collection {receipt.collection!r}"
    if dry_run:
        console.say(
            f"{documents} documents, {receipt.chunks} chunks would go from {where}; "
            "nothing was deleted"
        )
    else:
        console.say(f"{documents} documents, {receipt.chunks} chunks are deleted from {where}")
        console.say(f"receipt: {receipt.receipt}")
    if receipt.redone:
        console.say(
            f"{len(receipt.redone)} near-duplicates of them have no chunks of their own; "
            "the next ingest of their sources stores them"
        )
    for name in receipt.elsewhere:
        console.say(f"warning: still held by {name}; delete there too, or remove that version")
    shown = " ".join(f"--exclude {shlex.quote(glob)}" for glob in globs[:SHOWN])
    more = " ..." if len(globs) > SHOWN else ""
    console.say(f"the next ingest stores what is still in its source; leave it out: {shown}{more}")


def _confirm(chosen: "Deletion", *, yes: bool) -> None:
    from flows.removals import FREE_REMOVALS

    count = len(chosen.documents)
    if yes or count <= FREE_REMOVALS:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"deleting {count} documents wants confirmation; look with --dry-run, then add --yes"
        )
    typer.confirm(f"Delete {count} documents?", abort=True, err=True)
