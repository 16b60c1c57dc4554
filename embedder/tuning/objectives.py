"""What is learnt from: pairs of texts, or texts with a teacher's vectors.

Legend: see `embedder.tuning.loss`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from embedder.config import Kind
from embedder.errors import InvalidConfig
from embedder.tokens import check_texts
from embedder.tuning.false_negatives import hidden_candidates
from embedder.tuning.loss import Loss, distillation, info_nce, nested
from embedder.tuning.pairs import Pair, PairSet
from embedder.tuning.settings import TuningSettings


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts whose vectors have one loss."""

    texts: list[str]
    kinds: list[Kind]
    loss: Callable[[Tensor], Loss]
    """Of the texts' vectors, (N, D), not normalised."""


class Objective(Protocol):
    """What a run learns from."""

    @property
    def size(self) -> int:
        """How many examples there are."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the data is, for the run's record and its card: among others its `digest`."""

    def check(self, dimension: int) -> None:
        """Check that vectors of so many components can be learnt this way.

        Raises:
            InvalidConfig: they cannot.
        """

    def batch(self, indices: Sequence[int]) -> Batch:
        """Some of the examples."""


class PairObjective:
    """Each pair's second text is to be nearer to its first than all others of the batch (InfoNCE).

    Args:
        pairs: what to learn from.
        settings: temperature, symmetry, hard negatives, Matryoshka sizes.

    Raises:
        InvalidConfig: there are fewer than two pairs, or all are alike.
    """

    def __init__(self, pairs: PairSet, settings: TuningSettings) -> None:
        self._pairs = pairs
        self._settings = settings
        if self.size < 2:
            raise InvalidConfig(
                f"tuning: {self.size} pair{'' if self.size == 1 else 's'} came; a pair learns from "
                "what sets it apart from others: give at least 2, better thousands"
            )

    @property
    def size(self) -> int:
        """How many pairs there are."""
        return len(self._pairs.pairs)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Counts and digest."""
        kinds: dict[str, int] = {}
        negatives = 0
        for pair in self._pairs.pairs:
            kinds[pair.kind or "given"] = kinds.get(pair.kind or "given", 0) + 1
            negatives += len(pair.negatives)
        return {
            "objective": "contrastive",
            "pairs": self.size,
            "kinds": dict(sorted(kinds.items())),
            "hard_negatives": negatives if self._settings.hard_negatives else 0,
            "rejected": dict(self._pairs.rejected),
            "digest": self._pairs.digest,
        }

    def check(self, dimension: int) -> None:
        """Check the Matryoshka sizes."""
        check_sizes(self._settings, dimension)

    def batch(self, indices: Sequence[int]) -> Batch:
        """First texts, second texts, hard negatives, in this order."""
        pairs: list[Pair] = [self._pairs.pairs[int(i)] for i in indices]
        negatives = [
            (index, text)
            for index, pair in enumerate(pairs)
            for text in (pair.negatives if self._settings.hard_negatives else ())
        ]
        texts = [p.a for p in pairs] + [p.b for p in pairs] + [text for _, text in negatives]
        others = len(texts) - len(pairs)
        hidden_BC = torch.from_numpy(hidden_candidates(pairs, negatives))
        return Batch(
            texts,
            [self._settings.first_as] * len(pairs) + ["document"] * others,
            partial(self._loss, len(pairs), hidden_BC),
        )

    def _loss(self, count: int, hidden_BC: Tensor, vectors_ND: Tensor) -> Loss:
        hidden_BC = hidden_BC.to(vectors_ND.device)
        settings = self._settings

        def loss(part_ND: Tensor) -> Loss:
            return info_nce(
                part_ND[:count],
                part_ND[count : 2 * count],
                part_ND[2 * count :],
                hidden_BC,
                temperature=settings.temperature,
                symmetric=settings.symmetric,
            )

        return nested(loss, vectors_ND, settings.matryoshka)


class TeacherObjective:
    """Each text's vector is to be where a teacher puts it, and as near to the others as there.

    Args:
        texts: what to learn from.
        teacher: the teacher's vectors, (N, T), row for row; a memory map will do.
        digest: SHA-256 of both.
        settings: weight of the similarity matrix, Matryoshka sizes.

    Raises:
        InvalidConfig: there are fewer than two texts, or another number of vectors, or the
            vectors are no matrix of finite numbers.
        InvalidText: a text is no valid Unicode.
    """

    def __init__(
        self,
        texts: Sequence[str],
        teacher: npt.NDArray[Any],
        *,
        digest: str,
        settings: TuningSettings,
    ) -> None:
        if teacher.ndim != 2 or not np.issubdtype(teacher.dtype, np.floating):
            raise InvalidConfig(
                f"tuning: the teacher's vectors are {teacher.dtype} of shape {teacher.shape}; "
                "expected floats of shape (texts, components), as `sextant encode` writes them"
            )
        if len(teacher) != len(texts):
            raise InvalidConfig(
                f"tuning: {len(texts)} texts and {len(teacher)} vectors of the teacher came; give "
                "one vector a text, in the same order"
            )
        if len(texts) < 2:
            raise InvalidConfig(f"tuning: {len(texts)} texts came; give at least 2")
        check_texts(texts)
        for start in range(0, len(teacher), 65_536):
            block = np.asarray(teacher[start : start + 65_536], dtype=np.float32)
            wrong = ~np.isfinite(block).all(axis=1) | ~block.any(axis=1)
            if wrong.any():
                raise InvalidConfig(
                    f"tuning: the teacher's vector {start + int(wrong.argmax())} is NaN, infinite "
                    "or all zeros; leave that text out"
                )
        self._texts, self._teacher = texts, teacher
        self._digest, self._settings = digest, settings

    @property
    def size(self) -> int:
        """How many texts there are."""
        return len(self._texts)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Counts and digest."""
        return {
            "objective": "distillation",
            "texts": self.size,
            "teacher_components": int(self._teacher.shape[1]),
            "digest": self._digest,
        }

    def check(self, dimension: int) -> None:
        """Check the Matryoshka sizes."""
        check_sizes(self._settings, dimension)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The texts."""
        chosen = np.asarray(indices)
        teacher_BT = torch.from_numpy(np.asarray(self._teacher[chosen], dtype=np.float32))
        texts = [self._texts[int(i)] for i in chosen]
        return Batch(texts, ["document"] * len(texts), partial(self._loss, teacher_BT))

    def _loss(self, teacher_BT: Tensor, vectors_BD: Tensor) -> Loss:
        teacher_BT = teacher_BT.to(vectors_BD.device)
        weight = self._settings.similarity_weight

        def loss(part_BD: Tensor) -> Loss:
            return distillation(part_BD, teacher_BT, similarity_weight=weight)

        return nested(loss, vectors_BD, self._settings.matryoshka)


def check_sizes(settings: TuningSettings, dimension: int) -> None:
    """Check that nested vectors are shorter than whole ones.

    Raises:
        InvalidConfig: one is not.
    """
    if beyond := [size for size, _ in settings.matryoshka if size >= dimension]:
        raise InvalidConfig(
            f"tuning: matryoshka {beyond[0]} is not below the vectors' {dimension} components; "
            f"use 1 to {dimension - 1}"
        )
