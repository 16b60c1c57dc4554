"""The table of token vectors from which the student starts: an encoder without a network.

A token's vector is what the teacher makes of the token alone, centred; its length is the SIF weight
a / (a + p) of Arora et al. (ICLR 2017), so that frequent words count little. The mean over a text
is then distilled from the teacher like any student, at a small part of a network's cost.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from embedder.starter.recipe.corpus import Corpus, Rows, batches
from embedder.starter.recipe.objective import Objective

SIF_A: Final = 1e-3
PEAK_RATE: Final = 1e-3
TOKEN_BUDGET: Final = 30_000
"""Tokens of a batch: about six hundred texts."""


def token_surfaces(tokenizer: Tokenizer) -> list[str]:
    """What each token of the vocabulary looks like as text."""
    return [tokenizer.decode([i]).strip() or "." for i in range(tokenizer.get_vocab_size())]


def first_table(token_vectors: npt.NDArray[np.float16], rows: Rows) -> npt.NDArray[np.float32]:
    """The table before training, (V, D).

    Args:
        token_vectors: the teacher's unit vectors of `token_surfaces`, (V, D).
        rows: the texts whose tokens are counted.
    """
    counts = np.bincount(rows.ids[rows.ids >= 0], minlength=len(token_vectors))
    weight_V = SIF_A / (SIF_A + counts / counts.sum())
    vectors_VD = token_vectors.astype(np.float32)
    vectors_VD -= vectors_VD.mean(0)
    vectors_VD /= np.maximum(np.linalg.norm(vectors_VD, axis=1, keepdims=True), 1e-6)
    table_VD: npt.NDArray[np.float32] = (vectors_VD * weight_V[:, None]).astype(np.float32)
    return table_VD


def text_means(table_VD: Tensor, rows: Rows, chosen: npt.NDArray[np.int64]) -> Tensor:
    """The mean of the table's vectors over each chosen text, (S, D)."""
    texts = [rows.text(i) for i in chosen]
    edges = np.concatenate(([0], np.cumsum([len(t) for t in texts])[:-1]))
    ids_T = torch.from_numpy(np.concatenate(texts).astype(np.int64))
    return F.embedding_bag(ids_T, table_VD, torch.from_numpy(edges), mode="mean")


def train_table(
    table_VD: npt.NDArray[np.float32],
    corpus: Corpus,
    *,
    epochs: int,
    objective: Objective,
    report: Callable[[int, float], None] = lambda step, loss: None,
    seed: int = 0,
) -> npt.NDArray[np.float32]:
    """Distil the means of the table's vectors from the teacher; the trained table, (V, D)."""
    weight_VD = torch.nn.Parameter(torch.from_numpy(table_VD.copy()))
    optimizer = torch.optim.Adam([weight_VD], lr=PEAK_RATE, fused=True)
    plan = [
        batch
        for number in range(epochs)
        for batch in batches(corpus, token_budget=TOKEN_BUDGET, seed=seed + number)
    ]
    for step, batch in enumerate(plan):
        optimizer.param_groups[0]["lr"] = PEAK_RATE * (1 - step / len(plan))
        teacher_SD = torch.from_numpy(corpus.teacher[batch].astype(np.float32))
        loss = objective.loss(text_means(weight_VD, corpus.rows, batch), teacher_SD)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        report(step, float(loss.detach()))
    trained: npt.NDArray[np.float32] = weight_VD.detach().numpy()
    return trained
