"""Hits on the terminal: where they are, what answers in them, and why they stand where they do."""

import sys
from collections.abc import Sequence
from typing import Final

from flows import console
from search import lexical
from search.facets import Facet
from search.records import Hit
from search.service import SearchResult

SNIPPET_CHARACTERS: Final = console.SNIPPET_CHARACTERS
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def show_answer(result: SearchResult, *, explain: bool = False) -> None:
    """The hits of a search.

    Args:
        result: What was found.
        explain: Whether each hit says its places on either side.
    """
    if result.degraded:
        console.complain(f"warning: {result.degraded}")
    if not result.hits:
        console.say(f"nothing found for {console.one_line(result.query, 80)!r}")
    if result.nothing_good:
        console.say("nothing good here: these are no better than what meaningless words would find")
    terms = lexical.query_terms(result.query)
    for hit in result.hits:
        console.say(f"{hit.rank:>2}. {_score(hit)}  {console.one_line(hit.title, 100)}")
        console.say(f"    {hit.source}:{hit.start}-{hit.end}{_more(hit)}")
        console.say(f"    {_snippet(hit, terms)}")
        if explain:
            console.say(f"    {_explained(hit)}")
    if result.cursor:
        console.say("there is more: a larger -k shows it, and --json names the cursor of a page")


def show_facet(facet: Facet) -> None:
    """The values of a key with the chunks that have each."""
    if not facet.values:
        console.say(f"no chunk has a value of {facet.key!r}")
        return
    console.table([facet.key, "chunks"], [[str(v), f"{count:,}"] for v, count in facet.values])
    if not facet.is_whole:
        console.say("... and more (-k raises the number shown)")


def _score(hit: Hit) -> str:
    percentile = "" if hit.percentile is None else f" ({hit.percentile:.0%})"
    return f"{hit.score:.3f}{percentile}"


def _more(hit: Hit) -> str:
    parts = [f"{hit.more} more of it"] if hit.more else []
    if hit.duplicates:
        parts.append(f"{len(hit.duplicates)} with the same text")
    return f"  ({', '.join(parts)})" if parts else ""


def _snippet(hit: Hit, terms: Sequence[int]) -> str:
    """The best sentence, or the beginning, on one line; words asked for in bold on a terminal."""
    text = hit.text if hit.evidence is None else hit.text[hit.evidence.start : hit.evidence.end]
    line = console.one_line(text, SNIPPET_CHARACTERS)
    if not sys.stdout.isatty():
        return line
    pieces, done = [], 0
    for start, end in lexical.marks(line, terms):
        pieces += [line[done:start], _BOLD, line[start:end], _PLAIN]
        done = end
    return "".join([*pieces, line[done:]])


def _explained(hit: Hit) -> str:
    ranks = hit.ranks
    if ranks is None:
        return ""
    dense = (
        "not by vectors"
        if ranks.dense_rank is None
        else f"by vectors {ranks.dense_rank} (cosine {ranks.dense_score or 0:.3f})"
    )
    words = (
        "not by words"
        if ranks.lexical_rank is None
        else f"by words {ranks.lexical_rank} (BM25 {ranks.lexical_score or 0:.2f})"
    )
    return f"{dense}, {words}"
