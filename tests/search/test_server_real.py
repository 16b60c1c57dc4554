"""What only a real server shows: its limits, its index, its aliases. Runs where `QDRANT_URL` is."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from search.errors import InvalidRequest
from search.records import Point
from search.stores.contract import Manifest, StorageOptions
from search.stores.server import ServerStore
from search.stores.server_indexing import THRESHOLD_KEY
from search.stores.server_options import ServerOptions

Make = Callable[..., Point]
POINTS = 3000

if "QDRANT_URL" in os.environ:
    pytestmark = pytest.mark.server

    @pytest.fixture(params=[True, False], ids=["grpc", "http"])
    def store(request: pytest.FixtureRequest) -> Iterator[ServerStore]:
        """The server, by either protocol, and left as it was."""
        key = os.environ.get("QDRANT_API_KEY")
        with contextlib.closing(
            ServerStore(
                os.environ["QDRANT_URL"],
                None if key is None else SecretStr(key),
                options=ServerOptions(grpc=request.param, allow_insecure_key=True),
            )
        ) as store:
            before = {found.name for found in store.list()}
            yield store
            for alias, target in store.aliases().items():
                if target not in before:
                    store.set_alias(alias, None)
            for found in store.list():
                if found.name not in before:
                    store.delete(found.name)

    @pytest.mark.parametrize("quantisation", ["none", "int8"])
    def test_a_collection_is_loaded_indexed_and_searched(
        store: ServerStore,
        manifest: Callable[..., Manifest],
        chunk: Make,
        head: Callable[[str], Point],
        quantisation: Any,
    ) -> None:
        """The whole way, with indexing put off; strict mode lets every request of ours pass."""
        storage = StorageOptions(quantisation=quantisation, on_disk=True)
        collection = store.create(manifest(storage=storage))
        name = collection.manifest.name
        generator = np.random.default_rng(1)
        points = [chunk(f"d{i}", vector=generator.normal(size=4)) for i in range(POINTS)]
        with collection.bulk_load():
            info = store._info(name)
            assert info.config.optimizer_config.indexing_threshold == 0
            collection.upsert([*points, head("d0")])
        seen: list[tuple[int, int]] = []
        collection.optimize(lambda indexed, vectors: seen.append((indexed, vectors)))
        assert seen[-1][1] == POINTS
        info = store._info(name)
        assert info.config.optimizer_config.indexing_threshold
        assert not (info.config.metadata or {}).get(THRESHOLD_KEY)
        assert store.open(name).manifest == collection.manifest
        status = collection.status()
        assert (status.points, status.vectors) == (POINTS + 1, POINTS)
        query = np.ones(4, np.float32)
        exact = collection.search(query, limit=20, exact=True)
        found = collection.search(query, limit=20)
        assert len({one.id for one in found} & {one.id for one in exact}) >= 18
        assert len(collection.search(query, limit=10_000)) == POINTS

    def test_an_alias_moves_in_one_step(
        store: ServerStore, manifest: Callable[..., Manifest]
    ) -> None:
        """And keeps what it leads to from being deleted."""
        old, new = (store.create(manifest()).manifest for _ in range(2))
        alias = f"alias-{uuid.uuid4().hex[:12]}"
        for target in (old, new, old):
            store.set_alias(alias, target.name)
            assert store.open(alias).manifest == target
        with pytest.raises(InvalidRequest, match=alias):
            store.delete(old.name)
        store.set_alias(alias, None)
        store.delete(old.name)
        assert alias not in store.aliases()
