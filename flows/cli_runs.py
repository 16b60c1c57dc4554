"""`sextant runs`: what was run on a collection, when, and how it ended."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flows.cli_options import AsJson, Collection, Debug, Store, print_json, settings_of
from flows.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from flows.runs import RunRecord
    from flows.settings import Settings

SHOWN: Final = 20
ITEMS_SHOWN: Final = 20
_LONGEST_LINE: Final = 2000
_DOCUMENTS: Final = ("stored", "unchanged", "removed", "quarantined")
_HEADER: Final = ("run", "when", "kind", "state", *_DOCUMENTS, "chunks", "tokens", "seconds")

runs_app = typer.Typer(
    help="List the runs of a collection, and show any one.", invoke_without_command=True
)


@runs_app.callback()
def list_runs(
    context: typer.Context,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", help=f"At most so many runs [default: {SHOWN}]"),
    ] = None,
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the runs of a collection, the newest first; the newest 200 are kept."""
    given = {"--limit": limit, "--collection": collection, "--store": store, "--json": as_json}
    if context.invoked_subcommand is not None:
        for option, value in given.items():
            if value:
                raise InvalidInput(
                    f"{option} stands before {context.invoked_subcommand!r}; expected behind it"
                )
        return
    from flows import console
    from flows.run_history import read_runs
    from flows.runs import KEPT

    wanted = SHOWN if limit is None else limit
    if not 1 <= wanted <= KEPT:
        raise InvalidInput(f"--limit {wanted}: expected 1 to {KEPT}")
    settings = settings_of(collection=collection, store=store)
    folder, server = _place(settings)
    history = read_runs(folder, limit=wanted, store=server)
    if as_json:
        found = [run.model_dump(mode="json") for run in history.runs]
        warnings = list(history.warnings)
        print_json({"collection": settings.collection, "runs": found, "warnings": warnings})
        return
    if history.runs:
        console.table(_HEADER, [_row(run) for run in history.runs])
    else:
        console.say(
            f"no run of collection {settings.collection!r} is recorded in {str(folder)!r} yet"
        )
    for warning in history.warnings:
        console.complain(f"warning: {warning}")


@runs_app.command("show")
def show_run(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id, or how it begins")],
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show all that is recorded of a run, with its report."""
    from flows import console
    from flows.run_history import find_run

    folder, _ = _place(settings_of(collection=collection, store=store))
    run = find_run(folder, run_id)
    if as_json:
        print_json(run.model_dump(mode="json"))
        return
    fields = run.model_dump(mode="json", exclude={"report", "cut", "process"})
    fields["sources"] = ", ".join(run.sources)
    fields["versions"] = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    shown = {name: console.one_line(str(value), _LONGEST_LINE) for name, value in fields.items()}
    console.show_fields({name: value for name, value in shown.items() if value not in ("", "None")})
    for line in _report_lines(run.report or {}, run.cut):
        console.say(console.one_line(line, _LONGEST_LINE))


def _place(settings: "Settings") -> "tuple[Path, str | None]":
    """The folder of the collection's runs, and the server's address if the store is one.

    Raises:
        InvalidRequest: the store or the collection cannot be one.
    """
    from flows.runs import runs_folder
    from search.stores.locate import open_store

    server = None
    if settings.store.lower().startswith(("http://", "https://")):
        from search.stores.server_address import check_url

        server = check_url(settings.store)
    else:  # opens nothing; refuses what is no folder
        open_store(settings.store, api_key=settings.api_key).close()
    return runs_folder(settings.store, settings.collection), server


def _row(run: "RunRecord") -> list[str]:
    report = run.report or {}
    counts = [_count(report, "documents", name) for name in _DOCUMENTS]
    chunks = _count(report, "chunks", "stored") or _count(report, "chunks")
    seconds = "" if run.seconds is None else f"{run.seconds:,.1f}"
    state = [run.run_id, run.started_at, run.kind, run.state]
    return [*state, *counts, chunks, _count(report, "tokens"), seconds]


def _count(report: Mapping[str, Any], *path: str) -> str:
    """A number of the report, which may be of any kind of run; empty if it has none there."""
    found: Any = report
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return f"{found:,}" if isinstance(found, int) else ""


def _report_lines(report: Mapping[str, Any], cut: Mapping[str, int]) -> Iterator[str]:
    """What a report says, a line for each value, and for the first of a list."""
    for name, value in report.items():
        if isinstance(value, list):
            yield from _list_lines(name, value, cut.get(name, len(value)))
        elif value not in (None, "", {}):
            yield f"report: {name}: {_words(value)}"


def _list_lines(name: str, items: Sequence[Any], number: int) -> Iterator[str]:
    for item in items[:ITEMS_SHOWN]:
        yield f"report: {name}: {_words(item)}"
    if number > ITEMS_SHOWN:
        yield f"report: {name}: ... and {number - ITEMS_SHOWN:,} more"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
