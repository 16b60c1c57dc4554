"""Spreadsheets (XLSX): sheet by sheet, row by row; of formulas the values that were saved."""

import io
from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Any

from flows.documents.archive import Archive
from flows.documents.draft import Draft
from flows.documents.extra import require_extra
from flows.documents.parsed_document import Drawn
from flows.documents.titles import one_line

ROWS_PER_PARAGRAPH = 50
"""Rows are lines; a blank line now and then gives the chunker a place to cut."""


def spreadsheet(data: bytes) -> Drawn:
    """The cells of an XLSX file as text, the name of each sheet as a heading.

    A row is a line, its cells that hold something parted by bars. Formulas are never computed.

    Raises:
        DocumentRejected: No XLSX, encrypted, or the library for it is not installed.
    """
    Archive(data, kind="XLSX")  # refuses what would unpack to too much
    openpyxl = require_extra("openpyxl", kind="XLSX")
    book = openpyxl.load_workbook(
        io.BytesIO(data), read_only=True, data_only=True, keep_links=False
    )
    draft = Draft()
    for sheet in book.worksheets:
        # what the file says of its own size may be a lie of a million empty rows of 16,384 cells
        sheet.reset_dimensions()
        lines: list[str] = []
        has_heading = False
        for row in sheet.iter_rows(values_only=True):
            line = " | ".join(_shown(row))
            if not line:
                continue
            if not has_heading:
                draft.add_heading(sheet.title, level=1)
                has_heading = True
            lines.append(line)
            if len(lines) == ROWS_PER_PARAGRAPH:
                draft.add("\n".join(lines))
                lines = []
        draft.add("\n".join(lines))
    return Drawn(
        text=draft.text, title=one_line(book.properties.title or ""), headings=draft.headings
    )


def _shown(row: Iterable[Any]) -> Iterable[str]:
    for value in row:
        if isinstance(value, datetime):
            # a date without a time is read as its midnight
            shown = value.isoformat(" ").removesuffix(" 00:00:00")
        elif isinstance(value, date | time):
            shown = value.isoformat()
        elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            shown = str(int(value))
        else:
            shown = "" if value is None else " ".join(str(value).split())
        if shown:
            yield shown
