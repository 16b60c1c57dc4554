"""Templates: each written once, with both of its forms cut from one string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.errors import InvalidConfig
from embedder.prompts import (
    AUXILIARY_WORDINGS,
    MULTI_PROMPTS,
    PLACEHOLDER,
    SLOT,
    TEMPLATES,
    Position,
    Template,
    auxiliary_text,
    expand,
    find_auxiliary,
    find_shared_auxiliary,
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


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ("template", Template("Of :", ' "', '" is', has_placeholder=True)),
        ("start", Template("", 'Of : "', '" is', has_placeholder=True)),
        ("in_quote", Template('Of : "', "", '" is', has_placeholder=True)),
        ("after_text", Template("", 'Of : "', "", has_placeholder=True, tail='" is')),
    ],
)
def test_the_placeholder_stands_where_it_is_wanted(position: Position, expected: Template) -> None:
    """Four places (Token Prepending's ablation), and the same words around the text in each."""
    found = find_template('Of : <PST> "{}" is', position)
    assert found == expected
    assert found.render("A cat.") == 'Of : "A cat." is'


@pytest.mark.parametrize("key", TEMPLATES)
@pytest.mark.parametrize("position", ["start", "in_quote"])
def test_a_position_gives_every_template_a_placeholder(key: str, position: Position) -> None:
    """The bare text, too, which has no place of its own for it."""
    found = find_template(key, position)
    assert found.has_placeholder
    assert found.render("text") == find_template(key).render("text")


def test_the_auxiliary_prompt_has_its_placeholder_at_the_same_place() -> None:
    """In the quote: directly before the text, whatever wording was chosen."""
    found = find_auxiliary("background", "in_quote")
    assert found.head == 'The background information of this sentence : "'
    assert (found.before, found.after) == ("", '" means in one word:"')


def test_multi_prompts_are_several_templates() -> None:
    """CK is cot and ke, MetaEOL eight tasks; they may stand among others, and keep their order."""
    assert expand("ck") == (TEMPLATES["cot"], TEMPLATES["ke"])
    assert len(expand("meta")) == len(set(expand("meta"))) == 8
    assert expand(["On {}", "ck"]) == ("On {}", TEMPLATES["cot"], TEMPLATES["ke"])
    assert expand("eol") == (TEMPLATES["eol"],)
    assert not set(MULTI_PROMPTS) & set(TEMPLATES)


@pytest.mark.parametrize(("names", "message"), [([], "is empty"), (["eol", "x"], "template 'x'")])
def test_several_templates_are_each_checked(names: list[str], message: str) -> None:
    """None at all, or one that is unknown."""
    with pytest.raises(InvalidConfig, match=message):
        expand(names)


@pytest.mark.parametrize("key", AUXILIARY_WORDINGS)
def test_a_shared_auxiliary_goes_on_from_the_normal_prompt(key: str) -> None:
    """Both are the same up to the end of the text; only then the wording comes."""
    normal = find_template("eol")
    shared = find_shared_auxiliary(key, normal)
    assert (shared.head, shared.before) == (normal.head, normal.before)
    assert shared.has_placeholder == normal.has_placeholder
    assert shared.after == f'" contains {AUXILIARY_WORDINGS[key]} that means in one word:"'
    assert auxiliary_text(key, shared=True) == SLOT + shared.after


@pytest.mark.parametrize("own", ["On {}", "<PST>{}.", '"{} is'])
def test_a_shared_auxiliary_begins_with_the_text(own: str) -> None:
    """Before the text stand the normal prompt's words, not its own."""
    with pytest.raises(InvalidConfig, match=r"words before \{\}; .*begin it with \{\}"):
        find_shared_auxiliary(own, find_template("eol"))


def test_a_shared_auxiliary_needs_the_placeholder_before_the_text() -> None:
    """A placeholder after the text stands where the two prompts part."""
    with pytest.raises(InvalidConfig, match="needs the placeholder before the text; set position"):
        find_shared_auxiliary("irrelevant", find_template("eol", "after_text"))


def test_an_auxiliary_prompt_is_known_by_its_text() -> None:
    """A wording's key and the template written out are the same prompt."""
    text = auxiliary_text("redundant", shared=False)
    assert find_auxiliary(text) == find_auxiliary("redundant")
    assert auxiliary_text(text, shared=False) == text


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
        ("{} <PST>", "has <PST> at its end; put words after it"),
        ("{}<PST>  ", "has <PST> at its end; put words after it"),
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
