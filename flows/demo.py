"""The demonstration: real documentation that is on any machine, through the whole of Sextant."""

import shlex
from typing import Final

from flows import console
from flows.clustering_command import run_cluster
from flows.clustering_console import show_clusters
from flows.commands import run_ingest
from flows.documents.python_sources import PYTHON_PACKAGES, PYTHON_STDLIB
from flows.ingestion import IngestRequest
from flows.progress import Progress
from flows.searching import searching
from flows.session import Target
from flows.settings import load_settings

QUERIES: Final = (
    "download a file over http",
    "run several tasks at the same time",
    "how similar are two pieces of text",
)


def run_demo(target: Target, progress: Progress) -> int:
    """Ingest, cluster, search; returns the exit code.

    A module that cannot be parsed is reported and does not make the demonstration fail.
    """
    console.say("Ingesting the documentation of this Python and of its installed packages")
    request = IngestRequest(
        sources=(PYTHON_PACKAGES, PYTHON_STDLIB),
        target=target,
        max_removal_share=1.0,  # packages come and go
    )
    report = run_ingest(request, progress)
    console.show_ingest(report)

    console.say("\nClustering")
    clusters = run_cluster(target, progress, k=None, seed=0, report=None)
    show_clusters(clusters)

    console.say("\nSearching")
    settings = load_settings(store=target.store, collection=target.collection)
    with searching(settings) as collection:
        for query in QUERIES:
            result = collection.search(query, mode=settings.search_mode, limit=3)
            console.say(f"\n  {query!r} ({result.timings_ms['total']:.0f} ms)")
            console.show_hits(query, result.hits, indent="  ")

    store = shlex.quote(target.store)
    place = f"--collection {target.collection} --store {store}"
    console.say("\nTry next:")
    console.say(f'  sextant search "parse command line arguments" {place}')
    console.say(f"  sextant collections show {target.collection} --store {store}")
    console.say(f"  sextant ingest YOUR_FOLDER --store {store}")
    console.say(f"  less {shlex.quote(clusters.report)}")
    return 0
