"""`sextant serve`: search over HTTP."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from flows.cli_options import Collection, Debug, Encoder, Store, settings_of
from flows.errors import InvalidInput

SERVE_EXAMPLES: Final = (
    "Routes: /v1/search, /v1/similar, /v1/facets, /v1/documents/ID, /v1/collections, "
    "/v1/clusters, /v1/embeddings, /livez, /readyz, /metrics, /openapi.json; a page at /. "
    "The log goes to standard error, one JSON object a line. While it runs, an embedded store is "
    "the server's own: ingest with the server stopped, or use a Qdrant server."
)
MAX_TIMEOUT: Final = 3600.0
MAX_BODY_KB: Final = 1024 * 1024
MAX_CONCURRENCY: Final = 1024

_ORIGIN: Final = re.compile(
    r"https?://[A-Za-z0-9._-]+(:\d{1,5})?|https?://\[[0-9a-fA-F:]+\](:\d{1,5})?"
)

KeysFile = Annotated[
    Path | None,
    typer.Option(
        "--keys", metavar="FILE", help="File of API keys [default: in the store's state folder]"
    ),
]


def serve(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Where to listen; beyond the loopback keys are needed"
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="TCP port, 0: any that is free")] = 8000,
    collection: Collection = None,
    only: Annotated[
        bool, typer.Option("--only", help="Serve no other collection of the store")
    ] = False,
    encoder: Encoder = None,
    no_encoder: Annotated[
        bool, typer.Option("--no-encoder", help="Load no model: words alone answer")
    ] = False,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode",
            metavar="hybrid|dense|lexical",
            help="Of searches that name none [hybrid]",
        ),
    ] = None,
    keys: KeysFile = None,
    require_keys: Annotated[
        bool,
        typer.Option("--require-keys", help="Need keys on the loopback, too, as behind a proxy"),
    ] = False,
    rate: Annotated[
        int | None,
        typer.Option(metavar="N", help="Most requests a minute of a key without a rate of its own"),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Most time for a request")
    ] = 30.0,
    max_body_kb: Annotated[
        int, typer.Option("--max-body-kb", metavar="N", help="Largest body of a request, in KiB")
    ] = 1024,
    concurrency: Annotated[
        int, typer.Option(metavar="N", help="Requests worked on at once; others wait")
    ] = 16,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            "--cors",
            metavar="ORIGIN",
            help="Let pages of this origin read answers; may be repeated; '*': of any",
        ),
    ] = None,
    log_queries: Annotated[
        bool, typer.Option("--log-queries", help="Write the text of queries into the log")
    ] = False,
    no_page: Annotated[bool, typer.Option("--no-page", help="Serve no search page at /")] = False,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain, PEM")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, PEM")
    ] = None,
    store: Store = None,
    debug: Debug = False,
) -> None:
    """Answer searches over HTTP, with a page for people, until Ctrl-C or SIGTERM.

    One process: an embedded store has one owner, and the encoder is loaded once. Threads answer at
    once. For more, put several servers over a Qdrant server behind a balancer. Exit code 0: stopped
    as asked.
    """
    _require("--port", port, 0, 65_535)
    _require("--timeout", timeout, 0.1, MAX_TIMEOUT)
    _require("--max-body-kb", max_body_kb, 1, MAX_BODY_KB)
    _require("--concurrency", concurrency, 1, MAX_CONCURRENCY)
    if rate is not None:
        _require("--rate", rate, 1, 1_000_000)
    if no_encoder and encoder is not None:
        raise InvalidInput("--no-encoder and --encoder: one says the contrary of the other")
    if mode is not None and mode not in ("hybrid", "dense", "lexical"):
        raise InvalidInput(f"--mode {mode!r}: expected hybrid, dense or lexical")
    for origin in cors or ():
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise InvalidInput(
                f"--cors {origin!r}: expected an origin, e.g. https://notes.example.org, or '*'"
            )
    if no_encoder and mode is None:
        mode = "lexical"  # nothing is missing from what was asked for
    settings = settings_of(collection=collection, encoder=encoder, store=store, search_mode=mode)
    from importlib.metadata import version

    from flows import serving
    from search.api.options import ApiOptions

    serving.serve(
        settings,
        serving.Serving(
            host=host,
            port=port,
            keys=keys,
            require_keys=require_keys or keys is not None,
            with_encoder=not no_encoder,
            only_default=only,
            certificate=tls_cert,
            private_key=tls_key,
            api=ApiOptions(
                rate_per_minute=rate,
                timeout_seconds=timeout,
                max_body_kb=max_body_kb,
                concurrency=concurrency,
                cors_origins=tuple(cors or ()),
                log_queries=log_queries,
                mode=settings.search_mode,
                dense_weight=settings.dense_weight,
                version=version("sextant-pipeline"),
                page=not no_page,
            ),
        ),
    )


def _require(option: str, value: float, at_least: float, at_most: float) -> None:
    if not at_least <= value <= at_most:
        raise InvalidInput(f"{option} {value:g}: expected {at_least:g} to {at_most:g}")
