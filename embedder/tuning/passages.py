"""Passages: pieces of documents in their order, from which structural pairs are made."""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.errors import InvalidConfig
from embedder.tuning.json_rows import json_rows, lines_of

LanguageOf = Callable[[str], str]
"""A text's language as a code (`en`); empty where the text does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document.

    Attributes:
        text: its words.
        title: what stands above it: the document's title, or the nearest heading.
        document: the document's identity; empty: unknown, so that it has no neighbours.
        number: its place in the document; the next one's is one higher. None: unknown.
        headings: those that enclose it, outermost first.
    """

    text: str
    title: str = ""
    document: str = ""
    number: int | None = None
    headings: tuple[str, ...] = ()


def read_passages(path: str | Path, rejected: MutableMapping[str, int]) -> Iterator[Passage]:
    """The passages of a JSONL file, one by one: `text`, and `title`, `doc`, `i`, `headings`.

    Args:
        path: plain or compressed by gzip; other columns are left alone.
        rejected: rows that are no passage are left out and counted here, by reason.

    Raises:
        InvalidConfig: see `json_rows`; or the first row has no `text`.
    """
    first = True
    for line, row in json_rows(path):
        if "text" not in row:
            if first:
                there = ", ".join(map(str, row))[:80] or "none"
                raise InvalidConfig(
                    f"{str(path)!r} line {line} has no column 'text'; its columns are {there}"
                )
            _count(rejected, "no column")
            continue
        first = False
        passage = _passage(row)
        if isinstance(passage, Passage):
            yield passage
        else:
            _count(rejected, passage)


def read_texts(path: str | Path, rejected: MutableMapping[str, int]) -> Iterator[Passage]:
    """The texts of a file as passages: a line each of `.txt`, else as `read_passages`.

    Raises:
        InvalidConfig: see `read_passages`.
    """
    if Path(str(path).removesuffix(".gz")).suffix != ".txt":
        yield from read_passages(path, rejected)
        return
    for _, line in lines_of(path):
        yield Passage(text=line.strip())


def in_language(
    passages: Iterable[Passage],
    language: str,
    language_of: LanguageOf,
    rejected: MutableMapping[str, int],
) -> Iterator[Passage]:
    """The passages that are not known to be in another language; the others are counted."""
    for passage in passages:
        if language_of(passage.text) in ("", language):
            yield passage
        else:
            _count(rejected, "other language")


def _passage(row: Mapping[str, Any]) -> Passage | str:
    text, title, document = row["text"], row.get("title"), row.get("doc")
    number, headings = row.get("i"), row.get("headings")
    if not isinstance(text, str):
        return "text is no text"
    if not text.strip():
        return "empty text"
    if not isinstance(title, str | None):
        return "wrong title"
    if not isinstance(document, str | int | None):
        return "wrong doc"
    if not isinstance(number, int | None):
        return "wrong i"
    if not isinstance(headings, list | None) or not all(
        isinstance(heading, str) for heading in headings or ()
    ):
        return "wrong headings"
    passage = Passage(
        text=text.strip(),
        title=(title or "").strip(),
        document="" if document is None else str(document),
        number=number,
        headings=tuple(heading.strip() for heading in headings or () if heading.strip()),
    )
    try:
        "".join((text, passage.title, passage.document, *passage.headings)).encode()
    except UnicodeEncodeError:
        return "invalid Unicode"
    return passage


def _count(counts: MutableMapping[str, int], reason: str) -> None:
    counts[reason] = counts.get(reason, 0) + 1
