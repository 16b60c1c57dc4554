"""Folders of labelled queries: `corpus.jsonl`, `queries.jsonl`, `qrels.tsv`, as BEIR has them."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from flows.errors import InvalidInput

FILES: Final = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")
_EXPECTED: Final = {
    "corpus.jsonl": "an object with 'id' (or '_id') and 'text', and perhaps 'title'",
    "queries.jsonl": "an object with 'id' (or '_id') and 'text'",
    "qrels.tsv": "query, document and grade (a whole number), separated by tabs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSet:
    """Documents, queries, and which documents answer which query."""

    name: str
    """The folder's."""
    documents: Mapping[str, str]
    """Id -> title, line break, text."""
    queries: Mapping[str, str]
    """Id -> text: those that have a relevant document."""
    grades: Mapping[str, Mapping[str, int]]
    """Query -> document -> grade; above 0 is relevant."""
    left_out: int
    """Queries without a relevant document."""

    def sample(self, limit: int, *, seed: int) -> "RetrievalSet":
        """The same documents, and at most so many of the queries, drawn at random."""
        if limit >= len(self.queries):
            return self
        drawn = set(random.Random(seed).sample(sorted(self.queries), limit))
        return replace(
            self,
            queries={name: text for name, text in self.queries.items() if name in drawn},
            grades={name: found for name, found in self.grades.items() if name in drawn},
        )


def read_retrieval_set(folder: str) -> RetrievalSet:
    """Read a folder.

    Raises:
        InvalidInput: it, a file or one of its lines is wrong; the message names the line.
    """
    place = Path(folder)
    missing = [name for name in FILES if not (place / name).is_file()]
    if missing:
        raise InvalidInput(f"{folder!r}: no {missing[0]} in it; expected {', '.join(FILES)}")
    documents = {
        identifier: f"{title}\n{text}" if (title := str(row.get("title") or "")) else text
        for identifier, text, row in _rows(place / "corpus.jsonl")
    }
    queries = {identifier: text for identifier, text, _ in _rows(place / "queries.jsonl")}
    grades: dict[str, dict[str, int]] = {}
    for line, query, document, grade in _judgements(place / "qrels.tsv"):
        for what, name, held in (("query", query, queries), ("document", document, documents)):
            if name not in held:
                raise InvalidInput(f"{place / 'qrels.tsv'} line {line}: no {what} {name!r}")
        grades.setdefault(query, {})[document] = grade
    answered = {
        name: text
        for name, text in queries.items()
        if max(grades.get(name, {}).values(), default=0) > 0
    }
    if not answered:
        raise InvalidInput(f"{folder!r}: no query has a relevant document; look at qrels.tsv")
    return RetrievalSet(
        name=place.resolve().name,
        documents=documents,
        queries=answered,
        grades={name: grades[name] for name in answered},
        left_out=len(queries) - len(answered),
    )


def _rows(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Id, text and the whole object of each line."""
    seen: set[str] = set()
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        identifier = row.get("id", row.get("_id")) if isinstance(row, dict) else None
        if (
            not isinstance(row, dict)
            or not isinstance(identifier, str | int)
            or not isinstance(row.get("text"), str)
        ):
            raise InvalidInput(f"{path} line {number}: expected {_EXPECTED[path.name]}")
        if str(identifier) in seen:
            raise InvalidInput(
                f"{path} line {number}: id {identifier!r} comes twice; expected once"
            )
        seen.add(str(identifier))
        yield str(identifier), row["text"], row
    if not seen:
        raise InvalidInput(f"{path} is empty; expected {_EXPECTED[path.name]} a line")


def _judgements(path: Path) -> Iterator[tuple[int, str, str, int]]:
    for number, line in _lines(path):
        cells = line.split("\t")
        try:
            query, document, grade = cells
            judged = int(grade)
        except ValueError:
            if number == 1:
                continue  # the header
            raise InvalidInput(f"{path} line {number}: expected {_EXPECTED[path.name]}") from None
        yield number, query, document, judged


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8; convert it first") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}; check its mode") from None
