"""The one encoder of a server: its queries joined, its state told, its failures made plain."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from embedder.errors import EmbedderError, InvalidText, NonFiniteActivation
from embedder.precision import Float32, as_float32
from flows import encoders
from flows.errors import FlowError
from flows.searching import CollectionEncoder
from flows.session import encoder_of
from search.api.backend import Embedded, InputType
from search.batching import BatchingEncoder
from search.errors import EncoderUnavailable, InvalidRequest
from search.stores.contract import Collection

if TYPE_CHECKING:
    from embedder.specification import EncoderSpecification

SLICE: Final = 16
"""Texts that are encoded before queries get their turn."""


class ServedEncoder:
    """A `search.protocols.QueryEncoder` that threads share, loaded when it is first asked.

    There is one in a server: a second model may have no room beside it. Collections that another
    encoder built are answered by words.
    """

    def __init__(self, collection: Collection, wanted: str | None) -> None:
        """Nothing is loaded yet.

        Args:
            collection: Whose encoder it is.
            wanted: The encoder asked for; None: the one that built the collection.
        """
        self._manifest = collection.manifest
        self._wanted = wanted
        self._inner = CollectionEncoder(collection, wanted)
        self._queries = BatchingEncoder(self._inner)
        self._specification: EncoderSpecification | None = None
        self._is_loaded = False
        self._failure: str | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self._inner.name

    @property
    def fingerprint(self) -> str:
        """Hash over everything that changes a vector."""
        return self._inner.fingerprint

    @property
    def drift(self) -> str | None:
        """Why hits may be off: it no longer gives the collection's vectors."""
        return self._inner.drift

    @property
    def missing(self) -> str | None:
        """None once it has encoded something; before that, what it waits for."""
        if self._is_loaded:
            return None
        return self._failure or f"encoder {self.name!r} is being loaded"

    def require(self) -> None:
        """Refuse an encoder that was asked for by name and cannot be the collection's.

        Raises:
            FingerprintMismatch: it is another one.
            EmbedderError: it cannot be used.
        """
        self._inner.require()

    def encode_query(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """L2-normalised vectors, float32 of shape (len(sentences), D).

        Raises:
            EncoderUnavailable: it cannot be loaded, or gives no vector for a text.
        """
        try:
            vectors = self._queries.encode_query(sentences)
        except (FlowError, EmbedderError, EncoderUnavailable, OSError, ImportError) as error:
            if not self._is_loaded:
                self._failure = f"encoder {self.name!r} cannot be loaded: {error}"
            raise EncoderUnavailable(str(error)) from error
        self._is_loaded = True
        return vectors

    def encode_slowly(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """As `encode_query`, letting the queries of others in between."""
        parts = [
            self.encode_query(sentences[start : start + SLICE])
            for start in range(0, len(sentences), SLICE)
        ]
        return np.concatenate(parts)

    def embed(self, texts: Sequence[str], input_type: InputType) -> Embedded:
        """Encode texts by the prompt of queries or of documents.

        Raises:
            InvalidRequest: a text is longer than the encoder takes, or has no vector.
            EncoderUnavailable: it cannot be loaded.
        """
        vectors, tokens, start = list[Float32](), 0, 0
        try:
            if self._specification is None:
                self._specification = encoder_of(self._manifest, self._wanted)
            encoder = encoders.load_encoder(self._specification)
            for start in range(0, len(texts), SLICE):
                some = texts[start : start + SLICE]
                encoding = encoders.in_encoder_thread(
                    partial(encoder.encode_with_counts, some, prompt_name=input_type)
                )
                cut = np.flatnonzero(encoding.truncated)
                if len(cut):
                    raise InvalidRequest(
                        f"input {start + int(cut[0])} is longer than the encoder takes "
                        f"({encoder.max_text_tokens} tokens); cut it into pieces"
                    )
                vectors.append(as_float32(encoding.vectors, encoder.config.precision))
                tokens += int(encoding.tokens.sum())
        except NonFiniteActivation as error:
            raise InvalidRequest(
                f"input {start + error.index} has no finite vector; leave it out"
            ) from error
        except InvalidText as error:
            raise InvalidRequest(f"input: {error}") from error
        except (FlowError, EmbedderError, OSError, ImportError) as error:
            raise EncoderUnavailable(str(error)) from error
        self._is_loaded = True
        return Embedded(vectors_ND=np.concatenate(vectors), model=self.name, tokens=tokens)

    def close(self) -> None:
        """Answer what was asked, and take no more."""
        self._queries.close()
