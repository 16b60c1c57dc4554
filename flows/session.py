"""What one run works with, opened once per process: store, collection, encoder, chunker.

Prefect's tasks run in threads of the flow's process; they find the session here rather than in
their parameters, which Prefect would copy and store.
"""

import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from pydantic import SecretStr

from embedder.canary import canary_vectors, check_canary
from embedder.errors import InvalidConfig
from embedder.specification import EncoderSpecification, specify
from flows.documents.chunking import CHUNKER_VERSION, Chunker
from flows.documents.context import MAX_CONTEXT_TOKENS, HeadingContext
from flows.documents.parsing import PARSER_VERSION
from flows.documents.parsing_process import ParseLimits, Parsers
from flows.encoders import (
    EncodedChunks,
    Queries,
    encode_chunks,
    in_encoder_thread,
    load_encoder,
)
from flows.errors import FlowError, InvalidInput
from flows.heads import Head, read_heads
from flows.near_duplicates import Lookalikes
from flows.plan import Plan
from flows.progress import Progress, Silent
from flows.quarantine import Entry, limits_word, read_quarantine
from flows.runs import Recorder
from flows.settings import load_settings
from flows.state import claim_state_folder
from flows.stream import BusyTimes
from flows.target import Target as Target
from flows.vectors import KnownVectors
from search.collections import base_name, create_aliased, open_or_adopt, require_fingerprint
from search.errors import CollectionNotFound
from search.stores.contract import Collection, Manifest, Store
from search.stores.locate import open_store
from search.stores.manifests import check_name
from search.stores.server_options import ServerOptions

if TYPE_CHECKING:
    from embedder.encoder import Encoder

DEFAULT_ENCODER: Final = "starter"


@dataclass
class Session:
    """Store, collection, encoder and chunker of one run; `close` when done.

    Raises, when opened or at first use:
        FingerprintMismatch: the collection was built by another encoder.
        SearchError, EmbedderError: the store or the encoder cannot be used.
    """

    target: Target
    store: Store
    specification: EncoderSpecification
    collection: Collection | None
    """None until `ensure_collection`: a run that stores nothing creates nothing."""
    run_id: str = field(default_factory=lambda: uuid4().hex[:12])
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    began: float = field(default_factory=time.perf_counter)
    """Of `time.perf_counter`, seconds."""
    progress: Progress = field(default_factory=Silent)
    plans: dict[Hashable, Plan] = field(default_factory=dict)
    """By request: a command that has planned hands its plan to the flow."""
    begun: set[str] = field(default_factory=set)
    """Ids of the documents that this run has begun to write."""
    origins: dict[str, str] = field(default_factory=dict)
    """Document id -> the id under which its content is stored already: of those that moved."""
    vectors: KnownVectors = field(default_factory=KnownVectors)
    recorder: Recorder | None = None
    """Keeps the record of this run, once one is begun."""
    busy: BusyTimes = field(default_factory=BusyTimes)
    """What each stage of the run has taken."""
    _lookalikes: Lookalikes | None = None
    _parsers: Parsers | None = None
    _canary_holds: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _encoding: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(
        cls,
        target: Target,
        *,
        api_key: SecretStr | None = None,
        server: ServerOptions | None = None,
    ) -> "Session":
        """Open the store, look the collection up, and resolve the encoder; load no weights."""
        check_name(target.collection)
        store = open_store(target.store, api_key=api_key, server=server or ServerOptions())
        try:
            collection = open_or_adopt(store, target.collection)
        except CollectionNotFound:
            return cls(target, store, specify(target.encoder or DEFAULT_ENCODER), None)
        try:
            manifest = collection.manifest
            specification = encoder_of(manifest, target.encoder)
            require_fingerprint(
                manifest, specification.fingerprint, current_encoder=specification.name
            )
        except Exception:
            store.close()
            raise
        return cls(target, store, specification, collection)

    def ensure_collection(self) -> Collection:
        """The collection, created if it is not there, with the encoder's canary.

        Raises:
            CollectionExists: the store's folder holds something else of that name.
            InvalidConfig: the encoder gives no finite vectors.
        """
        with self._lock:
            if self.collection is None:
                encoder = self.encoder()
                with self._encoding:
                    canary = in_encoder_thread(lambda: canary_vectors(encoder))
                claim_state_folder(self.target.store, self.target.collection)
                self.collection = create_aliased(
                    self.store,
                    self.target.collection,
                    Manifest(
                        name=self.target.collection,
                        dimension=self.specification.dimension,
                        fingerprint=self.specification.fingerprint,
                        encoder=self.specification.describe(),
                        created_at=self.started_at,
                        canary=canary,
                        storage=self.target.storage,
                    ),
                )
                self._canary_holds = True
            return self.collection

    def existing_collection(self) -> Collection:
        """The collection, which must be there.

        Raises:
            CollectionNotFound: it is not.
        """
        if self.collection is None:
            raise CollectionNotFound(
                f"no collection {self.target.collection!r} in {self.store.location}; "
                "ingest first, or check the name (`sextant collections list`)"
            )
        return self.collection

    @cached_property
    def heads(self) -> dict[str, Head]:
        """What the store held when the run began, by document id."""
        return read_heads(self.collection) if self.collection is not None else {}

    @cached_property
    def quarantine(self) -> dict[str, Entry]:
        """What was turned away before the run began, by document id."""
        return read_quarantine(self.collection) if self.collection is not None else {}

    @property
    def recipe(self) -> str:
        """Everything besides a document's bytes that decides its chunks, as one readable word."""
        target = self.target
        context = ", heading context" if target.heading_context else ""
        return (
            f"parser {PARSER_VERSION}, chunker {CHUNKER_VERSION}, "
            f"{target.chunk_tokens} tokens, overlap {target.chunk_overlap}{context}"
        )

    @property
    def versions(self) -> dict[str, str]:
        """What runs: Sextant, its parsers, its chunker."""
        return {
            "sextant": version("sextant-pipeline"),
            "parser": PARSER_VERSION,
            "chunker": CHUNKER_VERSION,
        }

    @property
    def limits(self) -> str:
        """What else decides whether a document is turned away, as one readable word."""
        names = {"max_document_mb", "parse_seconds", "parse_memory_mb"}
        return limits_word(**self.target.model_dump(include=names))

    @property
    def finds_duplicates(self) -> bool:
        """Whether documents get signatures."""
        return self.target.near_duplicates != "off"

    def twin_of(self, doc_id: str, signature: str) -> str:
        """The document that stands for this one, if near-duplicates are collapsed; mostly empty.

        A document that no other stands for may itself stand for those that follow.
        """
        if self.target.near_duplicates != "collapse":
            return ""
        with self._lock:
            if self._lookalikes is None:
                self._lookalikes = Lookalikes(
                    head for doc_id, head in self.heads.items() if doc_id not in self.unsettled
                )
            twin = self._lookalikes.find(doc_id, signature)
            if twin is None:
                self._lookalikes.add(doc_id, signature)
            return twin.of if twin else ""

    @property
    def unsettled(self) -> set[str]:
        """Ids of stored documents that this run replaces or removes."""
        return {
            doc_id
            for plan in self.plans.values()
            for doc_id in (*plan.fates, *(head.doc_id for head in plan.remove))
        }

    @property
    def max_document_bytes(self) -> int:
        """Larger documents are rejected."""
        return self.target.max_document_mb * 1024 * 1024

    def encoder(self) -> "Encoder":
        """The encoder, loaded once; importing torch takes its seconds only now."""
        with self._lock:
            return load_encoder(self.specification)

    def require_canary(self) -> None:
        """Refuse an encoder that no longer gives the collection's vectors; looks until it holds.

        Raises:
            CanaryDrift: it does not; what it would write, or ask, does not compare.
        """
        encoder = self.encoder()
        with self._encoding:
            if self.collection is not None and not self._canary_holds:
                canary = self.collection.manifest.canary
                in_encoder_thread(lambda: check_canary(encoder, canary))
                self._canary_holds = True

    def encode_documents(self, texts: Sequence[str]) -> EncodedChunks:
        """Encode chunks, one caller at a time: it uses every core; others parse meanwhile.

        Raises:
            CanaryDrift: see `require_canary`; nothing is encoded.
        """
        self.require_canary()
        encoder = self.encoder()
        with self._encoding, self.busy.at("embed"):
            return encode_chunks(encoder, texts)

    def queries(self) -> Queries:
        """The encoder as `search` wants it."""
        return Queries(self.encoder(), self.specification)

    def chunker(self) -> Chunker:
        """A chunker bounded by what the encoder takes. One per thread: it is not shared.

        Raises:
            InvalidInput: the encoder takes fewer tokens than a chunk is to have.
        """
        encoder = self.encoder()
        wanted, room = self.target.chunk_tokens, encoder.max_text_tokens
        context = MAX_CONTEXT_TOKENS if self.target.heading_context else 0
        if wanted + context > room:
            beside = f", {context} of them for the heading context" if context else ""
            raise InvalidInput(
                f"chunk_tokens is {wanted}; this encoder takes {room} tokens of text{beside}; "
                "lower it"
            )
        return Chunker(encoder.tokenizer_json, max_tokens=wanted, overlap=self.target.chunk_overlap)

    def heading_context(self) -> HeadingContext | None:
        """What says where chunks stand, if that is asked for. One per thread: it is not shared."""
        if not self.target.heading_context:
            return None
        return HeadingContext(self.encoder().tokenizer_json)

    def rough_chunker(self) -> Chunker:
        """A chunker from the tokenizer's file alone, for estimates: it loads no model.

        Raises:
            InvalidInput: the file holds no tokenizer.
        """
        path = self.specification.files.folder / "tokenizer.json"
        return Chunker(
            path.read_text(encoding="utf-8"),
            max_tokens=self.target.chunk_tokens,
            overlap=self.target.chunk_overlap,
        )

    def parsers(self) -> Parsers:
        """The processes that parse; started by the first call, which does not wait for them.

        Raises:
            FlowError: no process can be started.
        """
        with self._lock:
            if self._parsers is None:
                target = self.target
                self._parsers = Parsers(
                    ParseLimits(seconds=target.parse_seconds, memory_mb=target.parse_memory_mb)
                )
            return self._parsers

    def close(self) -> None:
        """End the parsers and close the store."""
        if self._parsers is not None:
            self._parsers.close()
        self.store.close()


def encoder_of(manifest: Manifest, wanted: str | None) -> EncoderSpecification:
    """The encoder asked for, or else the one that the collection says built it.

    Raises:
        FlowError: that one is gone.
        EmbedderError: it cannot be used.
    """
    if wanted is not None and wanted != manifest.encoder.get("name"):
        return specify(wanted)
    name = str(manifest.encoder["name"])
    try:
        return specify(name, manifest.encoder["config"])
    except InvalidConfig as error:
        if wanted is not None:
            raise
        raise FlowError(
            f"collection {base_name(manifest.name)!r} was built by encoder {name!r}, which is not "
            "there any more; say with --encoder where it is now, or ingest into a new collection"
        ) from error


_lock = threading.Lock()
_current: Session | None = None
_depth = 0


@contextmanager
def running(target: Target) -> Iterator[Session]:
    """The process's session: opened by the outermost block, shared by inner ones.

    A command prepares a run and the flow that it calls carries it out: both say `with running`, and
    meet in one session.

    Raises:
        FlowError: a session for another target is open in this process.
        SearchError, EmbedderError: see `Session.open`.
    """
    global _current, _depth
    with _lock:
        if _current is None:
            settings = load_settings()
            _current = Session.open(
                target, api_key=settings.api_key, server=settings.server_options
            )
        elif _current.target != target:
            raise FlowError(
                f"this process works on collection {_current.target.collection!r}; "
                "run one flow at a time, or use another process"
            )
        _depth += 1
        session = _current
    try:
        yield session
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _current = None
                session.close()


def current() -> Session:
    """The session that the running flow has opened: for its tasks, in whatever thread.

    Raises:
        FlowError: no flow is running in this process.
    """
    if _current is None:
        raise FlowError("no run is open in this process; tasks run inside their flow's process")
    return _current
