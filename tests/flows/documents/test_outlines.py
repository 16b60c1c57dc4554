"""Headings and titles of Markdown and reStructuredText, with offsets into the file itself."""

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.documents.markdown_outline import inline_text, markdown_outline
from flows.documents.parsed_document import ParsedDocument
from flows.documents.parsing import parse
from flows.documents.rst_outline import rst_outline


def markdown(text: str) -> list[tuple[int, str, int]]:
    return [(h.level, h.title, h.start) for h in markdown_outline(text).headings]


def rst(text: str) -> list[tuple[int, str]]:
    outline = rst_outline(text)
    return [(h.level, h.title) for h in outline.headings]


def parsed(text: str, format_: str, name: str = "folder/some file.md") -> ParsedDocument:
    return parse(text.encode(), format=format_, name=name)  # type: ignore[arg-type]


def test_markdown_headings() -> None:
    """ATX and setext, with the offset of the line that begins them."""
    text = "# A\n\ntext\n\nB\n-\n\n### C ###\r\n\r\nD\r\n===\r\n"
    assert markdown(text) == [(1, "A", 0), (2, "B", 11), (3, "C", 16), (1, "D", 29)]
    assert [text[start] for _, _, start in markdown(text)] == ["#", "B", "#", "D"]


@pytest.mark.parametrize(
    "text",
    [
        "```\n# code\n```\n",
        "~~~ python\n# code\n```\n# still\n~~~\n",
        "```\n# never closed\n",
        "    # indented code\n",
        "<!--\n# comment\n-->\n",
        "<pre>\n# pre\n</pre>\n",
        "> # quoted\n",
        "- item\n---\n",
        "para\n\n---\n",
        "***\n---\n",
        "#hashtag\n",
        "####### seven\n",
        "#\n",
    ],
)
def test_markdown_that_is_no_heading(text: str) -> None:
    """Code, comments, quotes, rules and hashtags."""
    assert markdown(text) == []


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        ("`code` and **bold** _it_", "code and bold it"),
        ("[link](http://x/y) ![img](z.png)", "link img"),
        ("snake_case_name and 2*3*4", "snake_case_name and 2*3*4"),
        ("Title {#anchor}", "Title"),
        (r"escaped \*star\*", "escaped *star*"),
        ('<a id="x"></a>Text', "Text"),
        ("[`Vec<T>`](x.md) and `*args`", "Vec<T> and *args"),
    ],
)
def test_inline_markup_leaves_headings(markup: str, words: str) -> None:
    """What a reader sees, not what a writer types."""
    assert inline_text(markup) == words


def test_headings_agree_with_a_full_parser() -> None:
    """Top-level headings are those of markdown-it, where it is installed."""
    markdown_it = pytest.importorskip("markdown_it")
    text = dedent("""\
        Intro
        two lines
        ===

        # One `x`
        text
        ## Two ##
            code?
        ```rust
        # not
        ```
        *  *  *
        1. item
           ---
        para
        -----
        | a |
        |---|
        # Three
        """)
    tokens = markdown_it.MarkdownIt("commonmark").parse(text)
    starts = [
        (int(token.tag[1]), token.map[0])
        for token in tokens
        if token.type == "heading_open" and token.level == 0
    ]
    found = [(level, text.count("\n", 0, start)) for level, _, start in markdown(text)]
    assert found == starts


@given(st.text(alphabet="#=-`~> \t\r\nab<!*"))
def test_offsets_point_at_the_line_of_the_heading(text: str) -> None:
    """Whatever the text, a heading starts a line, and its offsets ascend."""
    for outline in (markdown_outline(text), rst_outline(text)):
        starts = [heading.start for heading in outline.headings]
        assert starts == sorted(set(starts))
        assert all(start == 0 or text[start - 1] in "\r\n" for start in starts)
        assert all(heading.title for heading in outline.headings)


def test_front_matter() -> None:
    """Its title is the document's, and its lines are no headings."""
    outline = markdown_outline("---\ntitle: 'The Guide'\ntags: x\n---\n\n# One\n")
    assert outline.front_title == "The Guide"
    assert [h.title for h in outline.headings] == ["One"]
    assert markdown("---\nnever closed\n") == []


def test_rst_headings() -> None:
    """Levels follow the order in which the adornments appear."""
    text = dedent("""\
        =====
        Title
        =====

        First
        =====

        text
        more text

        Sub with ``code`` and :class:`Name`
        -----------------------------------

        Second
        ======

        .. code::

            Not
            ===

        Too long for it
        ==

        A transition:

        ----------

        ===  ===
        a    b
        ===  ===
        """)
    assert rst(text) == [(1, "Title"), (2, "First"), (3, "Sub with code and Name"), (2, "Second")]
    starts = [h.start for h in rst_outline(text).headings]
    assert [text[s : s + 3] for s in starts] == ["===", "Fir", "Sub", "Sec"]


def test_a_pep_is_titled_by_its_header() -> None:
    """Continuation lines belong to the title."""
    text = (
        "PEP: 8\nTitle: Style Guide for\n  Python Code\nAuthor: X\n\nIntroduction\n============\n"
    )
    assert parsed(text, "restructuredtext").title == "PEP 8: Style Guide for Python Code"
    assert rst(text) == [(1, "Introduction")]


@pytest.mark.parametrize(
    ("text", "format_", "title"),
    [
        ("## Two\n\n# One\n", "markdown", "One"),
        ("## Two\n", "markdown", "Two"),
        ("plain text\n", "markdown", "some file"),
        ("# Not a heading here\n", "text", "some file"),
        ("Head\n====\n", "restructuredtext", "Head"),
    ],
)
def test_titles(text: str, format_: str, title: str) -> None:
    """The first heading of the highest rank, else the file's stem."""
    assert parsed(text, format_).title == title


def test_a_long_title_is_clipped_to_one_line() -> None:
    """200 characters, no control characters."""
    title = parsed("# " + "word\t" * 200 + "\n", "markdown").title
    assert len(title) <= 200
    assert title.endswith("…")
    assert "\t" not in title


def test_text_is_the_file_itself() -> None:
    """Line ends are kept, so that a span points into the file; only the mark is gone."""
    for format_ in ("text", "markdown", "restructuredtext"):
        assert parsed("\ufeff# A\r\n\r\n  b\rc\n", format_).text == "# A\r\n\r\n  b\rc\n"
