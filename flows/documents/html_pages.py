"""HTML pages: main content as Markdown by trafilatura, or all visible text where it finds little.

lxml stops at its depth limit without raising and drops what follows, so its error log is read: a
page that was cut short is refused, never half indexed.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flows.documents.titles import one_line
from flows.errors import DocumentRejected

if TYPE_CHECKING:
    from lxml.html import HtmlElement  # type: ignore[import-untyped]

_CHARSET: Final = re.compile(rb"(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9_:.\-]+)", re.I)
_XML_DECLARATION: Final = re.compile(r"\A\s*<\?xml[^>]*\?>")
_HEADING: Final = re.compile(r"^#{1,6} ", re.MULTILINE)
_DROPPED_LIST: Final = (
    "script style noscript template nav header footer aside form iframe svg object head "
    "select button"
)
_DROPPED: Final = frozenset(_DROPPED_LIST.split())
_NOT_TEXT: Final = _DROPPED - {"nav", "header", "footer", "aside", "form"}
"""What is dropped of a page that is wanted whole: what nobody reads."""
_BLOCKS_LIST: Final = (
    "address article blockquote body br caption center dd details div dl dt fieldset "
    "figcaption figure h1 h2 h3 h4 h5 h6 hr li main ol p pre section summary table tbody "
    "td tfoot th thead tr ul"
)
_BLOCKS: Final = frozenset(_BLOCKS_LIST.split())
_MIN_SHARE: Final = 0.25
"""Where trafilatura keeps less of the visible text than this, the page is no article: take all."""
_MAX_DEPTH: Final = 400
"""Deeper trees go to the plain extraction: trafilatura recurses."""
_MAX_TRAFILATURA_CHARACTERS: Final = 2_000_000
"""Longer pages go to the plain extraction: trafilatura's time is quadratic in links."""


@dataclass(frozen=True, kw_only=True)
class HtmlText:
    """A page's content as Markdown, and its `<title>` (or first `<h1>`), maybe empty."""

    text: str
    title: str


def declared_charset(data: bytes) -> str | None:
    """The charset that a page's first 2 KiB declare, in `<meta charset=...>` or `<?xml ...?>`."""
    match = _CHARSET.search(data[:2048])
    return match.group(1).decode("ascii") if match else None


def html_text(page: str, *, whole: bool = False) -> HtmlText:
    """The content of a page, headings as `#` lines.

    Args:
        page: The HTML.
        whole: Take all visible text, as of a book's chapter or an e-mail, which have no menus
            and advertisements around an article.

    Raises:
        DocumentRejected: No markup that a parser can follow, or nested beyond the parser's depth.
        MemoryError: The parser got no more memory.
    """
    root = _tree(page)
    plain, depth = _plain(root, dropped=_NOT_TEXT if whole else _DROPPED)
    title = _title(root)
    if whole or depth > _MAX_DEPTH or len(page) > _MAX_TRAFILATURA_CHARACTERS:
        return HtmlText(text=plain, title=title)
    article = _article(root)
    return HtmlText(text=plain if _is_poor(article, plain) else article, title=title)


def _is_poor(article: str, plain: str) -> bool:
    """Whether the article found is a fragment of the page, or most of it but without headings."""
    share = len("".join(article.split())) / max(1, len("".join(plain.split())))
    headless = _HEADING.search(article) is None and _HEADING.search(plain) is not None
    return not article or share < _MIN_SHARE or (headless and share > 2 * _MIN_SHARE)


def _tree(page: str) -> "HtmlElement":
    from lxml import etree, html  # type: ignore[import-untyped]

    parser = html.HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True)
    page = _XML_DECLARATION.sub("", page).replace("\0", "\ufffd")
    try:
        root = html.document_fromstring(page, parser=parser)
    except (etree.LxmlError, ValueError, AssertionError) as error:
        if any(entry.type_name == "ERR_NO_MEMORY" for entry in parser.error_log):
            raise MemoryError from error
        raise DocumentRejected(
            f"no HTML text: {one_line(str(error)) or 'empty'}; check that it is an HTML page"
        ) from error
    for entry in parser.error_log:
        if entry.type_name == "ERR_NO_MEMORY":
            raise MemoryError
        if entry.type_name == "ERR_RESOURCE_LIMIT" or entry.level_name == "FATAL":
            raise DocumentRejected(
                f"HTML cut short at line {entry.line}: {one_line(entry.message)}; "
                "simplify the page or save it as text"
            )
    return root


def _article(root: "HtmlElement") -> str:
    """The main content as Markdown, by trafilatura; empty where it finds none or fails."""
    from copy import deepcopy

    from trafilatura import extract

    try:
        found = extract(
            deepcopy(root),
            output_format="markdown",
            include_comments=False,
            include_formatting=True,  # without it, headings are lost
            favor_recall=True,  # without it, headings and lists outside <article> are lost
        )
    except (RecursionError, ValueError, TypeError, AttributeError, LookupError, AssertionError):
        # A page that trips the extractor still has its plain text.
        return ""
    return found or ""


def _title(root: "HtmlElement") -> str:
    for tag in ("title", "h1"):
        element = next(root.iter(tag), None)
        if element is not None and (words := one_line(" ".join(element.itertext()))):
            return words
    return ""


def _plain(root: "HtmlElement", *, dropped: frozenset[str]) -> tuple[str, int]:
    """All visible text, block by block, and the depth of the tree. No recursion: trees are deep."""
    from lxml import etree

    parts: list[str] = []
    depth = deepest = preformatted = 0
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            depth += 1
            deepest = max(deepest, depth)
            if tag in dropped:
                walk.skip_subtree()
                continue
            preformatted += tag == "pre"
            if tag in _BLOCKS:
                parts.append("\n" if tag in ("br", "tr", "li", "dt", "dd") else "\n\n")
            if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
                parts.append("#" * int(tag[1]) + " ")
            parts.append(_words(element.text, preformatted > 0))
        else:
            depth -= 1
            if tag not in dropped:
                preformatted -= tag == "pre"
                if tag in _BLOCKS:
                    parts.append(" " if tag in ("td", "th") else "\n")
            parts.append(_words(element.tail, preformatted > 0))
    return _without_blank_runs("".join(parts)), deepest


def _without_blank_runs(text: str) -> str:
    kept: list[str] = []
    for line in text.split("\n"):
        if line.strip() or (kept and kept[-1]):
            kept.append(line.rstrip())
    return "\n".join(kept).strip()


def _words(text: str | None, preformatted: bool) -> str:
    if not text:
        return ""
    return text if preformatted else re.sub(r"\s+", " ", text)
