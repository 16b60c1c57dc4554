"""What `search`, `similar` and `facets` work with: a collection, its encoder if it is to be had.

The encoder is looked up when a query needs its vector, and no sooner: by words, or by example, a
collection answers although its encoder is gone.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from embedder.canary import check_canary
from embedder.errors import CanaryDrift, EmbedderError
from flows import encoders
from flows.errors import FlowError
from flows.relevance_file import RELEVANCE, RelevanceFile
from flows.session import encoder_of
from flows.settings import Settings
from flows.state import state_folder
from flows.stores import store_of
from search import filter_syntax, relevance
from search.collection_schema import CollectionSchema
from search.collections import encoder_name, open_or_adopt, require_fingerprint
from search.errors import CollectionNotFound, EncoderUnavailable
from search.filters import Filter
from search.hybrid import Mode
from search.more_like_this import similar
from search.query_cache import QueryCache
from search.relevance import Chance
from search.service import SearchResult, search
from search.stores.contract import Collection

if TYPE_CHECKING:
    from embedder.specification import EncoderSpecification

TRIAL: Final = 8
"""Queries encoded to see how long all would take."""
MEASURING_SECONDS: Final = 10.0
"""A search does not measure what would take longer: `sextant search --calibrate` does."""


class CollectionEncoder:
    """A collection's encoder as `search` wants it, loaded when a vector is wanted."""

    def __init__(self, collection: Collection, wanted: str | None) -> None:
        """Nothing is loaded yet.

        Args:
            collection: Which one.
            wanted: The encoder asked for; None: the one that built the collection.
        """
        self._manifest = collection.manifest
        self._wanted = wanted
        self._specification: EncoderSpecification | None = None
        self._has_drifted: str | None = None
        self._is_loaded = False

    @property
    def name(self) -> str:
        """What it is called, without loading it."""
        return self._wanted or encoder_name(self._manifest)

    @property
    def fingerprint(self) -> str:
        """The collection's: another encoder is refused before it encodes anything."""
        return self._manifest.fingerprint

    @property
    def drift(self) -> str | None:
        """Why hits may be off, once it has encoded: it no longer gives the collection's vectors."""
        return self._has_drifted

    def require(self) -> None:
        """Refuse an encoder that was asked for by name and cannot be the collection's.

        Raises:
            FingerprintMismatch: it is another one.
            EmbedderError: it cannot be used.
        """
        if self._wanted is not None:
            self._specify()

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """L2-normalised vectors, float32 of shape (len(sentences), D).

        Raises:
            EncoderUnavailable: its files are gone or cannot be loaded.
        """
        try:
            specification = self._specify()
            encoder = encoders.load_encoder(specification)
        except (FlowError, EmbedderError, OSError, ImportError) as error:
            if self._wanted is not None:
                raise
            raise EncoderUnavailable(str(error)) from error
        if not self._is_loaded:
            self._is_loaded = True
            try:
                canary = self._manifest.canary
                encoders.in_encoder_thread(lambda: check_canary(encoder, canary))
            except CanaryDrift as drift:
                self._has_drifted = str(drift)
        return encoders.Queries(encoder, specification).encode_query(sentences)

    def _specify(self) -> "EncoderSpecification":
        if self._specification is None:
            specification = encoder_of(self._manifest, self._wanted)
            require_fingerprint(
                self._manifest, specification.fingerprint, current_encoder=specification.name
            )
            self._specification = specification
        return self._specification


@dataclass(frozen=True)
class Searching:
    """An open collection, and what its searches share."""

    name: str
    store: str
    collection: Collection
    encoder: CollectionEncoder
    schema: CollectionSchema
    cache: QueryCache
    measured: RelevanceFile

    def where(self, expressions: Sequence[str]) -> Filter:
        """Filters as people write them.

        Raises:
            InvalidRequest: see `search.filter_syntax.parse`.
        """
        return filter_syntax.parse(expressions, self.schema)

    def search(
        self, query: str, *, mode: Mode, calibrate: bool = False, **how: Any
    ) -> SearchResult:
        """Answer a query; see `search.service.search`.

        Args:
            query: What to look for.
            mode: By vectors, words or both.
            calibrate: Measure what meaningless queries find, however long it takes.
            how: As for `search.service.search`.
        """
        chance = None
        if mode != "lexical":
            chance = self._chance(query, calibrate=calibrate)
        return search(
            self.collection,
            self.encoder,
            query,
            mode=mode,
            chance=chance,
            cache=self.cache,
            **how,
        )

    def similar(self, **how: Any) -> SearchResult:
        """More like examples; see `search.more_like_this.similar`."""
        return similar(
            self.collection,
            encoder=self.encoder,
            chance=self.measured.known(),
            cache=self.cache,
            **how,
        )

    def _chance(self, query: str, *, calibrate: bool) -> Chance | None:
        """What meaningless queries find: known, or measured now if that is quick or wanted."""
        known = None if calibrate else self.measured.known()
        if known is not None or not query.strip():
            return known
        try:
            self.encoder.encode_query(["-"])  # loads it
            if not calibrate:
                began = time.perf_counter()
                self.encoder.encode_query([f"{number} {query[:80]}" for number in range(TRIAL)])
                seconds = (time.perf_counter() - began) * relevance.QUERIES / TRIAL
                if seconds > MEASURING_SECONDS:
                    return None
            found = relevance.measure(self.collection, self.encoder)
        except EncoderUnavailable:
            return None
        if found is not None:
            self.measured.write(found)
        return found


@contextmanager
def searching(settings: Settings) -> Iterator[Searching]:
    """Open the settings' collection to search it, loading no encoder.

    Raises:
        CollectionNotFound: it is not there.
        FingerprintMismatch: an encoder was asked for, and it is not the collection's.
        SearchError, EmbedderError: the store, or the encoder asked for, cannot be used.
    """
    with closing(store_of(settings)) as store:
        try:
            collection = open_or_adopt(store, settings.collection)
        except CollectionNotFound:
            raise CollectionNotFound(
                f"no collection {settings.collection!r} in {store.location}; "
                "ingest first, or check the name (`sextant collections list`)"
            ) from None
        encoder = CollectionEncoder(collection, settings.encoder)
        encoder.require()
        yield Searching(
            settings.collection,
            settings.store,
            collection,
            encoder,
            CollectionSchema(collection),
            QueryCache(),
            RelevanceFile(
                state_folder(settings.store) / settings.collection / RELEVANCE, collection
            ),
        )
