"""The texts the starter model is distilled on: single ones, pairs, and windows of documents.

Read from a folder that holds `passages.jsonl.gz` (fields `text`, `title`, `doc`, `i`) and
`pairs.jsonl.gz` (fields `a`, `b`, `kind`). Evaluation sets are never read here.
"""

import gzip
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])")
"""A full stop, question or exclamation mark, white space, and what may open a new sentence."""

WORDS_PER_SENTENCE = (4, 60)
WORDS_PER_PASSAGE = (30, 120)
WORDS_PER_WINDOW = (100, 260)
WORDS_PER_SIDE = 180
"""What is kept of either side of a pair."""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How many texts of each kind a training set holds."""

    sentences: int = 180_000
    passages: int = 45_000
    titles: int = 45_000
    windows: int = 1_024
    pairs: int = 16_384
    seed: int = 17

    def times(self, share: float) -> "Mixture":
        """That share of each kind, for a trial."""
        sizes = {
            name: max(1, round(share * getattr(self, name)))
            for name in ("sentences", "passages", "titles", "windows", "pairs")
        }
        return replace(self, **sizes)


def read_jsonl_gz(path: Path) -> Iterator[dict[str, str]]:
    """Yield the objects of a gzip-compressed JSONL file, in file order."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def split_sentences(text: str) -> list[str]:
    """Split English prose into sentences of 4 to 60 words; shorter and longer ones are dropped."""
    low, high = WORDS_PER_SENTENCE
    return [s for s in SENTENCE_END.split(text) if low <= len(s.split()) <= high]


def cut_passage(text: str) -> str:
    """The first 120 words of a passage, or an empty string if it has fewer than 30."""
    low, high = WORDS_PER_PASSAGE
    words = text.split()
    return " ".join(words[:high]) if len(words) >= low else ""


def single_texts(data: Path, mixture: Mixture) -> list[str]:
    """Draw sentences, passages and titles, no text twice, in a seeded random order.

    Raises:
        FileNotFoundError: `data` lacks `passages.jsonl.gz` or `pairs.jsonl.gz`.
    """
    sentences: set[str] = set()
    passages: set[str] = set()
    for row in read_jsonl_gz(data / "passages.jsonl.gz"):
        sentences.update(split_sentences(row["text"]))
        passages.add(cut_passage(row["text"]))
    titles = {row["a"] for row in read_jsonl_gz(data / "pairs.jsonl.gz") if len(row["a"]) <= 200}
    passages.discard("")

    rng = random.Random(mixture.seed)
    drawn: list[str] = []
    for pool, size in (
        (sentences, mixture.sentences),
        (passages, mixture.passages),
        (titles - sentences, mixture.titles),
    ):
        ordered = sorted(pool)  # a set's order changes between processes; the draw must not
        drawn += rng.sample(ordered, min(size, len(ordered)))
    rng.shuffle(drawn)
    return drawn


def pair_texts(data: Path, mixture: Mixture) -> list[tuple[str, str]]:
    """All pairs of texts that belong together, each cut to 180 words, in a seeded random order.

    A side comes once: of headings that many paragraphs share, one paragraph is kept.
    """
    seen: set[str] = set()
    pairs: list[tuple[str, str]] = []
    for row in read_jsonl_gz(data / "pairs.jsonl.gz"):
        a, b = (" ".join(row[side].split()[:WORDS_PER_SIDE]) for side in ("a", "b"))
        if a and b and a not in seen and b not in seen and a != b:
            seen.update((a, b))
            pairs.append((a, b))
    random.Random(mixture.seed).shuffle(pairs)
    return pairs[: mixture.pairs]


def windows(data: Path, mixture: Mixture) -> list[str]:
    """Draw runs of neighbouring passages of a document, 100 to 260 words long, as chunks are."""
    rng = random.Random(mixture.seed)
    low, high = WORDS_PER_WINDOW
    made: list[str] = []
    run: list[str] = []
    words, wanted, document = 0, rng.randint(low, high), ""
    for row in read_jsonl_gz(data / "passages.jsonl.gz"):
        length = len(row["text"].split())
        if row["doc"] != document or words + length > wanted:
            if words >= low:
                made.append("\n\n".join(run))
            run, words, wanted, document = [], 0, rng.randint(low, high), row["doc"]
        run.append(row["text"])
        words += length
    return rng.sample(made, min(mixture.windows, len(made)))
