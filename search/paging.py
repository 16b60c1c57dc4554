"""Further pages of a search: a list of candidates, frozen in a token that the caller keeps.

The token holds what is still to come, in order: ids and scores, no text. So no hit comes twice and
none is skipped, whatever is written to the collection meanwhile; a chunk that was deleted is left
out. Nothing is kept on our side, and no page after the first needs the encoder.

A token is not signed: whoever changes one gets other chunks of the same collection, with scores of
his own making, and nothing that a search of his would not give him.
"""

import base64
import binascii
import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from search.errors import InvalidRequest
from search.hybrid import Candidate
from search.records import Record

VERSION: Final = 1
MAX_CHARACTERS: Final = 100_000
_HEAD: Final = struct.Struct("<BB8sI")
"""Version, mode, the request's digest, hits shown so far."""
_ROW: Final = struct.Struct("<16s3f3H")
_MODES: Final = ("hybrid", "dense", "lexical")
_NO_RANK: Final = 0
_EFFORT: Final = 1
"""Ids do not compress; what does, the quickest way finds as well."""
_MOST: Final = 0xFFFF
_EXPECTED: Final = "give the `cursor` of the page before, unchanged, with the same request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a token holds."""

    mode: str
    shown: int
    """Hits on the pages before."""
    candidates: list[Candidate]
    """Still to come; their records have an id and nothing else."""


def digest(*parts: object) -> bytes:
    """Eight bytes that stand for a request, so that a token is not used with another one."""
    return blake2b(repr(parts).encode("utf-8", "replace"), digest_size=8).digest()


def freeze(candidates: Sequence[Candidate], *, mode: str, request: bytes, shown: int) -> str:
    """The token of the next page.

    Args:
        candidates: Those still to come, in order.
        mode: Which way they were found.
        request: `digest` of what was asked.
        shown: Hits so far.
    """
    rows = b"".join(
        _ROW.pack(
            bytes.fromhex(one.record.id.replace("-", "")),
            one.score,
            float("nan") if one.dense_score is None else one.dense_score,
            float("nan") if one.lexical_score is None else one.lexical_score,
            min(one.dense_rank or _NO_RANK, _MOST),
            min(one.lexical_rank or _NO_RANK, _MOST),
            min(one.more, _MOST),
        )
        for one in candidates
    )
    head = _HEAD.pack(VERSION, _MODES.index(mode), request, shown)
    packed = zlib.compress(head + rows, _EFFORT)
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def thaw(token: str, *, request: bytes) -> Page:
    """What a token holds.

    Raises:
        InvalidRequest: it is none, or belongs to another request.
    """
    if not isinstance(token, str) or not 0 < len(token) <= MAX_CHARACTERS:
        raise InvalidRequest(f"cursor is not one of ours; {_EXPECTED}")
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        reader = zlib.decompressobj()
        data = reader.decompress(packed, MAX_CHARACTERS)
        version, mode, asked, shown = _HEAD.unpack_from(data)
        rows = list(_ROW.iter_unpack(data[_HEAD.size :]))
        if reader.unconsumed_tail or not reader.eof or version != VERSION:
            raise ValueError
        name = _MODES[mode]
    except (ValueError, IndexError, binascii.Error, zlib.error, struct.error):
        raise InvalidRequest(f"cursor {token[:20]!r} is not one of ours; {_EXPECTED}") from None
    if asked != request:
        raise InvalidRequest(f"cursor {token[:20]!r} belongs to another request; {_EXPECTED}")
    candidates = [
        Candidate(
            key="",
            record=Record(id=str(uuid.UUID(bytes=identifier)), payload={}, score=score),
            score=score if score == score else 0.0,
            dense_score=dense if dense == dense else None,
            lexical_score=lexical if lexical == lexical else None,
            dense_rank=dense_rank or None,
            lexical_rank=lexical_rank or None,
            more=more,
        )
        for identifier, score, dense, lexical, dense_rank, lexical_rank, more in rows
    ]
    return Page(mode=name, shown=shown, candidates=candidates)
