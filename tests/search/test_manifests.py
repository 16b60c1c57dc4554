"""The canary in a collection's manifest: kept to the digit by every store, checked when read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.errors import InvalidRequest, StoreUnavailable
from search.stores import manifests
from search.stores.contract import Manifest, Store
from search.stores.edge import EdgeStore

Make = Callable[..., Manifest]

CANARY = ((0.1234567, -1.234567e-05, 3e-38, -0.9999999), (0.0, 0.6, 0.8, 0.0))


def test_every_store_keeps_the_canary(open_store: Callable[[], Store], manifest: Make) -> None:
    """Every digit of it, for whoever lists the collections or opens this one later."""
    made = manifest(canary=CANARY)
    first = open_store()
    assert first.create(made).manifest.canary == CANARY
    first.close()
    second = open_store()
    assert [found.canary for found in second.list() if found.name == made.name] == [CANARY]
    assert second.open(made.name).manifest == made


def test_an_older_collection_has_no_canary(folder: Path, manifest: Make) -> None:
    """Its manifest does not know the word; it is opened all the same."""
    store = EdgeStore(folder)
    store.create(manifest("docs", canary=CANARY))
    store.close()
    path = folder / "docs" / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["canary"]
    path.write_text(json.dumps(fields))
    store = EdgeStore(folder)
    assert store.open("docs").manifest == manifest("docs")
    assert store.list()[0].canary == ()
    store.close()


def test_an_older_collection_has_the_plain_storage(folder: Path, manifest: Make) -> None:
    """Its manifest does not know the word; options that nobody knows are reported."""
    store = EdgeStore(folder)
    store.create(manifest("docs", storage={"quantisation": "int8"}))
    store.close()
    path = folder / "docs" / "manifest.json"
    fields = json.loads(path.read_text())
    assert fields["storage"]["quantisation"] == "int8"
    path.write_text(json.dumps(fields | {"storage": {"quantisation": "int3"}}))
    store = EdgeStore(folder)
    with pytest.raises(StoreUnavailable, match=r"no manifest .*quantisation.*restore it"):
        store.open("docs")
    del fields["storage"]
    path.write_text(json.dumps(fields))
    assert store.open("docs").manifest == manifest("docs")
    store.close()


@pytest.mark.parametrize(
    ("canary", "problem"),
    [
        ([[1, 0, 0]], "vector 0 has 3 values; expected 4"),
        ([[1, 0, 0, 0], [1, 0, 0, 0, 0]], "vector 1 has 5 values; expected 4"),
        ([[float("nan"), 0, 0, 1]], "vector 0 holds NaN or infinity"),
        ([[float("inf"), 0, 0, 1]], "vector 0 holds NaN or infinity"),
        ([[0, 0, 0, 0]], "vector 0 holds NaN or infinity, or is zero"),
    ],
)
def test_a_canary_that_nothing_compares_with_is_refused(
    manifest: Make, canary: Any, problem: str
) -> None:
    """When a collection is made, and when a manifest is read that someone has edited."""
    with pytest.raises(InvalidRequest, match=f"'docs': canary {problem}"):
        manifests.check_manifest(manifest("docs", canary=canary))
    text = json.dumps(manifest("docs").model_dump() | {"canary": canary})
    with pytest.raises(StoreUnavailable, match=f"the file is no manifest .canary {problem}"):
        manifests.read_manifest(text, name="docs", place="the file")


def test_a_person_can_read_the_file(manifest: Make) -> None:
    """What names the collection and its encoder comes first; each vector takes one line."""
    lines = manifests.manifest_text(manifest("docs", canary=CANARY)).splitlines()
    assert lines[:2] == ["{", '  "name": "docs",']
    assert lines[-4] == "    [0.1234567, -1.234567e-05, 3e-38, -0.9999999],"
    assert lines[-3:] == ["    [0.0, 0.6, 0.8, 0.0]", "  ]", "}"]


@given(
    canary=st.lists(st.tuples(*[st.floats(0.5, 1, width=32)] * 4), max_size=3),
    name=st.text(max_size=9),
)
def test_what_is_written_is_read(canary: Any, name: str) -> None:
    """Whatever the canary's numbers and the encoder's name."""
    made = Manifest(
        name="docs",
        dimension=4,
        fingerprint="f",
        encoder={"name": name, "config": {"on": True, "layers": [1]}},
        created_at="2025-01-01T00:00:00+00:00",
        canary=tuple(canary),
    )
    assert manifests.read_manifest(manifests.manifest_text(made), name="docs", place="") == made
