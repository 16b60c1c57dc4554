"""A store behind the HTTP API: its collections opened once, and again when they were replaced."""

import difflib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from flows.catalogue import Listed, catalogue
from flows.relevance_file import RELEVANCE, RelevanceFile
from flows.serving_clusters import ClusterListing
from flows.serving_encoder import ServedEncoder
from flows.settings import Settings
from flows.state import REPORT, state_folder
from search import relevance
from search.api.backend import Embedded, InputType, Opened, Summary
from search.api.request_log import logger
from search.collection_schema import CollectionSchema
from search.collections import base_name, encoder_name, open_or_adopt
from search.errors import CollectionNotFound, EncoderUnavailable, SearchError
from search.query_cache import QueryCache
from search.records import NAMESPACE
from search.stores.contract import Collection, Manifest, Store
from search.stores.manifests import check_name

LOOK_SECONDS: Final = 3.0
"""How often the store is asked which collections there are, and what their names lead to."""
UPKEEP_SECONDS: Final = 60.0
"""How often fields are looked up anew, and chance is measured where a collection has grown."""
RETIRE_SECONDS: Final = 120.0
"""So long a collection that was replaced stays open for the requests that have it."""
CLOSE_SECONDS: Final = 1.0
TRIAL: Final = 8
"""Queries encoded to see how long measuring chance would take."""
MEASURING_SECONDS: Final = 120.0
"""What would take longer is not measured: `sextant search --calibrate` does."""


@dataclass(slots=True)
class _Entry:
    """An open collection, and what is known of it."""

    manifest: Manifest
    opened: Opened
    measured: RelevanceFile
    clusters: ClusterListing


class StoreBackend:
    """A `search.api.backend.Backend` over a store; threads share it."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        with_encoder: bool = True,
        only_default: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is opened yet.

        Args:
            store: Closed with this.
            settings: The default collection, the encoder asked for, where state is kept.
            with_encoder: Whether texts can be encoded; otherwise words answer.
            only_default: Whether no other collection is served.
            clock: Seconds, never going back.
        """
        self._store = store
        self._settings = settings
        self._with_encoder = with_encoder
        self._only_default = only_default
        self._clock = clock
        self._cache = QueryCache()
        self._encoder: ServedEncoder | None = None
        self._entries: dict[str, _Entry] = {}
        self._retired: list[tuple[float, Collection]] = []
        self._listed: tuple[float, dict[str, Listed]] | None = None
        self._lock = threading.RLock()
        self._looking = threading.Lock()
        self._closing = threading.Event()
        self._upkeep: threading.Thread | None = None

    @property
    def default(self) -> str:
        """The collection of requests that name none."""
        return self._settings.collection

    @property
    def cache(self) -> QueryCache:
        """Vectors of queries asked before, whoever asked."""
        return self._cache

    def start(self) -> None:
        """Open the default collection; load the encoder meanwhile, in a thread of its own.

        Raises:
            CollectionNotFound: it is not there.
            FingerprintMismatch: an encoder was asked for, and it is not the collection's.
            SearchError, EmbedderError: the store, or the encoder asked for, cannot be used.
        """
        try:
            opened = self.collection(self.default)
        except CollectionNotFound:
            known = [name for name, one in self._look().items() if one.in_use]
            near = difflib.get_close_matches(self.default, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "ingest first, or check the name"
            raise CollectionNotFound(
                f"no collection {self.default!r} in {self._store.location}; {hint} "
                "(`sextant collections list`)"
            ) from None
        if self._with_encoder:
            encoder = ServedEncoder(opened.collection, self._settings.encoder)
            encoder.require()
            with self._lock:
                self._encoder = encoder
                self._entries.clear()
            self._entry(self.default)
        self._upkeep = threading.Thread(target=self._keep_up, name="sextant-upkeep", daemon=True)
        self._upkeep.start()

    def collections(self) -> list[Summary]:
        """The collections that are served, by name."""
        with self._lock:
            opened = {name: entry.opened for name, entry in self._entries.items()}
        return [
            Summary(
                name=name,
                dimension=one.manifest.dimension,
                encoder=encoder_name(one.manifest),
                fingerprint=one.manifest.fingerprint,
                created_at=one.manifest.created_at,
                opened=opened.get(name),
            )
            for name, one in self._look().items()
            if one.in_use and self._is_served(name)
        ]

    def collection(self, name: str) -> Opened:
        """A collection, as its name leads to it now."""
        entry = self._entry(name)
        warning = None if self._encoder is None else self._encoder.drift
        return replace(
            entry.opened,
            chance=entry.measured.known() if entry.opened.encoder is not None else None,
            warning=None if warning is None else f"hits may be off: {warning}",
        )

    def clusters(self, name: str) -> Mapping[str, Any]:
        """The clusters of the last run."""
        entry = self._entry(name)
        return entry.clusters.of(entry.opened.collection, name)

    def embed(self, name: str, texts: Sequence[str], input_type: InputType) -> Embedded:
        """Encode texts by a collection's encoder, if that is the server's."""
        if self._entry(name).opened.encoder is None or self._encoder is None:
            raise EncoderUnavailable(
                f"the encoder of collection {name!r} is not served here"
                if self._with_encoder
                else "this server was started without an encoder"
            )
        return self._encoder.embed(texts, input_type)

    def ready(self) -> str | None:
        """What is missing until queries are answered in full."""
        try:
            self._entry(self.default).opened.collection.retrieve([str(NAMESPACE)])
        except CollectionNotFound:
            return f"collection {self.default!r} is not there"
        except SearchError as error:
            logger.warning("store not ready", extra={"fields": {"reason": str(error)}})
            return "the store does not answer"
        return None if self._encoder is None else self._encoder.missing

    def close(self) -> None:
        """Close everything; what is asked from now on is refused."""
        self._closing.set()
        if self._upkeep is not None:
            self._upkeep.join(timeout=CLOSE_SECONDS)
        self._store.close()
        if self._encoder is not None:
            self._encoder.close()

    @property
    def is_busy(self) -> bool:
        """Whether upkeep still goes on, as while a model is loaded."""
        return self._upkeep is not None and self._upkeep.is_alive()

    def _is_served(self, name: str) -> bool:
        return name == self.default or not self._only_default

    def _entry(self, name: str) -> _Entry:
        check_name(name)
        listed = self._look().get(name) if self._is_served(name) else None
        if listed is None:
            raise CollectionNotFound(f"no collection {name!r} in {self._store.location}")
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry.manifest == listed.manifest:
                return entry
            made = self._open(name)
            if entry is not None and entry.opened.collection is not made.opened.collection:
                self._retired.append((self._clock() + RETIRE_SECONDS, entry.opened.collection))
            self._entries[name] = made
            return made

    def _open(self, name: str) -> _Entry:
        collection = open_or_adopt(self._store, name)
        manifest = collection.manifest
        encoder = self._encoder
        if encoder is not None and encoder.fingerprint != manifest.fingerprint:
            encoder = None
        folder = state_folder(self._settings.store)
        return _Entry(
            manifest=manifest,
            opened=Opened(
                name=name,
                collection=collection,
                schema=CollectionSchema(collection),
                encoder=encoder,
                encoder_name=encoder_name(manifest),
                cache=self._cache,
            ),
            measured=RelevanceFile(folder / name / RELEVANCE, collection),
            clusters=ClusterListing(folder / base_name(name) / REPORT),
        )

    def _look(self) -> dict[str, Listed]:
        """Collections by name, as they were at most `LOOK_SECONDS` ago.

        While one thread looks, others go by what was seen before.
        """
        known = self._listed
        if known is not None and self._clock() - known[0] < LOOK_SECONDS:
            return known[1]
        if not self._looking.acquire(blocking=known is None):
            assert known is not None  # noqa: S101 - else it would have waited
            return known[1]
        try:
            if self._listed is not None and self._listed is not known:
                return self._listed[1]  # somebody looked while this one waited
            found: dict[str, Listed] = {}
            for one in catalogue(self._store):
                if one.in_use:
                    found[one.name] = one
                found.setdefault(one.manifest.name, replace(one, in_use=False))
            self._listed = self._clock(), found
        finally:
            self._looking.release()
        return found

    def _keep_up(self) -> None:
        """Load the encoder, then look after what is open, now and then."""
        while True:
            with self._lock:
                entries: list[_Entry | None] = [*self._entries.values()]
            for entry in entries or [None]:
                try:
                    self._look_after(entry)
                except SearchError as error:
                    logger.warning("upkeep put off", extra={"fields": {"reason": str(error)}})
                except Exception as error:  # noqa: BLE001 - requests are answered without it
                    logger.error("upkeep failed", exc_info=error)
            self._close_retired()
            if self._closing.wait(UPKEEP_SECONDS):
                return

    def _look_after(self, entry: _Entry | None) -> None:
        encoder = self._encoder
        if encoder is not None and encoder.missing is not None:
            encoder.encode_query(["-"])
        if entry is None:
            return
        collection = entry.opened.collection
        schema = CollectionSchema(collection)
        schema.fields()
        entry.opened = replace(entry.opened, schema=schema)
        own = entry.opened.encoder
        if encoder is None or own is None or entry.measured.known() is not None:
            return
        began = self._clock()
        encoder.encode_query([f"{number} of some words" for number in range(TRIAL)])
        if (self._clock() - began) * relevance.QUERIES / TRIAL > MEASURING_SECONDS:
            return
        found = relevance.measure(collection, _Patient(encoder))
        if found is not None:
            entry.measured.write(found)

    def _close_retired(self) -> None:
        now = self._clock()
        with self._lock:
            over = [one for until, one in self._retired if until <= now]
            self._retired = [pair for pair in self._retired if pair[0] > now]
        for collection in over:
            collection.close()


@dataclass(frozen=True, slots=True)
class _Patient:
    """An encoder that lets others go first."""

    encoder: ServedEncoder

    @property
    def fingerprint(self) -> str:
        """The encoder's."""
        return self.encoder.fingerprint

    def encode_query(self, sentences: Sequence[str]) -> Any:
        """As `ServedEncoder.encode_slowly`."""
        return self.encoder.encode_slowly(sentences)
