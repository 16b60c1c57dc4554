"""Sound files of every format that has a parser: what the fuzzer damages."""

import csv
import gzip
import io
import json
from email.message import EmailMessage
from typing import Any, Final

from benchmarks import document_files

_PARAGRAPHS: Final = (
    "A lighthouse keeper trims the lamp at dusk, and winds the clockwork that turns the lens.",
    "A Fresnel lens throws the light of a small flame far over the sea; it weighs five tons.",
    "A river carries sand from the mountains down to the sea, grain by grain, year after year.",
    "Flour, water, salt and yeast make a loaf; the crust sounds hollow when it is done.",
    "Grüße aus Köln: naïve café, Ελλάδα, русский язык, 日本語, 🌊.",
)


def seeds() -> dict[str, bytes]:
    """By file name; records have their text in the column `text`."""
    text = "\n\n".join(_PARAGRAPHS)
    markdown = f"# Lighthouses\n\n{_PARAGRAPHS[0]}\n\n## Lenses\n\n* {_PARAGRAPHS[1]}\n\n" + (
        "| lens | range |\n|---|--:|\n| first | 20 |\n\n```python\nprint('light')\n```\n"
    )
    html = (
        "<!DOCTYPE html><html lang='en'><head><title>Rivers</title><meta charset='utf-8'></head>"
        f"<body><article><h1>Rivers</h1><p>{_PARAGRAPHS[2]}</p><ul><li>{_PARAGRAPHS[0]}</li></ul>"
        f"<table><tr><th>a</th><td>1 &amp; 2</td></tr></table><p>{_PARAGRAPHS[3]}</p>"
        "</article></body></html>"
    )
    rst = (
        f"Bread\n=====\n\n:Author: A. Baker\n\n{_PARAGRAPHS[3]}\n\nBaking\n------\n\n"
        f".. note:: {_PARAGRAPHS[1]}\n\n+---+---+\n| a | b |\n+---+---+\n\n* {_PARAGRAPHS[0]}\n"
    )
    code = f'"""{_PARAGRAPHS[0]}"""\n\n\ndef lamp(nights: int) -> int:\n    return nights * 2\n'
    chapter = f"<html><body><h1>One</h1><p>{_PARAGRAPHS[4]}</p></body></html>"
    plain = {
        "note.txt": text.encode(),
        "guide.md": markdown.encode(),
        "page.html": html.encode(),
        "manual.rst": rst.encode(),
        "module.py": code.encode(),
        "report.pdf": document_files.pdf_bytes(*_PARAGRAPHS[:4], title="The Report"),
        "book.epub": document_files.epub_bytes(chapter, chapter.replace("One", "Two")),
        "mail.eml": _mail(),
        "letter.docx": document_files.docx_bytes(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"),
        **{f"made.{suffix}": data for suffix, data in document_files.office_files().items()},
    }
    return plain | _records() | _compressed(plain | _records())


def _mail() -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"] = "Ann <ann@example.org>", "bob@example.org"
    mail["Subject"] = "Über the trip"
    mail.set_content(_PARAGRAPHS[4])
    mail.add_alternative(f"<p>{_PARAGRAPHS[2]}</p>", subtype="html")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="map.pdf")
    return mail.as_bytes()


def _records() -> dict[str, bytes]:
    import pyarrow as pa
    import pyarrow.parquet

    rows: list[dict[str, Any]] = [
        {"id": number, "title": f"Row {number}", "text": f"{paragraph} {number}", "year": 1990.5}
        for number, paragraph in enumerate(_PARAGRAPHS * 2)
    ]
    columns, stream = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_file(stream, columns.schema) as arrow:
        arrow.write_table(columns, max_chunksize=3)
    packed = io.BytesIO()
    pyarrow.parquet.write_table(columns, packed, row_group_size=4)
    return {
        "rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
        "rows.json": json.dumps({"version": [1, [2]], "data": rows}).encode(),
        "rows.csv": _table(rows, ","),
        "rows.tsv": _table(rows, "\t"),
        "rows.parquet": packed.getvalue(),
        "rows.arrow": stream.getvalue(),
    }


def _table(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue().encode()


def _compressed(files: dict[str, bytes]) -> dict[str, bytes]:
    import zstandard

    found = {f"{n}.gz": gzip.compress(files[n]) for n in ("guide.md", "rows.jsonl", "report.pdf")}
    return found | {f"{n}.zst": zstandard.compress(files[n]) for n in ("note.txt", "rows.csv")}
