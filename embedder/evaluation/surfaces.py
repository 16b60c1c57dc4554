"""Token ids as people read them: the piece of text of each token, and the word it belongs to."""

import re
from collections.abc import Sequence
from typing import Final

from tokenizers import Tokenizer

_WORD: Final = re.compile(r"\w+(?:['\u2019]\w+)*")
_INCOMPLETE: Final = "\ufffd"
"""What decoders write for bytes that are no whole character yet."""


def surfaces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The piece of text that each token adds to the ones before it, blanks included.

    Together they are what the decoder makes of all the ids. Of a character that takes several
    tokens all but the last add nothing.

    Args:
        tokenizer: the model's.
        ids: token ids; those of special tokens add nothing.
    """
    pieces: list[str] = []
    seen = ""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(list(ids[:end]), skip_special_tokens=True)
        whole = text if end == len(ids) else text.rstrip(_INCOMPLETE)
        if len(whole) < len(seen):  # the decoder took something back; it comes with a later token
            whole = seen
        pieces.append(whole[len(seen) :])
        seen = whole
    return pieces


def words(pieces: Sequence[str]) -> list[str | None]:
    """For each piece the word it is of; None where it has neither letter nor digit.

    A piece that touches two words belongs to the first; an empty one to the piece after it.

    >>> words([" un", "common", " don", "'t", "."])
    ['uncommon', 'uncommon', "don't", "don't", None]
    """
    text = "".join(pieces)
    found = [(m.start(), m.end(), m.group()) for m in _WORD.finditer(text)]
    owners: list[str | None] = []
    start = place = 0
    for piece in pieces:
        end = start + max(1, len(piece))  # an empty piece looks at the character to come
        while place < len(found) and found[place][1] <= start:
            place += 1
        touches = place < len(found) and found[place][0] < end
        owners.append(found[place][2] if touches else None)
        start += len(piece)
    return owners
