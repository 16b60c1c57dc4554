"""`sextant evaluate`: how good an encoder is on labelled sets."""

from typing import Annotated

import typer

from flows.cli_evaluate_retrieval import retrieval
from flows.cli_options import AsJson, Debug, Quiet, print_json, settings_of
from flows.errors import InvalidInput

evaluate_app = typer.Typer(
    help="Measure how good an encoder is on labelled sets.", no_args_is_help=True
)


@evaluate_app.callback()
def evaluate() -> None:
    """Measure how good an encoder is on labelled sets."""


evaluate_app.command("retrieval")(retrieval)


@evaluate_app.command("clustering")
def clustering(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="JSONL with 'text' and 'label' a line; several are tasks each"
        ),
    ],
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", metavar="starter|PRESET|DIR|HUB-ID", help="Encoder [default: starter]"
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Runs of k-means, whose mean and spread are told")
    ] = 5,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="KEY,KEY", help="Templates to compare [default: the encoder's own]"),
    ] = None,
    poolings: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Poolings to compare [default: the encoder's own]"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Draw at most so many texts of each file [default: all]"),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Cluster labelled texts and say how well clusters and labels agree (V-measure, 0 to 1)."""
    from flows import console
    from flows.evaluation.labelled_texts import FEWEST_LABELS, read_labelled_texts

    if seeds < 1:
        raise InvalidInput(f"--seeds {seeds}: expected 1 or more")
    if limit is not None and limit < FEWEST_LABELS:
        raise InvalidInput(f"--limit {limit}: expected {FEWEST_LABELS} or more")
    keys, poolers = _names("--prompts", prompts), _names("--poolings", poolings)
    sets = [read_labelled_texts(file) for file in files]
    if limit is not None:
        sets = [one.sample(limit, seed=0) for one in sets]

    from embedder.presets import STARTER
    from flows.evaluation.clustering import evaluate_clustering

    with console.progress(quiet=quiet) as progress:
        scores = evaluate_clustering(
            sets,
            settings_of(encoder=encoder).encoder or STARTER,
            seeds=seeds,
            prompts=keys,
            poolings=poolers,
            progress=progress,
        )
    tasks = [score.fields() for score in scores]
    if as_json:
        print_json({"tasks": tasks})
        return
    console.table(
        ["set", "texts", "clusters", "prompt", "pooling", "V-measure", "spread"],
        [
            [
                task["name"],
                f"{task['texts']:,}",
                str(task["clusters"]),
                task["prompt"],
                task["pooling"],
                f"{task['v_measure']:.4f}",
                f"± {task['std']:.4f}",
            ]
            for task in tasks
        ],
    )
    console.say(f"mean and standard deviation over {seeds} runs of k-means, k = number of labels")


def _names(option: str, given: str | None) -> tuple[str, ...]:
    """The names of a list with commas; none where the option was not given.

    Raises:
        InvalidInput: the list is empty.
    """
    if given is None:
        return ()
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if not names:
        raise InvalidInput(f"{option} {given!r}: expected names such as eol,cluster")
    return names
