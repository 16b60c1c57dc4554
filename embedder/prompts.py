"""Every template there is, each written once.

A template holds one slot `{}` for the text and, where Token Prepending may act, one `<PST>` for the
placeholder tokens. Sources: PromptEOL (arXiv 2307.16645), pretended chain of thought and knowledge
enhancement (arXiv 2404.03921), Token Prepending (arXiv 2412.11556), Contrastive Prompting
(arXiv 2505.12831).
"""

from dataclasses import dataclass
from typing import Final

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
}

AUXILIARY_TEMPLATE: Final = 'The WORDING of this sentence : <PST> "{}" means in one word:"'
AUXILIARY_WORDINGS: Final[dict[str, str]] = {
    "irrelevant": "irrelevant information",
    "redundant": "redundant information",
    "background": "background information",
    "descriptive": "descriptive term",
}
"""Wordings of the auxiliary prompt (Contrastive Prompting, ablation on STS-B dev)."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template cut at its placeholder and its slot.

    The prompt is `head + <PST> + before + text + after`; without Token Prepending the placeholder
    and the blank before it are left out, so that both forms come from one string.
    """

    head: str
    before: str
    after: str
    has_placeholder: bool

    @classmethod
    def parse(cls, source: str) -> "Template":
        """Cut a template string.

        Raises:
            InvalidConfig: not exactly one slot, more than one placeholder, or a placeholder after
                the text (a decoder could not see it there: TP needs it in front).
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
            raise InvalidConfig(
                f"template {source!r} has {PLACEHOLDER} after the text; put it before {SLOT}"
            )
        head, found, before = prefix.partition(PLACEHOLDER)
        if not found:
            return cls("", head, after, has_placeholder=False)
        return cls(head.rstrip(" "), before, after, has_placeholder=True)

    def render(self, text: str) -> str:
        """The whole prompt as one string, without placeholder: what plain prompt encoding sees."""
        return f"{self.head}{self.before}{text}{self.after}"


def find_template(key_or_source: str) -> Template:
    """Look a template up by its key, or parse the user's own (recognised by its slot).

    Raises:
        InvalidConfig: neither a known key nor a template with one slot.
    """
    if key_or_source in TEMPLATES:
        return Template.parse(TEMPLATES[key_or_source])
    if SLOT in key_or_source:
        return Template.parse(key_or_source)
    raise InvalidConfig(
        f"unknown template {key_or_source!r}; choose one of {', '.join(TEMPLATES)}, "
        f"or write your own with one {SLOT}"
    )


def find_auxiliary(key_or_source: str) -> Template:
    """The auxiliary prompt of Contrastive Prompting, by the key of its wording or as a template.

    Raises:
        InvalidConfig: neither a known wording nor a template with one slot.
    """
    if key_or_source in AUXILIARY_WORDINGS:
        wording = AUXILIARY_WORDINGS[key_or_source]
        return Template.parse(AUXILIARY_TEMPLATE.replace("WORDING", wording))
    if SLOT in key_or_source:
        return Template.parse(key_or_source)
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
