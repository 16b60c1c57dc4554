"""Which stored documents have vanished from their sources, and how many may go without a word."""

from collections.abc import Mapping
from typing import Final

from flows.documents.listing import Listing
from flows.errors import RemovalsRefused
from flows.heads import Head

FREE_REMOVALS: Final = 5
"""So many documents may always go: a share says little of a small collection."""


def vanished(listing: Listing, heads: Mapping[str, Head]) -> tuple[list[Head], list[str]]:
    """Documents that vanished from roots that were listed wholly; a warning for the others."""
    listed = {document.doc_id for document in listing.documents}
    gone: list[Head] = []
    warnings: list[str] = []
    for root, complete in listing.complete.items():
        missing = [h for h in heads.values() if h.root == root and h.doc_id not in listed]
        if complete:
            kept = [head for head in missing if listing.keeps(head.doc_id)]
            gone += [head for head in missing if not listing.keeps(head.doc_id)]
            if kept:
                warnings.append(
                    f"{root!r}: {len(kept)} stored documents stay, as their rows or files could "
                    "not be read"
                )
        elif missing:
            warnings.append(
                f"{root!r} is empty or could not be listed wholly: "
                f"{len(missing)} stored documents that were not seen there stay"
            )
    return gone, warnings


def objection(*, lost: int, known: int, max_share: float) -> str:
    """Why a run removes too much, in one line; empty where it does not.

    Args:
        lost: Stored documents whose content is no longer in the sources; one that was renamed or
            moved is not lost.
        known: Documents that the store holds of these sources.
        max_share: How much of `known` may go; `FREE_REMOVALS` always may.
    """
    if lost <= max(FREE_REMOVALS, max_share * known):
        return ""
    return (
        f"{lost} of the {known} documents stored from these sources ({lost / known:.0%}) are no "
        f"longer in them; at most {max_share:.0%} are removed unasked (max_removal_share); check "
        "the sources and globs with `sextant plan`, or add --allow-removals; nothing was changed"
    )


def refuse_mass_removal(*, lost: int, known: int, max_share: float) -> None:
    """Stop a run that would remove too much: a mount in part, a wrong branch, a mistyped glob.

    Raises:
        RemovalsRefused: see `objection`.
    """
    if reason := objection(lost=lost, known=known, max_share=max_share):
        raise RemovalsRefused(reason)
