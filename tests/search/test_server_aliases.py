"""Aliases on a server: one step, other programs' left alone, and what they forbid."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from search.errors import CollectionExists, CollectionNotFound, InvalidRequest, StoreUnavailable
from search.records import Point
from search.stores import server_failures
from search.stores.contract import Manifest
from search.stores.server import OPENING_ATTEMPTS, ServerStore

Make = Callable[..., Point]


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    """Qdrant's own in-memory stand-in."""
    with contextlib.closing(QdrantClient(":memory:")) as client:
        yield client


@pytest.fixture
def store(client: QdrantClient, manifest: Callable[..., Manifest]) -> ServerStore:
    """A store over it with two versions of a collection."""
    store = ServerStore.over(client, location="here")
    store.create(manifest("docs--1"))
    store.create(manifest("docs--2"))
    return store


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(server_failures, "FIRST_WAIT", 0.0)


@pytest.fixture
def changes(client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The kinds of operations of each request that changes aliases."""
    sent: list[list[str]] = []
    send = client.update_collection_aliases

    def record(operations: Any, **kwargs: Any) -> Any:
        sent.append([type(operation).__name__ for operation in operations])
        return send(operations, **kwargs)

    monkeypatch.setattr(client, "update_collection_aliases", record)
    return sent


def foreign(client: QdrantClient, name: str, alias: str) -> None:
    """Another program's collection, with an alias."""
    vectors = models.VectorParams(size=4, distance=models.Distance.DOT)
    client.create_collection(name, vectors_config=vectors)
    made = models.CreateAlias(collection_name=name, alias_name=alias)
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=made)])


def test_an_alias_is_made_moved_and_removed_in_one_request_each(
    store: ServerStore, changes: list[list[str]], chunk: Make
) -> None:
    """A move deletes and makes in the same request; a move to where it is sends none."""
    store.open("docs--2").upsert([chunk("a")])
    store.set_alias("docs", "docs--1")
    assert store.aliases() == {"docs": "docs--1"}
    old = store.open("docs")
    assert old.manifest.name == "docs--1"
    store.set_alias("docs", "docs--2")
    store.set_alias("docs", "docs--2")
    assert store.open("docs").manifest.name == "docs--2"
    assert (old.count(), store.open("docs").count()) == (0, 1)
    store.set_alias("docs", None)
    assert store.aliases() == {}
    with pytest.raises(CollectionNotFound, match="docs"):
        store.open("docs")
    assert changes == [
        ["CreateAliasOperation"],
        ["DeleteAliasOperation", "CreateAliasOperation"],
        ["DeleteAliasOperation"],
    ]
    assert [made.name for made in store.list()] == ["docs--1", "docs--2"]


def test_wrong_aliases_are_refused(store: ServerStore, changes: list[list[str]]) -> None:
    """Nothing is sent, and every message names what is wrong."""
    store.set_alias("docs", "docs--1")
    changes.clear()
    for alias, target, error, message in (
        ("docs", "absent", CollectionNotFound, "no collection 'absent'"),
        ("other", "docs", CollectionNotFound, "'docs' on here is an alias.*'docs--1'"),
        ("absent", None, CollectionNotFound, "no alias 'absent' on here; there are: docs"),
        ("docs--2", "docs--1", CollectionExists, "collection 'docs--2' is there"),
        ("../x", "docs--1", InvalidRequest, "collection name"),
        ("docs", "../x", InvalidRequest, "collection name"),
        ("", None, InvalidRequest, "collection name"),
    ):
        with pytest.raises(error, match=message):
            store.set_alias(alias, target)
    assert changes == []
    assert store.aliases() == {"docs": "docs--1"}


def test_other_programs_aliases_are_left_alone(client: QdrantClient, store: ServerStore) -> None:
    """Neither listed nor moved nor removed; and no alias leads to another's collection."""
    foreign(client, "photos-v1", "photos")
    assert store.aliases() == {}
    with pytest.raises(CollectionExists, match="not make"):
        store.set_alias("photos", "docs--1")
    with pytest.raises(CollectionNotFound, match="not make"):
        store.set_alias("photos", None)
    with pytest.raises(CollectionNotFound, match="photos-v1"):
        store.set_alias("docs", "photos-v1")
    with pytest.raises(CollectionNotFound, match="not made by Sextant"):
        store.open("photos")
    assert {one.alias_name for one in client.get_aliases().aliases} == {"photos"}


def test_what_an_alias_leads_to_is_not_deleted(
    client: QdrantClient, store: ServerStore, manifest: Callable[..., Manifest]
) -> None:
    """Nor the alias itself in its stead; nor is a collection made of an alias's name."""
    store.set_alias("docs", "docs--1")
    store.set_alias("papers", "docs--1")
    with pytest.raises(InvalidRequest, match="in use as 'docs', 'papers'"):
        store.delete("docs--1")
    with pytest.raises(InvalidRequest, match="'docs' is an alias of collection 'docs--1'"):
        store.delete("docs")
    with pytest.raises(CollectionExists, match="docs"):
        store.create(manifest("docs"))
    store.delete("docs--2")
    for alias in ("docs", "papers"):
        store.set_alias(alias, None)
    store.delete("docs--1")
    assert store.list() == []


def test_an_alias_that_moves_while_it_is_opened_is_followed(
    store: ServerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it led to when it was looked up is deleted before it is read."""
    store.set_alias("docs", "docs--1")
    resolve, moves = store._aliases.resolve, ["move"]

    def overtaken(name: str) -> str:
        found = resolve(name)
        if moves:
            moves.pop()
            store.set_alias("docs", "docs--2")
            store.delete("docs--1")
        return found

    monkeypatch.setattr(store._aliases, "resolve", overtaken)
    assert store.open("docs").manifest.name == "docs--2"
    names = iter(f"gone-{i}" for i in range(2 * OPENING_ATTEMPTS))
    monkeypatch.setattr(store._aliases, "resolve", lambda name: next(names))
    with pytest.raises(StoreUnavailable, match="each time"):
        store.open("docs")


def test_a_copy_under_another_name_is_a_collection_of_its_own(
    client: QdrantClient, store: ServerStore, manifest: Callable[..., Manifest]
) -> None:
    """A snapshot restored elsewhere says the old name in its manifest; its own one counts."""
    client.create_collection(
        "restored",
        vectors_config={"dense": models.VectorParams(size=4, distance=models.Distance.COSINE)},
        metadata={"sextant": manifest("docs--1").model_dump_json()},
    )
    store.set_alias("docs", "restored")
    for name in ("docs", "restored"):
        assert store.open(name).manifest.name == "restored"


@pytest.mark.parametrize("arrives", [True, False])
def test_an_unclear_change_of_an_alias_is_looked_up(
    client: QdrantClient, store: ServerStore, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    """The answer is lost: the alias is looked at, and the change sent again only if need be."""
    send, sent = client.update_collection_aliases, []

    def lossy(operations: Any) -> Any:
        sent.append(operations)
        if len(sent) > 1:
            return send(operations)
        if arrives:
            send(operations)
        raise UnexpectedResponse(504, "no", b"", httpx.Headers())

    monkeypatch.setattr(client, "update_collection_aliases", lossy)
    store.set_alias("docs", "docs--1")
    assert store.aliases() == {"docs": "docs--1"}
    assert len(sent) == (1 if arrives else 2)


def test_a_key_that_may_not_list_aliases_opens_collections_by_name(
    client: QdrantClient, store: ServerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such keys read one collection; what changes aliases says what is missing."""

    def forbidden() -> None:
        raise UnexpectedResponse(403, "no", b"Forbidden", httpx.Headers())

    monkeypatch.setattr(client, "get_aliases", forbidden)
    assert store.open("docs--1").manifest.name == "docs--1"
    for attempt in (
        store.aliases,
        lambda: store.set_alias("docs", "docs--1"),
        lambda: store.delete("docs--1"),
    ):
        with pytest.raises(StoreUnavailable, match=r"403 Forbidden.*check the API key"):
            attempt()
