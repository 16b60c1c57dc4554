"""`sextant search`, `similar`, `facets` and `reindex`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flows.cli_options import (
    AsJson,
    Collection,
    Debug,
    Encoder,
    Quiet,
    Store,
    print_json,
    settings_of,
)
from flows.errors import InvalidInput

if TYPE_CHECKING:
    from search.service import SearchResult

MODES: Final = ("hybrid", "dense", "lexical")
SEARCH_EXAMPLES: Final = (
    'Filters: "format=markdown", "year>=2020", "title~lighthouse", "language in en, de", '
    '"modified>=2026-05", "author exists", or JSON: '
    '\'{"any": [{"key": "year", "op": ">=", "value": 2020}]}\'. All hold; = given several '
    "times for one key asks for any of the values."
)

Limit = Annotated[int, typer.Option("-k", "--limit", metavar="N", help="How many hits, 1 to 1000")]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="KEY=VALUE",
        help="Only chunks that match; may be repeated; also !=, in, ranges, ~words, exists",
    ),
]
Chunks = Annotated[
    bool, typer.Option("--chunks", help="Every chunk counts, not the best of each document")
]
Like = Annotated[
    list[str] | None,
    typer.Option("--like", metavar="ID", help="A chunk or document to be near to; may be repeated"),
]
Unlike = Annotated[
    list[str] | None,
    typer.Option(
        "--unlike", metavar="ID", help="A chunk or document to be far from; may be repeated"
    ),
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Say each hit's place by vectors and by words")
]


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for, in plain words")],
    limit: Limit = 10,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode", metavar="hybrid|dense|lexical", help="By both, vectors or words [hybrid]"
        ),
    ] = None,
    collection: Collection = None,
    filters: Filters = None,
    chunks: Chunks = False,
    like: Like = None,
    unlike: Unlike = None,
    diversity: Annotated[
        float, typer.Option(metavar="0-1", help="Towards 1: hits that differ from each other")
    ] = 0.0,
    fold: Annotated[
        float | None,
        typer.Option(
            "--fold",
            metavar="COSINE",
            help="Show one of chunks that are so near to each other, e.g. 0.98",
        ),
    ] = None,
    fusion: Annotated[
        str,
        typer.Option(metavar="rrf|minmax", help="How hybrid puts both together: ranks, scores"),
    ] = "rrf",
    dense_weight: Annotated[
        float | None,
        typer.Option("--dense-weight", metavar="0-1", help="The vectors' part in hybrid [0.3]"),
    ] = None,
    cursor: Annotated[
        str | None,
        typer.Option("--cursor", metavar="TOKEN", help="The next page, as the last one named it"),
    ] = None,
    no_evidence: Annotated[
        bool, typer.Option("--no-evidence", help="Do not look for each hit's best sentence")
    ] = False,
    budget_ms: Annotated[
        float | None,
        typer.Option(
            "--budget-ms", metavar="MS", help="After so long, leave out what can be left out"
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Measure anew what meaningless queries find"),
    ] = False,
    explain: Explain = False,
    encoder: Encoder = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find the chunks that answer a query, the best one of each document."""
    from flows import console, search_console
    from search.examples import Examples
    from search.filter_syntax import check
    from search.service import check_query

    _require_limit(limit)
    if mode is not None and mode not in MODES:
        raise InvalidInput(f"--mode {mode!r}: expected {', '.join(MODES[:-1])} or {MODES[-1]}")
    check(filters or [])
    check_query(query)
    settings = settings_of(
        collection=collection,
        encoder=encoder,
        store=store,
        search_mode=mode,
        dense_weight=dense_weight,
    )
    options = _options(
        {
            "fusion": {"method": fusion, "dense_weight": settings.dense_weight},
            "fold_cosine": fold,
            "diversity": diversity,
            "evidence": not no_evidence,
            "budget_ms": budget_ms,
        }
    )
    from flows.searching import searching

    examples = Examples(like=tuple(like or ()), unlike=tuple(unlike or ()))
    with searching(settings) as opened:
        result = opened.search(
            query,
            mode=settings.search_mode,
            calibrate=calibrate,
            limit=limit,
            where=opened.where(filters or []),
            by_document=not chunks,
            options=options,
            examples=examples if like or unlike else None,
            cursor=cursor,
        )
        if opened.encoder.drift:
            console.complain(f"warning, hits may be off: {opened.encoder.drift}")
        name = opened.encoder.name
    if as_json:
        print_json(_answer(result, settings.collection, name))
    else:
        search_console.show_answer(result, explain=explain)


def similar(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Chunks or documents, as `search --json` names them"),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option("--text", metavar="TEXT", help="A text to be near to; - reads standard input"),
    ] = None,
    unlike: Unlike = None,
    limit: Limit = 10,
    collection: Collection = None,
    filters: Filters = None,
    chunks: Chunks = False,
    explain: Explain = False,
    encoder: Encoder = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find what is like chunks, documents or a text, and is not one of them."""
    from flows import search_console
    from search.filter_syntax import check

    _require_limit(limit)
    if not ids and text is None:
        raise InvalidInput("nothing to be like: expected the ID of a chunk or document, or --text")
    check(filters or [])
    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8", errors="replace")
    settings = settings_of(collection=collection, encoder=encoder, store=store)
    from flows.searching import searching

    with searching(settings) as opened:
        result = opened.similar(
            like=ids or (),
            unlike=unlike or (),
            text=text,
            limit=limit,
            where=opened.where(filters or []),
            by_document=not chunks,
        )
        name = opened.encoder.name
    if as_json:
        print_json(_answer(result, settings.collection, name))
    else:
        search_console.show_answer(result, explain=explain)


def facets(
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY", help="Such as format, language, cluster")
    ],
    limit: Annotated[
        int, typer.Option("-k", "--limit", metavar="N", help="Most values of each, 1 to 10000")
    ] = 10,
    collection: Collection = None,
    filters: Filters = None,
    store: Store = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Count the chunks that have each value of a key, the most frequent first."""
    from flows import search_console
    from search.facets import facet
    from search.filter_syntax import check
    from search.stores.filter_checks import MAX_FACETS

    if not 1 <= limit <= MAX_FACETS:
        raise InvalidInput(f"-k {limit}: expected 1 to {MAX_FACETS}")
    check(filters or [])
    settings = settings_of(collection=collection, store=store)
    from flows.searching import searching

    with searching(settings) as opened:
        where = opened.where(filters or [])
        found = [
            facet(opened.collection, key, schema=opened.schema, limit=limit, where=where)
            for key in keys
        ]
    if as_json:
        print_json(
            {
                "collection": settings.collection,
                "facets": {
                    one.key: {
                        "values": [{"value": v, "chunks": count} for v, count in one.values],
                        "whole": one.is_whole,
                    }
                    for one in found
                },
            }
        )
        return
    for one in found:
        search_console.show_facet(one)


def reindex(
    collection: Collection = None,
    store: Store = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Index the words of chunks that were stored before words were; nothing is embedded anew."""
    from flows import console
    from flows.searching import searching
    from search import reindex as words

    settings = settings_of(collection=collection, store=store)
    with searching(settings) as opened, console.progress(quiet=quiet) as progress:
        progress.stage("indexing words", opened.collection.status().vectors)
        done = words.reindex(opened.collection, progress.advance)
    if as_json:
        print_json({"collection": settings.collection, "chunks": done})
    elif done:
        console.say(f"the words of {done:,} chunks of {settings.collection!r} are indexed now")
    else:
        console.say(f"the words of all chunks of {settings.collection!r} were indexed already")


def _require_limit(limit: int) -> None:
    from search.service import MAX_LIMIT

    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(f"-k {limit}: expected 1 to {MAX_LIMIT}")


def _options(given: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from search.service import SearchOptions

    names = {
        "fold_cosine": "--fold",
        "budget_ms": "--budget-ms",
        "diversity": "--diversity",
        "dense_weight": "--dense-weight",
        "method": "--fusion",
    }
    try:
        return SearchOptions.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place: Sequence[int | str] = first["loc"]
        option = names.get(str(place[-1]), str(place[-1]))
        expected = first["msg"].removeprefix("Input should be ")
        raise InvalidInput(f"{option} {first['input']!r}: expected {expected}") from None


def _answer(result: "SearchResult", collection: str, encoder: str) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "query": result.query,
        "collection": collection,
        "encoder": encoder,
        "mode": result.mode,
        "degraded": result.degraded,
        "nothing_good": result.nothing_good,
        "hits": [asdict(hit) for hit in result.hits],
        "cursor": result.cursor,
        "timings_ms": {name: round(ms, 3) for name, ms in result.timings_ms.items()},
    }
