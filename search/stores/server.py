"""The store on a Qdrant server or cluster, by qdrant-client.

A collection's manifest stands in the collection's own metadata on the server (Qdrant 1.16 or
newer). Collections that others made are neither listed, opened nor deleted.
"""

import contextlib
from typing import Final

from pydantic import SecretStr
from qdrant_client import QdrantClient, models

from search.errors import CollectionNotFound, StoreUnavailable
from search.records import DENSE
from search.stores import manifests
from search.stores.contract import Manifest
from search.stores.server_collection import ServerCollection
from search.stores.server_link import ServerLink, check_url, connect
from search.stores.validation import INDEXED

BM25: Final = "bm25"
MANIFEST_KEY: Final = "sextant"
"""Key of the collection's metadata under which the manifest stands, as JSON text."""

_SCHEMAS: Final = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "integer": models.PayloadSchemaType.INTEGER,
}


class ServerStore:
    """A Qdrant server; see `contract.Store`."""

    def __init__(
        self,
        url: str,
        api_key: SecretStr | None = None,
        *,
        prefer_grpc: bool = True,
        grpc_port: int = 6334,
        timeout_seconds: float = 60.0,
    ) -> None:
        """Nothing is asked of the server yet, but its version.

        Raises:
            InvalidRequest: `url` is not http or https, or holds a user, password or query.
        """
        location = check_url(url)
        client = connect(
            location,
            api_key=api_key,
            prefer_grpc=prefer_grpc,
            grpc_port=grpc_port,
            timeout_seconds=timeout_seconds,
        )
        self._link = ServerLink(client, location=location, owns_client=True)
        self._opened: list[ServerCollection] = []

    @classmethod
    def over(cls, client: QdrantClient, *, location: str) -> "ServerStore":
        """A store over a client that the caller made, and closes."""
        store = cls.__new__(cls)
        store._link = ServerLink(client, location=location, owns_client=False)
        store._opened = []
        return store

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
        """Make a collection with its payload indexes."""
        name = manifests.check_manifest(manifest).name
        self._link.call(
            f"collection {name!r}",
            lambda: self._link.client.create_collection(
                name,
                vectors_config={
                    DENSE: models.VectorParams(
                        size=manifest.dimension, distance=models.Distance.COSINE
                    )
                },
                sparse_vectors_config={
                    BM25: models.SparseVectorParams(modifier=models.Modifier.IDF)
                },
                strict_mode_config=models.StrictModeConfig(
                    enabled=True,
                    unindexed_filtering_retrieve=False,
                    unindexed_filtering_update=False,
                ),
                metadata={MANIFEST_KEY: manifest.model_dump_json()},
            ),
            retry=False,
        )
        try:
            return self.open(name)
        except CollectionNotFound:
            self._delete(name)
            raise StoreUnavailable(
                f"{self.location} keeps no metadata of collections; expected Qdrant 1.16 or newer"
            ) from None

    def open(self, name: str) -> ServerCollection:
        """Open a collection; payload indexes that an interrupted creation left out are made."""
        manifest, indexed = self._read(manifests.check_name(name))
        for path in INDEXED.keys() - indexed:
            if self._link.is_local:
                break  # has no indexes, and warns
            self._link.call(
                f"collection {name!r}",
                lambda path=path: self._link.client.create_payload_index(  # type: ignore[misc]
                    name, path, _SCHEMAS[INDEXED[path]], wait=True
                ),
            )
        collection = ServerCollection(manifest, self._link)
        self._opened = [*(one for one in self._opened if not one.is_closed), collection]
        return collection

    def delete(self, name: str) -> None:
        """Delete a collection that Sextant made, whatever its schema version."""
        manifests.check_name(name)
        self._manifest_text(name)
        for collection in self._opened:
            if collection.manifest.name == name:
                collection.close()
        self._opened = [one for one in self._opened if one.manifest.name != name]
        self._delete(name)

    def close(self) -> None:
        """Close the connection, unless it is the caller's."""
        for collection in self._opened:
            collection.close()
        self._opened = []
        self._link.close()

    def _delete(self, name: str) -> None:
        self._link.call(
            f"collection {name!r}", lambda: self._link.client.delete_collection(name), retry=False
        )

    def _read(self, name: str) -> tuple[Manifest, set[str]]:
        text, indexed = self._manifest_text(name)
        place = f"metadata of collection {name!r} on {self.location}"
        return manifests.read_manifest(text, name=name, place=place), indexed

    def _manifest_text(self, name: str) -> tuple[str, set[str]]:
        info = self._link.call(
            f"collection {name!r}", lambda: self._link.client.get_collection(name)
        )
        metadata = info.config.metadata or {}
        if MANIFEST_KEY not in metadata:
            raise CollectionNotFound(
                f"collection {name!r} on {self.location} was not made by Sextant; "
                "choose another name"
            )
        return str(metadata[MANIFEST_KEY]), set(info.payload_schema or {})
