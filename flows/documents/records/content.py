"""What a row says: the text, title and fields of its document, and its id."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flows.documents.decoding import storable
from flows.documents.records.columns import RecordColumns
from flows.documents.records.row import BadRow, Values
from flows.documents.source_document import Scalar
from flows.documents.titles import one_line

MAX_FIELD_CHARACTERS: Final = 1000
"""A longer value of a metadata column is cut, and ends in an ellipsis."""
MAX_ID_CHARACTERS: Final = 200

_KEY_DIGITS: Final = 16
_INT64: Final = 2**63
_NO_FIELDS: Final[Mapping[str, Scalar]] = {}
"""One for all rows without fields."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is stored of a row.

    Attributes:
        text: Its document, as a file of the text's format would hold it.
        title: One line; empty where the row has none.
        fields: Values of the metadata columns that the row has.
        digest: SHA-256 of all that, and of the text's format.
        key: Of the same without the format, in 16 digits: the id of a row that has no other.
    """

    text: str
    title: str
    fields: Mapping[str, Scalar]
    digest: str
    key: str


def content_of(values: Values, columns: RecordColumns) -> Content:
    """What is stored of a row.

    Raises:
        BadRow: It has no text.
    """
    try:
        return _content(values, columns)
    except RecursionError as error:
        raise BadRow("is nested too deeply") from error


def _content(values: Values, columns: RecordColumns) -> Content:
    text = _text(values, columns.text_column or "")
    title = _title(values.get(columns.title_column)) if columns.title_column else ""
    fields = _NO_FIELDS
    if columns.metadata_columns:
        named = ((name, scalar(values.get(name))) for name in columns.metadata_columns)
        fields = {name: value for name, value in named if value is not None} or _NO_FIELDS
    canonical = json.dumps([text, title, sorted(fields.items())], ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode())
    key = digest.hexdigest()[:_KEY_DIGITS]
    digest.update(f"\0{columns.text_format}".encode())
    return Content(text=text, title=title, fields=fields, digest=digest.hexdigest(), key=key)


def key_of(values: Values, column: str) -> str:
    """A row's id: printable, on one line, of at most 200 characters; unlike ids stay unlike.

    Raises:
        BadRow: It has none, or something that is neither text nor a whole number.
    """
    value = values.get(column)
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)  # as a column of whole numbers becomes that has empty cells
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < _INT64 else f"{value:x}"
    if value is None or value == "":
        raise BadRow(f"has no id in {column!r}; give each row one")
    if not isinstance(value, str):
        raise BadRow(f"its id in {column!r} is {_kind(value)}; expected text or a whole number")
    key = value.strip()
    if not key:
        raise BadRow(f"has a blank id in {column!r}; give each row one")
    if len(key) <= MAX_ID_CHARACTERS and key.isprintable():
        return key
    mark = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_KEY_DIGITS]
    shown = "".join(character if character.isprintable() else "\ufffd" for character in key)
    return f"{shown[: MAX_ID_CHARACTERS - _KEY_DIGITS - 1]}~{mark}"


def scalar(value: object) -> Scalar | None:
    """A value as a field holds it; None where it is left out.

    Left out are null, empty text, and numbers that are not finite. Truth values become `true` and
    `false`, lists and objects compact JSON; whole numbers beyond 64 bits stay exact, as text in
    hexadecimal digits. For what becomes of the types that JSON has not, see `table_worker.plain`.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < _INT64:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None:
        return None
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    elif isinstance(value, int):
        value = f"{value:#x}"
    text = storable(str(value))
    if len(text) > MAX_FIELD_CHARACTERS:
        text = text[: MAX_FIELD_CHARACTERS - 1] + "…"
    return text or None


def _text(values: Values, column: str) -> str:
    if column not in values:
        raise BadRow(f"has no {column!r}")
    value = values[column]
    if not isinstance(value, str):
        raise BadRow(f"its {column!r} is {_kind(value)}; expected text")
    if not value.strip():
        raise BadRow(f"its {column!r} is empty")
    if "\0" in value:
        raise BadRow(f"its {column!r} holds a NUL character at {value.index(chr(0))}; remove it")
    return storable(value)


def _title(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return one_line(storable(str(value)))


def _kind(value: object) -> str:
    for kind, name in (
        (type(None), "null"),
        (bool, "a truth value"),
        (int | float, "a number"),
        (list, "a list"),
    ):
        if isinstance(value, kind):
            return name
    return "an object"
