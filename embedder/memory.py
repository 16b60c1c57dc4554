"""Memory: batches that are halved when it lacks, and blocks that are kept for the next layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch

KEPT_BYTES: Final = 31 * 2**20
"""Just below the largest block for which glibc adapts its threshold (32 MiB on 64 bit)."""


@dataclass
class Shortage:
    """Counts how often a batch had to be halved."""

    halvings: int = 0

    @contextmanager
    def tolerated(self, texts: int) -> Iterator[None]:
        """Swallow the device's lack of memory, unless a single text is too much for it.

        Raises:
            torch.OutOfMemoryError, RuntimeError: it is; and whatever else goes wrong inside.
        """
        try:
            yield
        except RuntimeError as error:  # torch.OutOfMemoryError is one, the CPU's is only worded so
            lacking = isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
            if not lacking or texts == 1:
                raise
            self.halvings += 1


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks of the size of activations.

    glibc maps large blocks afresh from the kernel, which zeroes every page of them, until it has
    seen a block of that size freed once; then it raises its threshold (mallopt(3),
    M_MMAP_THRESHOLD). So one such block is taken and freed here; `benchmarks.kernels` has what
    that is worth. Other C libraries do not mind.
    """
    block = torch.empty(KEPT_BYTES, dtype=torch.uint8)
    del block
