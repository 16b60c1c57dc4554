"""Every template there is, each written once.

A template holds one slot `{}` for the text and, where Token Prepending may act, one `<PST>` for the
placeholder tokens. Multi-prompts are several templates whose embeddings are averaged. Sources:
PromptEOL (arXiv 2307.16645), pretended chain of thought and knowledge enhancement
(arXiv 2404.03921), Token Prepending (arXiv 2412.11556), Contrastive Prompting (arXiv 2505.12831).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from embedder.errors import InvalidConfig

SLOT: Final = "{}"
PLACEHOLDER: Final = "<PST>"

TEMPLATES: Final[dict[str, str]] = {
    "eol": 'This sentence : <PST> "{}" means in one word:"',
    "cot": 'After thinking step by step , this sentence : <PST> "{}" means in one word:"',
    "ke": (
        "The essence of a sentence is often captured by its main subjects and actions, while "
        "descriptive terms provide additional but less central details. With this in mind , "
        'this sentence : <PST> "{}" means in one word:"'
    ),
    "cluster": 'This sentence: <PST> "{}" belongs to the following cluster:',
    "classify": 'This sentence : <PST> "{}" can be classified as:',
    "summarise": 'This sentence: <PST> "{}" can be summarized as',
    "question": 'Which cluster would you assign the sentence: <PST> "{}" to?',
    "none": "{}",
    # MetaEOL's eight tasks (arXiv 2402.18458). The wording is ours: tables that used the authors'
    # own wording are not reproduced to the digit.
    "meta_category": (
        "The task is to sort a text into one broad field, such as politics, science, sports, "
        'business or art. For this task , this sentence : <PST> "{}" means in one word:"'
    ),
    "meta_opinion": (
        "The task is to tell whether a text states a fact or gives an opinion. "
        'For this task , this sentence : <PST> "{}" means in one word:"'
    ),
    "meta_sentiment": (
        "The task is to tell whether a text is positive, negative or neutral. "
        'For this task , this sentence : <PST> "{}" means in one word:"'
    ),
    "meta_emotion": (
        "The task is to name the feeling that a text expresses, such as joy, anger, fear, sadness "
        'or surprise. For this task , this sentence : <PST> "{}" means in one word:"'
    ),
    "meta_paraphrase": (
        "The task is to find a text that says the same in other words. "
        'For this task , this sentence : <PST> "{}" means in one word:"'
    ),
    "meta_synonym": (
        "The task is to find a word that could stand for the whole of a text. "
        'For this task , this sentence : <PST> "{}" means in one word:"'
    ),
    "meta_fact": (
        "The task is to find the one fact that matters most in a text. "
        'For this task , this sentence : <PST> "{}" means in one word:"'
    ),
    "meta_entity": (
        "The task is to find who or what a text is mainly about. "
        'For this task , this sentence : <PST> "{}" means in one word:"'
    ),
}

MULTI_PROMPTS: Final[dict[str, tuple[str, ...]]] = {
    "ck": ("cot", "ke"),
    "meta": tuple(key for key in TEMPLATES if key.startswith("meta_")),
}
"""Several templates whose embeddings are averaged: CK (arXiv 2505.12831), MetaEOL."""

AUXILIARY_TEMPLATE: Final = 'The WORDING of this sentence : <PST> "{}" means in one word:"'
SHARED_AUXILIARY_TEMPLATE: Final = '{}" contains WORDING that means in one word:"'
"""The auxiliary prompt that goes on from the normal prompt's own context (ours)."""
AUXILIARY_WORDINGS: Final[dict[str, str]] = {
    "irrelevant": "irrelevant information",
    "redundant": "redundant information",
    "background": "background information",
    "descriptive": "descriptive term",
}
"""Wordings of the auxiliary prompt (Contrastive Prompting, ablation on STS-B dev)."""

Position = Literal["template", "start", "in_quote", "after_text"]
"""Where the placeholder stands: as the template has it, at the very start of the prompt, directly
before the text, or directly after it (Token Prepending, ablation of positions)."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template cut at its placeholder and its slot.

    The prompt is `head + <PST> + before + text + after`, or `before + text + after + <PST> + tail`
    where the placeholder follows the text; without Token Prepending the placeholder and the blank
    before it are left out, so that both forms come from one string.
    """

    head: str
    before: str
    after: str
    has_placeholder: bool
    tail: str = ""
    """What follows a placeholder that stands after the text; else empty."""

    @classmethod
    def parse(cls, source: str) -> "Template":
        """Cut a template string.

        Raises:
            InvalidConfig: not exactly one slot, more than one placeholder, or a placeholder that
                nothing follows (the last token is what is copied into it).
        """
        if source.count(SLOT) != 1:
            raise InvalidConfig(
                f"template {source!r} has {source.count(SLOT)} slots; write {SLOT} exactly once"
            )
        if source.count(PLACEHOLDER) > 1:
            raise InvalidConfig(
                f"template {source!r} has several {PLACEHOLDER}; write it once, set `placeholders`"
            )
        prefix, after = source.split(SLOT)
        if PLACEHOLDER in after:
            between, _, tail = after.partition(PLACEHOLDER)
            if not tail.strip():
                raise InvalidConfig(
                    f"template {source!r} has {PLACEHOLDER} at its end; put words after it: the "
                    "last token is read, and copied into the placeholder"
                )
            return cls("", prefix, between.rstrip(" "), has_placeholder=True, tail=tail)
        head, found, before = prefix.partition(PLACEHOLDER)
        if not found:
            return cls("", head, after, has_placeholder=False)
        return cls(head.rstrip(" "), before, after, has_placeholder=True)

    def render(self, text: str) -> str:
        """The whole prompt as one string, without placeholder: what plain prompt encoding sees."""
        return f"{self.head}{self.before}{text}{self.after}{self.tail}"


def find_template(key_or_source: str, position: Position = "template") -> Template:
    """Look one template up by its key, or parse the user's own (recognised by its slot).

    Args:
        key_or_source: a key of `TEMPLATES`, or a template with one slot.
        position: where the placeholder is to stand.

    Raises:
        InvalidConfig: neither a known key nor a template with one slot.
    """
    if key_or_source in TEMPLATES:
        source = TEMPLATES[key_or_source]
    elif SLOT in key_or_source:
        source = key_or_source
    else:
        raise InvalidConfig(
            f"unknown template {key_or_source!r}; choose one of "
            f"{', '.join([*TEMPLATES, *MULTI_PROMPTS])}, or write your own with one {SLOT}"
        )
    return _with_placeholder(source, position)


def expand(template: str | Sequence[str]) -> tuple[str, ...]:
    """The sources of all templates that a setting names, in order: one, or several to average.

    Raises:
        InvalidConfig: an unknown key, a wrong template, or none at all.
    """
    names: Sequence[str] = (template,) if isinstance(template, str) else template
    if not names:
        raise InvalidConfig("the list of templates is empty; name at least one")
    keys = [key for name in names for key in MULTI_PROMPTS.get(name, (name,))]
    for key in keys:
        find_template(key)
    return tuple(TEMPLATES.get(key, key) for key in keys)


def find_auxiliary(key_or_source: str, position: Position = "template") -> Template:
    """The auxiliary prompt of Contrastive Prompting, by the key of its wording or as a template.

    Args:
        key_or_source: a key of `AUXILIARY_WORDINGS`, or a template with one slot.
        position: where the placeholder is to stand, if it is to have one.

    Raises:
        InvalidConfig: neither a known wording nor a template with one slot.
    """
    return _with_placeholder(_auxiliary_source(key_or_source, AUXILIARY_TEMPLATE), position)


def find_shared_auxiliary(key_or_source: str, template: Template) -> Template:
    """The auxiliary prompt that shares `template`'s context: the same up to the text, then its own.

    Raises:
        InvalidConfig: unknown, or a template with words before its slot: there the normal
            prompt's own words stand.
    """
    own = Template.parse(_auxiliary_source(key_or_source, SHARED_AUXILIARY_TEMPLATE))
    if own.head or own.before or own.has_placeholder:
        raise InvalidConfig(
            f"auxiliary prompt {key_or_source!r} has words before {SLOT}; with shared_context it "
            f"goes on from the normal prompt: begin it with {SLOT}"
        )
    if template.tail:
        raise InvalidConfig(
            "shared_context needs the placeholder before the text; set position to another place"
        )
    return Template(template.head, template.before, own.after, template.has_placeholder)


def auxiliary_text(key_or_source: str, *, shared: bool) -> str:
    """The auxiliary template's own text, whichever way it was named: for fingerprints."""
    return _auxiliary_source(
        key_or_source, SHARED_AUXILIARY_TEMPLATE if shared else AUXILIARY_TEMPLATE
    )


def _with_placeholder(source: str, position: Position) -> Template:
    """Cut a template whose placeholder is to stand at `position`."""
    template = Template.parse(source)
    if position == "template":
        return template
    plain = template.render(SLOT)
    match position:
        case "start":
            return Template.parse(PLACEHOLDER + plain)
        case "in_quote":
            return Template.parse(plain.replace(SLOT, PLACEHOLDER + SLOT))
        case "after_text":
            return Template.parse(plain.replace(SLOT, SLOT + PLACEHOLDER))


def _auxiliary_source(key_or_source: str, pattern: str) -> str:
    if key_or_source in AUXILIARY_WORDINGS:
        return pattern.replace("WORDING", AUXILIARY_WORDINGS[key_or_source])
    if SLOT in key_or_source:
        return key_or_source
    raise InvalidConfig(
        f"unknown auxiliary prompt {key_or_source!r}; choose one of "
        f"{', '.join(AUXILIARY_WORDINGS)}, or write your own with one {SLOT}"
    )


def normalise_as_papers(text: str) -> str:
    """What the papers' evaluation does to a sentence first; right for their tables only.

    >>> normalise_as_papers('He said "yes"')
    "He said 'yes'"
    >>> normalise_as_papers("Is it?")
    'Is it.'
    """
    text = text.strip()
    if text and text[-1] not in ".?\"'":
        text += "."
    text = text.replace('"', "'")
    return text[:-1] + "." if text.endswith("?") else text
