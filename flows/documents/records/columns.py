"""Which columns of a record file make a document: its text, title, id and fields."""

from collections.abc import Collection, Sequence
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator

from flows.errors import InvalidInput

TextFormat: TypeAlias = Literal["text", "markdown", "html", "restructuredtext"]
"""What the text of a row may be; a row is parsed as a file of that format would be."""

TEXT_COLUMNS: Final = ("text", "content", "page_content", "body", "contents")
"""What is taken for the text of a file that is itself a source, if nothing else is said."""

_NAMES_SHOWN: Final = 20
_NAME_CHARACTERS: Final = 60


def _check_name(name: str) -> str:
    if not name or any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError("a column's name is text; expected one that the file has")
    return name


ColumnName: TypeAlias = Annotated[str, AfterValidator(_check_name)]
"""A name as it stands in the file, not empty."""


class RecordColumns(BaseModel):
    """What the columns of record files are taken for; each row is a document."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text_column: ColumnName | None = None
    """None: the first of `TEXT_COLUMNS` that a file has; record files in folders are left out."""
    title_column: ColumnName | None = None
    """None: the parser finds a title in the text."""
    id_column: ColumnName | None = None
    """Text or whole numbers, unlike in each row. None: a row is known by its content."""
    metadata_columns: tuple[ColumnName, ...] = ()
    """Stored with the document, as its `fields`."""
    text_format: TextFormat = "text"

    @field_validator("metadata_columns")
    @classmethod
    def _once_each(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))

    @property
    def required(self) -> frozenset[str]:
        """Columns without which no row is a document."""
        return frozenset(name for name in (self.text_column, self.id_column) if name)

    @property
    def optional(self) -> frozenset[str]:
        """The other columns that were named; a row may lack them."""
        return frozenset(name for name in (self.title_column, *self.metadata_columns) if name)

    def within(self, names: Sequence[str]) -> "RecordColumns":
        """These columns in a file with columns of such names, the text's among them.

        Raises:
            InvalidInput: The file has no such text or id column, or has one of those that were
                named twice.
        """
        text = self.text_column or next((name for name in TEXT_COLUMNS if name in names), None)
        if text is None:
            raise InvalidInput(
                f"no column {_or(TEXT_COLUMNS)}; it has {listed(names)}; "
                "name the text's with --text-column"
            )
        columns = self.model_copy(update={"text_column": text})
        if missing := columns.required - set(names):
            raise missing_columns(missing, names)
        for name in sorted(columns.required | columns.optional):
            if list(names).count(name) > 1:
                raise InvalidInput(f"two columns are called {name!r}; rename one of them")
        return columns


ANY_COLUMNS: Final = RecordColumns()
"""Nothing was said of columns."""


def missing_columns(missing: Collection[str], names: Collection[str]) -> InvalidInput:
    """The error for columns that were named and that do not exist."""
    return InvalidInput(f"no column {_or(sorted(missing))}; it has {listed(names)}")


def listed(names: Collection[str]) -> str:
    """Column names for a message, on one line, cut where they are many."""
    shown = [repr(name[:_NAME_CHARACTERS]) for name in list(names)[:_NAMES_SHOWN]]
    more = len(names) - len(shown)
    return (", ".join(shown) or "none") + (f" and {more} more" if more else "")


def _or(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)
