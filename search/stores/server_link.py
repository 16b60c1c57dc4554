"""The way to a Qdrant server: one client, its requests repeated where that does no harm."""

import contextlib
import importlib.metadata
import math
import re
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from pydantic import SecretStr
from qdrant_client import QdrantClient

from search.errors import (
    CollectionExists,
    CollectionNotFound,
    SearchError,
    StoreUnavailable,
)
from search.stores.server_address import check_key, read_authority
from search.stores.server_failures import Diagnosis, Patience, Refused, Unclear, diagnose
from search.stores.server_options import ServerOptions

Result = TypeVar("Result")

OLDEST_SERVER: Final = (1, 16)
"""The first that keeps metadata of collections."""
MINORS_APART: Final = 1
"""Versions of client and server that Qdrant tests together."""

_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.")


def connect(location: str, *, api_key: SecretStr | None, options: ServerOptions) -> QdrantClient:
    """A client of the server at `location`. Sends nothing.

    Raises:
        InvalidRequest: the key or the certificate; see `server_address`.
    """
    key = check_key(api_key, location=location, options=options)
    authority = read_authority(options, location=location)
    extra: dict[str, Any] = {} if authority is None else {"verify": authority.context}
    return QdrantClient(
        url=location,
        # not as `api_key`, for which the client warns of addresses that were just looked at
        headers=None if key is None else {"api-key": key},
        prefer_grpc=options.grpc,
        grpc_port=options.grpc_port,
        grpc_options=None if authority is None else {"root_certificates": authority.pem},
        timeout=math.ceil(options.timeout_seconds),
        check_compatibility=False,  # done here, in the first request's own thread
        **extra,
    )


class ServerLink:
    """A client, and the one way to call it. Safe to share between threads."""

    def __init__(
        self,
        client: QdrantClient,
        *,
        location: str,
        owns_client: bool,
        options: ServerOptions | None = None,
        api_key: SecretStr | None = None,
    ) -> None:
        self.client = client
        self.location = location
        self.options = options or ServerOptions()
        self._owns_client = owns_client
        self._api_key = api_key
        self._closing = threading.Event()
        self._lock = threading.RLock()
        self._pool: ThreadPoolExecutor | None = None
        chosen = client.init_options
        self.is_local = chosen["location"] == ":memory:" or chosen["path"] is not None
        self._checked = threading.Event()
        if self.is_local:
            self._checked.set()
        self._note = ""
        # eight threads broke a collection of the client's local mode for good; servers need no lock
        self._guard: contextlib.AbstractContextManager[object] = (
            threading.RLock() if self.is_local else contextlib.nullcontext()
        )

    def call(
        self,
        subject: str,
        operation: Callable[[], Result],
        *,
        retry: bool = True,
        stop: threading.Event | None = None,
    ) -> Result:
        """Run one request; again after a transient failure, if it may be repeated.

        Args:
            subject: What the request is about, for the message: `collection 'docs'`.
            operation: Sends the request.
            retry: Whether a second sending does no harm.
            stop: When set, no further attempt is made.

        Raises:
            CollectionNotFound: the server knows no such collection.
            CollectionExists: someone else made it in the meantime.
            StoreUnavailable: the link is closed, or the server did not do it: `Unclear` if it may
                have, `Refused` if it said no, and for a server that is too old.
        """
        self._check_version(subject)
        return self._attempt(subject, operation, Patience() if retry else Patience(1), stop)

    def change(
        self, subject: str, operation: Callable[[], object], *, is_done: Callable[[], bool]
    ) -> None:
        """Run one request that must not be repeated blindly, such as creating a collection.

        After an unclear answer it is looked up whether the change was made, and only if it was not
        is the request sent again.

        Args:
            subject: What the request is about, for the message.
            operation: Sends the request.
            is_done: Asks the server whether things are as the request would leave them.

        Raises:
            SearchError: as `call`.
        """
        patience = Patience()
        while True:
            try:
                self.call(subject, operation, retry=False)
                return
            except Unclear:
                wait = patience.wait()
                if wait is not None:
                    self.pause(wait)
                if is_done():
                    return
                if wait is None:
                    raise
            except (CollectionExists, CollectionNotFound):
                # the earlier sending may have arrived after all
                if patience.attempts and is_done():
                    return
                raise

    def submit(self, task: Callable[[], Result]) -> "Future[Result]":
        """Run a task in one of the store's streams.

        Raises:
            StoreUnavailable: the link is closed.
        """
        with self._lock:
            self._require_open()
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.options.streams, "qdrant-stream")
            return self._pool.submit(task)

    def pause(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Wait, unless `stop` is set or the link is closed meanwhile; whether neither was."""
        return not (stop or self._closing).wait(seconds)

    def close(self) -> None:
        """Close the client if it is ours; a second call does nothing."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()  # what has not begun finds the link closed
        if self._owns_client:
            self.client.close()

    def _attempt(
        self,
        subject: str,
        operation: Callable[[], Result],
        patience: Patience,
        stop: threading.Event | None = None,
    ) -> Result:
        while True:
            self._require_open()
            try:
                with self._guard:
                    return operation()
            except Exception as error:
                diagnosis = diagnose(error)
                if diagnosis is None:
                    raise
                wait = patience.wait(diagnosis.retry_after)
                may_repeat = diagnosis.meaning == "transient" and wait is not None
                if may_repeat and self.pause(wait or 0.0, stop):
                    continue
                failure = self._failure(subject, diagnosis, patience.attempts)
                # a library's own words may hold the key, which ours do not
                cause = error if self._without_key(str(error)) == str(error) else None
            raise failure from cause

    def _failure(self, subject: str, diagnosis: Diagnosis, attempts: int) -> SearchError:
        text, meaning = self._without_key(diagnosis.text), diagnosis.meaning
        if meaning == "missing":
            return CollectionNotFound(
                f"no {subject} on {self.location}; ingest first, or check the name"
            )
        if meaning == "exists":
            return CollectionExists(
                f"{subject} is there already on {self.location}; "
                "open it, delete it, or choose another name"
            )
        kind = Refused if meaning == "refused" else Unclear
        return kind(
            f"{subject} on {self.location}: {text} (attempt {attempts}); "
            f"{diagnosis.remedy}{self._note}"
        )

    def _check_version(self, subject: str) -> None:
        """Once, before the first request: also so that one thread alone opens the connections."""
        if self._checked.is_set():
            return
        with self._lock:
            if self._checked.is_set():
                return
            version = ""
            with contextlib.suppress(Refused, CollectionNotFound):  # by a proxy, before the server
                version = self._attempt(subject, self.client.info, Patience()).version
            numbers = _VERSION.match(version)
            if numbers is not None:
                self._compare(version, (int(numbers[1]), int(numbers[2])))
            self._checked.set()

    def _compare(self, version: str, server: tuple[int, int]) -> None:
        if server < OLDEST_SERVER:
            raise StoreUnavailable(
                f"{self.location} runs Qdrant {version}; expected "
                f"{'.'.join(map(str, OLDEST_SERVER))} or newer: update the server"
            )
        own = importlib.metadata.version("qdrant-client")
        major, minor = (int(part) for part in own.split(".")[:2])
        if server[0] == major and abs(server[1] - minor) <= MINORS_APART:
            return
        apart = (
            f"the server is Qdrant {version}, the client {own}, more than {MINORS_APART} minor "
            "version apart"
        )
        self._note = f" ({apart})"
        warnings.warn(
            f"{self.location}: {apart}; update the older of them", UserWarning, stacklevel=2
        )

    def _without_key(self, text: str) -> str:
        key = "" if self._api_key is None else self._api_key.get_secret_value()
        return text.replace(key, "***") if key else text

    def _require_open(self) -> None:
        if self._closing.is_set():
            raise StoreUnavailable(f"store {self.location} is closed; open it again")
