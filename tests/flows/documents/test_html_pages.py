"""HTML becomes Markdown-like text; hostile pages end in text or in a clear refusal, soon."""

import time

import pytest

from flows.documents.html_pages import declared_charset
from flows.documents.parsed_document import ParsedDocument
from flows.documents.parsing import parse
from flows.errors import DocumentRejected

PARAGRAPH = (
    "<p>{} is a paragraph, long enough and with commas, so that an extractor takes it for "
    "content and not for a menu. It goes on with a second sentence.</p>"
)


def page(html: str | bytes) -> ParsedDocument:
    data = html if isinstance(html, bytes) else html.encode()
    return parse(data, format="html", name="folder/page.html")


def test_an_article_keeps_its_headings_and_loses_its_menu() -> None:
    """Title from `<title>`, headings as `#` lines with offsets."""
    body = "".join(f"<h2>{n}</h2>" + PARAGRAPH.format(n) * 2 for n in ("Install", "Usage"))
    parsed = page(
        "<html><head><title>The  Guide &amp; more</title></head><body>"
        "<nav><a href='/'>Home</a> <a href='/x'>Elsewhere</a></nav>"
        f"<article><h1>Top</h1>{body}</article><footer>Copyright</footer></body></html>"
    )
    assert parsed.title == "The Guide & more"
    assert [(h.level, h.title) for h in parsed.headings] == [
        (1, "Top"),
        (2, "Install"),
        (2, "Usage"),
    ]
    assert all(parsed.text[h.start] == "#" for h in parsed.headings)
    assert "Elsewhere" not in parsed.text
    assert "Copyright" not in parsed.text
    assert parsed.markup == "markdown"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>hello world</p>", "hello world"),
        ("just text", "just text"),
        ("<h1>T</h1><ul><li>one</li><li>two</li></ul>", "# T\n\none\n\ntwo"),
        ("<p>a<script>alert(1)</script>b<style>p{}</style></p>", "ab"),
        ("<p>unclosed <b>bold <i>both</p> tail", "unclosed"),
    ],
)
def test_small_and_malformed_pages_fall_back_to_all_text(html: str, text: str) -> None:
    """The extractor finds no article in them; their text is there all the same."""
    assert page(html).text.startswith(text)


def test_an_xml_declaration_and_a_charset() -> None:
    """XHTML says its encoding in the declaration, HTML in a meta element."""
    html = '<?xml version="1.0" encoding="iso-8859-1"?><html><body><p>déjà vu</p></body></html>'
    assert page(html.encode("latin-1")).text == "déjà vu"
    assert (
        declared_charset(b'<meta http-equiv="x" content="text/html; charset=koi8-r">') == "koi8-r"
    )
    assert declared_charset(b"<p>none</p>") is None


def test_characters_that_cannot_be_stored_do_not_leave() -> None:
    """Lone surrogates and NULs, written as references or raw."""
    text = page("<p>a&#xD800;b &#0; and \0 more</p>").text
    text.encode("utf-8")
    assert "\0" not in text


@pytest.mark.parametrize("html", ["", "<html></html>", "<script>x</script>", "<!-- c -->"])
def test_a_page_without_text_is_rejected(html: str) -> None:
    """Nothing to index, and said so."""
    with pytest.raises(DocumentRejected, match=r"no text|no HTML text"):
        page(html)


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000 + "deep" + "</div>" * 100_000,
        "<ul><li>" * 5_000 + "x",
        "<table><tr><td>" * 3_000 + "x",
    ],
)
def test_nesting_beyond_the_parser_is_rejected(html: str) -> None:
    """The parser would silently drop what lies deeper."""
    with pytest.raises(DocumentRejected, match="HTML cut short at line 1"):
        page(html)


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 1_500 + "needle" + "</div>" * 1_500,
        "<p>needle " + "a=b " * 50_000,
        "<p " + "a=b " * 50_000 + ">needle</p>",
        "needle " + "<" * 100_000,
        "needle " + "&" * 100_000,
        "<p>needle" + "<span>a</span>" * 20_000,
        "<p>needle " + "<a href=x>link</a> " * 10_000,
    ],
)
def test_hostile_pages_give_their_text_soon(html: str) -> None:
    """Seconds at most, and no crash."""
    begun = time.process_time()
    assert "needle" in page(html).text
    assert time.process_time() - begun < 20
