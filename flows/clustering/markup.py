"""HTML built of elements, so that text cannot become markup: what is not `Markup` is escaped."""

from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias

_VOID: Final = frozenset({"meta", "input", "br", "hr", "link"})


class Markup(str):
    """Text that is HTML already; made by `element` alone, and of files of our own."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"


def element(tag: str, /, *children: Child, **attributes: str | int | bool | None) -> Markup:
    r"""An element with its children, texts among them escaped.

    Args:
        tag: its name; in our own words, never from a document.
        *children: elements, texts, and lists of them; None is left out.
        **attributes: their values are escaped; True stands alone, False and None are left out. A
            name's `_` is written `-`, a last one is dropped: `class_`, `aria_label`.

    >>> element("a", "1 < 2", href="x\"y", class_="k")
    '<a href="x&quot;y" class="k">1 &lt; 2</a>'
    """
    words = [tag]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.rstrip("_").replace("_", "-")
        words.append(label if value is True else f'{label}="{escape(str(value), quote=True)}"')
    opening = f"<{' '.join(words)}>"
    if tag in _VOID:
        return Markup(opening)
    return Markup(f"{opening}{together(*children)}</{tag}>")


def together(*children: Child) -> Markup:
    """Children one after the other."""
    return Markup("".join(_text(child) for child in children))


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int):
        return escape(str(child), quote=True)
    return "".join(_text(one) for one in child)
