"""Templates: each written once, with both of its forms cut from one string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.errors import InvalidConfig
from embedder.prompts import (
    AUXILIARY_WORDINGS,
    PLACEHOLDER,
    SLOT,
    TEMPLATES,
    Template,
    find_auxiliary,
    find_template,
    normalise_as_papers,
)


def test_worked_example() -> None:
    """The eol template, cut: the blank before the placeholder goes with the placeholder."""
    assert find_template("eol") == Template(
        head="This sentence :", before=' "', after='" means in one word:"', has_placeholder=True
    )
    assert find_template("eol").render("A cat.") == 'This sentence : "A cat." means in one word:"'


@pytest.mark.parametrize("key", TEMPLATES)
def test_both_forms_come_from_one_string(key: str) -> None:
    """With the placeholder and its blank taken out, the source is the plain prompt."""
    source = TEMPLATES[key]
    template = find_template(key)
    assert template.render("text") == source.replace(f" {PLACEHOLDER}", "").replace(SLOT, "text")
    assert template.has_placeholder == (PLACEHOLDER in source)
    if template.has_placeholder:
        assert f"{template.head} {PLACEHOLDER}{template.before}{SLOT}{template.after}" == source


@pytest.mark.parametrize("key", AUXILIARY_WORDINGS)
def test_every_auxiliary_wording_parses(key: str) -> None:
    """The auxiliary prompt names what is to be taken away."""
    prompt = find_auxiliary(key).render("text")
    assert AUXILIARY_WORDINGS[key] in prompt
    assert "WORDING" not in prompt


@given(text=st.text())
def test_a_text_is_never_read_as_a_template(text: str) -> None:
    """Slots and placeholders inside a text stay text."""
    nasty = f"{text}{SLOT}{PLACEHOLDER}"
    assert find_template("eol").render(nasty) == f'This sentence : "{nasty}" means in one word:"'


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("eoll", "unknown template 'eoll'; choose one of eol, cot, .*write your own with one {}"),
        ("{} and {}", "template '{} and {}' has 2 slots; write {} exactly once"),
        ("{} <PST>", "has <PST> after the text; put it before {}"),
        ("<PST> <PST> {}", "has several <PST>; write it once"),
        ("", "unknown template ''"),
        ("two\nlines", "unknown template"),
    ],
)
@pytest.mark.parametrize("find", [find_template, find_auxiliary])
def test_a_wrong_template_is_named_with_its_remedy(find: object, source: str, message: str) -> None:
    """One line: the value, what is allowed, what to do."""
    assert callable(find)
    expected = message.replace("unknown template", "unknown (template|auxiliary prompt)")
    expected = expected.replace("eol, cot, ", "").replace("{}", r"\{\}")
    with pytest.raises(InvalidConfig, match=expected) as caught:
        find(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cat", "A cat."),
        ("A cat.", "A cat."),
        ("Is it?", "Is it."),
        ('He said "yes"', "He said 'yes'"),
        ("  ", ""),
    ],
)
def test_the_papers_normalisation(text: str, expected: str) -> None:
    """A full stop at the end, no double quotes, no final question mark."""
    assert normalise_as_papers(text) == expected
