"""`sextant evaluate retrieval`: how well labelled queries are answered."""

from typing import Annotated, Final

import typer

from flows.cli_options import AsJson, Debug, Quiet, print_json, settings_of
from flows.errors import InvalidInput

MODES: Final = ("dense", "lexical", "hybrid")


def retrieval(
    folder: Annotated[
        str,
        typer.Argument(metavar="DIR", help="Holds corpus.jsonl, queries.jsonl and qrels.tsv"),
    ],
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", metavar="starter|PRESET|DIR|HUB-ID", help="Encoder [default: starter]"
        ),
    ] = None,
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
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Answer labelled queries by vectors, words and both, and say how well (nDCG, recall, MRR)."""
    from flows import console
    from flows.evaluation.retrieval_set import read_retrieval_set

    for name in mode or ():
        if name not in MODES:
            raise InvalidInput(f"--mode {name!r}: expected {', '.join(MODES[:-1])} or {MODES[-1]}")
    if fusion not in ("rrf", "minmax"):
        raise InvalidInput(f"--fusion {fusion!r}: expected rrf or minmax")
    settings = settings_of(encoder=encoder, dense_weight=dense_weight)
    labelled = read_retrieval_set(folder)

    from embedder.presets import STARTER
    from flows.evaluation.retrieval import evaluate_retrieval
    from search.hybrid import Fusion, as_mode

    with console.progress(quiet=quiet) as progress:
        scores = evaluate_retrieval(
            labelled,
            settings.encoder or STARTER,
            modes=[as_mode(name) for name in MODES if not mode or name in mode],
            fusion=Fusion.model_validate({"method": fusion, "dense_weight": settings.dense_weight}),
            chunk_tokens=settings.chunk_tokens,
            progress=progress,
        )
    if as_json:
        print_json(scores.fields())
        return
    console.table(
        [scores.task, "nDCG@10", "recall@100", "MRR"],
        [[m, *(f"{v:.4f}" for v in found.values())] for m, found in scores.modes.items()],
    )
    left = f"; {scores.left_out} without a relevant document left out" if scores.left_out else ""
    console.say(
        f"{scores.queries:,} queries{left}, {scores.documents:,} documents, "
        f"{scores.chunks:,} chunks"
    )
