"""What `sextant pairs` says."""

from collections.abc import Mapping
from typing import Any, Final

from flows.console import complain, say, table

DOCUMENTS_SHOWN: Final = 20


def show_made(report: Mapping[str, Any]) -> None:
    """What `pairs from` wrote and left out."""
    say(f"{report['pairs']:,} pairs of {report['passages']:,} passages in {report['out']}")
    found = report["found"]
    rows = [[kind, f"{report['kinds'].get(kind, 0):,}", f"{n:,}"] for kind, n in found.items()]
    table(["kind", "pairs", "found"], rows)
    _show_counts("left out", report["rejected"])
    documents = report["rejected_documents"]
    for one in documents[:DOCUMENTS_SHOWN]:
        complain(f"{one['path']}: {one['reason']}")
    if len(documents) > DOCUMENTS_SHOWN:
        complain(f"{len(documents) - DOCUMENTS_SHOWN} more documents could not be read")


def show_synthesised(report: Mapping[str, Any]) -> None:
    """What a model wrote, and what was rejected of it."""
    say(f"{report['pairs']:,} pairs of {report['asked']:,} answers asked for in {report['out']}")
    if report["resumed_at"]:
        say(f"went on after {report['resumed_at']:,} batches")
    _show_counts("kinds", report["kinds"])
    _show_counts("given up", report["given_up"])
    _show_counts("tries rejected", report["rejected"])
    _show_counts("texts left out", report["skipped"])


def show_examined(report: Mapping[str, Any]) -> None:
    """What files of pairs hold."""
    twins = report["duplicates"]
    say(f"{report['pairs']:,} pairs, {report['groups']:,} groups; digest {report['digest'][:16]}")
    _show_counts("kinds", report["kinds"])
    _show_counts("rows left out", report["rejected"])
    say(
        f"duplicates: {twins['equal']:,} equal but for case and blanks, {twins['near']:,} nearly; "
        f"{report['texts_in_several_pairs']:,} texts in several pairs; "
        f"{report['with_negatives']:,} pairs with negatives"
    )
    spreads = report["characters"]
    header = ["characters", *spreads["a"]]
    table(
        header, [[side, *(f"{n:,}" for n in spread.values())] for side, spread in spreads.items()]
    )


def _show_counts(name: str, counts: Mapping[str, int]) -> None:
    if counts:
        say(f"{name}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))
