"""The training texts as what a step reads: token rows, teacher vectors, neighbours, partners."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans

from embedder.tokens import PromptTokenizer

HELD_OUT_PAIRS: Final = 1000
"""Pairs that no step reads; the measures of `measures.py` do."""
CHUNK: Final = 20_000
"""Texts tokenised at once."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Prompts as token ids, end to end. Row i is `ids[start[i] : start[i + 1]]`."""

    ids: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    text_start: npt.NDArray[np.int32]
    """(N,): index in its row of each text's first token."""
    text_end: npt.NDArray[np.int32]
    """(N,): the index after its last one."""

    @classmethod
    def of(cls, texts: Sequence[str], prompt: PromptTokenizer) -> "Rows":
        """Put texts into the prompt and tokenise them."""
        ids: list[npt.NDArray[np.int32]] = []
        lengths: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        for first in range(0, len(texts), CHUNK):
            rows = [t.row for t in prompt.tokenize(texts[first : first + CHUNK])]
            ids.append(np.array([i for row in rows for i in row.ids], dtype=np.int32))
            lengths.extend(len(row.ids) for row in rows)
            starts.extend(row.text_start for row in rows)
            ends.extend(row.text_end for row in rows)
        return cls(
            np.concatenate(ids),
            np.cumsum([0, *lengths], dtype=np.int64),
            np.array(starts, dtype=np.int32),
            np.array(ends, dtype=np.int32),
        )

    @property
    def length(self) -> npt.NDArray[np.int64]:
        """(N,): tokens of each row."""
        return np.diff(self.start)

    def text(self, index: int) -> npt.NDArray[np.int32]:
        """Ids of one text without its prompt."""
        first = self.start[index]
        return self.ids[first + self.text_start[index] : first + self.text_end[index]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """N texts; those from `train` on the left of each pair come first, held-out ones last."""

    rows: Rows
    teacher: npt.NDArray[np.float16]
    """(N, 384), unit length."""
    cluster: npt.NDArray[np.int32]
    """(N,): a neighbourhood of the teacher's space; of a pair, its left side's."""
    pairs: npt.NDArray[np.int64]
    """(P, 2): indices of the texts that belong together; the last ones are held out."""
    singles: npt.NDArray[np.int64]
    """Indices of the texts without a partner."""

    @property
    def held_out(self) -> npt.NDArray[np.int64]:
        """(H, 2): pairs that no step reads."""
        return self.pairs[-min(HELD_OUT_PAIRS, len(self.pairs) // 10) :]

    @property
    def taught(self) -> npt.NDArray[np.int64]:
        """(P - H, 2): the other pairs."""
        return self.pairs[: len(self.pairs) - len(self.held_out)]


def neighbourhoods(
    vectors: npt.NDArray[np.float16], *, k: int = 256, seed: int = 0
) -> npt.NDArray[np.int32]:
    """A cluster of the teacher's space for each text, int32 (N,)."""
    k = min(k, len(vectors))
    model = MiniBatchKMeans(k, random_state=seed, batch_size=4096, n_init=1, max_iter=20)
    sample = np.random.default_rng(seed).permutation(len(vectors))[: 40 * k]
    model.fit(vectors[sample].astype(np.float32))
    labels = [
        model.predict(vectors[i : i + 16_384].astype(np.float32))
        for i in range(0, len(vectors), 16_384)
    ]
    return np.concatenate(labels).astype(np.int32)


RUN: Final = 16
"""Texts, or pairs' sides, per run of neighbours."""


def batches(corpus: Corpus, *, token_budget: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of each batch of one epoch, in a seeded order; every text comes once.

    Random texts are all equally unlike and teach little: a batch is made of runs of 16 neighbours
    in the teacher's space, or of 8 neighbouring pairs, each pair whole.
    """
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(corpus.taught)
    singles = rng.permutation(corpus.singles)
    pairs = pairs[np.argsort(corpus.cluster[pairs[:, 0]], kind="stable")]
    singles = singles[np.argsort(corpus.cluster[singles], kind="stable")]
    half = RUN // 2
    runs = [pairs[i : i + half].ravel() for i in range(0, len(pairs), half)]
    runs += [singles[i : i + RUN] for i in range(0, len(singles), RUN)]
    length = corpus.rows.length
    batch: list[npt.NDArray[np.int64]] = []
    tokens = 0
    for j in rng.permutation(len(runs)):
        batch.append(runs[j])
        tokens += int(length[runs[j]].sum())
        if tokens >= token_budget:
            yield np.concatenate(batch)
            batch, tokens = [], 0
    if batch:
        yield np.concatenate(batch)
