"""PDF, e-books, e-mail and source code."""

from collections.abc import Callable
from email.message import EmailMessage

import pytest

from flows.documents.formats import Format
from flows.documents.parsed_document import ParsedDocument
from flows.documents.parsing import parse
from flows.errors import DocumentRejected

Make = Callable[..., bytes]


def read(data: bytes, format_: Format, name: str = "folder/name.x") -> ParsedDocument:
    return parse(data, format=format_, name=name)


def test_pdf(make_pdf: Make) -> None:
    """Page after page, with line breaks as newlines, and the title of its metadata."""
    parsed = read(make_pdf("First line\nsecond line", "Next page", title="The Report"), "pdf")
    assert parsed.text == "First line\nsecond line\n\nNext page"
    assert (parsed.title, parsed.headings, parsed.markup) == ("The Report", (), "plain")
    assert read(make_pdf("x"), "pdf").title == "name"


def test_an_encrypted_pdf(make_pdf: Make) -> None:
    """Its user password is not the empty one."""
    trailer = (
        "/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 "
        f"/O <{'11' * 32}> /U <{'22' * 32}> >> /ID [<{'33' * 16}> <{'33' * 16}>]"
    )
    with pytest.raises(DocumentRejected, match="encrypted PDF; save it without a password"):
        read(make_pdf("secret", trailer=trailer), "pdf")


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4\n", b"no PDF at all" * 100])
def test_no_pdf(data: bytes) -> None:
    """Whatever PDFium says, in one line."""
    with pytest.raises(DocumentRejected, match="not a PDF that can be read") as raised:
        read(data, "pdf")
    assert "\n" not in str(raised.value)


def test_a_pdf_without_text(make_pdf: Make) -> None:
    """Scanned pages want OCR, and the reason says so."""
    with pytest.raises(DocumentRejected, match="no text on its 2 pages; if they are scanned"):
        read(make_pdf("", ""), "pdf")


def test_epub(make_epub: Make) -> None:
    """Chapters in the order of the spine, headings as `#` lines, no table of contents."""
    parsed = read(
        make_epub(
            '<?xml version="1.0" encoding="utf-8"?><html><head><title/></head>'
            "<body><header><h1>One</h1></header><p>First caf\u00e9.</p></body></html>",
            "<html><body><h1>Two</h1><p>Second.</p><h2>Part</h2><p>Third.</p></body></html>",
        ),
        "epub",
    )
    assert parsed.text == "# One\n\nFirst caf\u00e9.\n\n# Two\n\nSecond.\n\n## Part\n\nThird."
    assert [(h.level, h.title, parsed.text[h.start]) for h in parsed.headings] == [
        (1, "One", "#"),
        (1, "Two", "#"),
        (2, "Part", "#"),
    ]
    assert (parsed.title, parsed.markup) == ("A Book", "markdown")


def test_an_encrypted_epub(make_epub: Make) -> None:
    """Encrypted fonts are no obstacle, an encrypted chapter is."""
    reference = '<encryption><CipherReference URI="{}"/></encryption>'
    chapter = "<html><body><p>Readable.</p></body></html>"
    fonts = {"META-INF/encryption.xml": reference.format("OEBPS/font.otf")}
    assert read(make_epub(chapter, **fonts), "epub").text == "Readable."
    locked = {"META-INF/encryption.xml": reference.format("OEBPS/text/ch%200.xhtml")}
    with pytest.raises(DocumentRejected, match=r"encrypted EPUB \(DRM\)"):
        read(make_epub(chapter, **locked), "epub")


def message(**headers: str) -> EmailMessage:
    made = EmailMessage()
    for name, value in headers.items():
        made[name] = value
    return made


def test_email() -> None:
    """Headers that people read, the plain body, attachments by their names."""
    made = message(
        From="Ann <ann@example.org>", To="bob@example.org", Subject="R\u00e9sum\u00e9 of the trip"
    )
    made.set_content("Hello Bob,\n\nthe river was high.\n")
    made.add_alternative("<p>the HTML version</p>", subtype="html")
    made.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="map.pdf")
    parsed = read(made.as_bytes().replace(b"\n", b"\r\n"), "email")
    assert parsed.text == (
        "From: Ann <ann@example.org>\nTo: bob@example.org\nSubject: R\u00e9sum\u00e9 of the trip"
        "\n\nHello Bob,\n\nthe river was high.\n\nAttachments: map.pdf"
    )
    assert (parsed.title, parsed.markup) == ("R\u00e9sum\u00e9 of the trip", "plain")


def test_an_html_email_in_an_old_charset() -> None:
    """The charset that the part declares is used; the text is Markdown."""
    made = message(Subject="News")
    made.set_content(
        "<h1>Gr\u00fc\u00dfe</h1><p>Der Fluss f\u00fchrt Hochwasser.</p>",
        subtype="html",
        charset="iso-8859-1",
    )
    parsed = read(made.as_bytes(), "email")
    assert parsed.text == "Subject: News\n\n# Gr\u00fc\u00dfe\n\nDer Fluss f\u00fchrt Hochwasser."
    assert [parsed.text[h.start] for h in parsed.headings] == ["#"]
    assert (parsed.title, parsed.markup) == ("News", "markdown")


def test_no_email() -> None:
    """A text without headers is not half an e-mail."""
    with pytest.raises(DocumentRejected, match="not an e-mail"):
        read(b"just some text\n", "email")


def test_code() -> None:
    """The file itself, under its name; nothing of it is run."""
    source = "import sys\r\nsys.exit(7)  # caf\u00e9\r\n"
    parsed = read(source.encode(), "code", "docs/sub/list.py")
    assert (parsed.text, parsed.title, parsed.encoding) == (source, "list.py", "utf-8")
