"""`sextant evaluate attention`: where the last token looks, over many texts."""

from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from embedder.evaluation.attention import AttentionShares
    from embedder.specification import EncoderSpecification

Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="starter|PRESET|DIR|HUB-ID",
        help="A second encoder, such as the model before it was tuned",
    ),
]


def attention(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="JSONL with 'text' a line, or texts, one a line"),
    ],
    encoder: EvaluatedEncoder = None,
    against: Against = None,
    prompt: Prompt = None,
    pooling: Pooling = None,
    tp: TokenPrepending = None,
    cp: ContrastivePrompting = None,
    output_layer: OutputLayer = None,
    normalise: Normalise = False,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Read at most so many texts of each file [default: all]"),
    ] = None,
    file_results: FileResults = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Share of the last token's attention on prompt, content words and function words.

    In the last layer that the encoder runs, mean over heads, without BOS; and layer by layer with
    --json. Function words are English ones.
    """
    from embedder.evaluation.attention import attention_shares, read_attention, require_attention
    from flows import console
    from flows.evaluation.evaluation_report import (
        EvaluationReport,
        check_results_place,
        require_distinct,
    )
    from flows.evaluation.overrides import Overrides
    from flows.evaluation.text_file import read_texts

    check_limit(limit, least=1)
    check_results_place(file_results)
    overrides = Overrides(
        prompt=prompt,
        pooling=pooling,
        token_prepending=tp,
        contrastive_prompting=cp,
        output_layer=output_layer,
        normalise=normalise,
    )
    specifications = [evaluated(encoder, overrides)]
    if against is not None:
        specifications.append(evaluated(against, overrides))
    for specification in specifications:
        require_attention(specification)
    names = [_stem(file) for file in files]
    require_distinct(names)
    sets = [read_texts(file)[:limit] for file in files]

    from flows.encoders import load_encoder

    reports = []
    with console.progress(quiet=quiet) as progress:
        for specification in specifications:
            report = EvaluationReport(
                kind="attention", specification=specification, measure="content"
            )
            progress.stage(f"loading encoder {specification.name}")
            model = load_encoder(specification)
            for name, texts in zip(names, sets, strict=True):

                def measured() -> dict[str, Any]:
                    progress.stage(name, len(texts))  # noqa: B023
                    rows = read_attention(model, texts, progress=progress.advance)  # noqa: B023
                    return shares_fields(attention_shares(rows))

                report.attempt(name, measured)
            reports.append(report)
    first = reports[0]
    if against is not None:
        first.further["against"] = reports[1].fields()
    for other in reports[1:]:
        first.failed += [f | {"name": f"{f['name']} (against)"} for f in other.failed]
    tell(
        first,
        [
            [task["name"], _called(report.specification), f"{task['n']:,}", str(task["layer"])]
            + [f"{100 * task[role]:.1f}" for role in SHOWN]
            for report in reports
            for task in report.tasks
        ],
        header=["texts of", "encoder", "texts", "layer", *(f"{role} %" for role in SHOWN)],
        notes=["shares of the last token's attention, mean over heads; all but BOS's without BOS"],
        as_json=as_json,
        file_results=file_results,
        options={"files": files, "limit": limit},
    )


SHOWN = ("prompt", "placeholder", "content", "function", "punctuation", "bos")


def shares_fields(shares: "AttentionShares") -> dict[str, Any]:
    """For programs: the last layer's shares, and every layer's."""
    layers = [{"layer": layer, **found} for layer, found in enumerate(shares.by_layer)]
    return {**layers[-1], "n": shares.texts, "layers": layers}


def _called(specification: "EncoderSpecification") -> str:
    from pathlib import PurePath

    return f"{PurePath(specification.name).name} {specification.fingerprint[:8]}"


def _stem(file: str) -> str:
    from pathlib import PurePath

    return PurePath(file).stem
