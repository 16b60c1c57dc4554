"""A document that was turned away: where it lies, at which stage, and why, in one line."""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.documents.listing import Unreadable
from flows.documents.source_document import SourceDocument
from flows.quarantine import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A document in quarantine; what the store holds of an earlier version of it stays."""

    source: str
    reason: str
    stage: Stage
    doc_id: str
    """Of what could not even be listed: its path."""
    root: str = ""
    format: str = ""
    content_hash: str = ""
    """Empty where the bytes could not be read."""
    size: int = 0
    """Bytes, as far as they are known."""
    held: bool = False
    """Not tried in this run: the same bytes were turned away before, for a reason that stands."""

    @classmethod
    def of(
        cls, document: SourceDocument, stage: Stage, reason: str, *, content_hash: str = ""
    ) -> "Rejected":
        """A document that a stage turned away."""
        return cls(
            source=document.source,
            reason=reason,
            stage=stage,
            doc_id=document.doc_id,
            root=document.root,
            format=document.format,
            content_hash=content_hash,
            size=document.size,
        )

    @classmethod
    def unlisted(cls, unreadable: Unreadable, roots: Sequence[str]) -> "Rejected":
        """A file or folder that could not be listed, below one of the roots."""
        path = unreadable.path
        root = next((root for root in roots if path.startswith(root)), "")
        return cls(source=path, reason=unreadable.reason, stage="list", doc_id=path, root=root)
