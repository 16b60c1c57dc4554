"""What a store may be given: `search.stores.validation`."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from search.errors import InvalidPoint, InvalidRequest, StoreUnavailable
from search.records import Point
from search.stores import manifests, validation
from search.stores.contract import Manifest

Make = Callable[..., Point]


def _with(point: Point, **changes: Any) -> Point:
    return dataclasses.replace(point, **changes)


def _payload(point: Point, **metadata: Any) -> Point:
    return _with(
        point, payload={**point.payload, "metadata": {**point.payload["metadata"], **metadata}}
    )


BAD: dict[str, Callable[[Point], Point]] = {
    "nan": lambda p: _with(p, vector=np.asarray([1, np.nan, 0, 0], dtype=np.float32)),
    "infinity": lambda p: _with(p, vector=np.asarray([1, np.inf, 0, 0], dtype=np.float32)),
    "zero vector": lambda p: _with(p, vector=np.zeros(4, dtype=np.float32)),
    "short vector": lambda p: _with(p, vector=np.ones(3, dtype=np.float32)),
    "matrix": lambda p: _with(p, vector=np.ones((1, 4), dtype=np.float32)),
    "float64": lambda p: _with(p, vector=np.ones(4)),
    "list": lambda p: _with(p, vector=[1.0, 0.0, 0.0, 0.0]),
    "chunk without vector": lambda p: _with(p, vector=None),
    "head with vector": lambda p: _with(p, payload={**p.payload, "kind": "head"}),
    "word as id": lambda p: _with(p, id="a"),
    "number as id": lambda p: _with(p, id=7),
    "upper case id": lambda p: _with(p, id=p.id.upper()),
    "id in braces": lambda p: _with(p, id=f"{{{p.id}}}"),
    "id without hyphens": lambda p: _with(p, id=p.id.replace("-", "")),
    "id and a line end": lambda p: _with(p, id=f"{p.id}\n"),
    "id in other digits": lambda p: _with(p, id="\uff10" + p.id[1:]),
    "no kind": lambda p: _with(p, payload={"metadata": {}}),
    "no metadata": lambda p: _with(p, payload={"kind": "chunk", "page_content": ""}),
    "no text": lambda p: _with(p, payload={**p.payload, "page_content": None}),
    "no start": lambda p: _payload(p, start=None),
    "payload no mapping": lambda p: _with(p, payload=["kind"]),
    "date": lambda p: _payload(p, when=np.datetime64("2025-01-01")),
    "bytes": lambda p: _payload(p, raw=b"x"),
    "numpy integer": lambda p: _payload(p, n=np.int64(3)),
    "nan in payload": lambda p: _payload(p, score=float("nan")),
    "huge integer": lambda p: _payload(p, n=2**63),
    "integer key": lambda p: _payload(p, table={1: "a"}),
    "lone surrogate": lambda p: _payload(p, note="a\ud800"),
    "surrogate in key": lambda p: _payload(p, table={"\udfff": 1}),
    "boolean to filter on": lambda p: _payload(p, cluster=True),
    "boolean keyword": lambda p: _payload(p, root=False),
    "text in an integer index": lambda p: _payload(p, cluster="3"),
    "number in a keyword index": lambda p: _payload(p, run_id=3),
    "too deep": lambda p: _payload(p, deep=_nested(100)),
}


def _nested(depth: int) -> Any:
    return {"a": _nested(depth - 1)} if depth else 0


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
def test_a_bad_point_is_refused(spoil: Callable[[Point], Point], chunk: Make) -> None:
    """One bad point among good ones raises, and the message says which and why."""
    with pytest.raises(InvalidPoint, match=r"^point .*(expected|only|;)"):
        validation.check_points([chunk("good"), spoil(chunk("bad"))], dimension=4)


def test_the_same_id_twice_is_refused(chunk: Make) -> None:
    """Which of the two would win is the engine's choice, so neither is sent."""
    with pytest.raises(InvalidPoint, match="twice"):
        validation.check_points([chunk("a"), chunk("a")], dimension=4)


class Colour(str, enum.Enum):  # noqa: UP042 - what reaches payloads
    """An enum that is a string."""

    RED = "red"


def test_a_payload_is_copied_into_exact_json_types(chunk: Make) -> None:
    """An enum, numpy's float and a tuple are JSON at heart; their classes stay here."""
    point = _payload(chunk("a"), root=Colour.RED, x=np.float64(0.5), pair=(1, 2))
    [checked] = validation.check_points([point], dimension=4)
    metadata = checked.payload["metadata"]
    assert [type(metadata[key]) for key in ("root", "x", "pair")] == [str, float, list]
    assert (metadata["root"], metadata["x"], metadata["pair"]) == ("red", 0.5, [1, 2])
    assert point.payload["metadata"]["root"] is Colour.RED


def test_vectors_are_normalised_and_normalised_ones_keep_their_bits(chunk: Make) -> None:
    """The engine leaves very short vectors as they are, so we do not leave it that."""
    unit = np.asarray([0.6, 0.8, 0.0, 0.0], dtype=np.float32)
    points = [chunk("a", vector=unit), chunk("b", vector=unit * 1e-20), chunk("c", vector=unit * 9)]
    checked = [point.vector for point in validation.check_points(points, dimension=4)]
    assert checked[0] is not None
    assert checked[0].tobytes() == unit.tobytes()
    for vector in checked[1:]:
        assert vector is not None
        assert vector.dtype == np.float32
        np.testing.assert_allclose(vector, unit, rtol=1e-6)
    assert points[2].vector is not None
    np.testing.assert_allclose(points[2].vector, unit * 9)


@pytest.mark.parametrize("dimension", [4, 384, 1024, 4096])
def test_a_vector_is_normalised_once(dimension: int, chunk: Make) -> None:
    """What was checked before, whatever its length was, is not changed by a digit again."""
    vectors = np.random.default_rng(1).standard_normal((200, dimension)).astype(np.float32)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    vectors[100:] /= lengths[100:, None] * np.linspace(1 - 2e-6, 1 + 2e-6, 100)[:, None]
    points = [chunk(f"d{i}", vector=vector) for i, vector in enumerate(vectors)]
    once = validation.check_points(points, dimension=dimension)
    twice = validation.check_points(once, dimension=dimension)
    for first, second in zip(once, twice, strict=True):
        assert first.vector is not None
        assert second.vector is not None
        assert first.vector.tobytes() == second.vector.tobytes()
        assert abs(np.linalg.norm(first.vector.astype(np.float64)) - 1) <= validation.UNIT_TOLERANCE
        assert first.payload == second.payload


@pytest.mark.parametrize("key", ["doc_id", "chunk", "start", "end", "content_hash"])
def test_what_a_point_is_cannot_be_set_later(key: str, chunk: Make) -> None:
    """Its checksum would not be true any more."""
    value = "x" if key in ("doc_id", "content_hash") else 3
    with pytest.raises(InvalidPoint, match=f"metadata.{key} is what the point is; write"):
        validation.check_updates({chunk("a").id: {"cluster": 1, key: value}})


@pytest.mark.parametrize("limit", [0, -1, True, 2.0, None])
def test_a_limit_is_a_positive_integer(limit: Any) -> None:
    """The message says what was expected."""
    with pytest.raises(InvalidRequest, match=r"limit .*expected 1 or more"):
        validation.check_query(np.ones(4, dtype=np.float32), dimension=4, limit=limit)


@pytest.mark.parametrize("values", [[1, 0, 0], [[1, 0, 0, 0]], [0] * 4, [1, np.nan, 0, 0]])
def test_a_bad_query_vector_is_refused(values: Any) -> None:
    """Wrong shape, no direction, or not finite."""
    with pytest.raises(InvalidRequest, match="query vector"):
        validation.check_query(np.asarray(values, dtype=np.float32), dimension=4, limit=1)


@pytest.mark.parametrize(
    "name", ["", "A", ".", "..", "a/b", "a\\b", "-a", "a-", ".a", "a b", "é", "a\n", "a" * 64, None]
)
def test_a_name_that_is_no_safe_folder_is_refused(name: Any) -> None:
    """Separators, dots in front, capitals and lengths beyond 63."""
    with pytest.raises(InvalidRequest, match="collection name"):
        manifests.check_name(name)


@pytest.mark.parametrize("name", ["a", "0", "docs-v1", "a.b_c", "a" * 63])
def test_a_safe_name_passes(name: str) -> None:
    """Letters, digits, and `. _ -` between them."""
    assert manifests.check_name(name) == name


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "No"},
        {"dimension": 0},
        {"dimension": 70_000},
        {"fingerprint": ""},
        {"schema_version": 99},
        {"encoder": {"x": float("nan")}},
        {"encoder": {"x": object()}},
    ],
)
def test_a_manifest_that_cannot_be_kept_is_refused(
    changes: dict[str, Any], manifest: Callable[..., Manifest]
) -> None:
    """Also what JSON would not give back as it was."""
    with pytest.raises(InvalidRequest):
        manifests.check_manifest(manifest(**changes))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"schema_version": 2}', '{"schema_version": 1}', '{"name": "a"}']
)
def test_an_unreadable_manifest_is_reported(text: str) -> None:
    """Truncated, of another schema version, or incomplete; never a traceback of the parser's."""
    with pytest.raises(StoreUnavailable, match=r"restore it|ingest again"):
        manifests.read_manifest(text, name="docs", place="the place")
