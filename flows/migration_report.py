"""What a migration did, and where it stands; the objects that `--json` prints."""

from pydantic import BaseModel, ConfigDict

from flows.migration_evidence import Evidence


class LeftOut(BaseModel):
    """A document that the new encoder cannot take whole, in the new version's quarantine."""

    model_config = ConfigDict(frozen=True)

    source: str
    reason: str


class MigrationReport(BaseModel):
    """One run of `sextant migrate`."""

    model_config = ConfigDict(frozen=True)

    collection: str
    old: str
    new: str
    encoder: str
    """The new one."""
    documents: int
    """Embedded by this run."""
    chunks: int
    """Likewise."""
    removed: int
    """Documents that were in the new version and are no longer in the old one."""
    left_out: tuple[LeftOut, ...]
    """Found unfit by this run; `evidence.notes` counts all."""
    rounds: int
    """How often the versions were compared and found different."""
    seconds: float
    evidence: Evidence
    evidence_file: str
    switched: bool
    refusal: str
    """Why the alias was not moved though that was asked for; otherwise empty."""
    run_id: str


class MigrationStatus(BaseModel):
    """Where a collection stands between its versions."""

    model_config = ConfigDict(frozen=True)

    collection: str
    in_use: str
    encoder: str
    versions: tuple[str, ...]
    """Oldest first."""
    rollback_to: str | None
    under_way: str | None
    """Name of the new encoder; None if no migration has begun, or the last one has ended."""
    new: str | None
    """Version that is being written."""
    documents: int
    """To migrate, when last counted."""
    done: int
    ready: bool
    """Whether `--switch` may follow."""
    started_at: str | None
