"""Queries of several threads encoded together: one thread calls the encoder, for all that wait.

An encoder takes little longer for eight short texts than for one. While it works, whatever else is
asked queues up; when it is done, that goes next, together. Nobody waits for company: a query that
comes to an idle encoder is encoded at once, alone.
"""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from search.errors import EncoderUnavailable
from search.protocols import QueryEncoder

MAX_SENTENCES: Final = 64
"""Of several callers in one call; those of one caller are never parted."""
MAX_CHARACTERS: Final = 16_384
"""Of several callers in one call, so that nobody waits long for somebody else's long texts."""

Vectors: TypeAlias = npt.NDArray[np.float32]


class BatchingEncoder:
    """A `QueryEncoder` that many threads may use, over one that none may share.

    A caller gets what the encoder would give him alone, but for rounding: padding to the length of
    a neighbour may change the last bits of a vector. What his own texts do wrong, he alone is told.
    """

    def __init__(
        self,
        encoder: QueryEncoder,
        *,
        max_sentences: int = MAX_SENTENCES,
        max_characters: int = MAX_CHARACTERS,
    ) -> None:
        """Nothing is encoded and no thread is started yet.

        Args:
            encoder: Only one thread ever calls it, and never twice at a time.
            max_sentences: Most texts of several callers in one call, 1 or more.
            max_characters: Most characters of several callers in one call, 1 or more. Who alone
                asks for more than either gets a call of his own.
        """
        self._encoder = encoder
        self._max_sentences = max_sentences
        self._max_characters = max_characters
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.requests = 0
        """Calls of `encode_query` that were answered, well or badly."""
        self.calls = 0
        """Calls of the encoder."""

    @property
    def fingerprint(self) -> str:
        """The encoder's."""
        return self._encoder.fingerprint

    @property
    def name(self) -> str | None:
        """The encoder's; None if it has none."""
        name: str | None = getattr(self._encoder, "name", None)
        return name

    def encode_query(self, sentences: Sequence[str]) -> Vectors:
        """L2-normalised vectors, float32 of shape (len(sentences), D).

        Raises:
            EncoderUnavailable: `close` was called.
            Exception: whatever the encoder raises for these texts.
        """
        request = _Request(sentences)
        with self._changed:
            if self._is_closed:
                raise EncoderUnavailable(f"encoder {self.name!r} was closed; open it again")
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="sextant-queries", daemon=True
                )
                self._thread.start()
            self._waiting.append(request)
            self._changed.notify_all()
        return request.answer.result()

    def close(self) -> None:
        """Answer what was asked, and end the thread; a second call does nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _serve(self) -> None:
        while batch := self._next_batch():
            self._answer(batch)
            self.requests += len(batch)

    def _next_batch(self) -> list["_Request"]:
        """Those who waited longest, as many as may go together; nobody once all is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            batch: list[_Request] = []
            texts = characters = 0
            while self._waiting:
                request = self._waiting[0]
                texts += len(request.sentences)
                characters += request.characters
                is_over = texts > self._max_sentences or characters > self._max_characters
                if batch and is_over:
                    break
                batch.append(self._waiting.popleft())
            return batch

    def _answer(self, batch: Sequence["_Request"]) -> None:
        try:
            answers = self._encode(batch)
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for request in batch:  # whose fault it was shows when each is alone
                self._answer([request])
            return
        for request, vectors in zip(batch, answers, strict=True):
            request.answer.set_result(vectors)

    def _encode(self, batch: Sequence["_Request"]) -> list[Vectors]:
        """The vectors of each; a text that several ask for is encoded once."""
        if len(batch) == 1:
            self.calls += 1
            return [self._encoder.encode_query(batch[0].sentences)]
        texts = list(dict.fromkeys(text for one in batch for text in one.sentences))
        row = {text: number for number, text in enumerate(texts)}
        self.calls += 1
        vectors_ND = self._encoder.encode_query(texts)
        return [vectors_ND[[row[text] for text in one.sentences]] for one in batch]


class _Request:
    """Texts of one caller, and where he waits."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self.sentences = list(sentences)
        self.characters = sum(map(len, self.sentences))
        self.answer: Future[Vectors] = Future()
