"""Qdrant collections searched by vectors and by words.

    import contextlib

    from search import open_store, search

    with contextlib.closing(open_store(".sextant")) as store:
        collection = store.open("docs")
        result = search(collection, encoder, "a lamp by the sea", limit=5)
        for hit in result.hits:
            print(hit.rank, hit.title, hit.source, hit.start, hit.end, hit.text)

`encoder` is anything with `fingerprint` and `encode_query` (`search.protocols`); None searches by
words alone. Names are imported when they are first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.collection_schema import CollectionSchema as CollectionSchema
    from search.examples import Examples as Examples
    from search.facets import facet as facet
    from search.filter_syntax import parse as parse
    from search.filters import Filter as Filter
    from search.hybrid import Fusion as Fusion
    from search.more_like_this import similar as similar
    from search.query_cache import QueryCache as QueryCache
    from search.records import Hit as Hit
    from search.service import SearchOptions as SearchOptions
    from search.service import SearchResult as SearchResult
    from search.service import search as search
    from search.stores.locate import open_store as open_store

_HOMES = {
    "CollectionSchema": "search.collection_schema",
    "Examples": "search.examples",
    "Filter": "search.filters",
    "Fusion": "search.hybrid",
    "Hit": "search.records",
    "QueryCache": "search.query_cache",
    "SearchOptions": "search.service",
    "SearchResult": "search.service",
    "facet": "search.facets",
    "open_store": "search.stores.locate",
    "parse": "search.filter_syntax",
    "search": "search.service",
    "similar": "search.more_like_this",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
