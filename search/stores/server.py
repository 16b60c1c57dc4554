"""The store on a Qdrant server or cluster, by qdrant-client.

A collection's manifest stands in the collection's own metadata on the server (Qdrant 1.16 or
newer). Collections that others made are neither listed, opened nor deleted.
"""

import contextlib
import threading
from functools import partial
from typing import Final

from pydantic import SecretStr
from qdrant_client import QdrantClient, models

from search.errors import CollectionNotFound, StoreUnavailable
from search.stores import manifests, server_schema
from search.stores.contract import Manifest
from search.stores.filter_checks import INDEXED
from search.stores.server_address import check_url
from search.stores.server_aliases import Aliases
from search.stores.server_collection import ServerCollection
from search.stores.server_link import OLDEST_SERVER, ServerLink, connect
from search.stores.server_options import ServerOptions
from search.stores.server_schema import MANIFEST_KEY

OPENING_ATTEMPTS: Final = 5
"""So often an alias may move away from a collection that is then deleted, while it is opened."""


class ServerStore:
    """A Qdrant server; see `contract.Store`. Safe to share between threads."""

    def __init__(
        self, url: str, api_key: SecretStr | None = None, *, options: ServerOptions | None = None
    ) -> None:
        """Nothing is asked of the server yet.

        Args:
            url: Its address, `http://` or `https://`; port 6333 unless it names one.
            api_key: The server's key.
            options: Protocol, times, certificates; None: the defaults.

        Raises:
            InvalidRequest: `url` is not http or https, or holds a user, password or query; the key
                must not go there (`ServerOptions.allow_insecure_key`); the certificate is none.
        """
        options = options or ServerOptions()
        location = check_url(url)
        client = connect(location, api_key=api_key, options=options)
        self._set_up(
            ServerLink(
                client, location=location, owns_client=True, options=options, api_key=api_key
            )
        )

    @classmethod
    def over(
        cls, client: QdrantClient, *, location: str, options: ServerOptions | None = None
    ) -> "ServerStore":
        """A store over a client that the caller made, and closes."""
        store = cls.__new__(cls)
        store._set_up(ServerLink(client, location=location, owns_client=False, options=options))
        return store

    def _set_up(self, link: ServerLink) -> None:
        self._link = link
        self._aliases = Aliases(link, is_ours=self._is_ours)
        self._opened: list[ServerCollection] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.location!r})"

    @property
    def location(self) -> str:
        """The server's address."""
        return self._link.location

    def list(self) -> list[Manifest]:
        """The manifests of all collections that Sextant made, ordered by name."""
        answer = self._link.call("collections", self._link.client.get_collections)
        manifests = []
        for name in sorted(description.name for description in answer.collections):
            with contextlib.suppress(CollectionNotFound):  # another's, or deleted meanwhile
                manifests.append(self._read(name)[0])
        return manifests

    def create(self, manifest: Manifest) -> ServerCollection:
        """Make a collection with its payload indexes, stored as `manifest.storage` says."""
        name = manifests.check_manifest(manifest).name
        text = manifest.model_dump_json()
        arguments = server_schema.creation(manifest, text=text)
        self._link.change(
            f"collection {name!r}",
            lambda: self._link.client.create_collection(name, **arguments),
            is_done=lambda: self._holds(name, text),
        )
        try:
            return self._open(name)
        except CollectionNotFound:
            self._delete(name)
            oldest = ".".join(map(str, OLDEST_SERVER))
            raise StoreUnavailable(
                f"{self.location} keeps no metadata of collections; "
                f"expected Qdrant {oldest} or newer"
            ) from None

    def open(self, name: str) -> ServerCollection:
        """Open a collection, by its name or an alias.

        Payload indexes that an interrupted creation left out are made.
        """
        target = self._aliases.resolve(manifests.check_name(name))
        for _ in range(OPENING_ATTEMPTS):
            try:
                return self._open(target)
            except CollectionNotFound:
                now = self._aliases.resolve(name)
                if now == target:
                    raise
                target = now  # the alias was moved, and what it led to deleted
        raise StoreUnavailable(
            f"alias {name!r} on {self.location} leads to another collection each time it is "
            "opened; try again"
        )

    def delete(self, name: str) -> None:
        """Delete a collection that Sextant made, whatever its schema version.

        Qdrant deletes a collection's aliases with it: one that is set in the moment between the
        look and the deletion goes too.
        """
        self._aliases.require_unaliased(manifests.check_name(name))
        self._manifest_text(name)
        with self._lock:
            for collection in self._opened:
                if collection.manifest.name == name:
                    collection.close()
            self._opened = [one for one in self._opened if not one.is_closed]
        self._delete(name)

    def aliases(self) -> dict[str, str]:
        """Alias -> name of the collection, made by Sextant, that it leads to."""
        return self._aliases.ours()

    def set_alias(self, alias: str, target: str | None) -> None:
        """Let an alias lead to a collection, in one request; None removes it."""
        self._aliases.set(alias, target)

    def close(self) -> None:
        """Close the connection, unless it is the caller's."""
        with self._lock:
            for collection in self._opened:
                collection.close()
            self._opened = []
        self._link.close()

    def _open(self, name: str) -> ServerCollection:
        manifest, indexed = self._read(name)
        for path in INDEXED.keys() - indexed:
            if self._link.is_local:
                break  # has no indexes, and warns
            make = partial(
                self._link.client.create_payload_index,
                name,
                path,
                server_schema.index_schema(path),
                wait=True,
            )
            self._link.call(f"collection {name!r}", make)
        collection = ServerCollection(manifest, self._link)
        with self._lock:
            self._opened = [*(one for one in self._opened if not one.is_closed), collection]
        return collection

    def _delete(self, name: str) -> None:
        self._link.change(
            f"collection {name!r}",
            lambda: self._link.client.delete_collection(name),
            is_done=lambda: not self._exists(name),
        )

    def _read(self, name: str) -> tuple[Manifest, set[str]]:
        text, indexed = self._manifest_text(name)
        place = f"metadata of collection {name!r} on {self.location}"
        return manifests.read_manifest(text, name=name, place=place), indexed

    def _manifest_text(self, name: str) -> tuple[str, set[str]]:
        info = self._info(name)
        metadata = info.config.metadata or {}
        if MANIFEST_KEY not in metadata:
            raise CollectionNotFound(
                f"collection {name!r} on {self.location} was not made by Sextant; "
                "choose another name"
            )
        return str(metadata[MANIFEST_KEY]), set(info.payload_schema or {})

    def _info(self, name: str) -> models.CollectionInfo:
        return self._link.call(
            f"collection {name!r}", lambda: self._link.client.get_collection(name)
        )

    def _exists(self, name: str) -> bool:
        try:
            self._info(name)
        except CollectionNotFound:
            return False
        return True

    def _is_ours(self, name: str) -> bool:
        try:
            self._manifest_text(name)
        except CollectionNotFound:
            return False
        return True

    def _holds(self, name: str, text: str) -> bool:
        """Whether the collection is there with this very manifest."""
        try:
            return self._manifest_text(name)[0] == text
        except CollectionNotFound:
            return False
