"""Office files: what a reader would read, in the order of reading, and headings where they are."""

from collections.abc import Callable

import pytest

from flows.documents.formats import Format
from flows.documents.parsed_document import ParsedDocument
from flows.documents.parsing import parse
from flows.errors import DocumentRejected

Make = Callable[..., bytes]


def read(data: bytes, format_: Format) -> ParsedDocument:
    parsed = parse(data, format=format_, name=f"folder/name.{format_}")
    assert "\r" not in parsed.text
    for heading in parsed.headings:
        assert parsed.text[heading.start :].startswith(heading.title)
    return parsed


def test_word(office_files: dict[str, bytes]) -> None:
    """As python-docx writes it: headings by style, a table row by row, no page headers."""
    parsed = read(office_files["docx"], "docx")
    assert parsed.text == (
        "Handbook\n\nLighthouses\n\nA keeper trims the lamp at dusk.\n\n"
        "Lens | Range\nFresnel | 20 miles\n\nLenses\n\nFirst point."
    )
    assert [(h.level, h.title) for h in parsed.headings] == [
        (1, "Handbook"),
        (1, "Lighthouses"),
        (2, "Lenses"),
    ]
    assert (parsed.title, parsed.markup) == ("The Handbook", "plain")


def test_word_reads_what_python_docx_leaves_out(make_docx: Make) -> None:
    """Content controls, insertions, text boxes once, line breaks; no deleted text."""
    box = "<w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent>"
    parsed = read(
        make_docx(
            "<w:sdt><w:sdtContent><w:p><w:r><w:t>control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
            "<w:p><w:ins><w:r><w:t>put in</w:t></w:r></w:ins>"
            "<w:del><w:r><w:delText>taken out</w:delText></w:r></w:del>"
            "<w:r><w:br/><w:t>next line</w:t></w:r></w:p>"
            "<w:p><w:r><w:t>with a box</w:t><w:AlternateContent>"
            f"<w:Choice>{box}</w:Choice><w:Fallback>{box}</w:Fallback></w:AlternateContent>"
            "</w:r></w:p>"
            '<w:p><w:pPr><w:outlineLvl w:val="1"/></w:pPr><w:r><w:t>By its level</w:t></w:r></w:p>'
        ),
        "docx",
    )
    assert parsed.text == ("control\n\nput in\nnext line\n\nwith a box\n\nboxed\n\nBy its level")
    assert [(h.level, h.title) for h in parsed.headings] == [(2, "By its level")]
    assert parsed.title == "By its level"


def test_slides(office_files: dict[str, bytes]) -> None:
    """As python-pptx writes them: title, text, table, then the notes; no slide numbers."""
    parsed = read(office_files["pptx"], "pptx")
    assert parsed.text == (
        "Rivers\n\nThey carry sand.\n\nSay Rivers slowly.\n\n"
        "Seas\n\nThey take it.\n\nleft | right\n\nSay Seas slowly."
    )
    assert [h.title for h in parsed.headings] == ["Rivers", "Seas"]
    assert parsed.title == "The Talk"


def test_sheets(office_files: dict[str, bytes]) -> None:
    """As openpyxl writes them: a line for each row; a formula without a saved value is empty."""
    parsed = read(office_files["xlsx"], "xlsx")
    assert parsed.text == ("Bread\n\nFlour | 1.5 | 2 | 2024-03-01 | True\ntwo lines\n\nSalt\n\nSea")
    assert [h.title for h in parsed.headings] == ["Bread", "Salt"]
    assert parsed.title == "The Accounts"


@pytest.mark.parametrize("format_", ["docx", "pptx", "xlsx", "epub"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"plain text", "not {}: File is not a zip file"),
        (b"", "not {}"),
        (b"PK\x03\x04" + bytes(100), "not {}"),
        (b"\xd0\xcf\x11\xe0" + bytes(1000), "encrypted, or an Office file from before 2007"),
    ],
)
def test_what_is_none(data: bytes, reason: str, format_: Format) -> None:
    """A wrong suffix, a cut file, a password: each with its reason in one line."""
    with pytest.raises(DocumentRejected, match=reason.format(format_.upper())) as raised:
        parse(data, format=format_, name="x")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("format_", ["docx", "pptx", "xlsx", "epub"])
def test_a_zip_of_something_else(format_: Format, make_zip: Make) -> None:
    """It is not taken for an empty document."""
    with pytest.raises(DocumentRejected):
        parse(make_zip({"readme.txt": "hello"}), format=format_, name="x")


def test_the_extra_is_named_where_it_is_missing(
    office_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without openpyxl a spreadsheet is quarantined, with the line that helps."""
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(DocumentRejected, match=r"XLSX needs openpyxl.*sextant-pipeline\[doc"):
        parse(office_files["xlsx"], format="xlsx", name="x")
