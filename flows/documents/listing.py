"""What the sources hold, as far as it could be seen: documents, and everything left out."""

from collections import Counter
from dataclasses import dataclass, field

from flows.documents.source_document import SourceDocument


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A file, folder or row (`<file>:<line>`) that is in no document, and why, in one line."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The outcome of `discover`.

    Attributes:
        documents: Sorted by `doc_id`, which is unique; rows of one file in their order.
        ignored: Why -> count of files left out: a suffix without a parser, `(no suffix)`,
            `duplicate rows`, `excluded`, `hidden`, `symlink`, `special` (FIFOs, sockets,
            devices); for `python:stdlib` also `private` and `not documentation`. A hidden or
            left-out folder counts as one.
        unreadable: Files and folders that could not be listed.
        rejected: Rows of record files that cannot be documents, and record files that cannot be
            read, or only in part.
        roots: One identity per source, in the order given.
        complete: Root -> whether it was listed wholly and holds a document. Nothing may be
            concluded from a document's absence under a root that is not complete.
        uncertain: Ids of rows that are still there, but cannot be read; and ids of record files
            that may hold rows which are not known. Ask `keeps`.
    """

    documents: tuple[SourceDocument, ...]
    ignored: dict[str, int]
    unreadable: tuple[Unreadable, ...]
    roots: tuple[str, ...]
    complete: dict[str, bool]
    rejected: tuple[Unreadable, ...] = ()
    uncertain: frozenset[str] = frozenset()

    def keeps(self, doc_id: str) -> bool:
        """Whether a stored document stays although it is not among `documents`.

        So it does when its row is there but cannot be read, and when its file could not be read
        wholly: nothing may be concluded from its absence.
        """
        if doc_id in self.uncertain:
            return True
        hashes = (at for at, character in enumerate(doc_id) if character == "#")
        return any(doc_id[:at] in self.uncertain for at in hashes)


@dataclass(kw_only=True)
class RootListing:
    """What one root holds; filled while the root is walked."""

    root: str
    documents: list[SourceDocument] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable: list[Unreadable] = field(default_factory=list)
    rejected: list[Unreadable] = field(default_factory=list)
    uncertain: set[str] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """Whether the root was seen wholly and is not empty."""
        return bool(self.documents) and not self.unreadable
