"""What the sources hold, as far as it could be seen: documents, and everything left out."""

from collections import Counter
from dataclasses import dataclass, field

from flows.documents.source_document import SourceDocument


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A file or folder that could not be listed, and the reason in one line."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The outcome of `discover`.

    Attributes:
        documents: Sorted by `doc_id`, which is unique.
        ignored: Why -> count of files left out: a suffix without a parser, `(no suffix)`,
            `excluded`, `hidden`, `symlink`, `special` (FIFOs, sockets, devices); for
            `python:stdlib` also `private` and `not documentation`. A hidden or left-out folder
            counts as one.
        unreadable: Files and folders that could not be listed.
        roots: One identity per source, in the order given.
        complete: Root -> whether it was listed wholly and holds a document. Nothing may be
            concluded from a document's absence under a root that is not complete.
    """

    documents: tuple[SourceDocument, ...]
    ignored: dict[str, int]
    unreadable: tuple[Unreadable, ...]
    roots: tuple[str, ...]
    complete: dict[str, bool]


@dataclass(kw_only=True)
class RootListing:
    """What one root holds; filled while the root is walked."""

    root: str
    documents: list[SourceDocument] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the root was seen wholly and is not empty."""
        return bool(self.documents) and not self.unreadable
