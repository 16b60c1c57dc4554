"""`sextant evaluate retrieval`: how well labelled queries are answered."""

from typing import TYPE_CHECKING, Annotated, Any, Final

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
from flows.cli_options import AsJson, Debug, Quiet, settings_of
from flows.errors import InvalidInput

if TYPE_CHECKING:
    from flows.evaluation.retrieval import RetrievalScores

MODES: Final = ("dense", "lexical", "hybrid")


def retrieval(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="DIR", help="Holds corpus.jsonl, queries.jsonl and qrels.tsv"),
    ],
    encoder: EvaluatedEncoder = None,
    prompt: Prompt = None,
    pooling: Pooling = None,
    tp: TokenPrepending = None,
    cp: ContrastivePrompting = None,
    output_layer: OutputLayer = None,
    normalise: Normalise = False,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            "--mode", metavar="hybrid|dense|lexical", help="May be repeated [default: all three]"
        ),
    ] = None,
    fusion: Annotated[
        str, typer.Option(metavar="rrf|minmax", help="How hybrid puts both together")
    ] = "rrf",
    dense_weight: Annotated[
        float | None,
        typer.Option("--dense-weight", metavar="0-1", help="The vectors' part in hybrid [0.3]"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Ask at most so many queries of each set [default: all]"),
    ] = None,
    file_results: FileResults = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Answer labelled queries by vectors, words and both, and say how well (nDCG, recall, MRR)."""
    from flows import console
    from flows.evaluation.evaluation_report import (
        EvaluationReport,
        check_results_place,
        require_distinct,
    )
    from flows.evaluation.overrides import Overrides
    from flows.evaluation.retrieval_set import read_retrieval_set

    for name in mode or ():
        if name not in MODES:
            raise InvalidInput(f"--mode {name!r}: expected {', '.join(MODES[:-1])} or {MODES[-1]}")
    if fusion not in ("rrf", "minmax"):
        raise InvalidInput(f"--fusion {fusion!r}: expected rrf or minmax")
    check_limit(limit, least=1)
    check_results_place(file_results)
    settings = settings_of(encoder=encoder, dense_weight=dense_weight)
    overrides = Overrides(
        prompt=prompt,
        pooling=pooling,
        token_prepending=tp,
        contrastive_prompting=cp,
        output_layer=output_layer,
        normalise=normalise,
    )
    specification = evaluated(encoder, overrides)
    sets = [read_retrieval_set(folder) for folder in folders]
    require_distinct([one.name for one in sets])
    if limit is not None:
        sets = [one.sample(limit, seed=0) for one in sets]

    from flows.evaluation.retrieval import evaluate_retrieval
    from search.hybrid import Fusion, as_mode

    modes = [as_mode(name) for name in MODES if not mode or name in mode]
    report = EvaluationReport(kind="retrieval", specification=specification, measure="modes")
    scores: list[RetrievalScores] = []
    with console.progress(quiet=quiet) as progress:
        for one in sets:

            def measured() -> dict[str, Any]:
                found = evaluate_retrieval(
                    one,  # noqa: B023
                    specification,
                    modes=modes,
                    fusion=Fusion.model_validate(
                        {"method": fusion, "dense_weight": settings.dense_weight}
                    ),
                    chunk_tokens=settings.chunk_tokens,
                    progress=progress,
                )
                scores.append(found)
                return {**found.fields(), "n": found.queries}

            report.attempt(one.name, measured)
    report.further["fusion"] = {"method": fusion, "dense_weight": settings.dense_weight}
    if len(scores) == len(sets) == 1:
        report.further |= scores[0].fields()
    rows = [
        [found.task, name, f"{found.queries:,}", *(f"{value:.4f}" for value in values.values())]
        for found in scores
        for name, values in found.modes.items()
    ]
    average = report.average
    if len(scores) > 1 and isinstance(average, dict):
        rows += [
            ["average", name, "", *(f"{value:.4f}" for value in values.values())]
            for name, values in average.items()
        ]
    tell(
        report,
        rows,
        header=["set", "mode", "queries", "nDCG@10", "recall@100", "MRR"],
        notes=[_said(found) for found in scores],
        as_json=as_json,
        file_results=file_results,
        options={"folders": folders, "modes": modes, "limit": limit},
    )


def _said(found: "RetrievalScores") -> str:
    """What a set consists of, in a line."""
    left = f"; {found.left_out} without a relevant document left out" if found.left_out else ""
    return (
        f"{found.task}: {found.queries:,} queries{left}, {found.documents:,} documents, "
        f"{found.chunks:,} chunks"
    )
