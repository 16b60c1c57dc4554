"""What a search finds before anything is shown: enough of a chunk to group, fuse and fold it.

Of the hundred chunks that an answer is chosen from, ten are shown. The others' payloads would take
longer to read than all of them to be found, and so stay where they are.

A store's worker imports this module: nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

DOC_ID_PATH: Final = "metadata.doc_id"
TEXT_PATH: Final = "page_content"
PATHS: Final = (DOC_ID_PATH, TEXT_PATH)
"""What is read of a payload to make a finding of it."""
KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """A chunk that was found, without its payload."""

    id: str
    score: float
    doc_id: str
    text_key: bytes
    """Equal for texts that are equal, whatever their white space: see `text_key`."""


def text_key(text: str) -> bytes:
    """Stands for a text's words in their order, whatever white space is between them.

    >>> text_key("a b") == text_key(" a   b"), text_key("a b") == text_key("ab")
    (True, False)
    """
    # the quick question comes first: most texts have single spaces only
    is_plain = text.isprintable() and "  " not in text
    words = text.strip() if is_plain else " ".join(text.split())
    return blake2b(words.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def keys_of(payload: Mapping[str, Any]) -> tuple[str, bytes]:
    """The document of a chunk and its text's key, from a payload that has at least `PATHS`."""
    return payload["metadata"]["doc_id"], text_key(payload.get(TEXT_PATH) or "")
