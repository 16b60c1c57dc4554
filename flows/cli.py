"""The command line. Heavy imports wait until a command needs them: `sextant --help` is instant.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done, with documents in quarantine.
"""

import os
import signal
import sys
import warnings
from typing import Annotated

import typer

from flows.cli_calibrate import calibrate
from flows.cli_cluster import cluster
from flows.cli_clusters import clusters_app
from flows.cli_collections import collections_app
from flows.cli_delete import EXAMPLES as DELETE_EXAMPLES
from flows.cli_delete import delete
from flows.cli_deploy import deploy, serve_flows
from flows.cli_doctor import DOCTOR_EXAMPLES, VERIFY_EXAMPLES, doctor, verify
from flows.cli_encoders import encoders_app
from flows.cli_evaluate import evaluate_app
from flows.cli_explain import EXPLAIN_EXAMPLES, explain_text
from flows.cli_ingest import ingest, plan
from flows.cli_keys import keys_app
from flows.cli_migrate import migrate
from flows.cli_options import (
    AsJson,
    Debug,
    Debugging,
    Quiet,
    Store,
    print_json,
    settings_of,
    target_of,
)
from flows.cli_pairs import pairs_app
from flows.cli_quarantine import quarantine_app
from flows.cli_runs import runs_app
from flows.cli_search import SEARCH_EXAMPLES, facets, reindex, search, similar
from flows.cli_serve import SERVE_EXAMPLES, serve
from flows.cli_transfer import (
    COPY_EXAMPLES,
    EXPORT_EXAMPLES,
    IMPORT_EXAMPLES,
    copy,
    export,
    import_,
)
from flows.cli_tune import EXAMPLES as TUNE_EXAMPLES
from flows.cli_tune import tune
from flows.errors import InvalidInput
from flows.failures import DONE, INTERRUPTED, explain

app = typer.Typer(
    name="sextant",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=(
        "Settings come from options, then SEXTANT_* variables, then sextant.toml. "
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done with documents in quarantine."
    ),
)
app.add_typer(collections_app, name="collections")
app.add_typer(clusters_app, name="clusters")
app.add_typer(encoders_app, name="encoders")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(keys_app, name="keys")
app.add_typer(pairs_app, name="pairs")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(runs_app, name="runs")


class _Outcome:
    """The exit code of the command that ran."""

    code = DONE


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from flows import console

        console.say(f"sextant {version('sextant-pipeline')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Debug = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version"),
    ] = False,
) -> None:
    """Documents in, a searchable and clustered vector database out."""


app.command(short_help="Bring a collection in line with its sources.")(ingest)
app.command(short_help="Say what an ingest would do.")(plan)


app.command(short_help="Find the chunks that answer a query.", epilog=SEARCH_EXAMPLES)(search)
app.command(short_help="Find what is like a chunk, a document or a text.")(similar)
app.command(short_help="Count the values of a key, to filter by.")(facets)
app.command(short_help="Index the words of older chunks.")(reindex)
app.command(short_help="Answer searches over HTTP.", epilog=SERVE_EXAMPLES)(serve)


app.command(short_help="Group a collection's chunks and report.")(cluster)


@app.command(short_help="Encode lines of text into a .npy file.")
def encode(
    out: Annotated[str, typer.Option("--out", metavar="FILE.npy", help="Where the vectors go")],
    kind: Annotated[
        str, typer.Option("--kind", metavar="query|document", help="Which prompt form to use")
    ] = "document",
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", metavar="starter|PRESET|DIR|HUB-ID", help="Encoder [default: starter]"
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Encode standard input, one text a line, into a float32 array of unit vectors."""
    from flows import console
    from flows.commands import run_encode

    report = run_encode(settings_of(encoder=encoder), kind, out, sys.stdin.buffer, quiet=quiet)
    if as_json:
        print_json(report)
    else:
        console.show_fields(report)


app.command(short_help="Choose a model's settings on scored pairs.")(calibrate)
app.command("explain", short_help="Show what a vector is made of.", epilog=EXPLAIN_EXAMPLES)(
    explain_text
)
app.command(short_help="Tune an encoder on pairs, or on a teacher.", epilog=TUNE_EXAMPLES)(tune)
app.command("serve-flows", short_help="Run what is scheduled, on this machine.")(serve_flows)
app.command(short_help="Put what is scheduled on a Prefect server.")(deploy)
app.command(short_help="Move a collection to another encoder.")(migrate)
app.command(short_help="Look a collection over, and mend it.", epilog=DOCTOR_EXAMPLES)(doctor)
app.command(short_help="Recompute every point's checksum.", epilog=VERIFY_EXAMPLES)(verify)
app.command(short_help="Delete documents, with a receipt.", epilog=DELETE_EXAMPLES)(delete)
app.command(short_help="Copy a collection to another store.", epilog=COPY_EXAMPLES)(copy)
app.command(short_help="Write a collection into files.", epilog=EXPORT_EXAMPLES)(export)
app.command("import", short_help="Make a collection of an export.", epilog=IMPORT_EXAMPLES)(import_)


@app.command(short_help="Try it all on Python's own documentation.")
def demo(
    store: Store = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Ingest, cluster and search Python's own documentation, as collection `demo`."""
    from flows import console
    from flows.demo import run_demo

    with console.progress(quiet=quiet) as progress:
        _Outcome.code = run_demo(target_of(collection="demo", store=store), progress)


def _require(option: str, value: int, *, at_least: int, at_most: int | None = None) -> None:
    """Refuse a number out of range, naming it, which typer's own check does not."""
    if value < at_least or (at_most is not None and value > at_most):
        expected = f"{at_least} or more" if at_most is None else f"{at_least} to {at_most}"
        raise InvalidInput(f"{option} {value}: expected {expected}")


def main() -> None:
    """Run the command line; every failure ends in one clear line and an exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries' advice to programmers; `--debug` shows it
    try:
        code = app(prog_name="sextant", standalone_mode=False) or _Outcome.code
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends in one line
        if Debugging.wanted:
            import traceback

            traceback.print_exception(error)
        code = explain(error)
    raise SystemExit(code)


def _stop(number: int, frame: object) -> None:
    """Ctrl-C and SIGTERM: end at once. What is committed is whole; nothing needs tidying up."""
    # A live bar has hidden the cursor, and stands on the line.
    restored = b"\x1b[?25h\n" if sys.stderr.isatty() else b""
    os.write(
        2,
        restored
        + b"sextant: interrupted; what was committed stays, the same command goes on from there\n",
    )
    os._exit(INTERRUPTED)
