"""Options that all evaluations share, and how their outcome is told."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli_options import print_json, settings_of
from flows.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embedder.specification import EncoderSpecification
    from flows.evaluation.evaluation_report import EvaluationReport
    from flows.evaluation.overrides import Overrides

EvaluatedEncoder = Annotated[
    str | None,
    typer.Option(
        "--encoder", metavar="starter|PRESET|DIR|HUB-ID", help="Encoder [default: starter]"
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt", metavar="KEY|TEXT", help="Template in place of the encoder's own, or yours"
    ),
]
Pooling = Annotated[
    str | None, typer.Option("--pooling", metavar="NAME", help="In place of the encoder's own")
]
TokenPrepending = Annotated[
    str | None,
    typer.Option(
        "--tp",
        metavar="off|START:EXIT",
        help="Token Prepending before the layers from START on, without EXIT",
    ),
]
ContrastivePrompting = Annotated[
    str | None,
    typer.Option(
        "--cp", metavar="off|LAYER[:MODE[:STRENGTH]]", help="Contrastive Prompting, as 1:norm"
    ),
]
OutputLayer = Annotated[
    int | None,
    typer.Option("--output-layer", metavar="N", help="Layer that is read; -1 is the last"),
]
Normalise = Annotated[
    bool,
    typer.Option(
        "--normalise",
        help="Change texts as the papers' evaluations do (a full stop at the end, no double "
        "quotes); only to reproduce their tables",
    ),
]
FileResults = Annotated[
    str | None,
    typer.Option(
        "--file-results",
        metavar="FILE.json|DIR",
        help="Write the result with fingerprint, settings and versions",
    ),
]


def evaluated(encoder: str | None, overrides: "Overrides") -> "EncoderSpecification":
    """The encoder to evaluate: the option's, the settings', or the starter, with its overrides.

    Raises:
        InvalidInput, EmbedderError: it cannot be used.
    """
    from embedder.presets import STARTER
    from embedder.specification import specify

    return overrides.apply(specify(settings_of(encoder=encoder).encoder or STARTER))


def check_limit(limit: int | None, *, least: int) -> None:
    """Refuse a limit that leaves too little.

    Raises:
        InvalidInput: it does.
    """
    if limit is not None and limit < least:
        raise InvalidInput(f"--limit {limit}: expected {least} or more")


def tell(
    report: "EvaluationReport",
    rows: "Sequence[Sequence[str]]",
    *,
    header: "Sequence[str]",
    notes: "Sequence[str]" = (),
    as_json: bool,
    file_results: str | None,
    options: dict[str, Any],
) -> None:
    """File the result if asked, print it, and end with exit code 1 if a task failed.

    Args:
        report: the outcome.
        rows: of the table for people, one a task.
        header: of the table.
        notes: lines under the table.
        as_json: one JSON object in place of the table.
        file_results: where to file it; None: nowhere.
        options: what was asked for, to be filed.
    """
    from flows import console
    from flows.failures import FAILED

    filed = None if file_results is None else report.file(file_results, options)
    if as_json:
        print_json(report.fields())
    else:
        if rows:
            console.table(list(header), [list(row) for row in rows])
        for note in notes:
            console.say(note)
        console.say(
            f"encoder {report.specification.name}, fingerprint "
            f"{report.specification.fingerprint[:12]}"
        )
        if filed is not None:
            console.say(f"filed in {filed}")
    for failure in report.failed:
        console.complain(f"{failure['name']} failed: {failure['reason']}; it is in no average")
    if report.failed:
        raise typer.Exit(FAILED)
