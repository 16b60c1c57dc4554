"""Groups of documents with the vectors of all their chunks; what cannot be encoded is turned away.

Legend: `N` chunks of a group, `D` components of a vector.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from embedder.errors import NonFiniteActivation
from flows.documents.context import embedded_text
from flows.prepared import Prepared
from flows.rejected import Rejected

if TYPE_CHECKING:
    from flows.session import Session

GROUP_CHUNKS: Final = 1024
"""Chunks that are embedded and stored together: each write is flushed to disk, which takes its time
whatever it holds."""
GROUP_DOCUMENTS: Final = 1024
SLICE_TEXTS: Final = 256
"""Texts encoded between two signs of life: with a large model a group takes hours."""

_CUT: Final = "a chunk of it is too long for the encoder once in its prompt; lower --chunk-tokens"


@dataclass(frozen=True, slots=True)
class Embedded:
    """Documents, and the vectors of their chunks end to end, float32 of shape (N, D)."""

    documents: tuple[Prepared, ...]
    vectors_ND: npt.NDArray[np.float32]
    reused: int
    """Chunks whose vector was known."""
    rejected: tuple[Rejected, ...]


def embed(prepared: Generator[Prepared | Rejected], session: "Session") -> Generator[Embedded]:
    """Whole documents in groups of about `GROUP_CHUNKS` chunks, in their order.

    The first group is smaller, so that the encoder need not wait for many documents.

    Raises:
        CanaryDrift: see `Session.require_canary`.
    """
    group: list[Prepared] = []
    rejected: list[Rejected] = []
    chunks, enough = 0, min(SLICE_TEXTS, GROUP_CHUNKS)
    try:
        for one in prepared:
            if isinstance(one, Rejected):
                rejected.append(one)
                continue
            group.append(one)
            chunks += len(one.chunks)
            if chunks >= enough or len(group) >= GROUP_DOCUMENTS:
                yield _embed_group(group, rejected, session)
                group, rejected, chunks, enough = [], [], 0, GROUP_CHUNKS
        if group or rejected:
            yield _embed_group(group, rejected, session)
    finally:
        prepared.close()


def _embed_group(
    group: list[Prepared], rejected: Iterable[Rejected], session: "Session"
) -> Embedded:
    turned_away = list(rejected)
    _learn(group, session)
    while True:
        texts = [
            embedded_text(context, chunk.text)
            for one in group
            for context, chunk in zip(one.contexts, one.chunks, strict=True)
        ]
        try:
            vectors_ND, reused = _vectors(texts, sum(one.tokens for one in group), session)
        except _UnfitError as unfit:
            bad = group.pop(_document_at(group, texts.index(unfit.text)))
            turned_away.append(
                Rejected.of(bad.document, "embed", unfit.reason, content_hash=bad.content_hash)
            )
        else:
            return Embedded(tuple(group), vectors_ND, reused, tuple(turned_away))


class _UnfitError(Exception):
    """A text that has no vector, or only one of its beginning, and why."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(reason)
        self.text = text
        self.reason = reason


def _vectors(
    texts: Sequence[str], tokens: int, session: "Session"
) -> tuple[npt.NDArray[np.float32], int]:
    """Vectors of all texts, (N, D), and how many of them need not be made; tells the progress.

    Raises:
        _UnfitError: a text has no finite vector, or was cut.
    """
    known = session.vectors
    found = {text: known.get(text) for text in dict.fromkeys(texts)}
    new = [text for text, vector in found.items() if vector is None]
    session.progress.advance(0, chunks=len(texts) - len(new))
    for start in range(0, len(new), SLICE_TEXTS):
        some = new[start : start + SLICE_TEXTS]
        try:
            encoding = session.encode_documents(some)
        except NonFiniteActivation as error:
            reason = f"the encoder gave no finite vector for it ({error})"
            raise _UnfitError(some[error.index], reason) from None
        cut = np.flatnonzero(encoding.truncated)
        if len(cut):
            raise _UnfitError(some[int(cut[0])], _CUT)
        for text, vector in zip(some, encoding.vectors, strict=True):
            known.add(text, vector)
            found[text] = vector
        session.progress.advance(0, chunks=len(some), tokens=round(tokens * len(some) / len(texts)))
    rows = [vector for text in texts if (vector := found[text]) is not None]
    vectors_ND = np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)
    return vectors_ND, len(texts) - len(new)


def _learn(group: Sequence[Prepared], session: "Session") -> None:
    """Of documents that are stored in another version, the vectors of that."""
    if session.collection is None:
        return
    stored = [
        origin
        for one in group
        if (origin := session.origins.get(one.document.doc_id, one.document.doc_id))
        in session.heads
    ]
    with session.busy.at("read stored vectors"):
        session.vectors.add_stored(session.collection, stored)


def _document_at(group: Sequence[Prepared], chunk: int) -> int:
    """Which document of the group the chunk with this running number belongs to."""
    ends = np.cumsum([len(one.chunks) for one in group])
    return int(np.searchsorted(ends, chunk, side="right"))
