"""Made-up texts of a stated length: words that are one token each, their number log-normal."""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer

SIGMA = 0.5
"""Spread of the logarithm of a text's length. Longest and shortest of a thousand differ by about
twentyfold, as in a corpus of sentences or paragraphs."""
LONGEST = 4
"""No text has more than so many times the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPlan:
    """Which texts: the same plan and tokenizer give the same texts."""

    count: int
    mean_tokens: int
    """Tokens of a text itself, on average, without template."""
    sigma: float = SIGMA
    seed: int = 0

    def lengths(self) -> list[int]:
        """Tokens of each text."""
        rng = random.Random(self.seed)
        return [self._length(rng) for _ in range(self.count)]

    def texts(self, tokenizer: Tokenizer) -> Iterator[str]:
        """The texts, one at a time, so that any number of them takes no memory."""
        words = single_token_words(tokenizer)
        rng, choice = random.Random(self.seed), random.Random(self.seed + 1)
        for _ in range(self.count):
            yield " ".join(choice.choices(words, k=self._length(rng)))

    def _length(self, rng: random.Random) -> int:
        location = math.log(self.mean_tokens) - self.sigma**2 / 2
        drawn = round(rng.lognormvariate(location, self.sigma))
        return min(max(1, drawn), LONGEST * self.mean_tokens)


def single_token_words(tokenizer: Tokenizer) -> list[str]:
    """Words of the vocabulary that are one token at a text's beginning and after a blank.

    Raises:
        ValueError: there are fewer than 20.
    """
    decoded = {tokenizer.decode([i]).strip() for i in range(tokenizer.get_vocab_size())}
    words = sorted(word for word in decoded if re.fullmatch(r"[a-z]{3,}", word))

    def tokens(texts: list[str]) -> list[int]:
        encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    # Two of them in a row: both places at once.
    found = [w for w, n in zip(words, tokens([f"{w} {w}" for w in words]), strict=True) if n == 2]
    if len(found) < 20:
        raise ValueError(f"the tokenizer has {len(found)} words of one token; expected 20 or more")
    return found
