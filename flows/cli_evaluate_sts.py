"""`sextant evaluate sts`: how well cosines follow people's scores."""

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


def sts(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|DIR",
            help="Pairs as .jsonl, .csv or .tsv: sentence1, sentence2, score; the files of a "
            "folder are the subsets of one set",
        ),
    ],
    encoder: EvaluatedEncoder = None,
    prompt: Prompt = None,
    pooling: Pooling = None,
    tp: TokenPrepending = None,
    cp: ContrastivePrompting = None,
    output_layer: OutputLayer = None,
    normalise: Normalise = False,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Draw at most so many pairs of each set [default: all]"),
    ] = None,
    file_results: FileResults = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Rank correlation (Spearman) of cosines with human scores, over all pairs of a set.

    Sets named as STS12 to STS16, STS-B and SICK-R give the papers' table and its average.
    """
    from embedder.evaluation.sts import COLUMNS, FEWEST_PAIRS, StsScore, measure_sts, papers_table
    from flows import console
    from flows.evaluation.evaluation_report import (
        EvaluationReport,
        check_results_place,
        require_distinct,
    )
    from flows.evaluation.overrides import Overrides
    from flows.evaluation.sts_sets import read_sts_set

    check_limit(limit, least=FEWEST_PAIRS)
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
    sets = [read_sts_set(file) for file in files]
    require_distinct([name for name, _ in sets])
    if limit is not None:
        sets = [(name, pairs.sample(limit, seed=0)) for name, pairs in sets]
    report = EvaluationReport(kind="sts", specification=specification, measure="spearman")
    scores: list[StsScore] = []

    from flows.encoders import load_encoder
    from flows.evaluation.encoding import encoding_with

    with console.progress(quiet=quiet) as progress:
        progress.stage(f"loading encoder {specification.name}")
        model = load_encoder(specification)
        for name, pairs in sets:

            def measured() -> dict[str, float | int]:
                score = measure_sts(name, encoding_with(model, name, progress), pairs)  # noqa: B023
                scores.append(score)
                return {"spearman": score.spearman, "n": score.pairs}

            report.attempt(name, measured)
    table = papers_table(scores)
    if table is not None:
        report.further["papers_table"] = {
            "columns": {
                column: {"name": score.name, "spearman": score.spearman}
                for column, score in table.columns.items()
            },
            "average": table.average,
            "complete": table.is_complete,
        }
    rows = [
        [task["name"], f"{task['n']:,}", f"{100 * task['spearman']:.2f}"] for task in report.tasks
    ]
    if len(report.tasks) > 1 and report.average is not None:
        rows.append(["average", "", f"{100 * report.average:.2f}"])
    notes = []
    if table is not None:
        columns = ", ".join(f"{c} {100 * s.spearman:.2f}" for c, s in table.columns.items())
        of = "" if table.is_complete else f" of {len(table.columns)} of {len(COLUMNS)} columns"
        notes.append(f"the papers' table: {columns}; average{of} {100 * table.average:.2f}")
    tell(
        report,
        rows,
        header=["set", "pairs", "Spearman x 100"],
        notes=notes,
        as_json=as_json,
        file_results=file_results,
        options={"files": files, "limit": limit},
    )
