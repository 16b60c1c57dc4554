"""Documents that the new encoder cannot take whole: never cut in silence, refused or left out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flows.errors import FlowError
from flows.migration_index import MIGRATED_HEAD, digest_of
from flows.migration_spool import SpooledDocument, expected_chunks
from flows.migration_state import utc_now
from flows.quarantine import WANTED, updated
from search.records import METADATA, Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """A document that the new encoder cannot take whole, and why."""

    document: SpooledDocument
    reason: str
    chunks: int = 1
    """How many of its chunks are at fault."""

    @classmethod
    def damaged(cls, document: SpooledDocument) -> "Unfit":
        """One that is not whole in the old version, though its head says so."""
        expected = expected_chunks(document.head[METADATA])
        reason = (
            f"its head tells of {expected} chunks, {len(document.chunks)} are stored; ingest it "
            "again, or find the damage with `sextant doctor`"
        )
        return cls(document=document, reason=reason, chunks=abs(document.missing))

    @property
    def source(self) -> str:
        """Where the document lay when it was ingested."""
        return str(self.document.head[METADATA]["source"])

    def point(self, run_id: str) -> Point:
        """Its entry in the new version's quarantine, marked as a migration's.

        It asks to be tried again: an ingest by the new encoder cuts it into chunks that fit.
        """
        head = self.document.head[METADATA]
        entry = updated(
            None,
            **{key: head[key] for key in ("doc_id", "source", "root", "format", "content_hash")},
            stage="embed",
            reason=self.reason,
            size=head["size"],
            recipe=head["recipe"],
            limits="",
            seen=utc_now(),
            run_id=run_id,
        )
        point = replace(entry, retry=WANTED).point()
        point.payload[METADATA][MIGRATED_HEAD] = digest_of(head).hex()
        return point


def unfit_error(unfit: Sequence[Unfit], *, encoder: str, rest: str) -> FlowError:
    """How many chunks of how many documents do not fit, the first of them, and the ways out.

    Args:
        unfit: At least one.
        encoder: The new encoder's name.
        rest: What became of the others.
    """
    chunks = sum(one.chunks for one in unfit)
    return FlowError(
        f"encoder {encoder!r} cannot take {chunks} chunks of {len(unfit)} documents, {rest}; the "
        f"first is {unfit[0].source!r}: {unfit[0].reason}; ingest such documents again with "
        "smaller --chunk-tokens, or leave them out with --skip-unfit: they go to the new version's "
        "quarantine"
    )
