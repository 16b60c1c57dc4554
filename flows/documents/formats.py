"""Which format a file has, told from its name alone: the one table of suffixes."""

from pathlib import PurePosixPath
from typing import Final, Literal

Format = Literal[
    "text",
    "markdown",
    "html",
    "restructuredtext",
    "code",
    "pdf",
    "docx",
    "pptx",
    "xlsx",
    "epub",
    "email",
    "python-metadata",
    "python-module",
]

_CODE_SUFFIXES_LIST: Final = (
    ".py .pyi .js .mjs .jsx .ts .tsx .java .kt .c .h .cc .cpp .hpp .cs .go .rs .rb .php .swift "
    ".scala .lua .pl .r .jl .sh .bash .ps1 .sql .toml .yaml .yml .css .proto"
)  # not .json and .csv, which are data more often than anything that is read
_CODE_SUFFIXES: Final = tuple(_CODE_SUFFIXES_LIST.split())

FORMAT_OF_SUFFIX: Final[dict[str, Format]] = {
    ".txt": "text",
    ".text": "text",
    ".log": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".rst": "restructuredtext",
    ".rest": "restructuredtext",
    ".pdf": "pdf",
    ".docx": "docx",
    ".docm": "docx",
    ".pptx": "pptx",
    ".pptm": "pptx",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".epub": "epub",
    ".eml": "email",
    **dict.fromkeys(_CODE_SUFFIXES, "code"),
}
"""Suffix in lower case -> format. The two `python-*` formats come from `python:` sources only.
Macros (`.docm`...) are never looked at."""

RecordKind = Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow"]

RECORD_KIND_OF_SUFFIX: Final[dict[str, RecordKind]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""Suffix in lower case -> kind of a record file, each row of which is a document."""

_TEXT_NAMES_LIST: Final = (
    "README LICENSE LICENCE COPYING NOTICE AUTHORS CONTRIBUTORS CONTRIBUTING CHANGES "
    "CHANGELOG HISTORY NEWS INSTALL TODO"
)
TEXT_NAMES: Final = frozenset(_TEXT_NAMES_LIST.split())
"""Names that hold prose although they have no suffix; `LICENSE-MIT` counts as `LICENSE`."""

NO_SUFFIX: Final = "(no suffix)"


def suffix_of(name: str) -> str:
    """The suffix of a file name in lower case with its dot, or `(no suffix)`."""
    return PurePosixPath(name).suffix.lower() or NO_SUFFIX


def format_of(name: str) -> Format | None:
    """The format of a file by its name; None where no parser takes it.

    Examples: `guide.MD` -> markdown, `LICENSE-MIT` -> text, `photo.png` -> None.
    """
    suffix = suffix_of(name)
    if suffix == NO_SUFFIX:
        return "text" if name.split("-")[0].upper() in TEXT_NAMES else None
    return FORMAT_OF_SUFFIX.get(suffix)


def supported_suffixes() -> str:
    """The suffixes that have a parser, for messages: `.txt .text ...`."""
    return " ".join((*FORMAT_OF_SUFFIX, *RECORD_KIND_OF_SUFFIX))
