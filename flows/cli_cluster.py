"""`sextant cluster`: its options."""

from typing import Annotated, TypeVar

import typer

from flows.cli_options import AsJson, Collection, Debug, Quiet, Store, print_json, target_of
from flows.errors import InvalidInput

Choice = TypeVar("Choice", bound=str)


def cluster(
    collection: Collection = None,
    algorithm: Annotated[
        str,
        typer.Option(
            "--algorithm",
            metavar="kmeans|bisecting|hdbscan",
            help="kmeans: k groups, every chunk in one; bisecting: the same as a tree; hdbscan: "
            "dense groups and outliers, up to 100,000 chunks",
        ),
    ] = "kmeans",
    k: Annotated[
        int | None,
        typer.Option("--k", metavar="N", help="How many clusters [default: chosen]"),
    ] = None,
    min_cluster_size: Annotated[
        int | None,
        typer.Option(
            "--min-cluster-size",
            metavar="N",
            help="Of hdbscan: fewest chunks of a cluster [default: half the square root of all]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the random starts")] = 0,
    projection: Annotated[
        str,
        typer.Option(
            "--map", metavar="pca|umap", help="How the map is drawn; umap wants the extra `map`"
        ),
    ] = "pca",
    verify_names: Annotated[
        bool,
        typer.Option(
            "--verify-names/--no-verify-names",
            help="Search for each name with the collection's encoder, and mark those that do not "
            "find their cluster",
        ),
    ] = True,
    report: Annotated[
        str | None,
        typer.Option(
            "--report",
            metavar="DIR",
            help="Where the report goes, too [default: STORE/COLLECTION/report alone]",
        ),
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Group a collection's chunks, name the groups, write them back, and report.

    Clusters keep their ids and names from run to run, as far as they can be recognised.
    """
    from flows import console
    from flows.clustering.method import ALGORITHMS, PROJECTIONS, SEEDS
    from flows.clustering_command import run_cluster
    from flows.clustering_console import show_clusters

    chosen = _choice("--algorithm", algorithm, ALGORITHMS)
    plane = _choice("--map", projection, PROJECTIONS)
    _least("--k", k, 1)
    _least("--min-cluster-size", min_cluster_size, 2)
    if not 0 <= seed < SEEDS:
        raise InvalidInput(f"--seed {seed}: expected 0 to {SEEDS - 1}")
    target = target_of(collection=collection, store=store)
    with console.progress(quiet=quiet) as progress:
        found = run_cluster(
            target,
            progress,
            algorithm=chosen,
            k=k,
            min_cluster_size=min_cluster_size,
            seed=seed,
            projection=plane,
            verify_names=verify_names,
            report=report,
        )
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show_clusters(found)


def _choice(option: str, value: str, known: tuple[Choice, ...]) -> Choice:
    for one in known:
        if one == value:
            return one
    raise InvalidInput(f"{option} {value!r}: expected {', '.join(known)}")


def _least(option: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise InvalidInput(f"{option} {value}: expected {least} or more")
