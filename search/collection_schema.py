"""What the documents of a collection say of themselves: names of their fields, and what they hold.

There is no list of fields in a store. Ids of chunks are hashes, so that the first ones by id are a
fair sample: a field that one document in five hundred has is found with near certainty.
"""

import re
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final

from search.errors import InvalidRequest
from search.filters import FIELDS, IndexKind, of_kind
from search.records import KIND_CHUNK, METADATA, PAGE_CONTENT
from search.stores.contract import Collection

SAMPLE: Final = 2000
"""Chunks that are looked at."""
MAX_VALUES: Final = 10_000
"""Most different values of a key among which words are looked for."""

_WORD: Final = re.compile(r"\w+")


class CollectionSchema:
    """A collection's fields, looked up once; see `filter_syntax.Schema`. Threads may share it."""

    def __init__(self, collection: Collection) -> None:
        """Nothing is read yet."""
        self._collection = collection
        self._fields: dict[str, IndexKind] | None = None
        self._lock = threading.Lock()

    def fields(self) -> Mapping[str, IndexKind]:
        """Names of fields in the sample, and what they hold: words, numbers or times."""
        with self._lock:
            if self._fields is None:
                records = islice(self._collection.scroll(where=of_kind(KIND_CHUNK)), SAMPLE)
                self._fields = kinds(record.payload[METADATA].get(FIELDS) for record in records)
            return self._fields

    def require(self, path: str, kind: IndexKind) -> None:
        """Index a field, or the texts, when they are first asked for."""
        if path == PAGE_CONTENT or path.startswith(f"{METADATA}.{FIELDS}."):
            self._collection.require_index(path, kind)

    def values_with(self, path: str, words: str) -> list[str]:
        """Values of a keyword path that have all these words, in any order and case.

        Raises:
            InvalidRequest: there are more than `MAX_VALUES` different ones to look through.
        """
        wanted = set(_WORD.findall(words.casefold()))
        values = self._collection.facet(path, limit=MAX_VALUES)
        found = [
            value
            for value, _ in values
            if isinstance(value, str) and wanted <= set(_WORD.findall(value.casefold()))
        ]
        if len(values) == MAX_VALUES:
            raise InvalidRequest(
                f"filter {path}~{words}: more than {MAX_VALUES:,} different values to look "
                "through; use = or in, or text~ for words of the texts"
            )
        return found


def kinds(samples: Iterable[Any]) -> dict[str, IndexKind]:
    """What fields hold: the narrowest kind that fits every value seen.

    >>> kinds([{"year": 2020, "on": "2020-05-01"}, {"year": 20.5}])
    {'on': 'datetime', 'year': 'float'}
    """
    seen: dict[str, set[IndexKind]] = {}
    for fields in samples:
        if isinstance(fields, Mapping):
            for name, value in fields.items():
                seen.setdefault(str(name), set()).add(_kind(value))
    return {name: _widest(found) for name, found in sorted(seen.items()) if _askable(name)}


def _kind(value: Any) -> IndexKind:
    if isinstance(value, int) and not isinstance(value, bool):
        return "integer"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str) and value[:4].isdigit() and value[4:5] == "-":
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return "keyword"
        return "datetime"
    return "keyword"


def _widest(found: set[IndexKind]) -> IndexKind:
    if len(found) == 1:
        return next(iter(found))
    return "float" if found <= {"integer", "float"} else "keyword"


def _askable(name: str) -> bool:
    """Whether a filter can name it: quotes and backslashes have no place in a path."""
    return bool(name) and '"' not in name and "\\" not in name
