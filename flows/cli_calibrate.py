"""`sextant calibrate`: its options."""

from typing import Annotated

import typer

from flows.cli_options import AsJson, Debug, Quiet, print_json, settings_of
from flows.errors import InvalidInput


def calibrate(
    pairs: Annotated[
        str,
        typer.Option(
            "--pairs",
            metavar="FILE",
            help="Pairs with human scores, as .jsonl, .csv or .tsv: sentence1, sentence2, score",
        ),
    ],
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder", metavar="starter|PRESET|DIR|HUB-ID", help="Encoder [default: starter]"
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE.json", help="Write the chosen settings as a preset for --encoder"
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Draw at most so many pairs, 20 or more [default: all]"),
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option(
            metavar="KEY,KEY",
            help="Templates to try [default: eol,cot,ke,cluster,summarise,none]",
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template",
            metavar="TEXT",
            help="One more to try, of your own, with {} for the text and <PST> where Token "
            "Prepending may act; may be repeated",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of the draw, the halves, the bootstrap")
    ] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Choose template, TP, CP, output layer and pooling for a model, on scored pairs.

    Settings are chosen on one half of the pairs by rank correlation (Spearman) of cosine and score,
    and checked on the other. The simplest within one standard error of the best are taken: fewest
    of TP, CP, further prompts, doubled vectors.
    """
    from embedder.calibration_grid import TEMPLATES_TRIED
    from embedder.presets import STARTER
    from embedder.scored_pairs import FEWEST_PAIRS
    from flows import console
    from flows.calibrate import run_calibrate, show_calibration

    if limit is not None and limit < FEWEST_PAIRS:
        raise InvalidInput(f"--limit {limit}: expected {FEWEST_PAIRS} or more")
    if seed < 0:
        raise InvalidInput(f"--seed {seed}: expected 0 or more")
    keys = TEMPLATES_TRIED if templates is None else tuple(_keys(templates))
    with console.progress(quiet=quiet) as progress:
        calibrated = run_calibrate(
            settings_of(encoder=encoder).encoder or STARTER,
            pairs,
            progress,
            limit=limit,
            templates=(*keys, *(template or [])),
            seed=seed,
            out=out,
        )
    if as_json:
        print_json(calibrated.fields() | {"out": out})
    else:
        show_calibration(calibrated, out)


def _keys(templates: str) -> list[str]:
    """The keys of a list with commas.

    Raises:
        InvalidInput: it is empty, or holds a template of the user's own, which may have commas.
    """
    if "{}" in templates:
        raise InvalidInput(f"--templates {templates!r}: expected keys; give your own by --template")
    keys = [key.strip() for key in templates.split(",") if key.strip()]
    if not keys:
        raise InvalidInput(f"--templates {templates!r}: expected keys such as eol,none")
    return keys
