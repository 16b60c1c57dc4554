"""Which candidates of a batch are no negatives: the same text again, or of the same group.

Legend: `B` pairs, `M` hard negatives, `C` = B + M candidates: second texts, then negatives.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embedder.tuning.pairs import Pair

Bools = npt.NDArray[np.bool_]


def hidden_candidates(pairs: Sequence[Pair], negatives: Sequence[tuple[int, str]]) -> Bools:
    """True, (B, C), where a candidate must not count as a negative of a pair.

    Two pairs of one group, or with an equal text on either side, are no negatives of each other,
    nor is a hard negative that equals one of the pair's own texts, or that belongs to a pair which
    is itself no negative. Texts are compared without letter case, width and blanks. A pair's own
    second text, on the diagonal, is never hidden.

    Args:
        pairs: the batch.
        negatives: the hard negatives in use: index of the pair that each belongs to, and its text.
    """
    number: dict[str, int] = {}

    def key(text: str) -> int:
        return number.setdefault(comparable(text), len(number))

    a_B = np.array([key(pair.a) for pair in pairs])
    b_B = np.array([key(pair.b) for pair in pairs])
    owner_M = np.array([index for index, _ in negatives], dtype=np.int64)
    text_M = np.array([key(text) for _, text in negatives], dtype=np.int64)
    groups: dict[str, int] = {}
    # A pair without a group is a group of its own.
    group_B = np.array(
        [
            groups.setdefault(pair.group, len(groups)) if pair.group else -1 - index
            for index, pair in enumerate(pairs)
        ]
    )
    alike_BB: Bools = group_B[:, None] == group_B
    for one_B in (a_B, b_B):
        for other_B in (a_B, b_B):
            alike_BB |= one_B[:, None] == other_B
    own_BM = np.arange(len(pairs))[:, None] == owner_M
    equal_BM = (a_B[:, None] == text_M) | (b_B[:, None] == text_M)
    hidden_BM = equal_BM | (alike_BB[:, owner_M] & ~own_BM)
    np.fill_diagonal(alike_BB, val=False)
    return np.concatenate((alike_BB, hidden_BM), axis=1)


def comparable(text: str) -> str:
    """A text as it is compared with others.

    >>> comparable("  The Cat   sat ")
    'the cat sat'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
