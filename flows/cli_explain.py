"""`sextant explain`: which words of a text its vector is made of."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli_evaluate_options import (
    ContrastivePrompting,
    EvaluatedEncoder,
    Normalise,
    OutputLayer,
    Pooling,
    Prompt,
    TokenPrepending,
    evaluated,
)
from flows.cli_options import AsJson, Debug, print_json
from flows.errors import InvalidInput

EXPLAIN_EXAMPLES = (
    "Examples: sextant explain 'The keeper trims the lamp.'; "
    "sextant explain TEXT --encoder tuned/ --against meta-llama/Llama-3.2-1B --html map.html"
)


def explain_text(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to encode")],
    encoder: EvaluatedEncoder = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="starter|PRESET|DIR|HUB-ID",
            help="A second encoder, such as the model before it was tuned",
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option("--kind", metavar="query|document", help="Which prompt form to use")
    ] = "document",
    prompt: Prompt = None,
    pooling: Pooling = None,
    tp: TokenPrepending = None,
    cp: ContrastivePrompting = None,
    output_layer: OutputLayer = None,
    normalise: Normalise = False,
    html: Annotated[
        str | None,
        typer.Option("--html", metavar="FILE.html", help="Write a heat map, layers by tokens"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show how much the last token, whose state is the vector, looks at each token of a text.

    Prompt, Token Prepending's placeholder, content words, function words and punctuation are told
    apart. The overrides hold for both encoders.
    """
    from embedder.evaluation.attention import require_attention
    from flows import console
    from flows.evaluation.overrides import Overrides

    if kind not in ("query", "document"):
        raise InvalidInput(f"--kind {kind!r}: expected query or document")
    if not text.strip():
        raise InvalidInput(f"TEXT {text!r} is empty; expected words to explain")
    if html is not None and Path(html).suffix not in (".html", ".htm"):
        raise InvalidInput(f"--html {html!r}: expected a file name that ends in .html")
    if html is not None and (not Path(html).parent.is_dir() or Path(html).is_dir()):
        raise InvalidInput(f"--html {html!r}: expected a file in a folder that exists; make it")
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

    from flows.clustering.files import write_file
    from flows.evaluation.explanation import explain_text as explained_by
    from flows.evaluation.heat_map import render_heat_map
    from flows.evaluation_console import show_explained

    explained = explained_by(text, specifications, "query" if kind == "query" else "document")
    if html is not None:
        page = render_heat_map(text, explained)
        write_file(Path(html), lambda file: _write(file, page))
    if as_json:
        second = {"against": explained[1].fields()} if len(explained) > 1 else {}
        print_json({"text": text, "kind": kind, **explained[0].fields(), **second, "html": html})
        return
    show_explained(explained)
    if html is not None:
        console.say(f"heat map: {html}")


def _write(file: Any, page: str) -> None:
    file.write(page)
