"""One folder with a document of every format: each is stored, or quarantined with its reason."""

import io
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import docx
import openpyxl
import pptx

from flows.documents.sources import discover
from flows.heads import read_heads
from flows.ingestion import Ingestion, IngestRequest
from flows.partition import store_documents
from flows.session import Session, Target
from search.filters import of_kind
from search.records import KIND_CHUNK

Opener = Callable[[Target], Session]


def write_one_of_each(folder: Path) -> None:
    """A document with the word `needle` in every format, and three that are hostile."""
    (folder / "a.txt").write_text("A needle in a text.\n")
    (folder / "a.md").write_text("# Title\n\nA needle in Markdown.\n")
    (folder / "a.html").write_text("<h1>Title</h1><p>A needle in a page.</p>")
    (folder / "a.rst").write_text("Title\n=====\n\nA needle.\n")
    (folder / "a.py").write_text("needle = 1\n")
    message = EmailMessage()
    message["Subject"] = "Needle"
    message.set_content("A needle in an e-mail.\n")
    (folder / "a.eml").write_bytes(message.as_bytes())
    word = docx.Document()
    word.add_paragraph("A needle in a letter.")
    word.save(str(folder / "a.docx"))
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "A needle on a slide"
    deck.save(str(folder / "a.pptx"))
    sheet = openpyxl.Workbook()
    sheet.active.append(["needle", 1])
    sheet.save(folder / "a.xlsx")
    content = "BT /F1 12 Tf 72 720 Td (A needle on a page) Tj ET"
    (folder / "a.pdf").write_text(
        "%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
        "2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n"
        "3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 5 0 R "
        "/Resources << /Font << /F1 4 0 R >> >> >>\nendobj\n"
        "4 0 obj\n<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>\nendobj\n"
        f"5 0 obj\n<< /Length {len(content)} >>\nstream\n{content}\nendstream\nendobj\n"
        "trailer\n<< /Root 1 0 R >>\n%%EOF\n"
    )
    with zipfile.ZipFile(folder / "a.epub", "w") as book:
        book.writestr(
            "META-INF/container.xml", '<container><rootfile full-path="b.opf"/></container>'
        )
        book.writestr(
            "b.opf",
            '<package><item id="c" href="c.html" media-type="text/html"/><itemref idref="c"/>'
            "</package>",
        )
        book.writestr("c.html", "<p>A needle in a book.</p>")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4\n")
    (folder / "bad.docx").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(20 * 1024 * 1024))
    (folder / "bad.xlsx").write_bytes(bomb.getvalue())


def test_every_format_is_stored(open_session: Opener, target: Target, tmp_path: Path) -> None:
    """Chunks are exact spans of the parsed text; the hostile ones say why they are not stored."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_one_of_each(folder)
    session = open_session(target)
    request = IngestRequest(sources=(str(folder),), target=session.target)
    ingestion = Ingestion.begin(request, session)
    for part in ingestion.plan.partitions():
        ingestion.add(store_documents(part, session))
    report = ingestion.finish()
    reasons = {Path(entry.source).name: entry.reason for entry in report.quarantine}
    assert set(reasons) == {"bad.pdf", "bad.docx", "bad.xlsx"}, reasons
    assert "not a PDF" in reasons["bad.pdf"]
    assert "encrypted" in reasons["bad.docx"]
    assert "the limit is 200 times" in reasons["bad.xlsx"]

    collection = session.existing_collection()
    assert set(read_heads(collection)) == {
        f"mixed/{document.name}" for document in folder.glob("a.*")
    }
    documents = {document.doc_id: document for document in discover([str(folder)]).documents}
    needles = set()
    for record in collection.scroll(where=of_kind(KIND_CHUNK)):
        metadata, text = record.payload["metadata"], record.payload["page_content"]
        document = documents[metadata["doc_id"]]
        assert metadata["format"] == document.format
        parsed = session.parsers().parse(
            document.read(), format=document.format, name=document.doc_id
        )
        assert parsed.text[metadata["start"] : metadata["end"]] == text
        if "needle" in text:
            needles.add(document.format)
    assert len(needles) == 11


def test_a_document_that_meets_a_limit_is_quarantined(
    open_session: Opener, target: Target, tmp_path: Path
) -> None:
    """The run goes on, and says which limit it was."""
    (tmp_path / "slow.html").write_text("<p>needle " + "<b>a</b>" * 1_500_000)
    (tmp_path / "quick.txt").write_text("A quick one.\n")
    limits = {"parse_seconds": 1.0, "max_document_mb": 20}
    session = open_session(target.model_copy(update=limits))
    receipt = store_documents(discover([str(tmp_path)]).documents, session)
    assert [Path(doc_id).name for doc_id in receipt.stored] == ["quick.txt"]
    (rejected,) = receipt.rejected
    assert rejected.source == str(tmp_path / "slow.html")
    assert "takes more than 1 s" in rejected.reason
