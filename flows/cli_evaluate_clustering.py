"""`sextant evaluate clustering`: how well clusters and labels agree."""

from typing import Annotated, Any, get_args

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


def clustering(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="JSONL with 'text' and 'label' a line; several are tasks each"
        ),
    ],
    encoder: EvaluatedEncoder = None,
    prompt: Prompt = None,
    pooling: Pooling = None,
    tp: TokenPrepending = None,
    cp: ContrastivePrompting = None,
    output_layer: OutputLayer = None,
    normalise: Normalise = False,
    protocol: Annotated[
        str,
        typer.Option(
            metavar="mteb|kmeans",
            help="MTEB's mini-batch k-means on samples, or the k-means of `sextant cluster`",
        ),
    ] = "mteb",
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Runs of k-means, whose mean and spread are told")
    ] = 10,
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
    file_results: FileResults = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Cluster labelled texts and say how well clusters and labels agree (V-measure, 0 to 1).

    There are as many clusters as labels. Of several prompts and poolings every pair is measured;
    TP is left out of a prompt without a place for it, CP of a pooling that does not read it.
    """
    from flows import console
    from flows.evaluation.clustering import Protocol, evaluate_clustering, variant
    from flows.evaluation.evaluation_report import (
        EvaluationReport,
        check_results_place,
        require_distinct,
    )
    from flows.evaluation.labelled_texts import FEWEST_LABELS, read_labelled_texts
    from flows.evaluation.overrides import Overrides

    if seeds < 1:
        raise InvalidInput(f"--seeds {seeds}: expected 1 or more")
    if protocol not in get_args(Protocol):
        raise InvalidInput(f"--protocol {protocol!r}: expected {' or '.join(get_args(Protocol))}")
    check_limit(limit, least=FEWEST_LABELS)
    for option, alone, several in (
        ("--prompt", prompt, prompts),
        ("--pooling", pooling, poolings),
    ):
        if alone is not None and several is not None:
            raise InvalidInput(f"{option} and {option}s do not go together; give one of them")
    keys, poolers = _names("--prompts", prompts), _names("--poolings", poolings)
    check_results_place(file_results)
    sets = [read_labelled_texts(file) for file in files]
    require_distinct([one.name for one in sets])
    if limit is not None:
        sets = [one.sample(limit, seed=0) for one in sets]
    overrides = Overrides(
        prompt=prompt,
        pooling=pooling,
        token_prepending=tp,
        contrastive_prompting=cp,
        output_layer=output_layer,
        normalise=normalise,
    )
    specification = evaluated(encoder, overrides)
    variants = [
        variant(specification, prompt=key, pooling=pooler)
        for key in keys or (None,)
        for pooler in poolers or (None,)
    ]
    report = EvaluationReport(
        kind="clustering",
        specification=variants[0] if len(variants) == 1 else specification,
        measure="v_measure",
    )
    with console.progress(quiet=quiet) as progress:
        for one in variants:
            for texts in sets:

                def measured() -> dict[str, Any]:
                    (score,) = evaluate_clustering(
                        [texts],  # noqa: B023
                        one,  # noqa: B023
                        seeds=seeds,
                        protocol="mteb" if protocol == "mteb" else "kmeans",
                        progress=progress,
                    )
                    return score.fields() | {"fingerprint": one.fingerprint}  # noqa: B023

                report.attempt(texts.name, measured)
    places = {one.name: place for place, one in enumerate(sets)}
    report.tasks.sort(key=lambda task: places[task["name"]])
    report.further["protocol"] = protocol
    if len(variants) > 1:
        report.further["averages"] = _by_variant(report.tasks)
    rows = [
        [
            task["name"],
            f"{task['n']:,}",
            str(task["clusters"]),
            task["prompt"],
            task["pooling"],
            f"{task['v_measure']:.4f}",
            f"± {task['std']:.4f}",
        ]
        for task in report.tasks
    ]
    if len(sets) > 1:
        rows += [
            ["average", "", "", one["prompt"], one["pooling"], f"{one['v_measure']:.4f}", ""]
            for one in _by_variant(report.tasks)
        ]
    how = {
        "mteb": f"{seeds} samples, each clustered by mini-batch k-means",
        "kmeans": f"{seeds} runs of k-means",
    }
    tell(
        report,
        rows,
        header=["set", "texts", "clusters", "prompt", "pooling", "V-measure", "spread"],
        notes=[f"mean and standard deviation over {how[protocol]}, k = number of labels"],
        as_json=as_json,
        file_results=file_results,
        options={"files": files, "limit": limit, "seeds": seeds, "protocol": protocol},
    )


def _by_variant(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean V-measure of each prompt and pooling."""
    found: dict[tuple[str, str], list[float]] = {}
    for task in tasks:
        found.setdefault((task["prompt"], task["pooling"]), []).append(task["v_measure"])
    return [
        {"prompt": prompt, "pooling": pooling, "v_measure": sum(own) / len(own)}
        for (prompt, pooling), own in found.items()
    ]


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
