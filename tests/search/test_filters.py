"""Filters as people write them."""

import pytest
from pydantic import ValidationError

from search.errors import InvalidRequest
from search.filters import Filter, Match, of_kind, parse_filters, where


def test_expressions_become_conditions() -> None:
    """A key given twice matches either value; different keys must all match."""
    parsed = parse_filters(["format=markdown", "cluster=3", "title=a = b", "cluster= 5 "])
    assert parsed == where("format", "markdown") & where("cluster", 3, 5) & where("title", "a = b")
    assert parse_filters([]).is_empty()
    assert not of_kind("chunk").is_empty()


@pytest.mark.parametrize(
    "expression", ["format", "=x", "format=", "colour=red", "cluster=three", "cluster=1.5", ""]
)
def test_a_bad_expression_is_refused(expression: str) -> None:
    """The message repeats it."""
    with pytest.raises(InvalidRequest, match="filter"):
        parse_filters([expression])


def test_values_have_the_type_of_their_key() -> None:
    """Booleans are no integers here: they would never match."""
    for key, value in (("cluster", "3"), ("cluster", True), ("title", 3)):
        with pytest.raises(InvalidRequest, match="expected"):
            where(key, value)
    with pytest.raises(InvalidRequest, match="no value"):
        where("title")
    with pytest.raises(ValidationError):
        Match(key="metadata.cluster", values=(True,))


def test_filters_add_up() -> None:
    """`&` keeps the conditions of both sides."""
    both = where("title", "a") & Filter(must_not=where("title", "b").must)
    assert len(both.must) == len(both.must_not) == 1
