"""Documents made to harm: each ends in text or in quarantine, soon, and the next one is parsed."""

import io
import random
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from flows.documents.formats import Format
from flows.documents.parsing_process import ParseLimits, Parsers
from flows.errors import DocumentRejected

Make = Callable[..., bytes]
SECONDS = 10.0
LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise("abcdefghij"))
    + "]>"
)
"""A billion laughs: ten entities, each ten of the one before."""


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    pool = Parsers(ParseLimits(seconds=SECONDS, memory_mb=512), processes=1)
    yield pool
    pool.close()


def reason(parsers: Parsers, data: bytes, format_: Format) -> str:
    """Why a document is rejected, in one line and in time; the parser goes on."""
    begun = time.monotonic()
    with pytest.raises(DocumentRejected) as raised:
        parsers.parse(data, format=format_, name="folder/name.x")
    assert time.monotonic() - begun < 3 * SECONDS
    assert "\n" not in str(raised.value)
    assert parsers.parse(b"next", format="text", name="x").text == "next"
    return str(raised.value)


def replaced(data: bytes, name: str, content: str | bytes) -> bytes:
    """A zip file with one member replaced."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        assert name in old.namelist()
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return buffer.getvalue()


def test_a_zip_bomb(parsers: Parsers, make_docx: Make, make_epub: Make) -> None:
    """Refused by its table of contents; nothing is unpacked."""
    zeros = bytes(20 * 1024 * 1024)
    for data, format_ in (
        (make_docx("<w:p/>", **{"word/media/a.png": zeros}), "docx"),
        (make_epub("<p>text</p>", **{"a.png": zeros}), "epub"),
    ):
        assert "times its size; the limit is 200 times" in reason(parsers, data, format_)  # type: ignore[arg-type]
    many = {f"m{number}": b"" for number in range(10_001)}
    assert "the limit is 10000; split it" in reason(parsers, make_docx("<w:p/>", **many), "docx")


def test_a_zip_that_lies_about_its_sizes(parsers: Parsers, make_docx: Make) -> None:
    """A member is read no further than the table of contents says."""
    data = make_docx("<w:p><w:r><w:t>" + "a" * 1_000_000 + "</w:t></w:r></w:p>")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = archive.getinfo("word/document.xml").file_size
    lying = data.replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lying != data
    assert "damaged DOCX: 'word/document.xml'" in reason(parsers, lying, "docx")


def test_a_billion_laughs(parsers: Parsers, make_docx: Make, make_epub: Make) -> None:
    """Entities are not expanded, but refused: by the parser, or by us."""
    document = f"{LAUGHS}<document><body><p><r><t>&j;</t></r></p></body></document>"
    properties = {"docProps/core.xml": f"{LAUGHS}<x><title>&j;</title></x>"}
    opf = replaced(make_epub("<p>text</p>"), "OEBPS/book.opf", f"{LAUGHS}<package>&j;</package>")
    files: list[tuple[bytes, Format]] = [
        (make_docx(document=document), "docx"),
        (make_docx("<w:p/>", **properties), "docx"),
        (opf, "epub"),
    ]
    for data, format_ in files:
        why = reason(parsers, data, format_)
        assert "declares XML entities" in why or "Maximum entity amplification" in why


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/styles.xml"])
def test_a_billion_laughs_in_a_spreadsheet(
    part: str, parsers: Parsers, office_files: dict[str, bytes]
) -> None:
    """The same, by the parser that openpyxl uses."""
    namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    bomb = f'{LAUGHS}<worksheet xmlns="{namespace}"><sheetData><row><c t="str"><v>&j;</v></c></row>'
    bomb += "</sheetData></worksheet>"
    assert reason(parsers, replaced(office_files["xlsx"], part, bomb), "xlsx")


def test_external_entities_read_no_files(parsers: Parsers, make_docx: Make) -> None:
    """A password file does not become searchable."""
    document = (
        '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
        "<document><body><p><r><t>&f;</t></r></p></body></document>"
    )
    assert "declares XML entities" in reason(parsers, make_docx(document=document), "docx")


def test_deep_nesting(parsers: Parsers, make_docx: Make, make_epub: Make) -> None:
    """A hundred thousand elements within each other."""
    deep = "<w:sdt>" * 100_000 + "</w:sdt>" * 100_000
    assert "is not XML that may be read" in reason(parsers, make_docx(deep), "docx")
    page = "<div>" * 100_000 + "deep" + "</div>" * 100_000
    assert "HTML cut short" in reason(parsers, make_epub(page), "epub")
    parts = "".join(
        f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(5_000)
    )
    assert "nested too deeply" in reason(parsers, f"Subject: x\n{parts}".encode(), "email")


def test_a_spreadsheet_that_claims_a_million_rows(
    parsers: Parsers, office_files: dict[str, bytes]
) -> None:
    """Sixteen billion empty cells are not walked through."""
    namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = (
        f'<worksheet xmlns="{namespace}"><dimension ref="A1:XFD1048576"/><sheetData>'
        '<row r="1048576"><c r="XFD1048576" t="str"><v>last</v></c></row></sheetData></worksheet>'
    )
    data = replaced(office_files["xlsx"], "xl/worksheets/sheet1.xml", sheet)
    assert parsers.parse(data, format="xlsx", name="x").text.startswith("Bread\n\nlast")


def test_a_pdf_with_a_huge_picture(parsers: Parsers, make_pdf: Make) -> None:
    """Pictures are not decoded."""
    pixels = zlib.compress(bytes(1_000_000)).decode("latin-1")
    picture = (
        "<< /Type /XObject /Subtype /Image /Width 100000 /Height 100000 /ColorSpace /DeviceRGB "
        f"/BitsPerComponent 8 /Filter /FlateDecode /Length {len(pixels)} >>\nstream\n{pixels}\n"
        "endstream"
    )
    data = make_pdf("Beside a picture", extra=picture)
    data = data.replace(b"/Font << /F1 3 0 R >>", b"/Font << /F1 3 0 R >> /XObject << /I 7 0 R >>")
    data = data.replace(b" ET", b" ET /I Do")
    assert parsers.parse(data, format="pdf", name="x").text == "Beside a picture"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"/Count 2", b"/Count 999999999"),
        (b"/Kids [5 0 R 7 0 R]", b"/Kids [2 0 R 2 0 R]"),
        (b"/Contents 6 0 R", b"/Contents 5 0 R"),
        (b"/Length", b"/Lxngth"),
    ],
)
def test_pdfs_that_go_in_circles(old: bytes, new: bytes, parsers: Parsers, make_pdf: Make) -> None:
    """Text or a reason, in time."""
    data = make_pdf("one", "two")
    assert old in data
    begun = time.monotonic()
    try:
        assert parsers.parse(data.replace(old, new), format="pdf", name="x").text
    except DocumentRejected as rejected:
        assert "\n" not in str(rejected)
        assert "more than" not in str(rejected)
    assert time.monotonic() - begun < SECONDS


@pytest.mark.parametrize("format_", ["text", "markdown", "restructuredtext", "code", "html"])
def test_an_endless_line(format_: Format, parsers: Parsers) -> None:
    """Ten million characters without a space are text like any other."""
    data = b"<p>needle" + b"abcdefghij" * 1_000_000
    assert "needle" in parsers.parse(data, format=format_, name="x").text


@pytest.mark.parametrize(
    "header",
    [
        "(" * 100_000,
        "=?utf-8?q?a?= " * 20_000,
        "<" * 50_000,
        "a@" * 50_000,
        '"' * 10_001,
        "," * 10_000,
    ],
)
def test_endless_headers(header: str, parsers: Parsers) -> None:
    """An address that nests, an encoding that repeats: in time, whatever comes out."""
    begun = time.monotonic()
    try:
        parsers.parse(f"From: {header}\nSubject: x\n\nneedle\n".encode(), format="email", name="x")
    except DocumentRejected as rejected:
        assert "\n" not in str(rejected)
    assert time.monotonic() - begun < 3 * SECONDS


def mutated(data: bytes, random_: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled or swapped for others that matter."""
    damaged = bytearray(data)
    for _ in range(random_.randint(1, 8)):
        start = random_.randrange(len(damaged) + 1)
        end = min(len(damaged), start + random_.choice([1, 1, 1, 4, 50, 2000]))
        piece = random_.choice(
            [
                b"",
                damaged[start:end] * 3,
                random_.randbytes(end - start),
                b"<",
                b"&#0;",
                b"\xff\xff\xff\xff",
                b"\0",
                b"obj",
                b"99999999999",
            ]
        )
        damaged[start:end] = piece
    return bytes(damaged)


@pytest.mark.parametrize("seed", range(17))
def test_damaged_files(
    seed: int, parsers: Parsers, office_files: dict[str, bytes], make_pdf: Make, make_epub: Make
) -> None:
    """Of every format: text that can be stored, or a reason; no crash, no hang."""
    random_ = random.Random(seed)
    files: dict[Format, bytes] = {
        "docx": office_files["docx"],
        "pptx": office_files["pptx"],
        "xlsx": office_files["xlsx"],
        "epub": make_epub("<h1>One</h1><p>First.</p>", "<p>Second.</p>"),
        "pdf": make_pdf("First line\nsecond", "Next page", title="T"),
        "email": b"From: a@b.c\nSubject: =?utf-8?q?x?=\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>x</p>\n"
        b"--b\nContent-Disposition: attachment; filename=a.b\n\nzz\n--b--\n",
    }
    for format_, data in files.items():
        # the bytes of the file, or, as few damaged zip files get far, of one of its members
        if format_ in ("docx", "pptx", "xlsx", "epub") and random_.random() < 0.8:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = [n for n in archive.namelist() if n.endswith(("xml", ".rels", ".opf"))]
                name = random_.choice(sorted(names))
                damaged = replaced(data, name, mutated(archive.read(name), random_))
        else:
            damaged = mutated(data, random_)
        try:
            parsed = parsers.parse(damaged, format=format_, name="folder/name.x")
        except DocumentRejected as rejected:
            assert "\n" not in str(rejected)
            assert "was killed by" not in str(rejected), format_
            assert "takes more than" not in str(rejected), format_
            continue
        parsed.text.encode("utf-8")
        assert parsed.text.strip()
        assert "\0" not in parsed.text
        assert 0 < len(parsed.title) <= 200
        assert all(0 <= heading.start < len(parsed.text) for heading in parsed.headings)
