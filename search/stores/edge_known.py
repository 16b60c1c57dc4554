"""What a worker remembers of chunks that were found: their documents, and keys of their texts.

Reading a hundred payloads takes longer than finding the chunks. Nobody but the worker writes to its
shard, so that it knows when what it remembers is no longer so: any write makes it forget all.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias
from uuid import UUID

from search import findings

CAPACITY: Final = 100_000
"""Chunks remembered, at most; some 300 bytes each."""

Known: TypeAlias = tuple[str, str, bytes]
"""Id, document and text's key of a chunk."""
Payloads: TypeAlias = Callable[[list[UUID]], Iterable[tuple[UUID, Mapping[str, Any]]]]
"""Reads of the payloads of points at least `findings.PATHS`."""


class KnownChunks:
    """By id, in two generations: when the younger is full, the older one is forgotten."""

    def __init__(self, read: Payloads, *, capacity: int = CAPACITY) -> None:
        """Nothing is known yet.

        Args:
            read: For those that are not.
            capacity: Most chunks to remember, 2 or more; one lookup may go beyond it.
        """
        self._read = read
        self._generation = max(1, capacity // 2)
        self._young: dict[UUID, Known] = {}
        self._old: dict[UUID, Known] = {}

    def __len__(self) -> int:
        """Chunks remembered; those in both generations count twice."""
        return len(self._young) + len(self._old)

    def name(self, identifier: UUID) -> str:
        """The id as text, which takes longer to make than to remember."""
        known = self._young.get(identifier) or self._old.get(identifier)
        return str(identifier) if known is None else known[0]

    def look_up(self, ids: Iterable[UUID]) -> dict[str, Known]:
        """Points that exist, by the text of their ids; what is not known is read."""
        found: dict[str, Known] = {}
        missing = []
        for identifier in ids:
            known = self._young.get(identifier)
            if known is None:
                known = self._old.get(identifier)
                if known is None:
                    missing.append(identifier)
                    continue
                self._young[identifier] = known
            found[known[0]] = known
        if missing:
            for identifier, payload in self._read(missing):
                known = str(identifier), *findings.keys_of(payload)
                self._young[identifier] = found[known[0]] = known
        if len(self._young) >= self._generation:
            self._old, self._young = self._young, {}
        return found

    def forget(self) -> None:
        """Something was written."""
        self._young.clear()
        self._old.clear()
