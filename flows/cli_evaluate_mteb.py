"""`sextant evaluate mteb`: tasks of MTEB, run by mteb itself over the encoder."""

from functools import partial
from typing import Annotated

import typer

from flows.cli_evaluate_options import (
    ContrastivePrompting,
    EvaluatedEncoder,
    FileResults,
    Normalise,
    OutputLayer,
    Pooling,
    Prompt,
    TokenPrepending,
    evaluated,
    tell,
)
from flows.cli_options import AsJson, Debug, Quiet


def mteb(
    tasks: Annotated[
        list[str], typer.Argument(metavar="TASK", help="Names as MTEB has them, such as STS12")
    ],
    encoder: EvaluatedEncoder = None,
    prompt: Prompt = None,
    pooling: Pooling = None,
    tp: TokenPrepending = None,
    cp: ContrastivePrompting = None,
    output_layer: OutputLayer = None,
    normalise: Normalise = False,
    file_results: FileResults = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run tasks of MTEB; their data is fetched from its hub, or taken from the local cache.

    Needs the extra `mteb`. The score is each task's own main one, 0 to 1.
    """
    from flows.evaluation.evaluation_report import EvaluationReport, check_results_place
    from flows.evaluation.mteb_tasks import known_tasks
    from flows.evaluation.overrides import Overrides

    check_results_place(file_results)
    overrides = Overrides(
        prompt=prompt,
        pooling=pooling,
        token_prepending=tp,
        contrastive_prompting=cp,
        output_layer=output_layer,
        normalise=normalise,
    )
    specification = evaluated(encoder, overrides)
    found = known_tasks(tasks)
    report = EvaluationReport(kind="mteb", specification=specification, measure="score")

    from flows import console
    from flows.encoders import load_encoder
    from flows.evaluation.mteb_tasks import as_model, run_task

    with console.progress(quiet=quiet) as progress:
        progress.stage(f"loading encoder {specification.name}")
        model = as_model(load_encoder(specification))
        for name, task in found.items():
            progress.stage(f"{name}: data, vectors, scores")
            report.attempt(name, partial(run_task, model, task))
    rows = [
        [task["name"], task["metric"], f"{task['n']}", f"{100 * task['score']:.2f}"]
        for task in report.tasks
    ]
    tell(
        report,
        rows,
        header=["task", "measure", "subsets", "score x 100"],
        as_json=as_json,
        file_results=file_results,
        options={"tasks": tasks},
    )
