"""Which collection a run works on, where, and how texts become its vectors."""

from pydantic import BaseModel, ConfigDict

from flows.settings import NearDuplicates, Quantisation, Settings
from search.stores.contract import StorageOptions


class Target(BaseModel):
    """Which collection, where, and how texts become its vectors. A flow's parameter: no secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    collection: str
    encoder: str | None = None
    """None: the collection's own, or the starter for a new one."""
    chunk_tokens: int
    chunk_overlap: int
    max_document_mb: int
    parse_seconds: float
    parse_memory_mb: int
    heading_context: bool = False
    near_duplicates: NearDuplicates = "report"
    quantisation: Quantisation = "none"
    on_disk: bool = False
    shards: int | None = None
    replicas: int | None = None

    @property
    def storage(self) -> StorageOptions:
        """How a new collection keeps its vectors; an existing one stays as it was made."""
        return StorageOptions(**self.model_dump(include=set(StorageOptions.model_fields)))

    @classmethod
    def of(cls, settings: Settings) -> "Target":
        """The part of the settings that a run depends on."""
        return cls(**settings.model_dump(include=set(cls.model_fields)))
