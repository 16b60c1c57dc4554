"""`sextant quarantine`: list, show, retry and drop the documents that were refused."""

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flows.cli_options import AsJson, Collection, Debug, Store, print_json, settings_of
from flows.errors import InvalidInput

if TYPE_CHECKING:
    from flows.quarantine import Entry
    from flows.settings import Settings
    from search.stores.contract import Collection as OpenCollection

ROWS_SHOWN: Final = 100
SUGGESTED: Final = 3

quarantine_app = typer.Typer(
    help="List, show, retry and drop the documents that were refused.", no_args_is_help=True
)

DocIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="DOC_ID", help="Ids, as `sextant quarantine list` names them"),
]
All = Annotated[bool, typer.Option("--all", help="Every document in quarantine")]


@quarantine_app.command("list")
def list_quarantine(
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Only reasons that contain this text"),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="Only documents of this format")
    ] = None,
    root: Annotated[
        str | None,
        typer.Option("--root", metavar="SOURCE", help="Only documents of this source, as ingested"),
    ] = None,
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the documents in quarantine: where and why each was refused, since when, how often."""
    from flows import console

    _require_format(format)
    settings = settings_of(collection=collection, store=store)
    with _opened(settings) as (_, entries):
        chosen = [e for e in entries.values() if _matches(e, reason, format, root)]
        held = len(entries)
    if as_json:
        found = [asdict(entry) for entry in chosen]
        print_json({"collection": settings.collection, "quarantined": held, "entries": found})
        return
    if not chosen:
        but = f"; {held} in all" if held else ""
        console.say(f"no such document in quarantine of collection {settings.collection!r}{but}")
        return
    rows = [
        [e.doc_id, e.stage, e.reason, e.first_seen, str(e.attempts), e.retry]
        for e in chosen[:ROWS_SHOWN]
    ]
    console.table(["document", "stage", "reason", "since", "attempts", "retry"], rows)
    if len(chosen) > ROWS_SHOWN:
        console.say(f"... and {len(chosen) - ROWS_SHOWN:,} more (--json lists all)")


@quarantine_app.command("show")
def show_quarantined(
    doc_id: Annotated[str, typer.Argument(metavar="DOC_ID", help="The document's id")],
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show all that is known of a document in quarantine, and what is stored of it."""
    from flows import console
    from flows.heads import STORED
    from search.records import METADATA, head_id

    settings = settings_of(collection=collection, store=store)
    with _opened(settings) as (opened, entries):
        entry = _chosen(entries, [doc_id], settings)[0]
        heads = [record.payload[METADATA] for record in opened.retrieve([head_id(doc_id)])]
    whole = [head for head in heads if head.get("state") == STORED]
    told = ("ingested_at", "content_hash", "chunks")
    versions: list[dict[str, Any]] = [{key: head.get(key) for key in told} for head in whole]
    stored = versions[0] if versions else None
    if as_json:
        print_json({"collection": settings.collection, **asdict(entry), "stored_version": stored})
        return
    fields = {name: console.one_line(str(value), 2000) for name, value in asdict(entry).items()}
    if stored is None:
        fields["stored"] = "no version of it"
    else:
        fields["stored"] = (
            f"an earlier version, of {stored['ingested_at']}, in {stored['chunks']} chunks"
        )
    console.show_fields(fields)


@quarantine_app.command("retry")
def retry_quarantined(
    doc_ids: DocIds = None,
    everything: All = False,
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Let the next ingest try documents again, though nothing about them has changed."""
    from flows import console
    from flows.quarantine import want_retry

    _require_choice(doc_ids, everything)
    settings = settings_of(collection=collection, store=store)
    with _opened(settings) as (opened, entries):
        chosen = _chosen(entries, doc_ids, settings)
        want_retry(opened, [entry.doc_id for entry in chosen])
    if as_json:
        marked = [entry.doc_id for entry in chosen]
        print_json({"collection": settings.collection, "retry": marked})
    else:
        console.say(f"{_documents(len(chosen))} will be tried by the next ingest of their sources")


@quarantine_app.command("drop")
def drop_quarantined(
    doc_ids: DocIds = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Forget what is known of refused documents; the next ingest that meets them tries again."""
    from flows import console
    from flows.quarantine import remove

    _require_choice(doc_ids, everything)
    if not yes and not sys.stdin.isatty():
        raise InvalidInput("dropping quarantine entries wants confirmation; add --yes")
    settings = settings_of(collection=collection, store=store)
    with _opened(settings) as (opened, entries):
        chosen = _chosen(entries, doc_ids, settings)
        if chosen and not yes:
            question = f"Forget {_documents(len(chosen))} in quarantine?"
            typer.confirm(question, abort=True, err=True)
        remove(opened, [entry.doc_id for entry in chosen])
    if as_json:
        dropped = [asdict(entry) for entry in chosen]
        print_json({"collection": settings.collection, "dropped": dropped})
        return
    for entry in chosen:
        console.say(f"dropped: {console.one_line(f'{entry.doc_id}: {entry.reason}', 2000)}")
    console.say(f"{_documents(len(chosen))} dropped from quarantine")


@contextmanager
def _opened(settings: "Settings") -> "Iterator[tuple[OpenCollection, dict[str, Entry]]]":
    """The collection and its quarantine; the store is closed afterwards. Needs no encoder."""
    from flows.quarantine import read_quarantine
    from flows.stores import store_of

    with closing(store_of(settings)) as place:
        opened = place.open(settings.collection)
        yield opened, read_quarantine(opened)


def _matches(entry: "Entry", reason: str | None, format: str | None, root: str | None) -> bool:
    if reason is not None and reason.casefold() not in entry.reason.casefold():
        return False
    if format is not None and entry.format != format:
        return False
    return root is None or entry.root in (root, str(Path(root).absolute()))


def _require_format(format: str | None) -> None:
    from typing import get_args

    from flows.documents.formats import Format

    formats: tuple[str, ...] = get_args(Format)
    if format is not None and format not in formats:
        raise InvalidInput(f"--format {format!r}: expected one of {', '.join(formats)}")


def _require_choice(doc_ids: Sequence[str] | None, everything: bool) -> None:
    if everything and doc_ids:
        raise InvalidInput(f"--all and {doc_ids[0]!r}: expected document ids or --all, not both")
    if not everything and not doc_ids:
        raise InvalidInput(
            "no document named; give ids (`sextant quarantine list` shows them) or --all"
        )


def _chosen(
    entries: "Mapping[str, Entry]", doc_ids: Sequence[str] | None, settings: "Settings"
) -> "list[Entry]":
    """The entries named, each once; all, if none is.

    Raises:
        InvalidInput: one of them is not in quarantine; the message names ids that are like it.
    """
    if not doc_ids:
        return list(entries.values())
    for doc_id in doc_ids:
        if doc_id not in entries:
            alike = ", ".join(repr(one) for one in _alike(doc_id, entries))
            remedy = f"did you mean {alike}?" if alike else "`sextant quarantine list` shows all"
            raise InvalidInput(
                f"{doc_id!r} is not in quarantine of collection {settings.collection!r}; {remedy}"
            )
    return [entries[doc_id] for doc_id in dict.fromkeys(doc_ids)]


def _alike(doc_id: str, entries: "Mapping[str, Entry]") -> list[str]:
    """Ids that were probably meant: of that very file, or written almost so."""
    path = str(Path(doc_id).absolute())
    same = [e.doc_id for e in entries.values() if e.source == path]
    same += [one for one in entries if one.endswith(f"/{doc_id}")]
    close = difflib.get_close_matches(doc_id, entries, n=SUGGESTED)
    return list(dict.fromkeys((*same, *close)))[:SUGGESTED]


def _documents(number: int) -> str:
    return f"{number:,} document{'' if number == 1 else 's'}"
