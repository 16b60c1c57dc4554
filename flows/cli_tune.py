"""`sextant tune`: its options."""

from typing import Annotated, Any, Final

import typer

from flows.cli_options import AsJson, Debug, Quiet, print_json
from flows.errors import InvalidInput

EXAMPLES: Final = (
    "Examples: sextant tune --base starter --pairs pairs.jsonl --out tuned --dev sts.tsv   |   "
    "sextant tune --base qwen3-0.6b --pairs a.jsonl --pairs b.jsonl.gz --out tuned --steps 1000   "
    "|   torchrun --nproc-per-node 4 -m flows tune ...   |   the same command with --resume goes "
    "on after a stop."
)


def tune(
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the tuned encoder and the run's record"
        ),
    ],
    base: Annotated[
        str,
        typer.Option("--base", metavar="starter|PRESET|DIR|HUB-ID", help="Encoder to begin with"),
    ] = "starter",
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--pairs",
            metavar="FILE",
            help="Pairs to learn from, .jsonl or .jsonl.gz: a, b, and where there are any "
            "negatives, group, kind; may be repeated",
        ),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option("--texts", metavar="FILE", help="Distillation: one text a line"),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher", metavar="FILE.npy", help="Distillation: a teacher's vector of each text"
        ),
    ] = None,
    dev: Annotated[
        str | None,
        typer.Option(
            "--dev",
            metavar="FILE",
            help="Scored pairs (sentence1, sentence2, score): the best step by rank correlation "
            "is taken, and the run ends early when it gets no better",
        ),
    ] = None,
    dev_pairs: Annotated[
        str | None,
        typer.Option("--dev-pairs", metavar="FILE", help="The same by the loss of further pairs"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the data [default: 1]")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps, in place of epochs")
    ] = None,
    batch: Annotated[
        int,
        typer.Option(metavar="N", help="Pairs whose loss is one: all others are negatives"),
    ] = 128,
    chunk: Annotated[
        int,
        typer.Option(
            metavar="N", help="Texts in the model at once; less takes less memory, same result"
        ),
    ] = 32,
    lr: Annotated[
        float | None,
        typer.Option("--lr", metavar="X", help="Peak learning rate [default: 5e-5; full: 2e-5]"),
    ] = None,
    warm_up: Annotated[
        int | None,
        typer.Option(metavar="N", help="Steps of warm-up [default: a tenth, at most 100]"),
    ] = None,
    decay: Annotated[
        str, typer.Option(metavar="linear|cosine|constant", help="Learning rate after warm-up")
    ] = "linear",
    weight_decay: Annotated[float, typer.Option(metavar="X", help="Of matrices")] = 0.01,
    clip: Annotated[float, typer.Option(metavar="X", help="Largest norm of the gradient")] = 1.0,
    temperature: Annotated[
        float, typer.Option(metavar="X", help="What cosines are divided by")
    ] = 0.2,
    symmetric: Annotated[bool, typer.Option("--symmetric", help="b has to find a, too")] = False,
    hard_negatives: Annotated[
        bool,
        typer.Option("--hard-negatives/--no-hard-negatives", help="Use the pairs' own negatives"),
    ] = True,
    matryoshka: Annotated[
        str | None,
        typer.Option(
            metavar="N[:W],...",
            help="First components that have to do alone, with weights: 64:0.5,128",
        ),
    ] = None,
    similarity_weight: Annotated[
        float,
        typer.Option(metavar="X", help="Distillation: weight of the similarity matrix"),
    ] = 5.0,
    full: Annotated[
        bool, typer.Option("--full", help="Tune all weights and write a model, not an adapter")
    ] = False,
    lora_rank: Annotated[int, typer.Option(metavar="N", help="LoRA: rank")] = 64,
    lora_alpha: Annotated[int, typer.Option(metavar="N", help="LoRA: alpha")] = 16,
    lora_dropout: Annotated[float, typer.Option(metavar="X", help="LoRA: dropout")] = 0.05,
    lora_modules: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="LoRA: modules [default: q, v, o, gate, up, down]"),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(metavar="KEY|TEXT", help="Template in place of the encoder's, for good"),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(metavar="last|mean|...", help="Pooling in place of the encoder's, for good"),
    ] = None,
    tp: Annotated[
        str,
        typer.Option(
            metavar="in|out|off",
            help="Token Prepending, where the encoder has it: in training, only afterwards, or no "
            "more",
        ),
    ] = "in",
    cp: Annotated[
        str, typer.Option(metavar="in|out|off", help="Contrastive Prompting, likewise")
    ] = "in",
    first_as: Annotated[
        str,
        typer.Option(metavar="document|query", help="Which prompt the pairs' side a gets"),
    ] = "document",
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", help="Cut prompts with texts at so many tokens, in training"),
    ] = None,
    compute: Annotated[
        str,
        typer.Option(metavar="auto|float32|bfloat16", help="Number format of the products"),
    ] = "auto",
    gradient_checkpointing: Annotated[
        bool,
        typer.Option("--gradient-checkpointing", help="Compute layers twice to need less memory"),
    ] = False,
    every: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Steps between checkpoints and dev measures [default: a tenth, at most 100]",
        ),
    ] = None,
    patience: Annotated[
        int, typer.Option(metavar="N", help="Dev measures without a new best before it ends")
    ] = 5,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of the order, LoRA's start, dropout")
    ] = 0,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1 [default: cuda if any]")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Licence of the result, for its card")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, with the same settings")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Tune an encoder on pairs of texts that belong together, or towards a teacher's vectors.

    Writes a LoRA adapter with its settings (use it with --encoder DIR), or with --full
    a model; in DIR/run metrics, a report with curves, and the last checkpoint.
    """
    from embedder.tuning.settings import TuningSettings
    from flows.tuning import TuneRequest, leads, run_tune
    from flows.tuning_console import show_tuning, watched

    values: dict[str, Any] = {  # strings until the settings have checked them
        "method": "full" if full else "lora",
        "lora_rank": lora_rank,
        "lora_alpha": lora_alpha,
        "lora_dropout": lora_dropout,
        "lora_modules": _names(lora_modules),
        "epochs": epochs,
        "steps": steps,
        "batch": batch,
        "chunk": chunk,
        "rate": lr,
        "warm_up": warm_up,
        "decay": decay,
        "weight_decay": weight_decay,
        "clip": clip,
        "temperature": temperature,
        "symmetric": symmetric,
        "hard_negatives": hard_negatives,
        "matryoshka": _sizes(matryoshka),
        "similarity_weight": similarity_weight,
        "compute": compute,
        "gradient_checkpointing": gradient_checkpointing,
        "tp": tp,
        "cp": cp,
        "template": template,
        "pooling": pooling,
        "max_tokens": max_tokens,
        "first_as": first_as,
        "every": every,
        "patience": patience,
        "seed": seed,
    }
    request = TuneRequest(
        base=base,
        out=out,
        pairs=tuple(pairs or ()),
        texts=texts,
        teacher=teacher,
        dev=dev,
        dev_pairs=dev_pairs,
        resume=resume,
        licence=licence,
        device=device,
        settings=TuningSettings(**values),
    )
    with watched(quiet=quiet) as told:
        report = run_tune(request, told=told)
    if not leads():
        return
    if as_json:
        print_json(report)
    else:
        show_tuning(report)


def _names(given: str | None) -> tuple[str, ...]:
    """A list with commas."""
    if given is None:
        return ()
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if not names:
        raise InvalidInput(f"--lora-modules {given!r}: expected names such as q_proj,v_proj")
    return names


def _sizes(given: str | None) -> tuple[tuple[int, float], ...]:
    """Sizes with weights: `64:0.5,128`.

    >>> _sizes("64:0.5,128")
    ((64, 0.5), (128, 1.0))
    """
    if given is None:
        return ()
    sizes = []
    for part in given.split(","):
        size, _, weight = part.partition(":")
        try:
            sizes.append((int(size), float(weight or 1)))
        except ValueError:
            raise InvalidInput(
                f"--matryoshka {given!r}: expected sizes, or sizes with weights, as 64:0.5,128"
            ) from None
    return tuple(sizes)
