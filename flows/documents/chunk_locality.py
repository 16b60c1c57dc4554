"""Whether the tokens on one side of a blank depend on the text on its other side."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NORMALIZERS: Final = frozenset(
    {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer"}
)
"""They look at a character and the marks upon it; none ends in a blank that was not one before."""
_SPLITTING: Final = frozenset({"ByteLevel", "BertPreTokenizer", "Whitespace", "WhitespaceSplit"})
"""Pre-tokenizers that never put a blank behind anything else into one piece, and that go on from
there whatever came before it. ByteLevel does by GPT-2's expression, which is built into it; newer
expressions put line ends behind punctuation."""
_HARMLESS: Final = frozenset({"Digits"})
"""Pre-tokenizers that only cut smaller what another one leaves."""


def is_local(tokenizer: "Tokenizer") -> bool:
    """Whether text before a blank, and text after it, can be tokenized each on its own.

    Where a text has a blank behind something else, the tokens that begin at the blank or after it
    are then the same whatever stands before it, and the other way round. Said only of tokenizers
    whose steps are known to be so; for others it may hold as well.
    """
    pre_tokenizers = list(_steps(tokenizer.pre_tokenizer))
    added = tokenizer.get_added_tokens_decoder().values()
    return (
        any(_splits(step) for step in pre_tokenizers)
        and all(_splits(step) or step["type"] in _HARMLESS for step in pre_tokenizers)
        and all(step["type"] in _NORMALIZERS for step in _steps(tokenizer.normalizer))
        and not any(token.rstrip or any(map(str.isspace, token.content)) for token in added)
    )


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, as a `tokenizer.json` has them."""
    waiting = [] if part is None else [json.loads(part.__getstate__())]
    while waiting:
        step = waiting.pop()
        if step["type"] == "Sequence":
            waiting += step.get("normalizers") or step.get("pretokenizers") or []
        else:
            yield step


def _splits(step: Mapping[str, Any]) -> bool:
    return step["type"] in _SPLITTING and bool(step.get("use_regex", True))
