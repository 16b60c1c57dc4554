"""One row of a record file, whatever its kind: where it stands, and its values by column."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from flows.errors import DocumentRejected

MAX_ROW_BYTES: Final = 32 * 1024 * 1024
"""Of one row as it stands in its file: more is no document, or an open quotation mark."""

Values: TypeAlias = Mapping[str, object]
"""Column -> value, as JSON or Arrow types stand for in Python."""


class BadRow(DocumentRejected):
    """One row is no document; those around it may be."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that has been found, and not yet decoded.

    Attributes:
        place: Where its reader finds it again: an offset in bytes of the decompressed content for
            JSONL, CSV and TSV, a running number from 0 for the others.
        end: The first place that may be the next row's.
        number: For people, from 1: the line it starts at, or which row it is.
        values: Decodes it; raises `BadRow` where that cannot be.
    """

    place: int
    end: int
    number: int
    values: Callable[[], Values]


def failing(reason: str) -> Callable[[], Values]:
    """The `values` of a row that cannot be decoded."""

    def fail() -> Values:
        raise BadRow(reason)

    return fail


def too_long() -> str:
    """Why a row beyond `MAX_ROW_BYTES` is no document."""
    return f"is longer than {MAX_ROW_BYTES // 2**20} MiB; split it"


def is_utf8(text: str) -> bool:
    """Whether a text that was decoded with `surrogateescape` was valid UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


NOT_UTF8: Final = "is not valid UTF-8; save the file as UTF-8"
