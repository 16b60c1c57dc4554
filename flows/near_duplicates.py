"""Near-duplicates: documents that share most of their words in the same order.

Each document's head keeps a MinHash signature of its word shingles (Broder 1997); two signatures
agree in about the share of components that the two sets of shingles have in common (their Jaccard
similarity). Candidates come from locality-sensitive hashing, so that no pair is looked at twice.
"""

import base64
import re
import threading
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from flows.heads import STORED, Head

if TYPE_CHECKING:
    pass

COMPONENTS: Final = 64
"""Of a signature: the similarity's standard error is 0.04 at 0.9."""
SHINGLE_WORDS: Final = 5
FEWEST_SHINGLES: Final = 20
"""A shorter text has no signature: a changed word would change a large part of it."""
MOST_SHINGLES: Final = 20_000
"""Of a longer text, so many at equal steps are taken: 150 KiB or so are read whole."""
LEAST_SIMILARITY: Final = 0.9
"""From here on two documents are near-duplicates."""

SCHEME: Final = "affine32"
"""datasketch's; signatures of two schemes do not compare."""

_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A document, and an earlier one that it nearly equals."""

    doc_id: str
    of: str
    similarity: float
    """Estimated Jaccard similarity of their word shingles, 0 to 1."""


def signature_of(text: str) -> str:
    """The signature as stored in a head: base64 of 64 big-endian uint32; empty for short texts."""
    words = " ".join(_WORD.findall(text)).lower().encode()
    blanks = np.flatnonzero(np.frombuffer(words, dtype=np.uint8) == ord(" "))
    ends = np.append(blanks, len(words))[SHINGLE_WORDS - 1 :]
    if len(ends) < FEWEST_SHINGLES:
        return ""
    begins = np.insert(blanks + 1, 0, 0)[: len(ends)]
    step = -(-len(ends) // MOST_SHINGLES)
    spans = zip(begins[::step].tolist(), ends[::step].tolist(), strict=True)
    shingles = {zlib.crc32(words[begin:end]) for begin, end in spans}
    if len(shingles) < FEWEST_SHINGLES:
        return ""
    sketch = _minhash()
    sketch.update_batch(shingles)
    return base64.b64encode(sketch.hashvalues.astype(">u4").tobytes()).decode()


class Lookalikes:
    """Signatures of documents, and which of them a new one nearly equals. Threads may share it."""

    def __init__(self, heads: Iterable[Head] = ()) -> None:
        """Begin with what is stored whole and is itself no duplicate."""
        from datasketch import MinHashLSH

        self._lock = threading.Lock()
        self._index: MinHashLSH = MinHashLSH(
            threshold=LEAST_SIMILARITY, num_perm=COMPONENTS, weights=(0.2, 0.8)
        )
        self._values: dict[str, npt.NDArray[np.uint32]] = {}
        for head in heads:
            if head.signature and head.state == STORED and not head.duplicate_of:
                self.add(head.doc_id, head.signature)

    def add(self, doc_id: str, signature: str) -> None:
        """Know a document; what was known of it before is forgotten."""
        with self._lock:
            self._forget(doc_id)
            values = _values(signature)
            if values is not None:
                self._values[doc_id] = values
                self._index.insert(doc_id, _minhash(values), check_duplication=False)

    def forget(self, doc_id: str) -> None:
        """Know a document no more; one that is not known does no harm."""
        with self._lock:
            self._forget(doc_id)

    def _forget(self, doc_id: str) -> None:
        if self._values.pop(doc_id, None) is not None:
            self._index.remove(doc_id)

    def find(self, doc_id: str, signature: str) -> Twin | None:
        """The known document most similar to this one, not itself; the first by id of equals.

        Args:
            doc_id: Of the document asked for.
            signature: As made by `signature_of`; none finds nothing.
        """
        values = _values(signature)
        if values is None:
            return None
        with self._lock:
            candidates = self._index.query(_minhash(values))
            found = [
                (float(np.mean(values == self._values[other])), other)
                for other in candidates
                if other != doc_id
            ]
        similar = [(-similarity, other) for similarity, other in found]
        if not similar or -min(similar)[0] < LEAST_SIMILARITY:
            return None
        negative, other = min(similar)
        return Twin(doc_id=doc_id, of=other, similarity=round(-negative, 3))


def find_twins(heads: Iterable[Head], doc_ids: Sequence[str]) -> list[Twin]:
    """Near-duplicates among `doc_ids` and of anything else that is stored, in the order given.

    Of two documents that were both asked for, the later one is reported.
    """
    stored = {head.doc_id: head for head in heads if head.state == STORED and head.signature}
    asked = [doc_id for doc_id in doc_ids if doc_id in stored]
    fresh = set(asked)
    known = Lookalikes(head for head in stored.values() if head.doc_id not in fresh)
    twins = []
    for doc_id in asked:
        twin = known.find(doc_id, stored[doc_id].signature)
        if twin is not None:
            twins.append(twin)
        if not stored[doc_id].duplicate_of:
            known.add(doc_id, stored[doc_id].signature)
    return twins


def _minhash(values: npt.NDArray[np.uint32] | None = None) -> Any:
    """A MinHash of numbers, which are hashes already, or of a signature's components."""
    from datasketch import MinHash

    return MinHash(num_perm=COMPONENTS, hashvalues=values, hashfunc=int, seed=1, scheme=SCHEME)


def _values(signature: str) -> npt.NDArray[np.uint32] | None:
    """The signature's components; None for none, or for one that another version made."""
    raw = base64.b64decode(signature) if signature else b""
    if len(raw) != 4 * COMPONENTS:
        return None
    return np.frombuffer(raw, dtype=">u4").astype(np.uint32)
