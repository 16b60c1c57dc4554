"""Batches by tokens, not by texts: sorted by length, bounded by a budget."""

from collections.abc import Iterator, Sequence

TOKEN_BUDGET = 2048
"""Tokens per batch, templates and auxiliary prompts included. On CPUs what stays in the cache is
fast: larger budgets were slower."""

TEXTS_MULTIPLE = 4
"""Texts of a full batch are a multiple of this: fewer sizes, see `embedder.backbone.COARSE`."""

CUDA_TOKEN_BUDGET = 65536
"""The same on a GPU, which wants large products."""

WINDOW = 8192
"""Texts that are tokenised, sorted by length and encoded together; the next ones are tokenised
meanwhile. It bounds the memory of a stream, whatever its length."""


def by_token_budget(
    lengths: Sequence[int],
    budget: int = TOKEN_BUDGET,
    *,
    most: int | None = None,
    multiple: int = 1,
) -> Iterator[list[int]]:
    """Indices of the texts of each batch, longest texts first.

    The longest go first so that what does not fit in memory fails at once, not after an hour. A
    text longer than the budget makes a batch of its own. Every index comes exactly once. `most`
    bounds the texts of a batch, too; with `multiple`, the texts of a batch that is full are such a
    multiple, if they are as many.

    >>> list(by_token_budget([3, 9, 4], budget=8))
    [[1], [2, 0]]
    """
    batch: list[int] = []
    used = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        while batch and (used + lengths[index] > budget or len(batch) == most):
            kept = len(batch) - len(batch) % multiple or len(batch)
            yield batch[:kept]
            batch = batch[kept:]
            used = sum(lengths[i] for i in batch)
        batch.append(index)
        used += lengths[index]
    if batch:
        yield batch
