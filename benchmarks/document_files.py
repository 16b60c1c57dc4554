"""Small files of the formats that no text editor writes: PDF, Office, EPUB."""

import io
import zipfile
from collections.abc import Mapping
from datetime import datetime
from typing import Any


def pdf_bytes(*pages: str, title: str = "", extra: str = "", trailer: str = "") -> bytes:
    """A PDF written by hand: one line of Helvetica a page, more where a page holds line breaks.

    `extra` is one more object, and `trailer` goes into the trailer's dictionary.
    """
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        f"<< /Title ({title}) >>",
    ]
    for number, page in enumerate(pages):
        shown = " T* ".join(f"({line}) Tj" for line in page.split("\n"))
        content = f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET"
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {6 + 2 * number} 0 R >>",
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ]
    if extra:
        objects.append(extra)
    data = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    return data + (
        f"xref\n0 {size}\n0000000000 65535 f \n{table}"
        f"trailer\n<< /Size {size} /Root 1 0 R /Info 4 0 R {trailer} >>\n"
        f"startxref\n{len(data)}\n%%EOF\n"
    ).encode("latin-1")


def zip_bytes(members: Mapping[str, str | bytes], *, level: int = 9) -> bytes:
    """A zip file with these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
)


def epub_bytes(*chapters: str, title: str = "A Book", **more: str | bytes) -> bytes:
    """An EPUB whose files stand in the reverse of the order of its spine."""
    items = "".join(
        f'<item id="c{n}" href="text/ch%20{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in reversed(range(len(chapters)))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<metadata><dc:title>{title}</dc:title></metadata><manifest>{items}"
        '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
        f'</manifest><spine><itemref idref="nav"/>{spine}</spine></package>'
    )
    texts = {f"OEBPS/text/ch {n}.xhtml": chapter for n, chapter in enumerate(chapters)}
    members: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": package,
        "OEBPS/nav.xhtml": "<html><body><p>Table of contents</p></body></html>",
        **texts,
        **more,
    }
    return zip_bytes(members)


def docx_bytes(body: str = "", *, document: str = "", **parts: str | bytes) -> bytes:
    """A DOCX of one part, whose body is given as XML."""
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    whole = document or f'<w:document xmlns:w="{namespace}"><w:body>{body}</w:body></w:document>'
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{kind}" Target="word/document.xml"/></Relationships>'
    )
    return zip_bytes({"_rels/.rels": relations, "word/document.xml": whole, **parts})


def office_files() -> dict[str, bytes]:
    """A small DOCX, PPTX and XLSX by suffix, as the libraries of others write them."""
    import docx
    import openpyxl
    import pptx

    files = {}
    word = docx.Document()
    word.core_properties.title = "The Handbook"
    word.add_heading("Handbook", level=0)
    word.add_heading("Lighthouses", level=1)
    word.add_paragraph("A keeper trims the lamp at dusk.")
    table = word.add_table(rows=2, cols=2)
    for number, words in enumerate(("Lens", "Range", "Fresnel", "20 miles")):
        table.cell(number // 2, number % 2).text = words
    word.add_heading("Lenses", level=2)
    word.add_paragraph("First point.", style="List Bullet")
    word.sections[0].header.paragraphs[0].text = "On every page"
    files["docx"] = _saved(word)

    deck = pptx.Presentation()
    deck.core_properties.title = "The Talk"
    for title, text in (("Rivers", "They carry sand."), ("Seas", "They take it.")):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
        slide.notes_slide.notes_text_frame.text = f"Say {title} slowly."
    grid = slide.shapes.add_table(1, 2, 0, 0, 914400, 914400).table
    grid.cell(0, 0).text, grid.cell(0, 1).text = "left", "right"
    files["pptx"] = _saved(deck)

    book = openpyxl.Workbook()
    book.properties.title = "The Accounts"
    sheet = book.active
    sheet.title = "Bread"
    sheet.append(["Flour", 1.5, 2.0, None, datetime(2024, 3, 1), True])
    sheet.append([None, "two\nlines", "=1+1"])
    book.create_sheet("Empty")
    book.create_sheet("Salt").append(["Sea"])
    files["xlsx"] = _saved(book)
    return files


def _saved(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()
