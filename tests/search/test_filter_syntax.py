"""Filters as people and programs write them, and what every store finds by them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from search.collection_schema import CollectionSchema, kinds
from search.errors import InvalidRequest
from search.facets import facet
from search.filter_syntax import check, parse
from search.filters import (
    AnyOf,
    Exists,
    Filter,
    IndexKind,
    Match,
    NumberRange,
    Text,
    TimeRange,
    of_kind,
)
from search.periods import period
from search.records import Point
from search.stores.contract import Collection

Make = Callable[..., Point]


class Fields:
    """A schema with a field of each kind."""

    def fields(self) -> Mapping[str, IndexKind]:
        """One of each."""
        return {"year": "integer", "price": "float", "on": "datetime", "author": "keyword"}

    def require(self, path: str, kind: IndexKind) -> None:
        """Nothing to do."""

    def values_with(self, path: str, words: str) -> Sequence[str]:
        """One author."""
        return ["Ann Bee"] if words == "ann" else []


def only(expression: str) -> Any:
    found = parse([expression], Fields())
    assert len(found.must) + len(found.must_not) == 1
    return (found.must or found.must_not)[0]


YEAR, PRICE, ON = (f"metadata.fields.{name}" for name in ("year", "price", "on"))


@pytest.mark.parametrize(
    ("expression", "condition"),
    [
        ("format=markdown", Match(key="metadata.format", values=("markdown",))),
        ("title = a = b", Match(key="metadata.title", values=("a = b",))),
        ("language in en, de,", Match(key="metadata.language", values=("en", "de"))),
        ("cluster in 1,2", Match(key="metadata.cluster", values=(1, 2))),
        ("year=2020", Match(key=YEAR, values=(2020,))),
        ("fields.year>=2020", NumberRange(key=YEAR, gte=2020)),
        ("price<1.5e2", NumberRange(key=PRICE, lt=150)),
        ("price=2", NumberRange(key=PRICE, gte=2, lte=2)),
        ("author=true", Match(key="metadata.fields.author", values=("true",))),
        ("author~ann", Match(key="metadata.fields.author", values=("Ann Bee",))),
        ("title~nobody", Match(key="metadata.title", values=("\x1f",))),
        ("text~lamp oil", Text(key="page_content", words="lamp oil")),
        ("author exists", Exists(key="metadata.fields.author")),
        (
            "modified=2026-05",
            TimeRange(
                key="metadata.modified",
                gte="2026-05-01T00:00:00+00:00",
                lt="2026-06-01T00:00:00+00:00",
            ),
        ),
        ("on>2026", TimeRange(key=ON, gte="2027-01-01T00:00:00+00:00")),
        ("on<=2026-12-31", TimeRange(key=ON, lt="2027-01-01T00:00:00+00:00")),
        ("on<2026-12-31T12:00+02:00", TimeRange(key=ON, lt="2026-12-31T10:00:00+00:00")),
    ],
)
def test_an_expression_is_a_condition(expression: str, condition: Any) -> None:
    """Each sign, and the type of each key."""
    assert only(expression) == condition
    assert parse([expression], Fields()).must


@pytest.mark.parametrize(
    "expression", ["year!=2020", "title!~ann", "cluster not in 1, 2", "year missing"]
)
def test_what_must_not_be(expression: str) -> None:
    """The same conditions, turned round."""
    found = parse([expression], Fields())
    assert (len(found.must), len(found.must_not)) == (0, 1)


def test_repetition_is_any_of_one_key_and_all_of_several() -> None:
    """`=` adds values; everything else adds conditions; several spans are a choice."""
    found = parse(["format=a", "year>=1", "format=b", "year<9"], Fields())
    assert found.must[0] == Match(key="metadata.format", values=("a", "b"))
    assert found.must[1:] == (NumberRange(key=YEAR, gte=1), NumberRange(key=YEAR, lt=9))
    (choice,) = parse(["on=2025", "on=2026-01"], Fields()).must
    assert isinstance(choice, AnyOf)
    assert len(choice.filters) == 2


def test_json_says_the_same_and_more() -> None:
    """One condition, a list, and any, all, not around them."""
    one = {"key": "year", "op": ">=", "value": 2020}
    assert parse([json.dumps(one)], Fields()) == parse(["year>=2020"], Fields())
    both = [one, {"key": "format", "op": "in", "value": ["a", "b"]}]
    assert parse([json.dumps(both)], Fields()) == parse(["year>=2020", "format in a,b"], Fields())
    assert parse([json.dumps({"all": both})], Fields()) == parse([json.dumps(both)], Fields())
    (choice,) = parse([json.dumps({"any": both})], Fields()).must
    assert isinstance(choice, AnyOf)
    (turned,) = parse([json.dumps({"not": one})], Fields()).must_not
    assert turned == AnyOf(filters=(parse(["year>=2020"], Fields()),))
    assert parse(['{"key": "author", "op": "exists"}'], Fields()) == parse(
        ["author exists"], Fields()
    )
    assert parse(['{"key": "author", "op": "=", "value": true}'], Fields()) == parse(
        ["author=true"], Fields()
    )


@pytest.mark.parametrize(
    ("expression", "line"),
    [
        ("format", "is not KEY=VALUE"),
        ("", "is not KEY=VALUE"),
        ("=x", "is not KEY=VALUE"),
        ("format=", "has no value"),
        ("format in ,", "has no value"),
        ("colour=red", "unknown filter key 'colour'; filters know doc_id"),
        ("formt=x", "did you mean format"),
        ("yeer>=2", "did you mean year"),
        ("fields.yeer=2", "did you mean year"),
        ("year=MMXX", "expected a whole number"),
        ("year=1.5", "expected a whole number"),
        ("price>cheap", "'cheap' is no number"),
        ("price>nan", "'nan' is no number"),
        ("price=1e999", "is no number"),
        ("modified>=yesterday", "is no time"),
        ("modified=2026-13", "is no time"),
        ("modified=99999999", "is no time"),
        ("format>=a", "have no range"),
        ("year~2020", "holds no words"),
        ("title~!?", "expected words"),
        ("text=lamp", "asked for words only"),
        ("text exists", "every chunk has a text"),
        ("{", "is not JSON"),
        ("[" * 5000, "is not JSON"),
        ("[]", "is none"),
        ("[1]", "is none"),
        ('{"any": []}', "is none"),
        ('{"any": [], "all": []}', "is none"),
        ('{"key": "year"}', "is none"),
        ('{"key": "year", "op": "="}', "expected a value"),
        ('{"key": "year", "op": "exists", "value": 1}', "expected no value"),
        ('{"key": "year", "op": "like", "value": 1}', "expected one of ="),
        ('{"key": "year", "op": "=", "value": {}}', "expected a whole number"),
        ('{"key": "year", "op": "=", "value": true}', "expected a whole number"),
        ('{"key": "format", "op": "=", "value": null}', "expected a text"),
        ('{"key": "format", "op": "in", "value": []}', "has no value"),
        ('{"not":' * 20 + '{"key": "year", "op": "exists"}' + "}" * 20, "nested more than 8"),
        ("x" * 200_000, "200,000 characters"),
    ],
)
def test_what_is_wrong_is_said(expression: str, line: str) -> None:
    """The value, what was expected, and the nearest key."""
    with pytest.raises(InvalidRequest, match="filter") as error:
        parse([expression], Fields())
    assert line in str(error.value)


def test_what_can_be_checked_without_a_collection() -> None:
    """The form, and keys that every collection has; a field may be one of a collection's."""
    check(["colour=red", "format=a", "title~x", '{"key": "year", "op": ">", "value": 1}'])
    for wrong in ("format>=a", "cluster=x", "nothing", "modified=soon"):
        with pytest.raises(InvalidRequest):
            check([wrong])


def test_periods_have_two_ends() -> None:
    """Also the last ones that a calendar has."""
    assert period("on", "2024-02-29") == ("2024-02-29T00:00:00+00:00", "2024-03-01T00:00:00+00:00")
    assert period("on", 2024) == ("2024-01-01T00:00:00+00:00", "2025-01-01T00:00:00+00:00")
    for wrong in ("9999", "9999-12", "0000", "", "2026-02-30", "12:00", None):
        with pytest.raises(InvalidRequest, match="is no time"):
            period("on", wrong)


def test_the_kind_of_a_field_fits_every_value() -> None:
    """The narrowest one; what cannot be asked for is left out."""
    samples = [
        {"a": 1, "b": 1.5, "c": "2020-01-01", "d": "x", "e": 1},
        {"a": 2, "b": 2, "c": "2021-01-01T10:00:00Z", "d": 3, "e": "1", 'q"': 1},
        None,
    ]
    assert kinds(samples) == {
        "a": "integer",
        "b": "float",
        "c": "datetime",
        "d": "keyword",
        "e": "keyword",
    }


# --- over every store ------------------------------------------------------------------------


@pytest.fixture
def library(collection: Collection, chunk: Make, head: Callable[[str], Point]) -> Collection:
    """Six chunks with fields of every kind."""
    points = []
    for n in range(6):
        point = chunk(
            f"d{n}",
            title=["The Night Owl", "Owls by Day", "A river"][n % 3],
            format=["markdown", "html"][n % 2],
            language="en" if n else "de",
            modified=f"2026-0{n + 1}-15T12:00:00+00:00",
            fields={"year": 2018 + n, "price": n / 2, "my author": f"Ann {n % 2}"},
        )
        point.payload["page_content"] = f"lamp {'oil' if n < 2 else 'wick'} {n}"
        points.append(point)
    del points[5].payload["metadata"]["fields"]["price"]
    collection.upsert([*points, head("d0")])
    return collection


@pytest.mark.parametrize(
    ("expressions", "expected"),
    [
        (["year>=2020"], "2345"),
        (["year>2019", "year<=2021"], "23"),
        (["year!=2020"], "01345"),
        (["year in 2018, 2023"], "05"),
        (["price=0.5"], "1"),
        (["price missing"], "5"),
        (["price exists"], "01234"),
        (["my author=Ann 1"], "135"),
        (["fields.my author~ANN 0"], "024"),
        (["title~owl"], "03"),
        (["title~night owl"], "03"),
        (["title~absent"], ""),
        (["text~OIL"], "01"),
        (["text~lamp wick"], "2345"),
        (["language=de"], "0"),
        (["modified>=2026-03"], "2345"),
        (["modified=2026-02-15"], "1"),
        (["modified=2026-01", "modified=2026-05"], "04"),
        (["modified<2026-02-15T12:00:00Z"], "0"),
        (
            ['{"any": [{"key":"year","op":"=","value":2018},{"key":"text","op":"~","value":"5"}]}'],
            "05",
        ),
        (['{"not": {"any": [{"key":"year","op":"<","value":2022}]}}'], "45"),
        (["format=html", "year<2022"], "13"),
    ],
)
def test_filters_find_alike_in_every_store(
    library: Collection, expressions: list[str], expected: str
) -> None:
    """Search, words and count agree; heads are never found."""
    where = parse(expressions, CollectionSchema(library))
    found = {
        one.payload["metadata"]["doc_id"][1:]
        for one in library.scroll(where=where & of_kind("chunk"))
    }
    assert "".join(sorted(found)) == expected
    assert library.count(where & of_kind("chunk")) == len(expected)
    words = library.search_words("lamp", limit=10, where=where)
    assert {one.payload["metadata"]["doc_id"][1:] for one in words} == found
    near = library.search(np.ones(4, dtype=np.float32), limit=10, where=where)
    assert {one.payload["metadata"]["doc_id"][1:] for one in near} == found


def test_facets_count_chunks(library: Collection) -> None:
    """Most frequent first, equals by value; filters hold; a cut is told."""
    schema = CollectionSchema(library)
    found = facet(library, "format", schema=schema)
    assert (found.values, found.is_whole) == ([("html", 3), ("markdown", 3)], True)
    found = facet(library, "language", schema=schema, limit=1)
    assert (found.values, found.is_whole) == ([("en", 5)], False)
    found = facet(library, "my author", schema=schema, where=parse(["year>2018"], schema))
    assert found.values == [("Ann 1", 3), ("Ann 0", 2)]
    found = facet(library, "fields.year", schema=schema, limit=2)
    assert [count for _, count in found.values] == [1, 1]
    for key, line in (
        ("price", "holds a float"),
        ("modified", "holds a datetime"),
        ("text", "text"),
    ):
        with pytest.raises(InvalidRequest, match=line):
            facet(library, key, schema=schema)
    with pytest.raises(InvalidRequest, match="did you mean language"):
        facet(library, "langage", schema=schema)
    for limit in (0, 10_001, True):
        with pytest.raises(InvalidRequest, match="limit"):
            facet(library, "format", schema=schema, limit=limit)


def test_a_store_refuses_what_it_cannot_answer(collection: Collection) -> None:
    """Conditions that the engines would take for something else."""
    path = "metadata.fields.x"
    wrong: list[Filter] = [
        Filter(must=(NumberRange(key=path),)),
        Filter(must=(NumberRange(key="metadata.title", gte=1),)),
        Filter(must=(TimeRange(key="metadata.chunk", gte="2026-01-01T00:00:00Z"),)),
        Filter(must=(TimeRange(key="metadata.modified", gte="soon"),)),
        Filter(must=(TimeRange(key="metadata.modified", gte="2026-01-01"),)),
        Filter(must=(Match(key="metadata.modified", values=("2026",)),)),
        Filter(must=(Text(key="metadata.title", words="a"),)),
        Filter(must=(Text(key="page_content", words=" "),)),
        Filter(must=(Exists(key="metadata.headings"),)),
        Filter(must=(Exists(key='metadata.fields.a"b'),)),
        Filter(must=(AnyOf(filters=()),)),
        Filter(must=(AnyOf(filters=(Filter(),)),)),
        Filter(must=tuple(Exists(key=path) for _ in range(1001))),
    ]
    for where in wrong:
        with pytest.raises(InvalidRequest):
            collection.count(where)
    for key, limit in (("metadata.headings", 3), ("metadata.modified", 3), ("metadata.title", 0)):
        with pytest.raises(InvalidRequest):
            collection.facet(key, limit=limit)
    for key, kind in (("metadata.title", "text"), ("nowhere", "keyword"), (path, "text")):
        with pytest.raises(InvalidRequest):
            collection.require_index(key, kind)  # type: ignore[arg-type]
