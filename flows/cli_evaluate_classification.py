"""`sextant evaluate classification`: what logistic regression can read off the vectors."""

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
    check_limit,
    evaluated,
    tell,
)
from flows.cli_options import AsJson, Debug, Quiet
from flows.errors import InvalidInput


def classification(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="JSONL with 'text' (or 'text1' and 'text2'), 'label', and perhaps 'split' a line",
        ),
    ],
    encoder: EvaluatedEncoder = None,
    prompt: Prompt = None,
    pooling: Pooling = None,
    tp: TokenPrepending = None,
    cp: ContrastivePrompting = None,
    output_layer: OutputLayer = None,
    normalise: Normalise = False,
    folds: Annotated[
        int, typer.Option(metavar="N", help="Of cross-validation, 2 or more; SentEval has 10")
    ] = 10,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of folds and draws")] = 0,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Draw at most so many rows of each file [default: all]"),
    ] = None,
    file_results: FileResults = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Accuracy of logistic regression on frozen vectors, by SentEval's protocol.

    With splits train and test (and dev) the accuracy on test; without, 10-fold cross-validation.
    The strength of the regression is chosen within what it trains with.
    """
    from embedder.errors import InvalidConfig
    from embedder.evaluation.classification import measure_classification
    from flows import console
    from flows.evaluation.classification_set import read_classification_set
    from flows.evaluation.evaluation_report import (
        EvaluationReport,
        check_results_place,
        require_distinct,
    )
    from flows.evaluation.overrides import Overrides

    if folds < 2:
        raise InvalidInput(f"--folds {folds}: expected 2 or more")
    if seed < 0:
        raise InvalidInput(f"--seed {seed}: expected 0 or more")
    check_limit(limit, least=4)
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
    sets = [read_classification_set(file) for file in files]
    require_distinct([one.name for one in sets])
    if limit is not None:
        try:
            sets = [one.sample(limit, seed=seed) for one in sets]
        except InvalidConfig as error:
            raise InvalidInput(f"--limit {limit}: {error}; raise it") from None
    report = EvaluationReport(
        kind="classification", specification=specification, measure="accuracy"
    )

    from flows.encoders import load_encoder
    from flows.evaluation.encoding import encoding_with

    with console.progress(quiet=quiet) as progress:
        progress.stage(f"loading encoder {specification.name}")
        model = load_encoder(specification)
        for one in sets:

            def measured() -> dict[str, object]:
                score = measure_classification(
                    one,  # noqa: B023
                    encoding_with(model, one.name, progress),  # noqa: B023
                    folds=folds,
                    seed=seed,
                    progress=progress.advance,
                )
                return {
                    "accuracy": score.accuracy,
                    "n": score.tested,
                    "std": score.std,
                    "classes": score.classes,
                    "protocol": score.protocol,
                    "c": list(score.strengths),
                }

            report.attempt(one.name, measured)
    rows = [
        [
            task["name"],
            f"{task['n']:,}",
            str(task["classes"]),
            f"{100 * task['accuracy']:.2f}",
            task["protocol"],
        ]
        for task in report.tasks
    ]
    if len(rows) > 1 and report.average is not None:
        rows.append(["average", "", "", f"{100 * report.average:.2f}", ""])
    tell(
        report,
        rows,
        header=["set", "tested", "classes", "accuracy x 100", "protocol"],
        as_json=as_json,
        file_results=file_results,
        options={"files": files, "limit": limit, "folds": folds, "seed": seed},
    )
